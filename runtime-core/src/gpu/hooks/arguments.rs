//! The command lines of the known hooks, read strictly and written.

use super::{COMPAT_DIRECTORY, CudaCompat, Link, NativeHook};

/// The two programs that have the hooks; the second one behind the word `hook`.
const HOOK: &str = "nvidia-cdi-hook";
pub(super) const TOOLKIT: &str = "nvidia-ctk";

/// Each option and how often it may be given.
type Options = &'static [(&'static str, bool)];

/// What the command line of this program does; None where a word of it is not understood.
pub(super) fn parse(program: &str, args: &[String]) -> Option<NativeHook> {
    // argv[0] is only what the program is told that it is called.
    let mut words = args.iter().skip(1).map(String::as_str);
    match program.rsplit('/').next()? {
        HOOK => {}
        TOOLKIT if words.next()? == "hook" => {}
        _ => return None,
    }
    let name = words.next()?;
    let options: Options = match name {
        "create-symlinks" => &[("link", true)],
        "update-ldcache" => &[("folder", true), ("ldconfig-path", false)],
        "enable-cuda-compat" => &[
            ("host-driver-version", false),
            ("host-cuda-version", false),
            ("cuda-compat-container-root", false),
        ],
        "disable-device-node-modification" | "update-application-profile" => &[],
        "chmod" => &[("path", true), ("mode", false)],
        _ => return None,
    };
    let given = options_of(words, options)?;
    let all = |wanted: &str| -> Vec<&str> {
        let some = given.iter().filter(|(name, _)| *name == wanted);
        some.map(|(_, value)| *value).collect()
    };
    let one = |wanted: &str| all(wanted).first().map(|value| (*value).to_owned());
    match name {
        "create-symlinks" => links(&all("link")),
        "update-ldcache" => paths(&all("folder")).map(NativeHook::LoaderCache),
        "enable-cuda-compat" => Some(NativeHook::CudaCompat(CudaCompat {
            host_driver: one("host-driver-version").unwrap_or_default(),
            host_cuda: one("host-cuda-version").unwrap_or_default(),
            directory: match one("cuda-compat-container-root") {
                Some(path) => paths(&[&path])?.pop()?,
                None => COMPAT_DIRECTORY.to_owned(),
            },
        })),
        "disable-device-node-modification" => Some(NativeHook::DeviceParams),
        "update-application-profile" => Some(NativeHook::ApplicationProfile),
        _ => Some(NativeHook::Mode {
            mode: u32::from_str_radix(&one("mode")?, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)?,
            paths: paths(&all("path"))?,
        }),
    }
}

/// `--name value` and `--name=value`, with known names only.
fn options_of<'a>(
    mut words: impl Iterator<Item = &'a str>,
    known: Options,
) -> Option<Vec<(&'static str, &'a str)>> {
    let mut given: Vec<(&'static str, &str)> = Vec::new();
    while let Some(word) = words.next() {
        let word = word.strip_prefix("--")?;
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value),
            None => (word, words.next()?),
        };
        let (name, many) = *known.iter().find(|(known, _)| *known == name)?;
        // The toolkit's parser divides the values of lists at commas, and of two single values takes the last.
        if value.is_empty() || value.contains(',') || (!many && given.iter().any(|(seen, _)| *seen == name)) {
            return None;
        }
        given.push((name, value));
    }
    Some(given)
}

/// Absolute paths without `..` and NUL, cleaned; None where one is something else.
fn paths(texts: &[&str]) -> Option<Vec<String>> {
    texts.iter().map(|text| clean(text)).collect()
}

fn clean(text: &str) -> Option<String> {
    let path = text.strip_prefix('/').filter(|_| !text.contains('\0'))?;
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| format!("/{}", parts.join("/")))
}

fn links(texts: &[&str]) -> Option<NativeHook> {
    let mut links: Vec<Link> = Vec::new();
    for text in texts {
        let (target, path) = text.split_once("::")?;
        if target.is_empty() || target.contains('\0') || path.contains("::") {
            return None;
        }
        let link = Link {
            target: target.to_owned(),
            path: clean(path)?,
        };
        if !links.contains(&link) {
            links.push(link);
        }
    }
    (!links.is_empty()).then_some(NativeHook::Links(links))
}

/// The words behind the program's name.
pub(super) fn write(hook: &NativeHook) -> Vec<String> {
    let mut words = Vec::new();
    let mut option = |name: &str, value: &str| {
        if !value.is_empty() {
            words.extend([format!("--{name}"), value.to_owned()]);
        }
    };
    let name = match hook {
        NativeHook::Links(links) => {
            links
                .iter()
                .for_each(|link| option("link", &format!("{}::{}", link.target, link.path)));
            "create-symlinks"
        }
        NativeHook::LoaderCache(folders) => {
            folders.iter().for_each(|folder| option("folder", folder));
            "update-ldcache"
        }
        NativeHook::CudaCompat(compat) => {
            option("host-driver-version", &compat.host_driver);
            option("host-cuda-version", &compat.host_cuda);
            if compat.directory != COMPAT_DIRECTORY {
                option("cuda-compat-container-root", &compat.directory);
            }
            "enable-cuda-compat"
        }
        NativeHook::DeviceParams => "disable-device-node-modification",
        NativeHook::ApplicationProfile => "update-application-profile",
        NativeHook::Mode { mode, paths } => {
            option("mode", &format!("{mode:o}"));
            paths.iter().for_each(|path| option("path", path));
            "chmod"
        }
    };
    words.insert(0, name.to_owned());
    words
}
