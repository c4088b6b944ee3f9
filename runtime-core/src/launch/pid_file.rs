//! The file that tells a caller the pid of init or of a program.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// The bare number, under a temporary name first: who sees the file sees all of it.
///
/// The temporary is always a new file. Whoever may write to the directory, which may be one for everybody, could else have
/// a link there that leads the number elsewhere.
pub(crate) fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let name = path.file_name().ok_or_else(|| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("pid file {path:?} has no file name"),
        )
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    let mut file = make(&temporary)?;
    let written = file
        .write_all(pid.to_string().as_bytes())
        .map_err(|error| Error::os(format!("write({temporary:?})"), error))
        .and_then(|()| {
            std::fs::rename(&temporary, path)
                .map_err(|error| Error::os(format!("rename({temporary:?}, {path:?})"), error))
        });
    if written.is_err() {
        let _ = rustix::fs::unlink(&temporary);
    }
    written
}

fn make(temporary: &Path) -> Result<File> {
    let open = || {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::open(temporary, flags, Mode::from_raw_mode(0o666))
    };
    let opened = match open() {
        // Of a runtime that was killed, or bait.
        Err(Errno::EXIST) => {
            rustix::fs::unlink(temporary)
                .map_err(|errno| Error::os(format!("unlink({temporary:?})"), errno))?;
            open()
        }
        other => other,
    };
    opened
        .map(File::from)
        .map_err(|errno| Error::os(format!("open({temporary:?}, O_CREAT|O_EXCL)"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn folder(test: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("pid-file-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        folder
    }

    #[test]
    fn the_temporary_is_never_somebody_elses_file() {
        let folder = folder("bait");
        let (path, bait) = (folder.join("pid"), folder.join("bait"));
        std::fs::write(&bait, "old").unwrap();
        for _ in 0..2 {
            std::os::unix::fs::symlink(&bait, folder.join(".pid")).unwrap();
            write_pid_file(&path, 4711).unwrap();
            assert_eq!(std::fs::read_to_string(&bait).unwrap(), "old");
            assert!(!path.is_symlink());
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711");
        }
        // A link to a file that is not there is no place for one either.
        std::os::unix::fs::symlink(folder.join("new"), folder.join(".pid")).unwrap();
        write_pid_file(&path, 12).unwrap();
        assert!(!folder.join("new").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        let folder = folder("left");
        // rename(2) of a file over a directory: EISDIR.
        std::fs::create_dir(folder.join("pid")).unwrap();
        let error = write_pid_file(&folder.join("pid"), 1).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EISDIR));
        assert!(!folder.join(".pid").exists());
        assert_eq!(
            write_pid_file(&folder.join(".."), 1).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
        std::fs::remove_dir_all(folder).unwrap();
    }
}
