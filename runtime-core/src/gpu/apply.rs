//! Edits into a configuration: `oci_spec` data in, changed data out, with the place that each change went to.
//!
//! The order and the rules are those of Go's `pkg/cdi`: a variable replaces the one of its name, a node the one at its
//! path, a mount the one at its destination; mounts are sorted by depth at the end. What differs is said where it does.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use oci_spec::runtime::{
    Hook, HookBuilder, Hooks, Linux, LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroupBuilder,
    LinuxDeviceType, LinuxIntelRdtBuilder, LinuxNetDevice, LinuxResources, Process, Spec,
};

use super::cdi::Resolved;
use super::cdi::spec::{CdiHook, ContainerEdits, DeviceNode, IntelRdt};
use super::driver::FileIdentity;
use super::mounts::mounts;
use super::node::complete;
use crate::error::{Error, ErrorKind, Result};
use crate::facts::nodes::NodeFacts;

/// Looks at a node of the host.
pub(super) type Look<'a> = &'a dyn Fn(&Path) -> Result<Option<NodeFacts>>;

/// Where edits went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// The fields of the configuration that came from edits (`mounts[7]`), with who asked for them.
    pub origins: BTreeMap<String, String>,
    /// Nodes that lie elsewhere on the host: path in the container, path on the host.
    pub node_sources: BTreeMap<String, String>,
    /// What must be found at a mount's source when it is mounted, by that source.
    pub identities: BTreeMap<String, FileIdentity>,
}

impl Placed {
    /// The name of a field that came from edits: who asked for it, and the field; None for others.
    pub fn name(&self, field: &str) -> Option<String> {
        let mut part = field;
        loop {
            if let Some(origin) = self.origins.get(part) {
                return Some(format!("{origin} ({field})"));
            }
            part = part.rsplit_once('.')?.0;
        }
    }
}

/// Something of a list, with who asked for it; None: it stood in the configuration.
pub(super) type Marked<T> = (T, Option<String>);

/// How edits are applied.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// Bind mounts get the id mapping of the container's user namespace, where it has one. Only the host's root can
    /// map mounts of the host.
    pub(super) map_ids: bool,
}

/// Changes the configuration. On an error it is left half changed: callers work on a copy.
///
/// # Errors
/// InvalidSpec with the request as field: a node that is missing, is none, or is another one than the file says.
pub(super) fn apply(spec: &mut Spec, resolved: &Resolved, manner: Manner, look: Look<'_>) -> Result<Placed> {
    let mut placed = Placed::default();
    environment(spec, resolved);
    nodes(spec, resolved, look, &mut placed)?;
    net_devices(spec, resolved, &mut placed);
    mounts(spec, resolved, manner, &mut placed);
    hooks(spec, resolved, &mut placed)?;
    for (source, edits) in &resolved.edits {
        if let Some(rdt) = &edits.intel_rdt {
            linux_of(spec).set_intel_rdt(Some(intel_rdt(rdt)?));
            placed
                .origins
                .insert("linux.intelRdt".to_owned(), source.name.clone());
        }
    }
    groups(spec, resolved);
    Ok(placed)
}

fn linux_of(spec: &mut Spec) -> &mut Linux {
    if spec.linux().is_none() {
        let mut linux = Linux::default();
        // Only what is asked for: the defaults of the type are another container's.
        linux
            .set_namespaces(None)
            .set_masked_paths(None)
            .set_readonly_paths(None);
        linux.set_resources(None).set_cgroups_path(None);
        spec.set_linux(Some(linux));
    }
    spec.linux_mut().get_or_insert_default()
}

/// A configuration without a program has nobody to give variables and groups to.
fn process_of(spec: &mut Spec) -> Option<&mut Process> {
    spec.process_mut().as_mut()
}

fn environment(spec: &mut Spec, resolved: &Resolved) {
    let Some(process) = process_of(spec) else {
        return;
    };
    let mut env = process.env().clone().unwrap_or_default();
    let added: Vec<&String> = resolved.edits.iter().flat_map(|(_, edits)| &edits.env).collect();
    if added.is_empty() {
        return;
    }
    set_variables(&mut env, added);
    process.set_env(Some(env));
}

