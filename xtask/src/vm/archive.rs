//! The initrd: a cpio archive in the `newc` format that the kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Pure. Must not live here: what is in it.

use std::collections::BTreeMap;

/// What a path of the archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A file with its permissions.
    File(u32, Vec<u8>),
    /// A symbolic link to this path.
    Link(String),
    /// A folder with its permissions.
    Folder(u32),
}

/// The tree of an archive; folders above an entry are made by themselves.
#[derive(Debug, Default)]
pub(super) struct Archive(BTreeMap<String, Entry>);

impl Archive {
    /// Adds an entry; `path` is relative.
    pub(super) fn add(&mut self, path: impl Into<String>, entry: Entry) {
        let path = path.into();
        let mut above = path.as_str();
        while let Some((parent, _)) = above.rsplit_once('/') {
            self.0.entry(parent.to_owned()).or_insert(Entry::Folder(0o755));
            above = parent;
        }
        self.0.insert(path, entry);
    }

    /// The bytes. Sorted paths put every folder before what is in it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in self.0.iter().enumerate() {
            let (mode, content) = match entry {
                Entry::File(mode, content) => (0o100_000 | mode, content.as_slice()),
                Entry::Link(target) => (0o120_777, target.as_bytes()),
                Entry::Folder(mode) => (0o040_000 | mode, &[][..]),
            };
            put(&mut out, number + 1, path, mode, content);
        }
        put(&mut out, 0, "TRAILER!!!", 0, &[]);
        out
    }
}

fn put(out: &mut Vec<u8>, inode: usize, path: &str, mode: u32, content: &[u8]) {
    let (links, size, name) = (1, content.len(), path.len() + 1);
    out.extend_from_slice(b"070701");
    // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
    let mode = usize::try_from(mode).unwrap_or_default();
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0] {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpio_unpacks_it() {
        let mut archive = Archive::default();
        archive.add("a/b/file", Entry::File(0o640, b"content".to_vec()));
        archive.add("a/link", Entry::Link("b/file".into()));
        let bytes = archive.bytes();
        let names: Vec<&str> = archive.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["a", "a/b", "a/b/file", "a/link"]);
        assert!(bytes.starts_with(b"07070100000001000041ED"));
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("a/b/file\0") && text.contains("TRAILER!!!\0"));
    }
}
