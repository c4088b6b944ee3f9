//! The driver that is installed on this host, found without NVML and without a CDI file: libraries, programs, firmware,
//! sockets and nodes, from files, procfs and sysfs.
//!
//! [`discover`] is the only function here that looks at the host; it gives plain data ([`Driver`]), which survives JSON.
//! What a container gets of it is a pure question ([`Driver::edits`], [`Driver::spec`]). Nothing is executed.

mod capabilities;
mod devices;
mod drm;
mod edits;
mod files;
mod require;
mod root;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use capabilities::Capabilities;
pub use devices::{Gpu, Mig, Node};
pub use drm::{DrmGpu, DrmVendor, discover_drm, drm_spec};
pub use edits::{DriverEdits, KIND};
pub use files::{DriverFile, FileKind};
pub use require::{Requirements, Versions};

use crate::error::{Error, ErrorKind, Result};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Roots {
    /// The directory below which the driver's files are: a whole root (`/`, `/run/nvidia/driver`), or one that is just
    /// `lib64` and `bin` (`/usr/local/nvidia`). None: the usual ones, the first that has a libcuda.
    pub driver_root: Option<PathBuf>,
    /// The directory that has `dev`.
    pub dev_root: PathBuf,
    /// The procfs.
    pub proc_root: PathBuf,
    /// The sysfs.
    pub sysfs_root: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            driver_root: None,
            dev_root: "/".into(),
            proc_root: "/proc".into(),
            sysfs_root: "/sys".into(),
        }
    }
}

/// A driver and its GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    /// Its root.
    pub root: PathBuf,
    /// Its version, as `580.95.05`; userland and kernel module have the same.
    pub version: String,
    /// The directories of its libraries in a container.
    pub library_dirs: Vec<String>,
    /// Its files.
    pub files: Vec<DriverFile>,
    /// Its GPUs, in the order of their PCI addresses: the first one is number 0.
    pub gpus: Vec<Gpu>,
    /// Parts of GPUs whose nodes exist.
    pub migs: Vec<Mig>,
    /// The nodes that every GPU needs.
    pub control: Vec<Node>,
    /// Nodes that every GPU needs and that nobody has made yet, as paths.
    pub missing: Vec<String>,
    /// The kernel module's parameters.
    pub params: Option<String>,
}

/// NVIDIA's driver on this host; None where there is none.
///
/// # Errors
/// Unsupported, where the userland is of another version than the kernel module; InvalidArgument, where a root that was
/// asked for has no driver, or belongs to somebody else than root; System.
pub fn discover(roots: &Roots) -> Result<Option<Driver>> {
    let kernel = devices::kernel_version(roots);
    let Some(found) = root::find(roots, kernel.as_deref())? else {
        return Ok(None);
    };
    if let Some(kernel) = kernel.filter(|kernel| *kernel != found.version) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "driver/library version mismatch: the kernel module is {kernel}, the libraries in {} are {}",
                found.path.display(),
                found.version
            ),
        )
        .with_hint("load the module of the installed driver, or reboot"));
    }
    let gpus = devices::gpus(roots)?;
    let (control, missing) = devices::control(roots)?;
    Ok(Some(Driver {
        library_dirs: found.library_dirs(),
        files: files::collect(&found),
        migs: devices::migs(roots, &gpus)?,
        gpus,
        control,
        missing,
        params: std::fs::read_to_string(roots.proc_root.join("driver/nvidia/params")).ok(),
        root: found.path,
        version: found.version,
    }))
}

impl Driver {
    /// Refuses a driver whose files a container could have written: below its bundle or its root.
    ///
    /// # Errors
    /// InvalidArgument.
    pub fn check_outside(&self, bundle: &Path, rootfs: &Path) -> Result<()> {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let root = real(&self.root);
        match [bundle, rootfs]
            .into_iter()
            .map(real)
            .find(|place| *place != Path::new("/") && root.starts_with(place))
        {
            Some(place) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("the driver root {} is inside {}", root.display(), place.display()),
            )),
            None => Ok(()),
        }
    }
}
