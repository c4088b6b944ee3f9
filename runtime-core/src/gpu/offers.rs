//! What this host offers: every name that a request can have, with who answers it, and a CDI file for other engines.

use std::path::PathBuf;

use serde::Serialize;

use super::cdi::spec::{CdiSpec, ContainerEdits};
use super::cdi::{FileFault, Registry, check};
use super::driver::{Capabilities, DrmVendor, Roots, discover, discover_drm, drm_spec};
use super::request::{DeviceRequest, NVIDIA_GPU};
use crate::error::{Error, ErrorKind, Result};

/// A device that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    /// Its name: `nvidia.com/gpu=0`.
    pub name: String,
    /// The CDI file that offers it; None: a driver on the host.
    pub file: Option<PathBuf>,
    /// The nodes that it brings, as paths in a container; without those that all of its kind bring.
    pub nodes: Vec<String>,
}

/// All that can be asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Offers {
    /// The devices, sorted by name.
    pub devices: Vec<Offer>,
    /// CDI files that cannot be used, or not wholly.
    pub faults: Vec<FileFault>,
    /// What is wrong with a driver on the host.
    pub problems: Vec<String>,
    /// NVIDIA's driver: its root and version.
    pub driver: Option<(PathBuf, String)>,
    /// The directories of CDI files.
    pub directories: Vec<PathBuf>,
}

/// Looks at the CDI files and the drivers of this host. A driver is asked for a kind that no file offers, nor may have
/// offered if it could be read, as when a container is made.
pub fn offers(request: &DeviceRequest) -> Offers {
    let registry = Registry::load(request.dirs());
    let mut found = Offers {
        faults: registry.faults().to_vec(),
        directories: registry.dirs().to_vec(),
        ..Offers::default()
    };
    for (name, file) in registry.devices() {
        let edits = name.parse().ok().and_then(|name| registry.device(&name));
        found.devices.push(Offer {
            name: name.to_owned(),
            file: Some(file.path.clone()),
            nodes: edits.map(nodes).unwrap_or_default(),
        });
    }
    let roots = request.config.roots();
    for kind in kinds().filter(|kind| !registry.has_kind(kind)) {
        let before = found.devices.len();
        if let Err(error) = found.ask_driver(kind, &roots) {
            found.problems.push(error.to_string());
        }
        if let Some(fault) = registry.fault_of(kind).filter(|_| found.devices.len() > before) {
            found.devices.truncate(before);
            let path = fault.path.display();
            let message =
                format!("{kind}: the driver is not asked, because {path} may offer it and cannot be used");
            found.problems.push(message);
        }
    }
    found.devices.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

fn kinds() -> impl Iterator<Item = &'static str> {
    [NVIDIA_GPU]
        .into_iter()
        .chain(DrmVendor::ALL.into_iter().map(DrmVendor::kind))
}

fn nodes(edits: &ContainerEdits) -> Vec<String> {
    edits.device_nodes.iter().map(|node| node.path.clone()).collect()
}

impl Offers {
    fn ask_driver(&mut self, kind: &str, roots: &Roots) -> Result<()> {
        if kind == NVIDIA_GPU {
            let Some(driver) = discover(roots)? else {
                return Ok(());
            };
            self.driver = Some((driver.root.clone(), driver.version.clone()));
            self.problems
                .extend(driver.unsafe_sockets.iter().map(ToString::to_string));
            for name in driver.names() {
                let brought = nodes(&driver.edits(&[&name], Capabilities::ALL)?.edits);
                let own = brought
                    .into_iter()
                    .filter(|path| !driver.control.iter().any(|node| node.path == *path));
                self.add(kind, &name, own.collect());
            }
            return Ok(());
        }
        if let Some(spec) = of_kernel(kind, roots)? {
            for device in &spec.devices {
                self.add(kind, &device.name, nodes(&device.container_edits));
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: &str, name: &str, nodes: Vec<String>) {
        self.devices.push(Offer {
            name: format!("{kind}={name}"),
            file: None,
            nodes,
        });
    }
}

fn of_kernel(kind: &str, roots: &Roots) -> Result<Option<CdiSpec>> {
    let Some(vendor) = DrmVendor::ALL.into_iter().find(|vendor| vendor.kind() == kind) else {
        return Ok(None);
    };
    Ok(drm_spec(&discover_drm(roots)?, vendor))
}

/// A CDI file for engines that do not ask the driver themselves; `hook` is the path of nvidia-cdi-hook there.
///
/// # Errors
/// InvalidArgument, where nothing is known about the kind, or the hook's path is none; Unsupported, where this host has none of it.
pub fn generate(kind: &str, roots: &Roots, hook: &str) -> Result<CdiSpec> {
    if !kinds().any(|known| known == kind) {
        let known: Vec<&str> = kinds().collect();
        let message = format!(
            "no driver of kind {kind:?} is known, allowed: {}",
            known.join(", ")
        );
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    let none = || {
        Error::new(
            ErrorKind::Unsupported,
            format!("this host has no driver for {kind}"),
        )
    };
    if kind == NVIDIA_GPU {
        return discover(roots)?.ok_or_else(none)?.spec(hook);
    }
    let spec = of_kernel(kind, roots)?.ok_or_else(none)?;
    check(&spec)?;
    Ok(spec)
}