/// Sets variables by name; where a name stands more than once, the last one counts (execve(2) takes them all, programs the
/// last or the first), so that one is replaced.
pub(super) fn set_variables<'a>(env: &mut Vec<String>, added: impl IntoIterator<Item = &'a String>) {
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut places: HashMap<String, usize> = env
        .iter()
        .enumerate()
        .map(|(at, line)| (name(line), at))
        .collect();
    for line in added {
        match places.get(&name(line)) {
            Some(&at) => env[at].clone_from(line),
            None => {
                places.insert(name(line), env.len());
                env.push(line.clone());
            }
        }
    }
}

fn nodes(spec: &mut Spec, resolved: &Resolved, look: Look<'_>, placed: &mut Placed) -> Result<()> {
    if resolved
        .edits
        .iter()
        .all(|(_, edits)| edits.device_nodes.is_empty())
    {
        return Ok(());
    }
    let user = spec.process().as_ref().map(|process| process.user().clone());
    let owner = user.map_or((None, None), |user| {
        let set = |id: u32| (id > 0).then_some(id);
        (set(user.uid()), set(user.gid()))
    });
    let linux = linux_of(spec);
    let listed = linux.devices().clone().unwrap_or_default();
    let mut devices: Vec<Marked<LinuxDevice>> = listed.into_iter().map(|device| (device, None)).collect();
    let mut rules = linux
        .resources()
        .as_ref()
        .and_then(|resources| resources.devices().clone())
        .unwrap_or_default();
    for (source, edits) in &resolved.edits {
        for (position, wanted) in edits.device_nodes.iter().enumerate() {
            let field = format!("{} deviceNodes[{position}]", source.name);
            let node =
                complete(wanted, source.file.as_deref(), look).map_err(|error| error.with_field(&field))?;
            if node.on_host() != node.path {
                placed
                    .node_sources
                    .insert(node.path.clone(), node.on_host().to_owned());
            }
            let device = device(&node, owner).map_err(|error| error.with_field(&field))?;
            if let Some(rule) = rule(&node, &device)? {
                placed.origins.insert(
                    format!("linux.resources.devices[{}]", rules.len()),
                    source.name.clone(),
                );
                rules.push(rule);
            }
            replace(&mut devices, device, source.name.clone());
        }
    }
    for (position, (_, origin)) in devices.iter().enumerate() {
        if let Some(origin) = origin {
            placed
                .origins
                .insert(format!("linux.devices[{position}]"), origin.clone());
        }
    }
    linux.set_devices(Some(devices.into_iter().map(|(device, _)| device).collect()));
    if !rules.is_empty() {
        let mut resources: LinuxResources = linux.resources().clone().unwrap_or_else(no_resources);
        resources.set_devices(Some(rules));
        linux.set_resources(Some(resources));
    }
    Ok(())
}

fn no_resources() -> LinuxResources {
    let mut resources = LinuxResources::default();
    resources.set_devices(None);
    resources
}

/// The first one at this path goes; where there is another one, the new one takes its place.
fn replace(devices: &mut Vec<Marked<LinuxDevice>>, device: LinuxDevice, origin: String) {
    let at = |devices: &[Marked<LinuxDevice>]| {
        devices
            .iter()
            .position(|(other, _)| other.path() == device.path())
    };
    if let Some(first) = at(devices) {
        devices.remove(first);
    }
    match at(devices) {
        Some(second) => devices[second] = (device, Some(origin)),
        None => devices.push((device, Some(origin))),
    }
}

fn device(node: &DeviceNode, (uid, gid): (Option<u32>, Option<u32>)) -> Result<LinuxDevice> {
    let kind = match node.kind.as_str() {
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        "u" => LinuxDeviceType::U,
        _ => LinuxDeviceType::P,
    };
    let mut device = LinuxDeviceBuilder::default()
        .path(&node.path)
        .typ(kind)
        .major(node.major)
        .minor(node.minor)
        .build()
        .map_err(unbuilt)?;
    device.set_file_mode(node.file_mode);
    device.set_uid(node.uid.or(uid));
    device.set_gid(node.gid.or(gid));
    Ok(device)
}

