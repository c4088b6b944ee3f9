//! Reading in a container's root, before its program runs: every file there is the image's, that is hostile.
//!
//! A path is resolved below the root's descriptor (openat2, RESOLVE_IN_ROOT, no magic links) and opened as a place first;
//! only what turns out to be a regular file or a directory is then opened for reading, through that same descriptor. So a
//! fifo never blocks, a device is never opened, and no name is looked up twice. Sizes and counts are bounded.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatVfsMountFlags};

/// The most names of one directory that are looked at; a desktop's /usr/lib/x86_64-linux-gnu has 8,000.
const MAX_NAMES: usize = 65_536;

/// The root of a container.
#[derive(Debug)]
pub(crate) struct Image(OwnedFd);

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) kind: FileType,
}

/// What makes two paths the same file: filesystem and inode.
pub(crate) type Identity = (u64, u64);

impl Image {
    /// The root that this descriptor is.
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self(root)
    }

    fn place(&self, path: &str, follow: bool) -> Option<OwnedFd> {
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        // A rename elsewhere can make a lookup uncertain (EAGAIN, openat2(2)); the bound is for whoever renames for ever.
        for _ in 0..64 {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), how) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return other.ok(),
            }
        }
        None
    }

    fn reopen(place: &OwnedFd, flags: OFlags) -> Option<OwnedFd> {
        let path = format!("/proc/self/fd/{}", place.as_raw_fd());
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).ok()
    }

    fn kind(place: &OwnedFd) -> Option<FileType> {
        let status = rustix::fs::fstat(place).ok()?;
        Some(FileType::from_raw_mode(status.st_mode))
    }

    /// A regular file for reading; with `follow` also at the end of a symbolic link, in the root.
    pub(crate) fn open_file(&self, path: &str, follow: bool) -> Option<OwnedFd> {
        let place = self.place(path, follow)?;
        (Self::kind(&place)? == FileType::RegularFile)
            .then(|| Self::reopen(&place, OFlags::empty()))
            .flatten()
    }

    /// The content of a regular file; None where there is none, or one of more than `limit` bytes.
    pub(crate) fn read(&self, path: &str, follow: bool, limit: usize) -> Option<Vec<u8>> {
        let file = self.open_file(path, follow)?;
        let size = usize::try_from(rustix::fs::fstat(&file).ok()?.st_size).ok()?;
        if size > limit {
            return None;
        }
        let mut bytes = Vec::with_capacity(size);
        let mut file = std::io::Read::take(std::fs::File::from(file), limit as u64 + 1);
        std::io::Read::read_to_end(&mut file, &mut bytes).ok()?;
        (bytes.len() <= limit).then_some(bytes)
    }

    /// Whether a path leads to a regular file.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.place(path, true)
            .is_some_and(|place| Self::kind(&place) == Some(FileType::RegularFile))
    }

    /// Whether there is anything at a path, a dangling link included.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.place(path, false).is_some()
    }

    /// What a path leads to, as identity; `directory`: only a directory counts.
    pub(crate) fn identity(&self, path: &str, directory: bool) -> Option<Identity> {
        let status = rustix::fs::fstat(self.place(path, true)?).ok()?;
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        (is_directory || !directory).then_some((status.st_dev, status.st_ino))
    }

    /// Whether a symbolic link is at the path itself.
    pub(crate) fn is_link(&self, path: &str) -> bool {
        self.place(path, false)
            .is_some_and(|place| Self::kind(&place) == Some(FileType::Symlink))
    }

    /// Where the symbolic link at a path points.
    pub(crate) fn read_link(&self, path: &str) -> Option<String> {
        let place = self.place(path, false)?;
        let target = rustix::fs::readlinkat(&place, "", Vec::new()).ok()?;
        target.into_string().ok()
    }

    /// What is at a path itself, a link included.
    pub(crate) fn status(&self, path: &str) -> Option<rustix::fs::Stat> {
        rustix::fs::fstat(self.place(path, false)?).ok()
    }

    /// The permission bits of what a path leads to.
    pub(crate) fn mode(&self, path: &str) -> Option<u32> {
        let status = rustix::fs::fstat(self.place(path, true)?).ok()?;
        Some(status.st_mode & 0o7777)
    }

    /// A directory for looking into.
    pub(crate) fn open_directory(&self, path: &str) -> Option<Directory> {
        let place = self.place(path, true)?;
        if Self::kind(&place)? != FileType::Directory {
            return None;
        }
        Self::reopen(&place, OFlags::DIRECTORY).map(Directory)
    }

    /// The path in the root that a directory has when all symbolic links are resolved.
    pub(crate) fn resolved(&self, path: &str) -> Option<String> {
        let at = |fd: BorrowedFd<'_>| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            std::fs::read_link(link).ok()?.into_os_string().into_string().ok()
        };
        let place = self.place(path, true)?;
        let (root, found) = (at(self.0.as_fd())?, at(place.as_fd())?);
        let rest = found.strip_prefix(root.trim_end_matches('/'))?;
        rest.starts_with('/').then(|| rest.to_owned())
    }

    /// Whether new files can be made in a directory, or in the nearest one above it that exists.
    pub(crate) fn may_write_in(&self, path: &str) -> bool {
        let mut path = path;
        loop {
            if let Some(place) = self.place(if path.is_empty() { "/" } else { path }, true) {
                let read_only = rustix::fs::fstatvfs(&place)
                    .is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
                return Self::kind(&place) == Some(FileType::Directory) && !read_only;
            }
            match path.rsplit_once('/') {
                Some((above, _)) => path = above,
                None => return false,
            }
        }
    }
}

/// An open directory of the image.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Its names, sorted; those that are no text are left out.
    pub(crate) fn names(&self) -> Vec<Name> {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.0) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .take(MAX_NAMES)
            .map_while(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name().to_str().ok()?.to_owned();
                let kind = match entry.file_type() {
                    FileType::Unknown => self.kind(&name)?,
                    kind => kind,
                };
                Some(Name { name, kind })
            })
            .filter(|entry| !matches!(entry.name.as_str(), "." | ".."))
            .collect();
        names.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        names
    }

    fn kind(&self, name: &str) -> Option<FileType> {
        let status = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(FileType::from_raw_mode(status.st_mode))
    }

    /// A name's device number, where it is a character device.
    pub(crate) fn character_device(&self, name: &str) -> Option<u64> {
        let status = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice).then_some(status.st_rdev)
    }
}
