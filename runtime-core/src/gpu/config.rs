//! The file that says who may ask for devices on this host, and where to look for them: TOML, written by root.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cdi::DEFAULT_DIRS;
use super::driver::Roots;
use super::hooks::NativeHooks;
use super::trust;
use crate::error::{Error, ErrorKind, Result};

/// Where the file is looked for by `runtime`.
pub const CONFIG_FILE: &str = "/etc/runtime/gpu.toml";
/// Size limit of the file, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Which containers get what NVIDIA_VISIBLE_DEVICES of their environment asks for. Any image can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceptEnv {
    /// None.
    #[default]
    Never,
    /// Those with CAP_SYS_ADMIN in their bounding set.
    Privileged,
    /// All.
    Always,
}

/// Who may ask for devices, and where they are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct GpuConfig {
    /// Directories with CDI files; a later one has priority.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// Whether `cdi.k8s.io/*` annotations are requests. Engines mostly have answered them already.
    pub accept_annotations: bool,
    /// Whether NVIDIA_VISIBLE_DEVICES is a request.
    pub accept_env: AcceptEnv,
    /// Whether mounts of /dev/null below /var/run/nvidia-container-devices are requests.
    pub accept_volume_mounts: bool,
    /// Who does what the known hooks of NVIDIA's toolkit do.
    pub native_hooks: NativeHooks,
    /// Where the driver's files are: a whole root, or a directory with just `lib64` and `bin`. None: the usual places.
    pub driver_root: Option<PathBuf>,
    /// The directory that has the host's `dev`. None: the driver's root, where `dev/nvidiactl` is there; else `/`.
    pub dev_root: Option<PathBuf>,
    /// The host's procfs.
    pub proc_root: PathBuf,
    /// The host's sysfs.
    pub sysfs_root: PathBuf,
}

impl Default for GpuConfig {
    fn default() -> Self {
        let roots = Roots::default();
        Self {
            cdi_spec_dirs: DEFAULT_DIRS.iter().map(PathBuf::from).collect(),
            accept_annotations: false,
            accept_env: AcceptEnv::Never,
            accept_volume_mounts: false,
            native_hooks: NativeHooks::On,
            driver_root: roots.driver_root,
            dev_root: roots.dev_root,
            proc_root: roots.proc_root,
            sysfs_root: roots.sysfs_root,
        }
    }
}

impl GpuConfig {
    /// Where the driver is looked for.
    pub fn roots(&self) -> Roots {
        Roots {
            driver_root: self.driver_root.clone(),
            dev_root: self.dev_root.clone(),
            proc_root: self.proc_root.clone(),
            sysfs_root: self.sysfs_root.clone(),
        }
    }

    /// Reads a file; None where there is none.
    ///
    /// # Errors
    /// Permission, where another user than root and the caller may write it or a part of its path; InvalidArgument, where it
    /// is no regular file, too large, not TOML, or has an unknown key or a value that is not allowed; System.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let about = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::os(format!("stat({path:?})"), error)),
            Ok(about) => about,
        };
        let invalid =
            |why: String| Error::new(ErrorKind::InvalidArgument, format!("{}: {why}", path.display()));
        if !about.is_file() {
            return Err(invalid("not a regular file".to_owned()));
        }
        if about.len() > MAX_BYTES {
            return Err(invalid(format!("larger than {MAX_BYTES} bytes")));
        }
        trust::whole_path(path).map_err(|why| {
            Error::new(
                ErrorKind::Permission,
                format!("{} is not used: {why}", path.display()),
            )
            .with_hint("it decides who gets devices: it must be root's alone, and every directory above it")
        })?;
        let text =
            std::fs::read_to_string(path).map_err(|error| Error::os(format!("read({path:?})"), error))?;
        Self::parse(&text).map(Some).map_err(invalid)
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let config: Self = basic_toml::from_str(text).map_err(|error| error.to_string())?;
        let places = [
            ("proc-root", &config.proc_root),
            ("sysfs-root", &config.sysfs_root),
        ];
        let mut paths = config
            .cdi_spec_dirs
            .iter()
            .map(|dir| ("cdi-spec-dirs", dir))
            .chain(config.driver_root.iter().map(|root| ("driver-root", root)))
            .chain(config.dev_root.iter().map(|root| ("dev-root", root)))
            .chain(places);
        match paths.find(|(_, path)| !path.is_absolute()) {
            Some((key, path)) => Err(format!("{key}: found {path:?}, allowed is an absolute path")),
            None => Ok(config.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_accepted_unless_the_file_says_so() {
        let config = GpuConfig::parse("").unwrap();
        assert_eq!(config, GpuConfig::default());
        assert_eq!(config.accept_env, AcceptEnv::Never);
        assert!(!config.accept_annotations && !config.accept_volume_mounts);
        let config = GpuConfig::parse(
            "# comment\naccept-env = \"privileged\"\naccept-annotations = true\ncdi-spec-dirs = [\"/a\", \"/b\"]\n",
        )
        .unwrap();
        assert_eq!(config.accept_env, AcceptEnv::Privileged);
        assert_eq!(config.cdi_spec_dirs, [PathBuf::from("/a"), PathBuf::from("/b")]);
    }

    #[test]
    fn faults_name_the_key() {
        for (text, words) in [
            ("accept-enf = \"never\"", "accept-enf"),
            ("accept-env = \"sometimes\"", "sometimes"),
            ("accept-annotations = 1", "boolean"),
            (
                "cdi-spec-dirs = [\"a\"]",
                "cdi-spec-dirs: found \"a\", allowed is an absolute path",
            ),
            ("driver-root = \"a\"", "driver-root"),
            ("dev-root = \"a\"", "dev-root"),
            ("accept-env", "line 1"),
        ] {
            let why = GpuConfig::parse(text).unwrap_err();
            assert!(why.contains(words), "{text}: {why}");
        }
        assert_eq!(GpuConfig::load(Path::new("/nowhere/gpu.toml")).unwrap(), None);
        assert!(GpuConfig::load(Path::new("/dev/null")).is_err());
    }
}
