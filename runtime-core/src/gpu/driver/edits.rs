//! What a container gets of a driver: pure, from the data that was found.

use std::collections::BTreeMap;

use super::devices::{Node, is_indispensable};
use super::drm::{device_node, groups};
use super::files::{DriverFile, FileKind};
use super::{Capabilities, Driver, FileIdentity, Gpu, Mig};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::cdi::check;
use crate::gpu::cdi::spec::{CdiDevice, CdiMount, CdiSpec, ContainerEdits};
use crate::gpu::hooks::{COMPAT_DIRECTORY, CudaCompat, Link, NativeHook};

/// The kind of NVIDIA's devices in CDI.
pub const KIND: &str = "nvidia.com/gpu";
const FILE: [&str; 5] = ["ro", "nosuid", "nodev", "rbind", "rprivate"];
const SOCKET: [&str; 5] = ["nosuid", "nodev", "rbind", "rprivate", "noexec"];

/// Changes of a configuration, and what has to be done in the container beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DriverEdits {
    /// Nodes, mounts, variables and groups; no hooks.
    pub edits: ContainerEdits,
    /// What NVIDIA's hooks would do, in order; for [`crate::gpu::hooks::GpuRequest::native`].
    pub native: Vec<NativeHook>,
    /// What must be found at a mount's source on the host when it is mounted, by that source.
    pub identities: BTreeMap<String, FileIdentity>,
    /// What was asked for and is left out.
    pub warnings: Vec<String>,
}

