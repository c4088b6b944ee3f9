//! Options and sources that are too long for fsconfig(2), which takes 255 bytes for each.
//!
//! Overlays with many layers meet that. Where the kernel takes the layers one by one they are given so; else everything
//! goes into the one page of options that mount(2) takes. What does not fit there either is refused: nothing is ever cut.

use crate::error::{Error, ErrorKind, Result};

/// The most bytes of a name or a value that fsconfig(2) takes (fs/fsopen.c: 256 with the terminator).
const STRING_MAX: usize = 255;
/// The most bytes of all options that mount(2) takes: a page with its terminator, 4 KiB on most machines.
const PAGE_MAX: usize = 4095;
/// Since when overlay takes `lowerdir+` and `datadir+`, one layer each. Linux 6.7 has a first form of it.
const LAYERS_ONE_BY_ONE: (u32, u32) = (6, 8);

/// How the options of a new filesystem reach the kernel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One by one, by fsconfig(2).
    Single(Vec<String>),
    /// All in one text, by mount(2).
    Page(String),
}

/// Whether fsconfig(2) takes the option.
pub(super) fn fits(option: &str) -> bool {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    name.len() <= STRING_MAX && value.len() <= STRING_MAX
}

/// Chooses the form. `options` are those of the configuration, `context` is the label that is added.
pub(super) fn form(
    field: &str,
    fstype: &str,
    source: &str,
    mut options: Vec<String>,
    context: Option<String>,
    kernel: (u32, u32),
) -> Result<Form> {
    if fstype == "overlay"
        && kernel >= LAYERS_ONE_BY_ONE
        && let Some(at) = options.iter().position(|option| !fits(option))
        && let Some(layers) = layers(&options[at])
    {
        options.splice(at..=at, layers);
    }
    if source.len() <= STRING_MAX && options.iter().all(|option| fits(option)) {
        options.extend(context);
        return Ok(Form::Single(options));
    }
    // In one text a label's commas would end it.
    options.extend(context.map(|context| match context.split_once('=') {
        Some((name, label)) => format!("{name}=\"{label}\""),
        None => context,
    }));
    let page = options.join(",");
    if fstype == "tmpfs" || page.len() > PAGE_MAX {
        let message = format!(
            "{} bytes of options, of which one is longer than {STRING_MAX}: the kernel takes {PAGE_MAX} in all then",
            page.len()
        );
        let error = Error::spec(format!("{field}.options"), message).with_kind(ErrorKind::Unsupported);
        return Err(if fstype == "overlay" {
            error.with_hint(
                "Linux 6.8 takes more layers, where each path has 255 bytes at most and no backslash",
            )
        } else {
            error
        });
    }
    Ok(Form::Page(page))
}

/// A remount has one form only.
pub(super) fn check_remount(field: &str, options: &[String]) -> Result<()> {
    match options.iter().find(|option| !fits(option)) {
        None => Ok(()),
        Some(option) => {
            let message = format!(
                "an option of {} bytes: a remount takes {STRING_MAX}",
                option.len()
            );
            Err(Error::spec(format!("{field}.options"), message).with_kind(ErrorKind::Unsupported))
        }
    }
}

/// The layers of overlay's `lowerdir=A:B::DATA` as options of their own; None where the text has escapes, which single
/// layers do not have, or is no plain list.
fn layers(option: &str) -> Option<Vec<String>> {
    let list = option
        .strip_prefix("lowerdir=")
        .filter(|list| !list.contains('\\'))?;
    let mut groups = list.split("::");
    let lower = groups.next()?.split(':').map(|layer| ("lowerdir+", layer));
    let all: Vec<_> = lower.chain(groups.map(|layer| ("datadir+", layer))).collect();
    let plain = |layer: &str| !layer.is_empty() && !layer.contains(':') && layer.len() <= STRING_MAX;
    let given = all.iter().all(|(_, layer)| plain(layer));
    given.then(|| {
        all.iter()
            .map(|(name, layer)| format!("{name}={layer}"))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: (u32, u32) = (6, 8);
    const OLD: (u32, u32) = (5, 14);

    fn overlay(layers: usize, kernel: (u32, u32)) -> Result<Form> {
        let paths: Vec<_> = (0..layers).map(|at| format!("/layers/{at:0>80}")).collect();
        let options = vec![
            format!("lowerdir={}", paths.join(":")),
            "upperdir=/u".to_owned(),
            "workdir=/w".to_owned(),
        ];
        form("mounts[3]", "overlay", "overlay", options, None, kernel)
    }

    #[test]
    fn short_options_stay_as_they_are() {
        let Form::Single(options) = overlay(2, NEW).unwrap() else {
            panic!()
        };
        assert_eq!(options.len(), 3);
        assert!(options[0].starts_with("lowerdir=/layers/"));
    }

    #[test]
    fn many_layers_are_given_one_by_one_or_in_a_page_or_not_at_all() {
        let Form::Single(options) = overlay(100, NEW).unwrap() else {
            panic!()
        };
        assert_eq!(options.len(), 102);
        assert!(options[99].starts_with("lowerdir+=/layers/") && options[99].ends_with("99"));
        assert_eq!(options[100], "upperdir=/u");
        let Form::Page(page) = overlay(40, OLD).unwrap() else {
            panic!()
        };
        assert!(page.ends_with(",upperdir=/u,workdir=/w") && page.len() <= PAGE_MAX);
        let error = overlay(100, OLD).unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::Unsupported, Some("mounts[3].options"))
        );
        assert!(error.hint().is_some());
    }

    #[test]
    fn what_cannot_be_split_goes_into_the_page() {
        let long = "x".repeat(200);
        for list in [
            format!("lowerdir=/a\\:b:/{long}:/{long}"),
            format!("lowerdir=:/{long}:/{long}"),
            format!("lowerdir=/{long}{long}"),
            format!("upperdir=/{long}{long}"),
        ] {
            let found = form("m", "overlay", "overlay", vec![list.clone()], None, NEW).unwrap();
            assert_eq!(found, Form::Page(list));
        }
        let data = format!("lowerdir=/{long}:/b::/{long}::/d");
        let found = form("m", "overlay", "overlay", vec![data], None, NEW).unwrap();
        let parts = [
            format!("lowerdir+=/{long}"),
            "lowerdir+=/b".into(),
            format!("datadir+=/{long}"),
            "datadir+=/d".into(),
        ];
        assert_eq!(found, Form::Single(parts.into()));
        // The commas of a label end it in one text, and nowhere else.
        let label = || Some("context=u:r:t:s0:c1,c2".to_owned());
        let found = form("m", "ext4", &long.repeat(2), vec!["acl".to_owned()], label(), NEW).unwrap();
        assert_eq!(found, Form::Page("acl,context=\"u:r:t:s0:c1,c2\"".to_owned()));
        let found = form("m", "ext4", "/dev/x", vec!["acl".to_owned()], label(), NEW).unwrap();
        assert_eq!(
            found,
            Form::Single(vec!["acl".to_owned(), "context=u:r:t:s0:c1,c2".to_owned()])
        );
        let error = form(
            "m",
            "tmpfs",
            "tmpfs",
            vec![format!("mpol={long}{long}")],
            None,
            NEW,
        )
        .unwrap_err();
        assert!(error.hint().is_none(), "{error}");
        assert!(check_remount("m", &["size=1m".to_owned()]).is_ok());
        assert!(check_remount("m", &[format!("x={long}{long}")]).is_err());
    }
}
