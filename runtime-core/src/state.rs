//! The state of a container as the runtime-spec defines it, and how a program ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Status {
    /// A runtime is making it, or died while doing so.
    Creating,
    /// Set up; the program waits for start.
    Created,
    /// The program runs.
    Running,
    /// Running, but frozen.
    Paused,
    /// The program has ended, or init before it.
    Stopped,
}

impl Status {
    /// The status as the specification spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// The state (runtime.md#state) with the fields that runc adds; serialised in runc's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct State {
    /// The configuration's version of the specification.
    pub oci_version: String,
    /// The id.
    pub id: String,
    /// The pid of init as the caller sees it; 0 when stopped.
    pub pid: i32,
    /// The status.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the root filesystem.
    pub rootfs: String,
    /// When create was called, RFC 3339 in UTC with nanoseconds.
    pub created: String,
    /// The configuration's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The name of the user whose state directory it is in; the number where it has no name.
    pub owner: String,
}

/// How a program ended. wait(2) knows no other way, so that this is no `non_exhaustive` enum: a match names them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ended, but another process reaped it: how is not known.
    Unknown,
}
