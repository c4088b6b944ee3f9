//! The road from a request to a changed configuration: who is heard, who answers, what is changed, what is kept of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::answer;
use super::apply::{self, Manner, Placed};
use super::cdi::spec::ContainerEdits;
use super::cdi::{QualifiedName, Registry, Resolved, Source};
use super::hooks::NativeHook;
use super::request::{DeviceRequest, NVIDIA_GPU, VISIBLE, Wish, wishes};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::facts::nodes::NodeFacts;
use crate::spec::{LoadedSpec, Warning};

/// A device that a container got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedDevice {
    /// Its name: `nvidia.com/gpu=0`.
    pub name: String,
    /// The CDI file that offers it; None: the driver on the host.
    pub file: Option<PathBuf>,
    /// Where it was asked for: `--device`, `annotations.cdi.k8s.io/x`, `process.env.NVIDIA_VISIBLE_DEVICES`.
    pub requested_by: String,
}

/// What a request changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injected {
    /// The devices.
    pub devices: Vec<InjectedDevice>,
    /// Where the edits went.
    pub placed: Placed,
    /// What is done in the container instead of hooks.
    pub native: Vec<NativeHook>,
    /// The driver's parameters, where another procfs than the host's was asked.
    pub params: Option<String>,
    /// What the reader of the configuration should know.
    pub warnings: Vec<Warning>,
}

/// Changes the configuration as it is asked for. Without a request nothing is looked at.
///
/// # Errors
/// InvalidArgument, InvalidSpec: a name that is none, or that nobody offers; a node that is missing, or another one than a
/// file says. The configuration is then as before.
pub fn inject(
    loaded: &mut LoadedSpec,
    bundle: &Path,
    request: &DeviceRequest,
    facts: &HostFacts,
) -> Result<Injected> {
    let wishes = wishes(&loaded.spec, request)?;
    if wishes.is_empty() {
        return Ok(Injected::default());
    }
    let registry = Registry::load(request.dirs());
    let wishes = unanswered(wishes, &loaded.spec, &registry);
    let mut resolved = Resolved::default();
    let mut injected = Injected::default();
    let (filed, others): (Vec<Wish>, Vec<Wish>) = wishes
        .iter()
        .cloned()
        .partition(|wish| registry.has_kind(wish.kind()));
    resolved.edits.extend(by_files(&filed, &registry)?);
    let mut identities = BTreeMap::new();
    for answer in answer::by_driver(&others, &loaded.spec, bundle, request, &registry)? {
        resolved.edits.extend(answer.edits);
        injected.native.extend(answer.native);
        injected.params = injected.params.or(answer.params);
        identities.extend(answer.identities);
        let warning = |message| Warning::new("(driver)", message);
        injected.warnings.extend(answer.warnings.into_iter().map(warning));
    }
    if resolved.edits.is_empty() {
        return Ok(injected);
    }
    let mut spec = loaded.spec.clone();
    let manner = Manner {
        map_ids: facts.privileged() && !facts.in_user_namespace,
    };
    injected.placed = apply::apply(&mut spec, &resolved, manner, &NodeFacts::look)?;
    injected.placed.identities = identities;
    injected.devices = devices(&wishes, &registry);
    injected.warnings.extend(warnings(&mut spec, &registry, facts));
    if resolved.edits.iter().any(|(source, _)| of_nvidia(source)) {
        // A runtime of NVIDIA's inside would ask for all again.
        set_void(&mut spec);
    }
    loaded.spec = spec;
    Ok(injected)
}

/// Without those that an engine has resolved already: their nodes stand in the configuration.
fn unanswered(wishes: Vec<Wish>, spec: &Spec, registry: &Registry) -> Vec<Wish> {
    let is_answered = |wish: &Wish| {
        let edits = wish.device.as_ref().and_then(|name| registry.device(name));
        wish.may_be_answered && edits.is_some_and(|edits| apply::is_applied(spec, edits))
    };
    wishes.into_iter().filter(|wish| !is_answered(wish)).collect()
}

/// The answer of CDI files.
fn by_files(wishes: &[Wish], registry: &Registry) -> Result<Vec<(Source, ContainerEdits)>> {
    let names: Vec<QualifiedName> = wishes.iter().filter_map(|wish| wish.device.clone()).collect();
    let by_field = |error: Error| match wishes {
        [wish, ..] => error.with_field(&wish.field),
        [] => error,
    };
    let mut resolved = registry.resolve(&names).map_err(by_field)?;
    if wishes.iter().any(|wish| wish.device.is_none()) {
        resolved.edits.extend(driver_files(registry));
    }
    Ok(resolved.edits)
}

