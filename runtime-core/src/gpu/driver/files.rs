//! The driver's files, each with its place in a container and the capability that asks for it.
//!
//! Libraries are found by the version at the end of their names, not by a list of names: a driver that is newer than this
//! program keeps its new ones. What a file belongs to decides only which ones are left out where less is asked for.

use std::os::fd::AsFd;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::root::Found;
use super::{Capabilities, FileIdentity};
use crate::gpu::elf;
use crate::gpu::hooks::Link;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A shared library in a directory of libraries.
    Library,
    /// A program.
    Program,
    /// Firmware for the GPU's own processor.
    Firmware,
    /// A socket of a daemon, or the directory of one.
    Socket,
    /// A file that tells a loader of OpenGL, Vulkan or OpenCL about the driver, or one of its data.
    Config,
}

/// A file of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverFile {
    /// What it is.
    pub kind: FileKind,
    /// Where it lies on the host.
    pub on_host: String,
    /// Where it lies in a container.
    pub in_container: String,
    /// Who asks for it: any of these is enough.
    pub capabilities: Capabilities,
    /// The links that belong to it in a container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// What has to be mounted and nothing else, where others than root can write near it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<FileIdentity>,
}

/// The beginning of a library's name, and what it is for.
const LIBRARIES: &[(&str, Capabilities)] = &[
    ("libnvidia-ml", Capabilities::UTILITY),
    ("libnvidia-cfg", Capabilities::UTILITY),
    ("libnvidia-nscq", Capabilities::UTILITY),
    ("libcuda.", Capabilities::COMPUTE),
    ("libcudadebugger", Capabilities::COMPUTE),
    ("libnvidia-opencl", Capabilities::COMPUTE),
    ("libnvidia-ptxjitcompiler", Capabilities::COMPUTE),
    ("libnvidia-fatbinaryloader", Capabilities::COMPUTE),
    ("libnvidia-compiler", Capabilities::COMPUTE),
    ("libnvidia-pkcs11", Capabilities::COMPUTE),
    ("libnvidia-nvvm", Capabilities::COMPUTE),
    ("libnvidia-tileiras", Capabilities::COMPUTE),
    (
        "libnvidia-gpucomp",
        Capabilities::COMPUTE.union(Capabilities::GRAPHICS),
    ),
    (
        "libnvidia-allocator",
        Capabilities::COMPUTE.union(Capabilities::GRAPHICS),
    ),
    ("libvdpau_nvidia", Capabilities::VIDEO),
    ("libnvidia-encode", Capabilities::VIDEO),
    ("libnvidia-opticalflow", Capabilities::VIDEO),
    ("libnvcuvid", Capabilities::VIDEO),
    ("libnvidia-ngx", Capabilities::NGX),
    ("libnvidia-eglcore", Capabilities::DRAWING),
    ("libnvidia-glcore", Capabilities::DRAWING),
    ("libnvidia-tls", Capabilities::DRAWING),
    ("libnvidia-glsi", Capabilities::DRAWING),
    ("libnvidia-fbc", Capabilities::DRAWING),
    ("libnvidia-ifr", Capabilities::DRAWING),
    ("libnvidia-rtcore", Capabilities::DRAWING),
    ("libnvidia-glvkspirv", Capabilities::DRAWING),
    ("libnvidia-cbl", Capabilities::DRAWING),
    ("libnvidia-egl-", Capabilities::DRAWING),
    ("libnvidia-vulkan-producer", Capabilities::DRAWING),
    ("libnvoptix", Capabilities::DRAWING),
    ("libGLX_nvidia", Capabilities::DRAWING),
    ("libEGL_nvidia", Capabilities::DRAWING),
    ("libGLES", Capabilities::DRAWING),
];
/// A library that no line names: whoever asks for more than the utilities gets it.
const UNKNOWN: Capabilities = Capabilities::ALL.without(Capabilities::UTILITY);

const PROGRAMS: &[(&str, Capabilities)] = &[
    ("nvidia-smi", Capabilities::UTILITY),
    ("nvidia-debugdump", Capabilities::UTILITY),
    ("nvidia-persistenced", Capabilities::UTILITY),
    ("nvidia-cuda-mps-control", Capabilities::COMPUTE),
    ("nvidia-cuda-mps-server", Capabilities::COMPUTE),
    ("nvidia-imex", Capabilities::UTILITY),
    ("nvidia-imex-ctl", Capabilities::UTILITY),
    ("nvidia-xconfig", Capabilities::DRAWING),
];

