//! What a checkpoint and a restore ask alike: where images and logs are, which program, which options.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::DirBuilder;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::message::{Kind, Options};
use super::{Failed, reason};
use crate::error::{Error, ErrorKind, Result};
use crate::launch::mapped_userns;
use crate::plan::{CriuProgram, LentIdMap};
use crate::request::{CriuOptions, ManageCgroups, NetworkLock};
use crate::sys;

/// The annotation that names a file of options for CRIU, which take precedence over all that is asked for here.
const CONFIG: &str = "org.criu.config";
/// The file where the annotation is missing: runc's, since it is the container that is configured there. CRIU does without
/// it where it does not exist.
const DEFAULT_CONFIG: &str = "/etc/criu/runc.conf";

/// The program with its path and environment.
///
/// # Errors
/// Unsupported, where it is not installed.
pub(crate) fn program(options: &CriuOptions) -> Result<CriuProgram> {
    let asked = &options.program;
    let has_slash = asked.as_os_str().as_bytes().contains(&b'/');
    let path = if has_slash {
        std::path::absolute(asked).ok().filter(|path| path.is_file())
    } else {
        crate::facts::in_path(&asked.to_string_lossy())
    };
    let path = path.ok_or_else(|| {
        let place = if has_slash {
            ""
        } else {
            " in the search path (PATH)"
        };
        let message = format!(
            "criu is not installed: there is no program {}{place}",
            asked.display()
        );
        Error::new(ErrorKind::Unsupported, message).with_hint("install the package criu")
    })?;
    let env = std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name.into_vec()
    });
    Ok(CriuProgram {
        path,
        env: env.collect(),
    })
}

/// A directory and where it is.
#[derive(Debug)]
struct Directory {
    fd: OwnedFd,
    /// Absolute, without dots.
    path: PathBuf,
}

/// The directories of one checkpoint or restore. The descriptors have to stay open while CRIU works: it opens them by their
/// numbers in this process.
#[derive(Debug)]
pub(crate) struct Place {
    image: Directory,
    work: Option<Directory>,
    log: &'static str,
}

impl Place {
    /// Opens them; `make`: the one of the images may be missing. What is at the log's place is removed: CRIU would follow a
    /// link there, and an image may come from anywhere (CVE-2026-50195).
    ///
    /// # Errors
    /// InvalidArgument, where there is no image; System.
    pub(crate) fn open(options: &CriuOptions, log: &'static str, make: bool) -> Result<Self> {
        if make {
            make_directory(&options.image)?;
        }
        let image = Directory::open(&options.image).map_err(|error| match error.errno() {
            Some(libc::ENOENT | libc::ENOTDIR) if !make => {
                let message = format!("there is no checkpoint at {}", options.image.display());
                Error::new(ErrorKind::InvalidArgument, message)
            }
            _ => error,
        })?;
        let work = match &options.work {
            Some(work) => {
                make_directory(work)?;
                Some(Directory::open(work)?)
            }
            None => None,
        };
        let place = Self { image, work, log };
        match rustix::fs::unlinkat(&place.logs().fd, log, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(place),
            Err(errno) => Err(Error::os(format!("unlink({:?})", place.log_path()), errno)),
        }
    }

    /// The directory of the images.
    pub(crate) fn image(&self) -> &OwnedFd {
        &self.image.fd
    }

    /// Opens both once more, in the mount namespace of a process: CRIU goes there and mounts in the working directory,
    /// which the kernel refuses on a mount of another namespace. A container with a user namespace reads its images as its
    /// own root, here `root`: to it they are shown as its own, where the file system can do that.
    ///
    /// # Errors
    /// System; where another directory is there now, too.
    pub(crate) fn enter(&mut self, pidfd: &OwnedFd, root: Option<&LentIdMap>) -> Result<()> {
        self.image.enter(pidfd)?;
        if let Some(work) = &mut self.work {
            work.enter(pidfd)?;
        }
        let Some(root) = root else { return Ok(()) };
        let Some(shown) = self.image.shown_to(pidfd, root)? else {
            return Ok(());
        };
        // Logs are the caller's.
        let plain = std::mem::replace(&mut self.image.fd, shown);
        self.work.get_or_insert(Directory {
            fd: plain,
            path: self.image.path.clone(),
        });
        Ok(())
    }

    fn logs(&self) -> &Directory {
        self.work.as_ref().unwrap_or(&self.image)
    }

    fn log_path(&self) -> PathBuf {
        self.logs().path.join(self.log)
    }

