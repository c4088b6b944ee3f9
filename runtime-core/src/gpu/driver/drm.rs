//! GPUs whose whole driver is the kernel's and whose userland is the image's: AMD and Intel. A container needs their nodes
//! and the groups that these belong to.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Roots;
use super::devices::{Node, dri, node};
use crate::error::Result;
use crate::gpu::cdi::spec::{CdiDevice, CdiMount, CdiSpec, ContainerEdits, DeviceNode};

/// Who made a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrmVendor {
    /// PCI vendor 1002.
    Amd,
    /// PCI vendor 8086.
    Intel,
}

impl DrmVendor {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Amd, Self::Intel];

    /// The kind of its devices in CDI.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Amd => "amd.com/gpu",
            Self::Intel => "intel.com/gpu",
        }
    }

    fn of(id: &str) -> Option<Self> {
        match id.trim() {
            "0x1002" => Some(Self::Amd),
            "0x8086" => Some(Self::Intel),
            _ => None,
        }
    }
}

/// A GPU of the Direct Rendering Manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrmGpu {
    /// Who made it.
    pub vendor: DrmVendor,
    /// Its number among those of its maker, counted in the order of PCI addresses.
    pub index: u32,
    /// Its PCI address, as `0000:01:00.0`.
    pub address: String,
    /// Its own nodes: `card` and `renderD`.
    pub nodes: Vec<Node>,
    /// The node that all of them share: AMD's `kfd`.
    pub shared: Vec<Node>,
    /// The host's directory of links by PCI address, where there is one.
    pub by_path: Option<String>,
}

/// The GPUs of AMD and Intel on this host, in the order of their PCI addresses.
///
/// # Errors
/// System; Unsupported, where a node is no device.
pub fn discover_drm(roots: &Roots) -> Result<Vec<DrmGpu>> {
    let folder = roots.sysfs_root.join("bus/pci/devices");
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut addresses: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    addresses.sort_unstable();
    let dev = roots.dev(None);
    let mut gpus: Vec<DrmGpu> = Vec::new();
    for address in addresses {
        let Some(vendor) = vendor_of(&folder.join(&address)) else {
            continue;
        };
        let (nodes, _) = dri(roots, &dev, &address)?;
        if nodes.is_empty() {
            continue;
        }
        let index = gpus.iter().filter(|gpu| gpu.vendor == vendor).count();
        let shared = match vendor {
            DrmVendor::Amd => node(&dev, "kfd")?.into_iter().collect(),
            DrmVendor::Intel => Vec::new(),
        };
        let by_path = dev.join("dev/dri/by-path");
        gpus.push(DrmGpu {
            vendor,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            address,
            nodes,
            shared,
            by_path: by_path.is_dir().then(|| by_path.to_string_lossy().into_owned()),
        });
    }
    Ok(gpus)
}

/// The maker of a display controller (class 03) or an accelerator (class 12) with a driver of the kernel's.
fn vendor_of(device: &Path) -> Option<DrmVendor> {
    let read = |name: &str| fs::read_to_string(device.join(name)).ok();
    let class = read("class")?;
    if !class.starts_with("0x03") && !class.starts_with("0x12") {
        return None;
    }
    DrmVendor::of(&read("vendor")?)
}

/// The CDI file of a maker's GPUs; None where there are none.
pub fn drm_spec(gpus: &[DrmGpu], vendor: DrmVendor) -> Option<CdiSpec> {
    let own: Vec<&DrmGpu> = gpus.iter().filter(|gpu| gpu.vendor == vendor).collect();
    let first = own.first()?;
    let mut all = ContainerEdits::default();
    let mut devices = Vec::new();
    for gpu in &own {
        let edits = edits_of(&gpu.nodes);
        all.append(&edits);
        devices.push(CdiDevice {
            name: gpu.index.to_string(),
            container_edits: edits,
            ..CdiDevice::default()
        });
    }
    all.additional_gids.sort_unstable();
    all.additional_gids.dedup();
    devices.push(CdiDevice {
        name: "all".to_owned(),
        container_edits: all,
        ..CdiDevice::default()
    });
    let mut common = edits_of(&first.shared);
    common.mounts.extend(by_path(first));
    let mut spec = CdiSpec {
        cdi_version: String::new(),
        kind: vendor.kind().to_owned(),
        devices,
        container_edits: common,
        ..CdiSpec::default()
    };
    spec.cdi_version = spec.minimum_version().as_str().to_owned();
    Some(spec)
}

fn edits_of(nodes: &[Node]) -> ContainerEdits {
    ContainerEdits {
        device_nodes: nodes.iter().map(device_node).collect(),
        additional_gids: groups(nodes),
        ..ContainerEdits::default()
    }
}

/// The groups that are needed beside root for nodes that not everybody may use.
pub(super) fn groups(nodes: &[Node]) -> Vec<u32> {
    let mut gids: Vec<u32> = nodes
        .iter()
        .filter(|node| node.mode & 0o006 != 0o006 && node.gid != 0)
        .map(|node| node.gid)
        .collect();
    gids.sort_unstable();
    gids.dedup();
    gids
}

/// A node as an edit.
pub(super) fn device_node(node: &Node) -> DeviceNode {
    DeviceNode {
        path: node.path.clone(),
        host_path: if node.on_host == node.path {
            String::new()
        } else {
            node.on_host.clone()
        },
        major: node.major.into(),
        minor: node.minor.into(),
        file_mode: Some(node.mode),
        permissions: "rwm".to_owned(),
        gid: (node.gid != 0).then_some(node.gid),
        ..DeviceNode::default()
    }
}

fn by_path(gpu: &DrmGpu) -> Option<CdiMount> {
    let on_host = gpu.by_path.clone().filter(|_| gpu.vendor == DrmVendor::Intel)?;
    Some(CdiMount {
        host_path: on_host,
        container_path: "/dev/dri/by-path".to_owned(),
        options: ["ro", "nosuid", "nodev", "noexec", "rbind", "rprivate"]
            .map(str::to_owned)
            .to_vec(),
        kind: String::new(),
    })
}
