//! Who asks for devices in which way, and whether he is heard: the caller, annotations, mounts, the environment.
//!
//! In this order: what the caller names counts always; the rest only as [`GpuConfig`] says, and of the rest the first that
//! asks for anything, as in NVIDIA's toolkit.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Capability, Spec};

use super::cdi::QualifiedName;
use super::config::{AcceptEnv, GpuConfig};
use crate::error::{Error, ErrorKind, Result};

/// Keys of annotations that ask for devices (CDI's `pkg/cdi`, AnnotationPrefix).
const ANNOTATION: &str = "cdi.k8s.io/";
/// Below this directory, mounts of /dev/null ask for devices.
const MOUNTS: &str = "/var/run/nvidia-container-devices";
/// The kind that names without a kind are of.
pub const NVIDIA_GPU: &str = "nvidia.com/gpu";
/// The variable that asks for GPUs.
pub(super) const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";

/// Which devices a container is to get beside those in its configuration.
#[derive(Debug, Clone, Default)]
pub struct DeviceRequest {
    /// Names of devices, `vendor/class=name`.
    pub names: Vec<String>,
    /// Directories with CDI files; empty: those of `config`.
    pub cdi_spec_dirs: Vec<PathBuf>,
    /// What the configuration itself may ask for.
    pub config: GpuConfig,
}

impl DeviceRequest {
    /// The directories with CDI files.
    pub fn dirs(&self) -> &[PathBuf] {
        if self.cdi_spec_dirs.is_empty() {
            &self.config.cdi_spec_dirs
        } else {
            &self.cdi_spec_dirs
        }
    }
}

/// Something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wish {
    /// The device; None: the driver's files alone (`none`).
    pub(super) device: Option<QualifiedName>,
    /// Where it stands.
    pub(super) field: String,
    /// The engine may have answered it already.
    pub(super) may_be_answered: bool,
}

impl Wish {
    /// Vendor and class of what is asked for.
    pub(super) fn kind(&self) -> &str {
        self.device.as_ref().map_or(NVIDIA_GPU, QualifiedName::kind)
    }

    fn device(text: &str, field: &str) -> Result<Self> {
        let device = text.parse().map_err(|error: Error| error.with_field(field))?;
        Ok(Self {
            device: Some(device),
            field: field.to_owned(),
            may_be_answered: false,
        })
    }

    /// A name as NVIDIA's variable has it: of the usual kind, where it has none.
    fn visible(text: &str, field: &str) -> Result<Self> {
        if text.contains('=') {
            Self::device(text, field)
        } else {
            Self::device(&format!("{NVIDIA_GPU}={text}"), field)
        }
    }
}

/// Everything that is asked for, each device once.
pub(super) fn wishes(spec: &Spec, request: &DeviceRequest) -> Result<Vec<Wish>> {
    let mut wishes = Vec::new();
    for name in &request.names {
        wishes.push(Wish::device(name, "--device")?);
    }
    wishes.extend(of_configuration(spec, &request.config)?);
    let mut once: Vec<Wish> = Vec::new();
    for wish in wishes {
        if !once.iter().any(|other| other.device == wish.device) {
            once.push(wish);
        }
    }
    Ok(once)
}

