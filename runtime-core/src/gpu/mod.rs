//! GPUs and other devices of vendors: who may ask for them, what a request means on this host, and what that changes in
//! a configuration.
//!
//! Two sources answer a request, and both answer with the same data, [`cdi::spec::ContainerEdits`]: the files of the
//! Container Device Interface (`cdi`), and the driver found on the host where no file offers the device (`driver`).
//! The edits are applied to the `oci_spec` configuration *before* anything is planned: nodes, device rules, mounts,
//! hooks and groups are then planned like those that config.json lists, and no device is added behind the back of the
//! one who owns the cgroup's rules. Nothing here changes the host, and nothing here runs a program.

mod answer;
mod apply;
pub mod cdi;
mod config;
pub mod driver;
mod elf;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
pub mod hooks;
pub(crate) mod image;
mod inject;
mod loader;
mod mounts;
mod node;
mod offers;
mod request;
mod trust;

pub use apply::Placed;
pub use config::{AcceptEnv, CONFIG_FILE, GpuConfig};
pub use inject::{Injected, InjectedDevice, inject};
pub use offers::{Offer, Offers, generate, offers};
pub use request::{DeviceRequest, NVIDIA_GPU};
