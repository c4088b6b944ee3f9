//! From operations to steps: those that are known beforehand, and those that need a look into the image first.

use oci_spec::runtime::Spec;
use runtime_core_program::Text;
use serde::Serialize;

use super::verify::{self, Picture};
use super::{CudaCompat, NativeHook, changed_params, profile};
use crate::error::{Error, Result};
use crate::gpu::image::Image;
use crate::gpu::loader::compat;
use crate::gpu::loader::update::{self, Made};
use crate::plan::Step;

/// What the parent looks into the image for, while init waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageWork {
    /// Which files make programs find the libraries of these directories.
    LoaderCache {
        /// The directories.
        folders: Vec<String>,
        /// The destinations of all mounts.
        mounted: Vec<String>,
    },
    /// Whether the image's libcuda goes before the driver's.
    CudaCompat(CudaCompat),
    /// Which GPUs the container has.
    ApplicationProfile,
    /// What is there of this before the program that does the same runs.
    Remember(NativeHook),
    /// Whether the program changed something of it.
    Compare(NativeHook),
}

/// What a look into the image says.
pub(crate) enum Answer {
    /// This has to be made.
    Make(Vec<Made>),
    /// This is there.
    Remember(Picture),
    /// This is there now.
    Compare(Picture),
}

/// One operation in the schedule.
pub(crate) enum Work {
    /// init does it.
    Step(Step),
    /// The parent looks, then init does what it says.
    Look(ImageWork),
}

fn text(field: &str, text: &str) -> Result<Text> {
    Text::new(text).ok_or_else(|| Error::spec(field, "contains a null byte"))
}

/// The operations of a hook. `params` are the driver's parameters as the host's procfs has them.
pub(crate) fn steps_of(
    hook: &NativeHook,
    spec: &Spec,
    params: Option<&str>,
    field: &str,
) -> Result<Vec<Work>> {
    Ok(match hook {
        NativeHook::Links(links) => links
            .iter()
            .map(|link| {
                Ok(Work::Step(Step::ReplaceLink {
                    target: text(field, &link.target)?,
                    path: text(field, &link.path)?,
                }))
            })
            .collect::<Result<_>>()?,
        NativeHook::Mode { mode, paths } => paths
            .iter()
            .map(|path| {
                Ok(Work::Step(Step::SetMode {
                    path: text(field, path)?,
                    mode: *mode,
                }))
            })
            .collect::<Result<_>>()?,
        NativeHook::DeviceParams => match params.and_then(changed_params) {
            Some(content) => vec![Work::Step(Step::CoverFile {
                path: text(field, super::PARAMS)?,
                content: content.into_bytes(),
                mode: 0o444,
            })],
            None => Vec::new(),
        },
        NativeHook::LoaderCache(folders) => vec![Work::Look(ImageWork::LoaderCache {
            folders: folders.clone(),
            mounted: destinations(spec),
        })],
        NativeHook::CudaCompat(wanted) => vec![Work::Look(ImageWork::CudaCompat(wanted.clone()))],
        NativeHook::ApplicationProfile => vec![Work::Look(ImageWork::ApplicationProfile)],
    })
}

fn destinations(spec: &Spec) -> Vec<String> {
    let mounts = spec.mounts().iter().flatten();
    mounts
        .filter_map(|mount| mount.destination().to_str())
        .map(str::to_owned)
        .collect()
}

impl ImageWork {
    /// What a look into the image says.
    pub(crate) fn look(&self, image: &Image) -> Answer {
        match self {
            Self::LoaderCache { folders, mounted } => Answer::Make(update::update(image, folders, mounted)),
            Self::CudaCompat(wanted) => Answer::Make(compat::enable(image, wanted)),
            Self::ApplicationProfile => Answer::Make(profile::restrict(image)),
            Self::Remember(hook) => Answer::Remember(verify::picture(image, hook)),
            Self::Compare(hook) => Answer::Compare(verify::picture(image, hook)),
        }
    }

    /// A few words about it.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::LoaderCache { folders, .. } => format!("loader cache for {}", folders.join(", ")),
            Self::CudaCompat(wanted) => format!("CUDA compatibility libraries in {}", wanted.directory),
            Self::ApplicationProfile => "GPU nodes for the application profile".to_owned(),
            Self::Remember(_) => "what the hook should find".to_owned(),
            Self::Compare(_) => "what the hook changed".to_owned(),
        }
    }
}

impl Made {
    /// The step that makes it; None for a path with NUL, which no directory has.
    pub(crate) fn into_step(self) -> Option<Step> {
        Some(match self {
            Self::File { path, content, mode } => Step::WriteFile {
                path: Text::new(path)?,
                content,
                mode,
            },
            Self::Link { target, path } => Step::ReplaceLink {
                target: Text::new(target)?,
                path: Text::new(path)?,
            },
            Self::Directory { path, mode } => Step::MakeDir {
                path: Text::new(path)?,
                mode,
            },
        })
    }
}