impl Driver {
    /// What a container gets that asks for these devices: numbers, UUIDs, `all`, parts as `GPU:GI:CI`, and `none`, which
    /// means the driver's files without a GPU.
    ///
    /// # Errors
    /// InvalidArgument names each device that there is not, and those that there are; Unsupported, where a node is
    /// missing without which no GPU works.
    pub fn edits(&self, names: &[&str], capabilities: Capabilities) -> Result<DriverEdits> {
        let unknown: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| *name != "none" && self.device(name).is_none())
            .collect();
        if !unknown.is_empty() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "no such GPU: {}; this host has {}",
                    unknown.join(", "),
                    self.names().join(", ")
                ),
            ));
        }
        let mut all = self.common(capabilities);
        let mut nodes = Vec::new();
        let mut links = Vec::new();
        for name in names.iter().filter(|name| **name != "none") {
            let Some(device) = self.device(name) else { continue };
            for node in device.nodes {
                if !nodes.contains(&node) {
                    nodes.push(node);
                }
            }
            links.extend(device.links);
        }
        if names.iter().any(|name| *name != "none") {
            self.check_control()?;
            nodes.extend(self.control.iter());
        }
        all.edits.device_nodes = nodes.iter().map(|node| device_node(node)).collect();
        let nodes: Vec<Node> = nodes.into_iter().cloned().collect();
        all.edits.additional_gids = groups(&nodes);
        links.dedup();
        if !links.is_empty() {
            all.native.insert(0, NativeHook::Links(links));
        }
        Ok(all)
    }

    /// A CDI file for other engines; its hooks are programs of NVIDIA's toolkit at `hook`.
    ///
    /// What lies where others than root can put things, as MPS's directory in /tmp, is left out: whoever reads the file
    /// later does not check what lies there by then.
    ///
    /// # Errors
    /// Unsupported, as [`Driver::edits`]; InvalidArgument, where the hook's path is none.
    pub fn spec(&self, hook: &str) -> Result<CdiSpec> {
        self.check_control()?;
        let mut common = self.common(Capabilities::ALL);
        common
            .edits
            .mounts
            .retain(|mount| !common.identities.contains_key(&mount.host_path));
        let mut container_edits = common.edits;
        container_edits.device_nodes = self.control.iter().map(device_node).collect();
        container_edits.additional_gids = groups(&self.control);
        container_edits.hooks = common.native.iter().map(|native| native.to_cdi(hook)).collect();
        let mut names = self.names();
        names.sort();
        let devices = names.iter().filter_map(|name| {
            let device = self.device(name)?;
            let nodes: Vec<Node> = device.nodes.iter().map(|node| (*node).clone()).collect();
            let links = (!device.links.is_empty()).then(|| NativeHook::Links(device.links).to_cdi(hook));
            Some(CdiDevice {
                name: name.clone(),
                container_edits: ContainerEdits {
                    device_nodes: nodes.iter().map(device_node).collect(),
                    additional_gids: groups(&nodes),
                    hooks: links.into_iter().collect(),
                    ..ContainerEdits::default()
                },
                ..CdiDevice::default()
            })
        });
        let mut spec = CdiSpec {
            kind: KIND.to_owned(),
            devices: devices.collect(),
            container_edits,
            ..CdiSpec::default()
        };
        spec.cdi_version = spec.minimum_version().as_str().to_owned();
        check(&spec)?;
        Ok(spec)
    }

    /// The name of every device: numbers, UUIDs, parts, and `all`.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.gpus.iter().map(|gpu| gpu.index.to_string()).collect();
        names.extend(self.gpus.iter().filter_map(|gpu| gpu.uuid.clone()));
        names.extend(self.migs.iter().map(Mig::name));
        if !self.gpus.is_empty() {
            names.push("all".to_owned());
        }
        names
    }

    fn check_control(&self) -> Result<()> {
        match self.missing.iter().find(|path| is_indispensable(path)) {
            Some(path) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("the node {path} is missing, without which no GPU works"),
            )
            .with_hint("nvidia-modprobe, or nvidia-smi run once as root, makes it")),
            None => Ok(()),
        }
    }

    fn device(&self, name: &str) -> Option<Device<'_>> {
        if name == "all" {
            return (!self.gpus.is_empty()).then(|| {
                let mut all = Device::default();
                self.gpus.iter().for_each(|gpu| all.add(gpu));
                let parts = self.migs.iter().flat_map(|mig| &mig.nodes);
                parts.for_each(|node| all.add_node(node));
                all
            });
        }
        let named = |gpu: &&Gpu| gpu.index.to_string() == name || gpu.uuid.as_deref() == Some(name);
        if let Some(gpu) = self.gpus.iter().find(named) {
            let mut one = Device::default();
            one.add(gpu);
            return Some(one);
        }
        let mig = self.migs.iter().find(|mig| mig.name() == name)?;
        let gpu = self.gpus.iter().find(|gpu| gpu.index == mig.gpu)?;
        Some(Device {
            nodes: std::iter::once(&gpu.node).chain(&mig.nodes).collect(),
            links: Vec::new(),
        })
    }

    /// Files and what makes programs find them; no node.
    fn common(&self, capabilities: Capabilities) -> DriverEdits {
        let mut files: Vec<&DriverFile> = self
            .files
            .iter()
            .filter(|file| file.capabilities.meets(capabilities))
            .collect();
        files.sort_by(|left, right| {
            let depth = |file: &DriverFile| file.in_container.matches('/').count();
            depth(left)
                .cmp(&depth(right))
                .then_with(|| left.in_container.cmp(&right.in_container))
        });
        let mut links: Vec<Link> = Vec::new();
        let mut folders: Vec<String> = Vec::new();
        for file in &files {
            for link in &file.links {
                if !links.contains(link) {
                    links.push(link.clone());
                }
            }
            if let (FileKind::Library, Some((folder, _))) = (file.kind, file.in_container.rsplit_once('/'))
                && !folders.iter().any(|known| known == folder)
            {
                folders.push(folder.to_owned());
            }
        }
        let mut native = Vec::new();
        if !links.is_empty() {
            native.push(NativeHook::Links(links));
        }
        native.push(NativeHook::CudaCompat(CudaCompat {
            host_driver: self.version.clone(),
            host_cuda: String::new(),
            directory: COMPAT_DIRECTORY.to_owned(),
        }));
        if !folders.is_empty() {
            native.push(NativeHook::LoaderCache(folders));
        }
        native.extend([NativeHook::DeviceParams, NativeHook::ApplicationProfile]);
        let edits = ContainerEdits {
            env: vec![
                format!("NVIDIA_CTK_LIBCUDA_DIR={}", self.library_dirs.join(":")),
                // Whoever runs a container inside does not get GPUs a second time.
                "NVIDIA_VISIBLE_DEVICES=void".to_owned(),
            ],
            mounts: files.iter().map(|file| mount(file)).collect(),
            ..ContainerEdits::default()
        };
        let identity = |file: &&DriverFile| Some((file.on_host.clone(), file.identity?));
        let left_out = self
            .unsafe_sockets
            .iter()
            .filter(|socket| socket.capabilities.meets(capabilities));
        DriverEdits {
            edits,
            native,
            identities: files.iter().filter_map(identity).collect(),
            warnings: left_out.map(ToString::to_string).collect(),
        }
    }
}

/// The nodes of one device and the links to them.
#[derive(Default)]
struct Device<'a> {
    nodes: Vec<&'a Node>,
    links: Vec<Link>,
}

impl<'a> Device<'a> {
    fn add(&mut self, gpu: &'a Gpu) {
        self.nodes.extend(std::iter::once(&gpu.node).chain(&gpu.dri));
        self.links.extend(gpu.dri_links.iter().cloned());
    }

    /// Parts of one GPU instance share its node.
    fn add_node(&mut self, node: &'a Node) {
        if !self.nodes.contains(&node) {
            self.nodes.push(node);
        }
    }
}

impl Mig {
    /// As requests write it: `GPU:GI:CI`.
    pub fn name(&self) -> String {
        format!("{}:{}:{}", self.gpu, self.gpu_instance, self.compute_instance)
    }
}

fn mount(file: &DriverFile) -> CdiMount {
    let options = match file.kind {
        FileKind::Socket => SOCKET,
        _ => FILE,
    };
    CdiMount {
        host_path: file.on_host.clone(),
        container_path: file.in_container.clone(),
        options: options.map(str::to_owned).to_vec(),
        kind: String::new(),
    }
}