/// What all GPUs of NVIDIA's have in common, without a node: `NVIDIA_VISIBLE_DEVICES=none` asks for that.
fn driver_files(registry: &Registry) -> Vec<(Source, ContainerEdits)> {
    let files = registry
        .files()
        .iter()
        .filter(|file| file.spec.kind == NVIDIA_GPU);
    files
        .filter(|file| !file.spec.container_edits.is_empty())
        .map(|file| {
            let source = Source {
                name: format!("cdi {NVIDIA_GPU} (none)"),
                file: Some(file.path.clone()),
            };
            let edits = ContainerEdits {
                device_nodes: Vec::new(),
                ..file.spec.container_edits.clone()
            };
            (source, edits)
        })
        .collect()
}

fn of_nvidia(source: &Source) -> bool {
    source
        .name
        .split(['/', ' '])
        .any(|part| part == "nvidia.com" || part.ends_with(".nvidia.com"))
}

fn set_void(spec: &mut Spec) {
    if let Some(process) = spec.process_mut() {
        let mut env = process.env().clone().unwrap_or_default();
        // The only one: programs differ in which of several they take.
        let ours = format!("{VISIBLE}=");
        env.retain(|line| !line.starts_with(&ours));
        env.push(format!("{VISIBLE}=void"));
        process.set_env(Some(env));
    }
}

fn devices(wishes: &[Wish], registry: &Registry) -> Vec<InjectedDevice> {
    let file = |name: &QualifiedName| {
        let mut offered = registry.devices();
        offered
            .find(|(other, _)| *other == name.as_str())
            .map(|(_, file)| file.path.clone())
    };
    wishes
        .iter()
        .filter_map(|wish| {
            let name = wish.device.as_ref()?;
            Some(InjectedDevice {
                name: name.to_string(),
                file: file(name),
                requested_by: wish.field.clone(),
            })
        })
        .collect()
}

/// What goes without saying for root, and not for others.
fn warnings(spec: &mut Spec, registry: &Registry, facts: &HostFacts) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = registry
        .faults()
        .iter()
        .map(|fault| Warning::new("(cdi)", fault.to_string()))
        .collect();
    warnings.extend(legacy_hook(spec));
    if facts.euid != 0 || facts.in_user_namespace {
        warnings.push(Warning::new(
            "linux.resources.devices",
            "device rules are not enforced for a caller who is not root: what the host's permissions allow is allowed",
        ));
        warnings.extend(drop_unmapped_groups(spec));
    }
    warnings
}

/// The old way, beside ours: that hook changes the rules of a cgroup that is not its own, and the container loses its
/// GPUs when systemd puts its own rules back.
#[allow(deprecated, reason = "prestart hooks are deprecated, not gone")]
fn legacy_hook(spec: &Spec) -> Option<Warning> {
    let hooks = spec.hooks().as_ref()?;
    let lists = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
    ];
    let is_legacy = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        matches!(
            name,
            Some("nvidia-container-runtime-hook" | "nvidia-container-toolkit" | "nvidia-container-cli")
        )
    };
    lists.into_iter().find_map(|(kind, list)| {
        let position = list.iter().flatten().position(|hook| is_legacy(hook.path()))?;
        let message = "this hook allows devices behind the back of who owns the cgroup, beside the devices that were asked \
                       for here; take one of them away";
        Some(Warning::new(format!("hooks.{kind}[{position}]"), message))
    })
}

/// A group that the container's user namespace does not map cannot be set there.
fn drop_unmapped_groups(spec: &mut Spec) -> Option<Warning> {
    let linux = spec.linux().as_ref()?;
    let namespaces = linux.namespaces().iter().flatten();
    let has_own = namespaces
        .into_iter()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let maps: Vec<LinuxIdMapping> = linux.gid_mappings().clone().unwrap_or_default();
    if !has_own || maps.is_empty() {
        return None;
    }
    let is_mapped = |gid: u32| {
        maps.iter().any(|map| {
            gid.checked_sub(map.container_id())
                .is_some_and(|above| above < map.size())
        })
    };
    let user = spec.process_mut().as_mut()?.user_mut();
    let groups = user.additional_gids_mut().as_mut()?;
    let dropped: Vec<String> = groups
        .iter()
        .filter(|gid| !is_mapped(**gid))
        .map(ToString::to_string)
        .collect();
    groups.retain(|gid| is_mapped(*gid));
    (!dropped.is_empty()).then(|| {
        let message = format!("groups {} are not mapped, and not added", dropped.join(", "));
        Warning::new("process.user.additionalGids", message)
    })
}
