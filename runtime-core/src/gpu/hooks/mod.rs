//! The createContainer hooks of NVIDIA's toolkit (`nvidia-cdi-hook`, `nvidia-ctk hook`) as operations of our own.
//!
//! A hook is recognised by the name of its program and by a command line of which every word is understood; anything else
//! is executed as config.json says. What a recognised hook would do is done by init, by descriptors below the root, or,
//! where the image has to be read first, planned by the parent on the root's descriptor and then done by init
//! (`crate::gpu::loader`). No program of the toolkit has to be installed.

mod arguments;
mod profile;
#[cfg(test)]
mod tests;
mod verify;
mod work;

use oci_spec::runtime::Hook;
use serde::{Deserialize, Serialize};

pub use crate::gpu::loader::compat::{COMPAT_DIRECTORY, CudaCompat};
pub(crate) use verify::{Picture, compare};
pub use work::ImageWork;
pub(crate) use work::{Answer, Work, steps_of};

use crate::gpu::cdi::spec::CdiHook;

/// The file in a container that is covered by [`NativeHook::DeviceParams`].
pub const PARAMS: &str = "/proc/driver/nvidia/params";
/// Where NVIDIA's package has the program.
pub const CDI_HOOK: &str = "/usr/bin/nvidia-cdi-hook";

/// Who does what the known hooks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NativeHooks {
    /// The runtime, by itself.
    #[default]
    On,
    /// The programs that config.json names.
    Off,
    /// First the runtime, then the program; create fails where the program still changes something. For tests of both.
    Verify,
}

impl std::str::FromStr for NativeHooks {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            "verify" => Ok(Self::Verify),
            _ => Err(crate::Error::new(
                crate::ErrorKind::InvalidArgument,
                format!("native hooks {text:?}: one of on, off, verify is allowed"),
            )),
        }
    }
}

/// What a container gets without the hook programs of GPU vendors.
#[derive(Debug, Clone, Default)]
pub struct GpuRequest {
    /// Who does what the known hooks in config.json do.
    pub native_hooks: NativeHooks,
    /// What is done before the hooks in config.json, whatever `native_hooks` says: a driver that was found on the host
    /// asks for it without naming a program.
    pub native: Vec<NativeHook>,
    /// The driver's parameters (`/proc/driver/nvidia/params`), where the host's procfs is not the one to ask.
    pub params: Option<String>,
}

/// A symbolic link in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it points to, as it is written into the link.
    pub target: String,
    /// Where it lies, an absolute path in the container.
    pub path: String,
}

/// What a known hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NativeHook {
    /// `create-symlinks`: these links, in the place of files that are there.
    Links(Vec<Link>),
    /// `update-ldcache`: programs find the libraries of these directories.
    LoaderCache(Vec<String>),
    /// `enable-cuda-compat`: an image's newer libcuda goes before the driver's.
    CudaCompat(CudaCompat),
    /// `disable-device-node-modification`: the driver's libraries are told to make no device nodes.
    DeviceParams,
    /// `update-application-profile`: EGL and Vulkan see the GPUs of the container only.
    ApplicationProfile,
    /// `chmod`: this mode for these paths, where they exist.
    Mode {
        /// Permission bits.
        mode: u32,
        /// Absolute paths in the container.
        paths: Vec<String>,
    },
}

impl NativeHook {
    /// What a createContainer hook does, where all of it is understood.
    pub fn recognise(hook: &Hook) -> Option<Self> {
        let path = hook.path().to_str()?;
        arguments::parse(path, hook.args().as_deref().unwrap_or_default())
    }

    /// The hook of a CDI file that does the same, for engines that run hooks.
    pub fn to_cdi(&self, program: &str) -> CdiHook {
        let name = program.rsplit('/').next().unwrap_or(program);
        let mut args = vec![name.to_owned()];
        if name == arguments::TOOLKIT {
            args.push("hook".to_owned());
        }
        args.extend(arguments::write(self));
        CdiHook {
            hook_name: "createContainer".to_owned(),
            path: program.to_owned(),
            args,
            env: vec!["NVIDIA_CTK_DEBUG=false".to_owned()],
            timeout: None,
        }
    }
}

/// The driver's parameters with `ModifyDeviceFiles: 0`; None where they say so already, or nothing about it.
pub(crate) fn changed_params(text: &str) -> Option<String> {
    let mut changed = false;
    let lines: String = text
        .lines()
        .map(|line| {
            let found = line == "ModifyDeviceFiles: 1";
            changed |= found;
            format!("{}\n", if found { "ModifyDeviceFiles: 0" } else { line })
        })
        .collect();
    changed.then_some(lines)
}