/// Files that tell about the driver: the name below `etc` or `share`, the directory in a container, for whom.
const CONFIGS: &[(&str, &str, Capabilities)] = &[
    (
        "glvnd/egl_vendor.d/10_nvidia.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "egl/egl_external_platform.d/15_nvidia_gbm.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "egl/egl_external_platform.d/10_nvidia_wayland.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "egl/egl_external_platform.d/09_nvidia_wayland2.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "egl/egl_external_platform.d/20_nvidia_xcb.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "egl/egl_external_platform.d/20_nvidia_xlib.json",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    ("nvidia/nvoptix.bin", "/usr/share", Capabilities::DRAWING),
    (
        "X11/xorg.conf.d/10-nvidia.conf",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    (
        "X11/xorg.conf.d/nvidia-drm-outputclass.conf",
        "/usr/share",
        Capabilities::DRAWING,
    ),
    ("OpenCL/vendors/nvidia.icd", "/etc", Capabilities::COMPUTE),
    ("vulkan/icd.d/nvidia_icd.json", "/etc", Capabilities::DRAWING),
    ("vulkan/icd.d/nvidia_layers.json", "/etc", Capabilities::DRAWING),
    (
        "vulkan/implicit_layer.d/nvidia_layers.json",
        "/etc",
        Capabilities::DRAWING,
    ),
    #[cfg(target_arch = "x86_64")]
    (
        "vulkan/icd.d/nvidia_icd.x86_64.json",
        "/etc",
        Capabilities::DRAWING,
    ),
    #[cfg(target_arch = "aarch64")]
    (
        "vulkan/icd.d/nvidia_icd.aarch64.json",
        "/etc",
        Capabilities::DRAWING,
    ),
];

/// Libraries of the driver's packages that have versions of their own.
const OWN_VERSION: [&str; 6] = [
    "libnvidia-egl-gbm.so.",
    "libnvidia-egl-wayland.so.",
    "libnvidia-egl-wayland2.so.",
    "libnvidia-egl-xcb.so.",
    "libnvidia-egl-xlib.so.",
    "libnvidia-nvvm70.so.",
];

/// All files of a driver but its sockets, libraries first, in the order of their names.
pub(super) fn collect(found: &Found) -> Vec<DriverFile> {
    let mut files = Vec::new();
    for directory in &found.directories {
        files.extend(libraries(found, directory));
        files.extend(libraries(found, &format!("{directory}/vdpau")));
        files.extend(xorg(found, directory));
    }
    for directory in ["/usr/lib/i386-linux-gnu", "/usr/lib32"] {
        let compat = libraries(found, directory).into_iter().map(|file| DriverFile {
            capabilities: Capabilities::COMPAT32,
            ..file
        });
        files.extend(compat);
    }
    files.extend(programs(found));
    files.extend(firmware(found));
    files.extend(configs(found));
    files
}

/// A file of the driver's root, where there is one.
fn file(
    found: &Found,
    kind: FileKind,
    path: &str,
    in_container: String,
    capabilities: Capabilities,
) -> Option<DriverFile> {
    let (directory, name) = path.rsplit_once('/')?;
    if !found.image.has_file(path) {
        return None;
    }
    // What is mounted is what the links lead to in the driver's root.
    let real = real_path(found, path).unwrap_or_else(|| format!("{directory}/{name}"));
    Some(DriverFile {
        kind,
        on_host: found.on_host(&real),
        in_container,
        capabilities,
        links: Vec::new(),
        identity: None,
    })
}

fn real_path(found: &Found, path: &str) -> Option<String> {
    found.image.is_link(path).then(|| found.image.resolved(path))?
}

fn names(found: &Found, directory: &str) -> Vec<String> {
    let entries = found.image.open_directory(directory);
    let entries = entries.map(|directory| directory.names()).unwrap_or_default();
    entries
        .into_iter()
        .filter(|entry| matches!(entry.kind, FileType::RegularFile | FileType::Symlink))
        .map(|entry| entry.name)
        .collect()
}

fn libraries(found: &Found, directory: &str) -> Vec<DriverFile> {
    let suffix = format!(".so.{}", found.version);
    let mut files = Vec::new();
    for name in names(found, directory) {
        let own_version = OWN_VERSION.iter().any(|start| {
            name.strip_prefix(start)
                .is_some_and(|version| version.contains('.') || *start == "libnvidia-nvvm70.so.")
        });
        if !(name.ends_with(&suffix) || own_version) {
            continue;
        }
        let listed = LIBRARIES.iter().find(|(start, _)| name.starts_with(start));
        let capabilities = listed.map_or(UNKNOWN, |(_, capabilities)| *capabilities);
        let container = found.in_container(directory);
        let path = format!("{directory}/{name}");
        let new = file(
            found,
            FileKind::Library,
            &path,
            format!("{container}/{name}"),
            capabilities,
        );
        files.extend(new.map(|new| DriverFile {
            links: links(found, directory, &name),
            ..new
        }));
    }
    files
}

/// The links of a library: those that every container needs, and those that the host has beside it.
fn links(found: &Found, directory: &str, name: &str) -> Vec<Link> {
    let container = found.in_container(directory);
    let link = |target: &str, path: &str| Link {
        target: target.to_owned(),
        path: format!("{container}/{path}"),
    };
    let is = |base: &str| name.strip_prefix(base).is_some_and(|rest| rest == found.version);
    let mut links = Vec::new();
    if is("libnvidia-allocator.so.") {
        links.push(link("../libnvidia-allocator.so.1", "gbm/nvidia-drm_gbm.so"));
    }
    if is("libnvidia-vulkan-producer.so.") {
        links.push(link(name, "libnvidia-vulkan-producer.so"));
    }
    // Programs ask for it by the name that only development packages have.
    if is("libcuda.so.") {
        links.push(link("libcuda.so.1", "libcuda.so"));
    }
    if is("libnvidia-opticalflow.so.") {
        links.push(link("libnvidia-opticalflow.so.1", "libnvidia-opticalflow.so"));
    }
    // What GLVND looks for when GLX is indirect.
    if is("libGLX_nvidia.so.") {
        links.push(link(name, "libGLX_indirect.so.0"));
    }
    let file = found.image.open_file(&format!("{directory}/{name}"), true);
    let library = file.and_then(|file| elf::library(&file.as_fd()));
    let soname = library.and_then(|library| library.soname);
    let on_host = |link: &str| found.image.is_link(&format!("{directory}/{link}"));
    if let Some(soname) = soname
        .as_deref()
        .filter(|soname| *soname != name && on_host(soname))
    {
        links.push(link(name, soname));
    }
    let target = soname.as_deref().unwrap_or(name);
    let development = target.split_once(".so").map(|(base, _)| format!("{base}.so"));
    if let Some(short) = development.filter(|short| short != target && on_host(short)) {
        let new = link(target, &short);
        if !links.contains(&new) {
            links.push(new);
        }
    }
    links
}

/// The X server's modules stay at their paths on the host: xorg.conf may name them.
fn xorg(found: &Found, directory: &str) -> Vec<DriverFile> {
    let glx = format!("libglxserver_nvidia.so.{}", found.version);
    let folders = [
        format!("{directory}/nvidia/xorg"),
        format!("{directory}/xorg/modules/drivers"),
        format!("{directory}/xorg/modules/extensions"),
        "/usr/lib/xorg/modules/drivers".to_owned(),
        "/usr/lib/xorg/modules/extensions".to_owned(),
    ];
    let mut files: Vec<DriverFile> = Vec::new();
    for name in ["nvidia_drv.so", glx.as_str()] {
        let first = folders.iter().find_map(|folder| {
            let path = format!("{folder}/{name}");
            let place = found.in_container(&path);
            let mut new = file(found, FileKind::Config, &path, place, Capabilities::DRAWING)?;
            if name == glx {
                new.links.push(Link {
                    target: name.to_owned(),
                    path: found.in_container(&format!("{folder}/libglxserver_nvidia.so")),
                });
            }
            Some(new)
        });
        files.extend(first);
    }
    files
}

fn programs(found: &Found) -> Vec<DriverFile> {
    let folders = [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let programs = PROGRAMS.iter().filter_map(|(name, capabilities)| {
        folders.iter().find_map(|folder| {
            let path = format!("{folder}/{name}");
            // A bare tree's own bin is in nobody's PATH.
            let place = if found.tree {
                format!("/usr/bin/{name}")
            } else {
                path.clone()
            };
            file(found, FileKind::Program, &path, place, *capabilities)
        })
    });
    programs.collect()
}

fn firmware(found: &Found) -> Vec<DriverFile> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let folders = [
        format!("/lib/firmware/updates/{release}"),
        "/lib/firmware/updates".to_owned(),
        format!("/lib/firmware/{release}"),
        "/lib/firmware".to_owned(),
    ];
    let mut files = Vec::new();
    for folder in folders {
        let folder = format!("{folder}/nvidia/{}", found.version);
        for name in names(found, &folder) {
            if name.starts_with("gsp") && name.ends_with(".bin") {
                let path = format!("{folder}/{name}");
                let new = file(found, FileKind::Firmware, &path, path.clone(), Capabilities::ALL);
                files.extend(new);
            }
        }
    }
    files
}

fn configs(found: &Found) -> Vec<DriverFile> {
    let configs = CONFIGS.iter().filter_map(|(name, place, capabilities)| {
        ["/etc", "/usr/local/share", "/usr/share", "/share", ""]
            .iter()
            .find_map(|folder| {
                let path = format!("{folder}/{name}");
                file(
                    found,
                    FileKind::Config,
                    &path,
                    format!("{place}/{name}"),
                    *capabilities,
                )
            })
    });
    configs.collect()
}
