//! The options `idmap` and `ridmap`, bare as runc and the runtime-spec have them or with ranges in the text as crun
//! takes them: `idmap=uids=0-1-10#10-11-10;gids=@0-100-10`. Text only; how a map is put on a mount is decided elsewhere.

/// One range of ids: `size` ids from `inside` on the filesystem become those from `outside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id on the filesystem (containerID in config.json).
    pub inside: u32,
    /// First id that it becomes on the host (hostID in config.json).
    pub outside: u32,
    /// Number of ids.
    pub size: u32,
    /// Written with `@`: `outside` counts within the container's user namespace and is still to be translated.
    pub relative: bool,
}

/// What `idmap` or `ridmap` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMapOption {
    /// `ridmap`: mounts below are mapped as well.
    pub recursive: bool,
    /// User ids of the option text; empty when the option is bare.
    pub uids: Vec<IdRange>,
    /// Group ids of the option text; empty when the option is bare.
    pub gids: Vec<IdRange>,
}

impl IdMapOption {
    /// `None` when `option` is something else; an error message when it is a malformed `idmap=`.
    pub(super) fn parse(option: &str) -> Result<Option<Self>, String> {
        let (name, text) = match option.split_once('=') {
            Some((name, text)) => (name, Some(text)),
            None => (option, None),
        };
        let recursive = match name {
            "idmap" => false,
            "ridmap" => true,
            _ => return Ok(None),
        };
        let mut parsed = Self {
            recursive,
            ..Self::default()
        };
        if let Some(text) = text {
            for part in text.split(';') {
                match part.split_once('=') {
                    Some(("uids", ranges)) => parsed.uids = ranges_of(option, ranges)?,
                    Some(("gids", ranges)) => parsed.gids = ranges_of(option, ranges)?,
                    _ => {
                        return Err(format!(
                            "mount option {option:?}: found {part:?}, allowed are uids= and gids="
                        ));
                    }
                }
            }
            if parsed.uids.is_empty() || parsed.gids.is_empty() {
                return Err(format!("mount option {option:?} must have both uids= and gids="));
            }
        }
        Ok(Some(parsed))
    }
}

fn ranges_of(option: &str, text: &str) -> Result<Vec<IdRange>, String> {
    text.split('#')
        .map(|range| {
            one_range(range).ok_or_else(|| {
                format!("mount option {option:?}: found the range {range:?}, allowed is [@]ID-ID-SIZE with a SIZE above 0")
            })
        })
        .collect()
}

fn one_range(text: &str) -> Option<IdRange> {
    let (relative, text) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
    let mut numbers = text.split('-').map(|number| {
        // `parse` alone would take a leading plus sign.
        number
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| number.parse::<u32>().ok())
            .flatten()
    });
    let (inside, outside, size) = (numbers.next()??, numbers.next()??, numbers.next()??);
    let fits = |first: u32| {
        first
            .checked_add(size.checked_sub(1)?)
            .filter(|last| *last != u32::MAX)
    };
    if numbers.next().is_some() || fits(inside).is_none() || fits(outside).is_none() {
        return None;
    }
    Some(IdRange {
        inside,
        outside,
        size,
        relative,
    })
}
