//! What create, run, plan and gpu share: the options that ask for devices of vendors.

use std::path::PathBuf;

use runtime_core::gpu::hooks::NativeHooks;
use runtime_core::gpu::{CONFIG_FILE, DeviceRequest, GpuConfig};
use runtime_core::{CreateRequest, Result};

use crate::args::{Flag, Matches};
use crate::session::absolute;

pub(crate) const DEVICE: Flag = Flag::option(
    "device",
    "VENDOR/CLASS=NAME",
    "give the container this device, as a CDI file describes it: nvidia.com/gpu=0 (may be repeated)",
);
pub(crate) const CDI_SPEC_DIR: Flag = Flag::option(
    "cdi-spec-dir",
    "DIR",
    "look for CDI files here, a later one has priority (may be repeated; default: /etc/cdi, /var/run/cdi)",
);
pub(crate) const GPU_CONFIG: Flag = Flag::option(
    "gpu-config",
    "FILE",
    "who else may ask for devices (default: /etc/runtime/gpu.toml)",
);
pub(crate) const NATIVE_HOOKS: Flag = Flag::option(
    "native-hooks",
    "WHO",
    "who does what the known hooks of NVIDIA's toolkit do: on (this program), off (theirs), verify (both, and compare)",
)
.choices(&["on", "off", "verify"]);

/// The options of commands that make a container.
pub(crate) fn set(matches: &Matches, request: &mut CreateRequest) -> Result<()> {
    request.devices = self::request(matches)?;
    request.gpu.native_hooks = matches.choice(
        "native-hooks",
        request.devices.config.native_hooks,
        &[
            ("on", NativeHooks::On),
            ("off", NativeHooks::Off),
            ("verify", NativeHooks::Verify),
        ],
    )?;
    Ok(())
}

/// What the options ask for, with the configuration file.
pub(crate) fn request(matches: &Matches) -> Result<DeviceRequest> {
    let dirs = matches.values("cdi-spec-dir")?;
    let dirs: Vec<PathBuf> = dirs
        .into_iter()
        .map(|dir| absolute(dir.as_ref()))
        .collect::<Result<_>>()?;
    Ok(DeviceRequest {
        names: matches.values("device")?.into_iter().map(str::to_owned).collect(),
        cdi_spec_dirs: dirs,
        config: config(matches)?,
    })
}

/// A file that was named must be there; the usual one need not.
fn config(matches: &Matches) -> Result<GpuConfig> {
    let Some(path) = matches.path("gpu-config") else {
        return Ok(GpuConfig::load(CONFIG_FILE.as_ref())?.unwrap_or_default());
    };
    GpuConfig::load(&path)?.ok_or_else(|| {
        let missing = std::io::Error::from_raw_os_error(rustix::io::Errno::NOENT.raw_os_error());
        runtime_core::Error::os(format!("open({path:?})"), missing).with_field("--gpu-config")
    })
}
