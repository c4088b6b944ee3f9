//! `/etc/ld.so.conf` of an image: the directories that it names, in ldconfig's order (ldconfig(8)).
//!
//! The files are hostile: their number, size and nesting are bounded, and what breaks a bound is left out.

use crate::gpu::image::Image;

/// The file that ldconfig starts with.
pub(crate) const TOP: &str = "/etc/ld.so.conf";
/// The directory that distributions include.
pub(crate) const DROP_INS: &str = "/etc/ld.so.conf.d";
/// What the file of our directories is called. Names that sort before it are of libraries that go before the driver's:
/// CUDA's compatibility libraries are announced by `00-compat-*` and `00-cuda-compat.conf`.
pub(crate) const OURS: &str = "00-nvcr-runtime.conf";
const OURS_BEGIN: &str = "00-nvcr-";
/// The largest file, in bytes.
const MAX_FILE: usize = 64 * 1024;
/// The most files.
const MAX_FILES: usize = 256;
/// The most directories.
const MAX_DIRECTORIES: usize = 1024;
/// How deep files may include one another.
const MAX_DEPTH: usize = 8;

/// A directory of libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: String,
    /// Whether the image lists it before ours.
    pub(crate) early: bool,
}

/// The directories of an image's configuration.
#[derive(Debug, Default)]
pub(crate) struct Conf {
    /// In order, each once.
    pub(crate) directories: Vec<Listed>,
    files: Vec<String>,
}

impl Conf {
    pub(crate) fn read(image: &Image) -> Self {
        let mut conf = Self::default();
        conf.take(image, TOP, 0);
        // Without a file of its own the image gets one that includes the drop-ins.
        if !image.has(TOP) {
            conf.include(image, &format!("{DROP_INS}/*.conf"), 0);
        }
        conf
    }

    pub(crate) fn lists(&self, path: &str) -> bool {
        self.directories.iter().any(|listed| listed.path == path)
    }

    fn take(&mut self, image: &Image, file: &str, depth: usize) {
        if depth > MAX_DEPTH || self.files.len() >= MAX_FILES || self.files.iter().any(|seen| seen == file) {
            return;
        }
        self.files.push(file.to_owned());
        let Some(bytes) = image.read(file, true, MAX_FILE) else {
            return;
        };
        let early = file
            .strip_prefix(DROP_INS)
            .and_then(|name| name.strip_prefix('/'))
            .is_some_and(|name| name.starts_with("00-") && name < OURS_BEGIN);
        for line in String::from_utf8_lossy(&bytes).lines() {
            match asked(line) {
                Asked::Nothing => {}
                Asked::Directory(path) => self.add(path, early),
                Asked::Files(patterns) => {
                    for pattern in patterns {
                        self.include(image, pattern, depth + 1);
                    }
                }
            }
        }
    }

    fn add(&mut self, path: &str, early: bool) {
        if !self.lists(path) && self.directories.len() < MAX_DIRECTORIES {
            self.directories.push(Listed {
                path: path.to_owned(),
                early,
            });
        }
    }

    /// A pattern of files; wildcards are understood in the last name only, where every distribution has them.
    fn include(&mut self, image: &Image, pattern: &str, depth: usize) {
        let pattern = if pattern.starts_with('/') {
            pattern.to_owned()
        } else {
            format!("/etc/{pattern}")
        };
        if !pattern.contains(['*', '?', '[']) {
            return self.take(image, &pattern, depth);
        }
        let Some((directory, last)) = pattern.rsplit_once('/') else {
            return;
        };
        let names = image
            .open_directory(directory)
            .map(|found| found.names())
            .unwrap_or_default();
        for entry in names {
            if matches(last.as_bytes(), entry.name.as_bytes()) && !entry.name.starts_with('.') {
                self.take(image, &format!("{directory}/{}", entry.name), depth);
            }
        }
    }
}

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    Nothing,
    /// An absolute path.
    Directory(&'a str),
    /// Files, by patterns.
    Files(Vec<&'a str>),
}

pub(crate) fn asked(line: &str) -> Asked<'_> {
    let line = line.split('#').next().unwrap_or_default().trim();
    match line.split_once([' ', '\t']) {
        Some(("include", patterns)) => return Asked::Files(patterns.split_ascii_whitespace().collect()),
        Some(("hwcap", _)) => return Asked::Nothing,
        _ => {}
    }
    // `DIRECTORY=TYPE` is a form of the days of libc5.
    let path = line.split('=').next().unwrap_or_default().trim();
    if !path.starts_with('/') {
        return Asked::Nothing;
    }
    match path.trim_end_matches('/') {
        "" => Asked::Directory("/"),
        path => Asked::Directory(path),
    }
}

/// Whether a name fits a pattern of `*` and `?`; time grows with the product of their lengths at most.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut done, mut star) = (0, 0, None);
    while done < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, done));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[done] => {
                at += 1;
                done += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    done = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// Where the loader and ldconfig of an image look by themselves.
pub(crate) fn system_directories(image: &Image) -> Vec<&'static str> {
    if image.has_file("/etc/debian_version") {
        return if cfg!(target_arch = "aarch64") {
            vec![
                "/lib/aarch64-linux-gnu",
                "/usr/lib/aarch64-linux-gnu",
                "/lib",
                "/usr/lib",
            ]
        } else {
            vec![
                "/lib/x86_64-linux-gnu",
                "/usr/lib/x86_64-linux-gnu",
                "/lib",
                "/usr/lib",
            ]
        };
    }
    let mut directories = vec!["/lib", "/usr/lib", "/lib64", "/usr/lib64"];
    if cfg!(target_arch = "x86_64") {
        directories.extend(["/libx32", "/usr/libx32"]);
    }
    directories
}

#[cfg(test)]
mod tests {
    use super::{Asked, asked, matches};

    #[test]
    fn lines_ask_for_directories_and_files() {
        for (line, expected) in [
            ("/usr/lib/x/ # comment", Asked::Directory("/usr/lib/x")),
            ("  /opt/a b=libc5", Asked::Directory("/opt/a b")),
            ("//", Asked::Directory("/")),
            ("relative", Asked::Nothing),
            ("", Asked::Nothing),
            ("hwcap 0 nosegneg", Asked::Nothing),
            (
                "include\ta.conf  /etc/b/*.conf",
                Asked::Files(vec!["a.conf", "/etc/b/*.conf"]),
            ),
        ] {
            assert_eq!(asked(line), expected, "{line:?}");
        }
    }

    #[test]
    fn patterns_of_files() {
        for (pattern, name, fits) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", true),
            ("*.conf", "a.conf.d", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }
}
