//! What the drivers on the host answer, where no CDI file offers the kind that is asked for.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::Spec;

use super::apply;
use super::cdi::spec::{CdiSpec, ContainerEdits};
use super::cdi::{FileFault, QualifiedName, Registry, Source};
use super::driver::{
    Capabilities, Driver, DrmVendor, FileIdentity, Requirements, Versions, discover, discover_drm, drm_spec,
};
use super::hooks::NativeHook;
use super::request::{DeviceRequest, NVIDIA_GPU, Wish, variable};
use crate::error::{Error, ErrorKind, Result};

/// The answer of one driver.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) edits: Vec<(Source, ContainerEdits)>,
    /// What is done in the container instead of hooks.
    pub(super) native: Vec<NativeHook>,
    /// The driver's parameters as the procfs that was asked has them.
    pub(super) params: Option<String>,
    /// What must be found at a mount's source when it is mounted, by that source.
    pub(super) identities: BTreeMap<String, FileIdentity>,
    /// What was asked for and is left out.
    pub(super) warnings: Vec<String>,
}

/// Asks the driver of each kind. Nothing is looked at where nothing is asked for.
///
/// # Errors
/// InvalidArgument, where a kind has no driver here, the driver has no such device, or a CDI file that may offer the kind
/// cannot be used; Unsupported, where the driver is
/// not what the image asks for, or not whole.
pub(super) fn by_driver(
    wishes: &[Wish],
    spec: &Spec,
    bundle: &Path,
    request: &DeviceRequest,
    registry: &Registry,
) -> Result<Vec<Answer>> {
    let mut kinds: Vec<&str> = wishes.iter().map(Wish::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut answers = Vec::new();
    for kind in kinds {
        let own: Vec<&Wish> = wishes.iter().filter(|wish| wish.kind() == kind).collect();
        let by_field = |error: Error| match own.first() {
            Some(wish) => error.with_field(&wish.field),
            None => error,
        };
        if let Some(fault) = registry.fault_of(kind).filter(|_| has_driver(kind)) {
            return Err(by_field(withheld(&own, fault)));
        }
        let answer = match DrmVendor::ALL.into_iter().find(|vendor| vendor.kind() == kind) {
            Some(vendor) => by_kernel(&own, vendor, request),
            None if kind == NVIDIA_GPU => by_nvidia(&own, spec, bundle, request),
            None => Ok(None),
        };
        let answer = answer.and_then(|answer| answer.ok_or_else(|| nobody(&own, registry)));
        let answer = answer.map_err(by_field)?;
        let engine_may_have = own.iter().all(|wish| wish.may_be_answered);
        if engine_may_have
            && answer
                .edits
                .iter()
                .any(|(_, edits)| apply::is_applied(spec, edits))
        {
            continue;
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// A file says which devices containers may have. The driver would offer all that there are, so it is no answer where
/// a file was meant to be one.
fn withheld(wishes: &[&Wish], fault: &FileFault) -> Error {
    let message = format!(
        "{}: the driver on this host is not asked, because a CDI file that may offer them cannot be used: {fault}",
        names(wishes).join(", ")
    );
    Error::new(ErrorKind::InvalidArgument, message).with_hint("repair the file, or take it away")
}

fn has_driver(kind: &str) -> bool {
    kind == NVIDIA_GPU || DrmVendor::ALL.iter().any(|vendor| vendor.kind() == kind)
}

fn names(wishes: &[&Wish]) -> Vec<String> {
    let name = |wish: &&Wish| {
        wish.device
            .as_ref()
            .map_or_else(|| format!("{NVIDIA_GPU} (none)"), ToString::to_string)
    };
    wishes.iter().map(name).collect()
}

fn nobody(wishes: &[&Wish], registry: &Registry) -> Error {
    let names = names(wishes);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = registry.unresolvable(&names);
    let kind = wishes.first().map_or(NVIDIA_GPU, |wish| wish.kind());
    if has_driver(kind) {
        error.context(format!("no driver on this host answers for {kind}"))
    } else {
        error
    }
}

/// The names within the kind, `none` for the driver's files alone.
fn short_names<'a>(wishes: &[&'a Wish]) -> Vec<&'a str> {
    let name = |wish: &&'a Wish| wish.device.as_ref().map_or("none", QualifiedName::name);
    wishes.iter().map(name).collect()
}

fn by_nvidia(
    wishes: &[&Wish],
    spec: &Spec,
    bundle: &Path,
    request: &DeviceRequest,
) -> Result<Option<Answer>> {
    let Some(driver) = discover(&request.config.roots())? else {
        return Ok(None);
    };
    let rootfs = spec.root().as_ref().map(|root| bundle.join(root.path()));
    driver.check_outside(bundle, rootfs.as_deref().unwrap_or(bundle))?;
    check_requirements(spec, &driver)?;
    // As NVIDIA's toolkit since 1.18: an image that says nothing gets the whole driver.
    let capabilities = match variable(spec, "NVIDIA_DRIVER_CAPABILITIES") {
        Some(value) => Capabilities::parse(value)?,
        None => Capabilities::ALL,
    };
    let names = short_names(wishes);
    let answer = driver.edits(&names, capabilities)?;
    let source = Source {
        name: format!("driver {NVIDIA_GPU}={}", names.join(",")),
        file: None,
    };
    Ok(Some(Answer {
        edits: vec![(source, answer.edits)],
        native: answer.native,
        params: driver.params,
        identities: answer.identities,
        warnings: answer.warnings,
    }))
}

/// NVIDIA_REQUIRE_*: better no container than one whose program fails later.
fn check_requirements(spec: &Spec, driver: &Driver) -> Result<()> {
    let process = spec.process().as_ref();
    let env = process
        .and_then(|process| process.env().clone())
        .unwrap_or_default();
    Requirements::of_env(&env).check(&Versions::of_driver(&driver.version))
}

fn by_kernel(wishes: &[&Wish], vendor: DrmVendor, request: &DeviceRequest) -> Result<Option<Answer>> {
    let gpus = discover_drm(&request.config.roots())?;
    let Some(found) = drm_spec(&gpus, vendor) else {
        return Ok(None);
    };
    let mut answer = Answer::default();
    for name in short_names(wishes) {
        let edits = edits_of(&found, name)?;
        let source = Source {
            name: format!("driver {}={name}", vendor.kind()),
            file: None,
        };
        if answer.edits.is_empty() && !found.container_edits.is_empty() {
            answer.edits.push((source.clone(), found.container_edits.clone()));
        }
        answer.edits.push((source, edits.clone()));
    }
    Ok(Some(answer))
}

fn edits_of<'a>(spec: &'a CdiSpec, name: &str) -> Result<&'a ContainerEdits> {
    let device = spec.devices.iter().find(|device| device.name == name);
    device.map(|device| &device.container_edits).ok_or_else(|| {
        let names: Vec<&str> = spec.devices.iter().map(|device| device.name.as_str()).collect();
        let message = format!(
            "no such {}: {name}; this host has {}",
            spec.kind,
            names.join(", ")
        );
        Error::new(ErrorKind::InvalidArgument, message)
    })
}