fn of_configuration(spec: &Spec, config: &GpuConfig) -> Result<Vec<Wish>> {
    if config.accept_annotations {
        let found = annotations(spec)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    if config.accept_volume_mounts {
        let found = mounts(spec)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let accepted = match config.accept_env {
        AcceptEnv::Never => false,
        AcceptEnv::Privileged => is_privileged(spec),
        AcceptEnv::Always => true,
    };
    if accepted {
        environment(spec)
    } else {
        Ok(Vec::new())
    }
}

fn annotations(spec: &Spec) -> Result<Vec<Wish>> {
    let mut keys: Vec<(&String, &String)> = spec
        .annotations()
        .iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .collect();
    keys.sort();
    let mut wishes = Vec::new();
    for (key, value) in keys {
        let field = format!("annotations.{key}");
        for name in value.split(',') {
            wishes.push(Wish {
                may_be_answered: true,
                ..Wish::device(name, &field).map_err(|error| error.with_kind(ErrorKind::InvalidSpec))?
            });
        }
    }
    Ok(wishes)
}

/// /dev/null at `NAME`, or at `cdi/VENDOR/CLASS/NAME`, below the directory: a mount is made by who writes the pod, not by
/// who writes the image.
fn mounts(spec: &Spec) -> Result<Vec<Wish>> {
    let mut wishes = Vec::new();
    for (position, mount) in spec.mounts().iter().flatten().enumerate() {
        let is_null = mount.source().as_deref() == Some(Path::new("/dev/null"));
        let destination = crate::plan::clean(mount.destination());
        let Some(name) = destination.strip_prefix(MOUNTS).ok().filter(|_| is_null) else {
            continue;
        };
        let field = format!("mounts[{position}].destination");
        let parts: Vec<&str> = name.iter().filter_map(|part| part.to_str()).collect();
        let name = match parts[..] {
            [] => continue,
            ["cdi", vendor, class, name] => format!("{vendor}/{class}={name}"),
            ["imex", channel] => {
                let message = format!("IMEX channel {channel:?} cannot be asked for by a mount");
                return Err(
                    Error::spec(field, message).with_hint("a CDI file can offer it, --device asks for it")
                );
            }
            [name] => format!("{NVIDIA_GPU}={name}"),
            _ => {
                let message = format!(
                    "found {}, allowed: {MOUNTS}/NAME, {MOUNTS}/cdi/VENDOR/CLASS/NAME",
                    destination.display()
                );
                return Err(Error::spec(field, message));
            }
        };
        wishes.push(Wish::device(&name, &field).map_err(|error| error.with_kind(ErrorKind::InvalidSpec))?);
    }
    Ok(wishes)
}

fn environment(spec: &Spec) -> Result<Vec<Wish>> {
    const FIELD: &str = "process.env.NVIDIA_VISIBLE_DEVICES";
    let value = match variable(spec, VISIBLE) {
        Some(value) => value,
        // Images that are older than the variable mean all, and say so by the version of CUDA that they are for.
        None if is_set(spec, "CUDA_VERSION") && !is_set(spec, "NVIDIA_REQUIRE_CUDA") => "all",
        None => return Ok(Vec::new()),
    };
    match value {
        "" | "void" => Ok(Vec::new()),
        "none" => Ok(vec![Wish {
            device: None,
            field: FIELD.to_owned(),
            may_be_answered: false,
        }]),
        list => list
            .split(',')
            .map(|name| Wish::visible(name, FIELD).map_err(|error| error.with_kind(ErrorKind::InvalidSpec)))
            .collect(),
    }
}

/// The last value of a variable: that is the one the program gets.
pub(super) fn variable<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    let env = spec.process().as_ref()?.env().as_ref()?;
    env.iter().rev().find_map(|line| {
        let (found, value) = line.split_once('=')?;
        (found == name).then_some(value)
    })
}

fn is_set(spec: &Spec, name: &str) -> bool {
    variable(spec, name).is_some_and(|value| !value.is_empty())
}

fn is_privileged(spec: &Spec) -> bool {
    let process = spec.process().as_ref();
    let capabilities = process.and_then(|process| process.capabilities().as_ref());
    let bounding = capabilities.and_then(|sets| sets.bounding().as_ref());
    bounding.is_some_and(|set| set.contains(&Capability::SysAdmin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(changes: Value) -> Spec {
        let mut document = json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"},
            "process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/", "env": []}});
        for (key, value) in changes.as_object().unwrap() {
            document[key] = value.clone();
        }
        serde_json::from_value(document).unwrap()
    }

    fn with_env(env: &[&str]) -> Spec {
        let mut spec = spec(json!({}));
        let process = spec.process_mut().as_mut().unwrap();
        process.set_env(Some(env.iter().map(|line| (*line).to_owned()).collect()));
        spec
    }

    fn always() -> DeviceRequest {
        DeviceRequest {
            config: GpuConfig {
                accept_env: AcceptEnv::Always,
                accept_annotations: true,
                accept_volume_mounts: true,
                ..GpuConfig::default()
            },
            ..DeviceRequest::default()
        }
    }

    fn names(spec: &Spec, request: &DeviceRequest) -> Vec<String> {
        wishes(spec, request)
            .unwrap()
            .into_iter()
            .map(|wish| {
                wish.device
                    .map_or("(driver)".to_owned(), |device| device.to_string())
            })
            .collect()
    }

    #[test]
    fn the_variable_means_what_nvidias_table_says() {
        for (env, expected) in [
            (&["NVIDIA_VISIBLE_DEVICES=all"][..], &["nvidia.com/gpu=all"][..]),
            (&["NVIDIA_VISIBLE_DEVICES=none"], &["(driver)"]),
            (&["NVIDIA_VISIBLE_DEVICES=void"], &[]),
            (&["NVIDIA_VISIBLE_DEVICES="], &[]),
            (&[], &[]),
            (
                &["NVIDIA_VISIBLE_DEVICES=1,0"],
                &["nvidia.com/gpu=1", "nvidia.com/gpu=0"],
            ),
            (&["NVIDIA_VISIBLE_DEVICES=0,0"], &["nvidia.com/gpu=0"]),
            (&["NVIDIA_VISIBLE_DEVICES=0:1"], &["nvidia.com/gpu=0:1"]),
            (&["NVIDIA_VISIBLE_DEVICES=amd.com/gpu=0"], &["amd.com/gpu=0"]),
            (&["NVIDIA_VISIBLE_DEVICES=0", "NVIDIA_VISIBLE_DEVICES=void"], &[]),
            (&["CUDA_VERSION=9"], &["nvidia.com/gpu=all"]),
            (&["CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12"], &[]),
            (&["CUDA_VERSION=9", "NVIDIA_VISIBLE_DEVICES="], &[]),
        ] {
            assert_eq!(names(&with_env(env), &always()), expected, "{env:?}");
            assert_eq!(
                names(&with_env(env), &DeviceRequest::default()),
                [""; 0],
                "{env:?}"
            );
        }
        let error = wishes(&with_env(&["NVIDIA_VISIBLE_DEVICES=0,,1"]), &always()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        assert_eq!(error.field(), Some("process.env.NVIDIA_VISIBLE_DEVICES"));
    }

    #[test]
    fn the_environment_of_privileged_containers_may_be_heard_alone() {
        let mut request = always();
        request.config.accept_env = AcceptEnv::Privileged;
        let mut plain = with_env(&["NVIDIA_VISIBLE_DEVICES=all"]);
        plain.process_mut().as_mut().unwrap().set_capabilities(None);
        assert_eq!(names(&plain, &request), [""; 0]);
        let privileged = spec(
            json!({"process": {"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/",
            "env": ["NVIDIA_VISIBLE_DEVICES=all"], "capabilities": {"bounding": ["CAP_SYS_ADMIN"]}}}),
        );
        assert_eq!(names(&privileged, &request), ["nvidia.com/gpu=all"]);
    }

    #[test]
    fn annotations_come_before_mounts_and_these_before_the_environment() {
        let mount = |at: &str| json!({"destination": format!("{MOUNTS}/{at}"), "source": "/dev/null", "type": "bind"});
        let process = json!({"user": {"uid": 0, "gid": 0}, "args": ["x"], "cwd": "/", "env": ["NVIDIA_VISIBLE_DEVICES=7"]});
        let mounted = json!({"mounts": [mount("0"), mount("cdi/v.com/c/x"),
            {"destination": "/other", "source": "/dev/null"}], "process": process});
        assert_eq!(
            names(&spec(mounted.clone()), &always()),
            ["nvidia.com/gpu=0", "v.com/c=x"]
        );
        let mut annotated = mounted;
        annotated["annotations"] =
            json!({"cdi.k8s.io/b": "v.com/c=1,v.com/c=2", "cdi.k8s.io/a": "v.com/c=0", "other": "x"});
        assert_eq!(
            names(&spec(annotated.clone()), &always()),
            ["v.com/c=0", "v.com/c=1", "v.com/c=2"]
        );
        assert_eq!(names(&spec(annotated), &DeviceRequest::default()), [""; 0]);
        for (mounts, words) in [("imex/0", "IMEX"), ("a/b", "allowed")] {
            let error = wishes(&spec(json!({"mounts": [mount(mounts)]})), &always()).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.field(), Some("mounts[0].destination"));
        }
    }

    #[test]
    fn the_caller_is_always_heard() {
        let request = DeviceRequest {
            names: vec!["nvidia.com/gpu=0".to_owned()],
            ..DeviceRequest::default()
        };
        assert_eq!(
            names(&with_env(&["NVIDIA_VISIBLE_DEVICES=all"]), &request),
            ["nvidia.com/gpu=0"]
        );
        let request = DeviceRequest {
            names: vec!["0".to_owned()],
            ..DeviceRequest::default()
        };
        let error = wishes(&with_env(&[]), &request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.field(), Some("--device"));
    }
}