/// `none` asks for a node that the cgroup does not allow: no rule says that better than one without letters.
fn rule(node: &DeviceNode, device: &LinuxDevice) -> Result<Option<oci_spec::runtime::LinuxDeviceCgroup>> {
    if node.permissions == "none" || !matches!(node.kind.as_str(), "b" | "c") {
        return Ok(None);
    }
    let access = if node.permissions.is_empty() {
        "rwm"
    } else {
        &node.permissions
    };
    LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(device.typ())
        .major(device.major())
        .minor(device.minor())
        .access(access)
        .build()
        .map(Some)
        .map_err(unbuilt)
}

fn unbuilt(error: oci_spec::OciSpecError) -> Error {
    Error::new(ErrorKind::Internal, error.to_string())
}

fn net_devices(spec: &mut Spec, resolved: &Resolved, placed: &mut Placed) {
    for (source, edits) in &resolved.edits {
        for device in &edits.net_devices {
            let linux = linux_of(spec);
            let mut devices = linux.net_devices().clone().unwrap_or_default();
            let mut inside = LinuxNetDevice::default();
            inside.set_name(Some(device.name.clone()));
            devices.insert(device.host_interface_name.clone(), inside);
            linux.set_net_devices(Some(devices));
            let field = format!("linux.netDevices.{}", device.host_interface_name);
            placed.origins.insert(field, source.name.clone());
        }
    }
}

#[allow(deprecated, reason = "prestart hooks are deprecated, not gone")]
fn hooks(spec: &mut Spec, resolved: &Resolved, placed: &mut Placed) -> Result<()> {
    for (source, edits) in &resolved.edits {
        for wanted in &edits.hooks {
            let hooks: &mut Hooks = spec.hooks_mut().get_or_insert_default();
            let list = match wanted.hook_name.as_str() {
                "prestart" => hooks.prestart_mut(),
                "createRuntime" => hooks.create_runtime_mut(),
                "createContainer" => hooks.create_container_mut(),
                "startContainer" => hooks.start_container_mut(),
                "poststart" => hooks.poststart_mut(),
                _ => hooks.poststop_mut(),
            };
            let list = list.get_or_insert_default();
            let field = format!("hooks.{}[{}]", wanted.hook_name, list.len());
            list.push(hook(wanted)?);
            placed.origins.insert(field, source.name.clone());
        }
    }
    Ok(())
}

fn hook(wanted: &CdiHook) -> Result<Hook> {
    let mut hook = HookBuilder::default()
        .path(&wanted.path)
        .build()
        .map_err(unbuilt)?;
    hook.set_args(Some(wanted.args.clone()).filter(|args| !args.is_empty()));
    hook.set_env(Some(wanted.env.clone()).filter(|env| !env.is_empty()));
    hook.set_timeout(wanted.timeout);
    Ok(hook)
}

fn intel_rdt(wanted: &IntelRdt) -> Result<oci_spec::runtime::LinuxIntelRdt> {
    let mut rdt = LinuxIntelRdtBuilder::default().build().map_err(unbuilt)?;
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    rdt.set_clos_id(text(&wanted.clos_id))
        .set_l3_cache_schema(text(&wanted.l3_cache_schema))
        .set_mem_bw_schema(text(&wanted.mem_bw_schema))
        .set_schemata(wanted.schemata.clone())
        .set_enable_monitoring(wanted.enable_monitoring.then_some(true));
    Ok(rdt)
}

fn groups(spec: &mut Spec, resolved: &Resolved) {
    let Some(process) = process_of(spec) else {
        return;
    };
    let wanted = resolved
        .edits
        .iter()
        .flat_map(|(_, edits)| &edits.additional_gids);
    for gid in wanted.copied().filter(|gid| *gid != 0) {
        let groups = process.user_mut().additional_gids_mut().get_or_insert_default();
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
}

/// Whether all nodes that edits ask for stand in the configuration already, so that an engine has applied them.
pub(super) fn is_applied(spec: &Spec, edits: &ContainerEdits) -> bool {
    let listed = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.devices().as_deref())
        .unwrap_or_default();
    let has = |node: &DeviceNode| listed.iter().any(|device| device.path() == Path::new(&node.path));
    !edits.device_nodes.is_empty() && edits.device_nodes.iter().all(has)
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
