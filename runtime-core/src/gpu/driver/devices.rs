//! GPUs, their parts and their nodes, as procfs, sysfs and /dev tell.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{major, minor};
use serde::{Deserialize, Serialize};

use super::Roots;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::hooks::Link;

/// The nodes that every GPU needs. nvidia-uvm's major number is chosen when its module is loaded.
const CONTROL: [&str; 4] = ["nvidia-modeset", "nvidia-uvm", "nvidia-uvm-tools", "nvidiactl"];
/// The first of these must be there for a GPU to be of any use.
pub(super) const INDISPENSABLE: &str = "nvidiactl";

/// A device node of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Where it lies in a container.
    pub path: String,
    /// Where it lies on the host.
    pub on_host: String,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Its group.
    pub gid: u32,
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its number, counted in the order of PCI addresses.
    pub index: u32,
    /// Its UUID, where procfs tells.
    pub uuid: Option<String>,
    /// Its PCI address, as `0000:01:00.0`, where procfs tells.
    pub address: Option<String>,
    /// What it is called, where procfs tells.
    pub model: Option<String>,
    /// Its own node.
    pub node: Node,
    /// Its nodes of the Direct Rendering Manager.
    pub dri: Vec<Node>,
    /// The links by PCI address to these.
    pub dri_links: Vec<Link>,
}

/// A part of a GPU (MIG).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mig {
    /// The GPU's number.
    pub gpu: u32,
    /// The GPU instance.
    pub gpu_instance: u32,
    /// The compute instance in it.
    pub compute_instance: u32,
    /// The nodes by which it may be used.
    pub nodes: Vec<Node>,
}

/// The version of the kernel module; None where none is loaded.
pub(super) fn kernel_version(roots: &Roots) -> Option<String> {
    let module = fs::read_to_string(roots.sysfs_root.join("module/nvidia/version"));
    if let Ok(text) = module {
        return Some(text.trim().to_owned()).filter(|version| !version.is_empty());
    }
    let text = fs::read_to_string(roots.proc_root.join("driver/nvidia/version")).ok()?;
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    let mut words = line.split_ascii_whitespace();
    let version = words
        .find(|word| word.contains('.') && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
    version.map(str::to_owned)
}

/// The node of this name below the `dev` of a root; None where there is none.
pub(super) fn node(dev: &Path, name: &str) -> Result<Option<Node>> {
    let on_host = dev.join("dev").join(name);
    let found = match on_host.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::os(format!("lstat({on_host:?})"), error)),
    };
    if !found.file_type().is_char_device() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("{} is not a character device", on_host.display()),
        ));
    }
    Ok(Some(Node {
        path: format!("/dev/{name}"),
        on_host: on_host.to_string_lossy().into_owned(),
        major: major(found.rdev()),
        minor: minor(found.rdev()),
        mode: found.mode() & 0o7777,
        gid: found.gid(),
    }))
}

/// The common nodes, and the paths of those that are missing.
pub(super) fn control(dev: &Path) -> Result<(Vec<Node>, Vec<String>)> {
    let (mut nodes, mut missing) = (Vec::new(), Vec::new());
    for name in CONTROL {
        match node(dev, name)? {
            Some(node) => nodes.push(node),
            None => missing.push(format!("/dev/{name}")),
        }
    }
    Ok((nodes, missing))
}

/// Whether a missing node makes every GPU useless.
pub(super) fn is_indispensable(path: &str) -> bool {
    path.strip_prefix("/dev/") == Some(INDISPENSABLE)
}

/// One GPU as procfs has it.
#[derive(Default)]
struct Information {
    address: String,
    minor: Option<u32>,
    uuid: Option<String>,
    model: Option<String>,
}

/// The GPUs whose nodes exist.
pub(super) fn gpus(roots: &Roots, dev: &Path) -> Result<Vec<Gpu>> {
    let mut told = information(&roots.proc_root.join("driver/nvidia/gpus"));
    told.sort_by(|left, right| left.address.cmp(&right.address));
    let mut gpus = Vec::new();
    for one in told {
        let Some(minor) = one.minor else { continue };
        let Some(node) = node(dev, &format!("nvidia{minor}"))? else {
            continue;
        };
        let (dri, dri_links) = dri(roots, dev, &one.address)?;
        gpus.push(Gpu {
            index: count(&gpus),
            uuid: one.uuid,
            address: Some(one.address),
            model: one.model,
            node,
            dri,
            dri_links,
        });
    }
    if gpus.is_empty() {
        // A sandbox of another runtime may show nodes and no procfs.
        for minor in 0..64 {
            if let Some(node) = node(dev, &format!("nvidia{minor}"))? {
                gpus.push(Gpu {
                    index: count(&gpus),
                    uuid: None,
                    address: None,
                    model: None,
                    node,
                    dri: Vec::new(),
                    dri_links: Vec::new(),
                });
            }
        }
    }
    Ok(gpus)
}

