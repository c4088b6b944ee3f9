//! NVIDIA_DRIVER_CAPABILITIES: which part of the driver a container wants.

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// A set of the driver's parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(u8);

impl Capabilities {
    /// CUDA and OpenCL.
    pub const COMPUTE: Self = Self(1);
    /// nvidia-smi and NVML.
    pub const UTILITY: Self = Self(2);
    /// Video codecs.
    pub const VIDEO: Self = Self(4);
    /// OpenGL and Vulkan.
    pub const GRAPHICS: Self = Self(8);
    /// The X server.
    pub const DISPLAY: Self = Self(16);
    /// NGX.
    pub const NGX: Self = Self(32);
    /// Libraries of 32 bits.
    pub const COMPAT32: Self = Self(64);
    /// Everything.
    pub const ALL: Self = Self(127);
    /// What draws.
    pub(super) const DRAWING: Self = Self::GRAPHICS.union(Self::DISPLAY);

    /// Each part's name.
    const NAMES: [(&'static str, Self); 8] = [
        ("compute", Self::COMPUTE),
        ("utility", Self::UTILITY),
        ("video", Self::VIDEO),
        ("graphics", Self::GRAPHICS),
        ("display", Self::DISPLAY),
        ("ngx", Self::NGX),
        ("compat32", Self::COMPAT32),
        ("all", Self::ALL),
    ];

    /// Both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the sets have something in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set of a variable's value. An empty value means `utility,compute`, as with NVIDIA's own tools; a variable that
    /// is not set at all is not for this function.
    ///
    /// # Errors
    /// InvalidArgument names the word that is none.
    pub fn parse(value: &str) -> Result<Self> {
        let words: Vec<&str> = value
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            return Ok(Self::UTILITY.union(Self::COMPUTE));
        }
        words.into_iter().try_fold(Self(0), |set, word| {
            let known = Self::NAMES.iter().find(|(name, _)| *name == word);
            let (_, one) = known.ok_or_else(|| {
                let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
                let text = format!(
                    "NVIDIA_DRIVER_CAPABILITIES: {word:?} is none of {}",
                    names.join(", ")
                );
                Error::new(ErrorKind::InvalidArgument, text)
            })?;
            Ok(set.union(*one))
        })
    }
}
