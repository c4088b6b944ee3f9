//! Gives a container a device that no vendor's file offers: `own_devices STATE_DIR CDI_DIR BUNDLE ID NODE`.
//!
//! What a container gets of a device (node, device rule, variables, mounts, hooks) is data, `ContainerEdits`, in the form of
//! the Container Device Interface. An embedder makes its own, here for the host's device node NODE, which appears as
//! /dev/accelerator; written into a folder of its own, it is asked for by name like any vendor's device. Docker and
//! podman could read the same file.

use std::path::Path;
use std::process::ExitCode;

use runtime_core::gpu::DeviceRequest;
use runtime_core::gpu::cdi::spec::{CdiDevice, CdiSpec, ContainerEdits, DeviceNode};
use runtime_core::spec::LoadedSpec;
use runtime_core::{CreateRequest, Exit, Runtime};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const KIND: &str = "example.com/accelerator";

fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, offers, bundle, id, node] = words.as_slice() else {
        return Err("usage: own_devices STATE_DIR CDI_DIR BUNDLE ID NODE".into());
    };
    std::fs::create_dir_all(offers)?;
    let file = Path::new(offers).join("example.com-accelerator.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&offer(node))?)?;

    let runtime = Runtime::new(root);
    let spec = LoadedSpec::from_bundle(Path::new(bundle), "config.json")?;
    let mut request = CreateRequest::new(id.parse()?, bundle, spec);
    request.devices = DeviceRequest {
        names: vec![format!("{KIND}=first")],
        cdi_spec_dirs: vec![offers.into()],
        ..DeviceRequest::default()
    };
    let container = runtime.run(request)?;
    let exit = container.wait()?;
    runtime.delete(container.id(), false)?;
    std::fs::remove_file(&file)?;
    Ok(match exit {
        Exit::Code(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        _ => ExitCode::FAILURE,
    })
}

/// The file: one device, its node and a variable that tells the program of it.
fn offer(node: &str) -> CdiSpec {
    let edits = ContainerEdits {
        env: vec!["ACCELERATOR=first".to_owned()],
        device_nodes: vec![DeviceNode {
            path: "/dev/accelerator".to_owned(),
            host_path: node.to_owned(),
            permissions: "rw".to_owned(),
            ..DeviceNode::default()
        }],
        ..ContainerEdits::default()
    };
    let mut offer = CdiSpec {
        kind: KIND.to_owned(),
        devices: vec![CdiDevice {
            name: "first".to_owned(),
            container_edits: edits,
            ..CdiDevice::default()
        }],
        ..CdiSpec::default()
    };
    offer.cdi_version = offer.minimum_version().as_str().to_owned();
    offer
}
