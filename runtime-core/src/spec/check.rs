//! Judging a configuration without a host: everything that is wrong in config.json whatever machine it runs on.
//!
//! Pure: no file, no clock, no process. What needs a look at the host (does this path exist, is this network namespace
//! the host's, is SELinux on, are the limits above the present use) is judged by the plan with its host facts. The
//! rules are those of runtime-spec 1.3; where runc refuses with certain words, the words are kept, because scripts
//! match them. Limits of resources are judged where they are converted, in `cgroup`.

mod identity;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod sysctl;

pub(crate) use linux::MEMORY_NODES;
pub use process::check_process;

pub(crate) use namespaces::{Namespaces, TYPES as NAMESPACE_TYPES};

use super::{LoadedSpec, Warning};
use crate::error::{Error, Result};
use oci_spec::runtime::{Hook, Hooks, Spec};
use std::path::Path;

/// Judges a configuration. Returns what was noticed and accepted, beside the warnings of loading.
///
/// `process` may be absent: the specification needs it only at start.
///
/// # Errors
/// InvalidSpec with the field, what was found and what is allowed; the first fault ends the check.
pub fn check(loaded: &LoadedSpec) -> Result<Vec<Warning>> {
    let spec = &loaded.spec;
    let mut warnings = Vec::new();
    version(spec.version())?;
    root(spec)?;
    annotations(spec)?;
    let namespaces = Namespaces::of(spec.linux().as_ref())?;
    host_names(spec, &namespaces)?;
    if let Some(linux) = spec.linux() {
        identity::mappings(linux, &namespaces)?;
    }
    if let Some(process) = spec.process() {
        check_process(process, spec.linux().as_ref())?;
    }
    if let Some(hooks) = spec.hooks() {
        check_hooks(hooks)?;
    }
    if let Some(linux) = spec.linux() {
        linux::check(linux, &namespaces, &mut warnings)?;
        sysctl::check(linux, &namespaces)?;
        if let Some(profile) = linux.seccomp() {
            crate::seccomp::check(profile)?;
        }
    }
    mounts::check(spec, &namespaces, &mut warnings)?;
    Ok(warnings)
}

/// SemVer 2.0.0 with major version 1 (config.md, Specification version; runc#1846).
fn version(text: &str) -> Result<()> {
    if is_version_1(text) {
        return Ok(());
    }
    let found = if text.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{text:?}")
    };
    Err(Error::spec(
        "ociVersion",
        format!("found {found}, allowed is a version 1.x.y in SemVer form"),
    ))
}

fn is_version_1(text: &str) -> bool {
    let (text, build) = text
        .split_once('+')
        .map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text
        .split_once('-')
        .map_or((text, None), |(core, pre)| (core, Some(pre)));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| digits(text) && (text == "0" || !text.starts_with('0'));
    let word = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let core: Vec<&str> = core.split('.').collect();
    core.len() == 3
        && core[0] == "1"
        && core.iter().all(|part| number(part))
        && pre.is_none_or(|pre| {
            pre.split('.')
                .all(|part| word(part) && (!digits(part) || number(part)))
        })
        && build.is_none_or(|build| build.split('.').all(word))
}

fn root(spec: &Spec) -> Result<()> {
    let Some(root) = spec.root() else {
        return Err(Error::spec("root", "root must be specified"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(Error::spec(
            "root.path",
            "found an empty path, allowed is a directory",
        ));
    }
    no_nul_path("root.path", root.path())
}

fn annotations(spec: &Spec) -> Result<()> {
    match spec.annotations() {
        Some(annotations) if annotations.contains_key("") => Err(Error::spec(
            "annotations",
            "found an empty key, keys must not be empty",
        )),
        _ => Ok(()),
    }
}

/// Longest host and domain name (sethostname(2), __NEW_UTS_LEN).
const UTS_NAME_MAX: usize = 64;

fn host_names(spec: &Spec, namespaces: &Namespaces) -> Result<()> {
    for (field, name) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        let Some(name) = name.as_deref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if !namespaces.uts {
            return Err(Error::spec(
                field,
                format!("unable to set {field} without a private UTS namespace"),
            ));
        }
        if name.len() > UTS_NAME_MAX {
            let message = format!("found {} bytes, allowed are at most {UTS_NAME_MAX}", name.len());
            return Err(Error::spec(field, message));
        }
        no_nul(field, name)?;
    }
    Ok(())
}

fn check_hooks(hooks: &Hooks) -> Result<()> {
    let lists: [(&str, &Option<Vec<Hook>>); 6] = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (name, list) in lists {
        for (index, hook) in list.iter().flatten().enumerate() {
            check_hook(&format!("hooks.{name}[{index}]"), hook)?;
        }
    }
    Ok(())
}

fn check_hook(field: &str, hook: &Hook) -> Result<()> {
    absolute(&format!("{field}.path"), hook.path())?;
    if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
        let message = format!("found {timeout}, the timeout in seconds must be greater than zero");
        return Err(Error::spec(format!("{field}.timeout"), message));
    }
    strings_without_nul(&format!("{field}.args"), hook.args())?;
    environment(&format!("{field}.env"), hook.env())
}

/// Every entry is NAME=VALUE with a name and without NUL (R-32, R-49: a bare name never pulls a value from our own
/// environment).
fn environment(field: &str, entries: &Option<Vec<String>>) -> Result<()> {
    for (index, entry) in entries.iter().flatten().enumerate() {
        let fault = |message: &str| {
            let name = entry.split('=').next().unwrap_or_default();
            Err(Error::spec(
                format!("{field}[{index}]"),
                format!("invalid environment variable {name:?}: {message}"),
            ))
        };
        match entry.find('=') {
            None => return fault("missing '='"),
            Some(0) => return fault("name cannot be empty"),
            Some(_) if entry.contains('\0') => return fault("contains nul byte (\\x00)"),
            Some(_) => {}
        }
    }
    Ok(())
}

fn strings_without_nul(field: &str, strings: &Option<Vec<String>>) -> Result<()> {
    for (index, text) in strings.iter().flatten().enumerate() {
        if text.contains('\0') {
            no_nul(&format!("{field}[{index}]"), text)?;
        }
    }
    Ok(())
}

fn no_nul(field: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Error::spec(
            field,
            format!("found {text:?}, which contains a null byte"),
        ));
    }
    Ok(())
}

fn no_nul_path(field: &str, path: &Path) -> Result<()> {
    no_nul(field, &path.to_string_lossy())
}

fn absolute(field: &str, path: &Path) -> Result<()> {
    if !path.is_absolute() {
        let message = format!(
            "found {:?}, allowed is an absolute path",
            path.display().to_string()
        );
        return Err(Error::spec(field, message));
    }
    no_nul_path(field, path)
}

#[cfg(test)]
mod tests;
