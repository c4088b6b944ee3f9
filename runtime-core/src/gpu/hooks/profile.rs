//! The application profile that keeps EGL and Vulkan to the GPUs of the container.

use rustix::fs::minor;

use crate::gpu::image::Image;
use crate::gpu::loader::update::Made;

const ABOVE: &str = "/etc/nvidia";
const DIRECTORY: &str = "/etc/nvidia/nvidia-application-profiles-rc.d";
const FILE: &str = "10-container.conf";

/// Where the profile lies.
pub(super) fn path() -> String {
    format!("{DIRECTORY}/{FILE}")
}

/// The profile for the GPUs whose nodes are in the container's /dev; nothing where there are none.
pub(super) fn restrict(image: &Image) -> Vec<Made> {
    let Some(dev) = image.open_directory("/dev") else {
        return Vec::new();
    };
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mask = dev
        .names()
        .iter()
        .filter(|entry| is_gpu(&entry.name))
        .filter_map(|entry| dev.character_device(&entry.name))
        .map(minor)
        .filter(|minor| *minor < u64::BITS)
        .fold(0u64, |mask, minor| mask | 1 << minor);
    // An image that cannot be written shows all GPUs to EGL, as without the hook; the device rules stay.
    if mask == 0 || !image.may_write_in(DIRECTORY) {
        return Vec::new();
    }
    let content = format!(
        "{{\"profiles\":[{{\"name\":\"_container_\",\"settings\":[\"EGLVisibleDGPUDevices\",{mask:#x}]}}],\
         \"rules\":[{{\"pattern\":[],\"profile\":\"_container_\"}}]}}"
    );
    let directory = |path: &str| Made::Directory {
        path: path.to_owned(),
        mode: 0o555,
    };
    vec![
        directory(ABOVE),
        directory(DIRECTORY),
        Made::File {
            path: path(),
            content: content.into_bytes(),
            mode: 0o444,
        },
    ]
}