    /// Why CRIU failed: what its log says, or else its answer, or else what it printed; and where the log is.
    pub(crate) fn explain(&self, kind: Kind, failed: Failed) -> Error {
        let (answer, rest) = match failed {
            Failed::Here(error) => return error,
            Failed::Silent(error) => (String::new(), error.to_string()),
            Failed::There { response, printed } => {
                let errno = (printed.is_empty() && response.errno > 0)
                    .then(|| crate::error::strerror(response.errno));
                let answer = response.errmsg.trim().replace('\n', "; ");
                (answer, errno.unwrap_or(printed))
            }
        };
        let logs = &self.logs().fd;
        let why = reason::from_log(logs, self.log)
            .or_else(|| Some(answer).filter(|answer| !answer.is_empty()))
            .unwrap_or(rest);
        let there = rustix::fs::accessat(logs, self.log, Access::EXISTS, AtFlags::empty());
        let see = match there {
            Ok(()) => format!(" (log: {})", self.log_path().display()),
            Err(_) => String::new(),
        };
        Error::new(
            ErrorKind::System,
            format!("criu failed: {}: {why}{see}", kind.as_str()),
        )
    }
}

fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::os(format!("mkdir({path:?}, 0700)"), error))
}

impl Directory {
    fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let call = |call: &str| format!("{call}({path:?}, O_DIRECTORY)");
        let fd =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| Error::os(call("open"), errno))?;
        // Links on the way may lead elsewhere in another mount namespace.
        let path = std::fs::canonicalize(path).map_err(|error| Error::os(call("realpath"), error))?;
        Ok(Self { fd, path })
    }

    fn enter(&mut self, pidfd: &OwnedFd) -> Result<()> {
        let fd = self.tree(pidfd, OpenTreeFlags::empty())?;
        let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        if inode(&fd).ok() != inode(&self.fd).ok() {
            let message = format!("{:?} is not the same directory any more", self.path);
            return Err(Error::new(ErrorKind::System, message));
        }
        self.fd = fd;
        Ok(())
    }

    /// A mount of it with ids mapped; None where the file system has no such mounts.
    fn shown_to(&self, pidfd: &OwnedFd, root: &LentIdMap) -> Result<Option<OwnedFd>> {
        let tree = self.tree(pidfd, OpenTreeFlags::OPEN_TREE_CLONE)?;
        let userns = mapped_userns(root)?;
        let mapped = sys::mount::map_ids(&tree, userns.as_fd(), false);
        Ok(mapped.is_ok().then_some(tree))
    }

    fn tree(&self, pidfd: &OwnedFd, flags: OpenTreeFlags) -> Result<OwnedFd> {
        let path = &self.path;
        let name = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, format!("{path:?} has a null byte")))?;
        let flags = flags | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        sys::elsewhere::open_tree(pidfd.as_fd(), &name, flags.bits())
            .map_err(|refused| Error::os(format!("{}({path:?})", refused.call), refused.source))
    }
}

/// The options that both have.
pub(crate) fn options(
    asked: &CriuOptions,
    place: &Place,
    root: &Path,
    annotations: &BTreeMap<String, String>,
) -> Options {
    Options {
        images_dir_fd: place.image.fd.as_raw_fd(),
        work_dir_fd: place.work.as_ref().map(|work| work.fd.as_raw_fd()),
        log_file: place.log,
        root: root.to_path_buf(),
        ext_unix_sk: asked.ext_unix_sk,
        tcp_established: asked.tcp_established,
        shell_job: asked.shell_job,
        file_locks: asked.file_locks,
        auto_dedup: asked.auto_dedup,
        lazy_pages: asked.lazy_pages,
        cgroups_mode: cgroups_mode(asked.manage_cgroups),
        network_lock: asked.network_lock.map(network_lock),
        config_file: annotated_config(annotations),
        // Devices and addresses belong to whoever made the network: an engine, by plugins or hooks.
        empty_ns: libc::CLONE_NEWNET.cast_unsigned(),
        ..Options::default()
    }
}

/// criu_cg_mode.
fn cgroups_mode(mode: ManageCgroups) -> i32 {
    match mode {
        ManageCgroups::Ignore => 0,
        ManageCgroups::Soft => 3,
        ManageCgroups::Full => 4,
        ManageCgroups::Strict => 5,
        ManageCgroups::Default => 6,
    }
}

/// criu_network_lock_method.
fn network_lock(lock: NetworkLock) -> i32 {
    match lock {
        NetworkLock::Iptables => 1,
        NetworkLock::Nftables => 2,
        NetworkLock::Skip => 3,
    }
}

/// An empty annotation means that there is no file.
fn annotated_config(annotations: &BTreeMap<String, String>) -> Option<PathBuf> {
    match annotations.get(CONFIG) {
        None => Some(DEFAULT_CONFIG.into()),
        Some(file) if file.is_empty() => None,
        Some(file) => Some(file.into()),
    }
}