fn count(gpus: &[Gpu]) -> u32 {
    u32::try_from(gpus.len()).unwrap_or(u32::MAX)
}

fn information(folder: &Path) -> Vec<Information> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path().join("information")).ok()?;
            let mut one = Information {
                address: entry.file_name().to_string_lossy().into_owned(),
                ..Information::default()
            };
            for line in text.lines() {
                let Some((key, value)) = line.split_once(':') else {
                    continue;
                };
                let value = value.trim();
                match key.trim() {
                    "Device Minor" => one.minor = value.parse().ok(),
                    "GPU UUID" if is_uuid(value) => one.uuid = Some(value.to_owned()),
                    "Model" => one.model = Some(value.to_owned()),
                    _ => {}
                }
            }
            Some(one)
        })
        .collect()
}

/// Whether it is a GPU's UUID. The kernel says `GPU-????????-????-????-????-????????????` until the GPU has been used once.
fn is_uuid(text: &str) -> bool {
    let Some(digits) = text.strip_prefix("GPU-") else {
        return false;
    };
    let groups: Vec<&str> = digits.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The nodes of the Direct Rendering Manager of a PCI device, and the links to them.
pub(super) fn dri(roots: &Roots, dev: &Path, address: &str) -> Result<(Vec<Node>, Vec<Link>)> {
    let folder = roots.sysfs_root.join(format!("bus/pci/devices/{address}/drm"));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("card") || name.starts_with("renderD"))
        .collect();
    names.sort_unstable();
    let mut nodes = Vec::new();
    for name in &names {
        nodes.extend(node(dev, &format!("dri/{name}"))?);
    }
    let mut links = Vec::new();
    for kind in ["card", "render"] {
        let path = format!("/dev/dri/by-path/pci-{address}-{kind}");
        let on_host = dev.join(path.trim_start_matches('/'));
        let Ok(target) = fs::read_link(on_host) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let known = target
            .strip_prefix("../")
            .is_some_and(|name| names.iter().any(|known| known == name));
        if known {
            links.push(Link { target, path });
        }
    }
    Ok((nodes, links))
}

/// The parts of GPUs whose nodes exist: mig-minors lists every part that there could be.
pub(super) fn migs(roots: &Roots, dev: &Path, gpus: &[Gpu]) -> Result<Vec<Mig>> {
    let path = roots.proc_root.join("driver/nvidia-caps/mig-minors");
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(Vec::new());
    };
    let lines: Vec<(&str, u32)> = text
        .lines()
        .filter_map(|line| {
            let (name, minor) = line.split_once(' ')?;
            Some((name, minor.trim().parse().ok()?))
        })
        .collect();
    let mut migs = Vec::new();
    for (name, minor) in &lines {
        let Some((gpu_minor, gpu_instance, compute_instance)) = part(name) else {
            continue;
        };
        let Some(gpu) = gpus.iter().find(|gpu| gpu.node.minor == gpu_minor) else {
            continue;
        };
        let whole = format!("gpu{gpu_minor}/gi{gpu_instance}/access");
        let Some((_, whole)) = lines.iter().find(|(name, _)| *name == whole) else {
            continue;
        };
        let nodes: Vec<Node> = [*whole, *minor]
            .into_iter()
            .map(|minor| node(dev, &format!("nvidia-caps/nvidia-cap{minor}")))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        if nodes.len() == 2 {
            migs.push(Mig {
                gpu: gpu.index,
                gpu_instance,
                compute_instance,
                nodes,
            });
        }
    }
    Ok(migs)
}

/// `gpu0/gi1/ci0/access`.
fn part(name: &str) -> Option<(u32, u32, u32)> {
    let mut words = name.split('/');
    let gpu = words.next()?.strip_prefix("gpu")?.parse().ok()?;
    let gpu_instance = words.next()?.strip_prefix("gi")?.parse().ok()?;
    let compute_instance = words.next()?.strip_prefix("ci")?.parse().ok()?;
    (words.next() == Some("access") && words.next().is_none()).then_some((
        gpu,
        gpu_instance,
        compute_instance,
    ))
}
