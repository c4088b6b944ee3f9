//! The protobuf messages that containerd and a shim exchange, as far as this shim reads or writes them.
//!
//! Written by hand after containerd's API (api/runtime, api/events, api/types, cgroups' stats), because a code generator
//! would need protoc at build time and bring several times as many types. Fields that nothing here uses are left out:
//! protobuf skips what it does not know. The tags are the interface; a test compares encodings with bytes from containerd.
#![allow(
    missing_docs,
    reason = "each message and field is described in containerd's .proto files"
)]

pub mod bootstrap;
pub mod cgroup_v1;
pub mod cgroup_v2;
pub mod events;
pub mod options;
pub mod sandbox;
pub mod task;
pub mod types;
