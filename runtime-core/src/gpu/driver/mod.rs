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
mod sockets;
#[cfg(test)]
mod tests;

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use capabilities::Capabilities;
pub use devices::{Gpu, Mig, Node};
pub use drm::{DrmGpu, DrmVendor, discover_drm, drm_spec};
pub use edits::{DriverEdits, KIND};
pub use files::{DriverFile, FileKind};
pub use require::{Requirements, Versions};
pub use sockets::{FileIdentity, Unsafe};

use crate::error::{Error, ErrorKind, Result};

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Roots {
    /// The directory below which the driver's files are: a whole root (`/`, `/run/nvidia/driver`), or one that is just
    /// `lib64` and `bin` (`/usr/local/nvidia`). None: the usual ones, the first that has a libcuda.
    pub driver_root: Option<PathBuf>,
    /// The directory that has `dev`. None: the driver's root, where `dev/nvidiactl` is there, as with NVIDIA's GPU
    /// operator; else `/`.
    pub dev_root: Option<PathBuf>,
    /// The procfs.
    pub proc_root: PathBuf,
    /// The sysfs.
    pub sysfs_root: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            driver_root: None,
            dev_root: None,
            proc_root: "/proc".into(),
            sysfs_root: "/sys".into(),
        }
    }
}

impl Roots {
    /// The directory that has `dev`, for a driver whose files are below this root; None: for one without files.
    fn dev(&self, driver: Option<&Path>) -> PathBuf {
        let has_nodes = |root: &&Path| {
            let node = root.join("dev").join(devices::INDISPENSABLE).symlink_metadata();
            node.is_ok_and(|node| node.file_type().is_char_device())
        };
        let of_driver = || driver.filter(has_nodes).unwrap_or(Path::new("/")).to_owned();
        self.dev_root.clone().unwrap_or_else(of_driver)
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
    /// Sockets that no container gets, because others than root have a hand in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsafe_sockets: Vec<Unsafe>,
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
    let dev = roots.dev(Some(&found.path));
    let gpus = devices::gpus(roots, &dev)?;
    let (control, missing) = devices::control(&dev)?;
    let (sockets, unsafe_sockets) = sockets::collect(&found);
    let mut files = files::collect(&found);
    files.extend(sockets);
    Ok(Some(Driver {
        library_dirs: found.library_dirs(),
        files,
        unsafe_sockets,
        migs: devices::migs(roots, &dev, &gpus)?,
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
