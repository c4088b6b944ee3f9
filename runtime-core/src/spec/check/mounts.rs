//! `mounts`.

use super::identity::ranges;
use super::{Namespaces, Warning, no_nul, no_nul_path};
use crate::error::{Error, Result};
use crate::spec::mount_options::MountOptions;
use oci_spec::runtime::{Mount, Spec};

/// Most mounts of one configuration.
const MOUNTS_MAX: usize = 10_000;

pub(super) fn check(spec: &Spec, namespaces: &Namespaces, warnings: &mut Vec<Warning>) -> Result<()> {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    if mounts.len() > MOUNTS_MAX {
        return Err(Error::spec(
            "mounts",
            format!("found {}, allowed are at most {MOUNTS_MAX}", mounts.len()),
        ));
    }
    if !mounts.is_empty() && !namespaces.mount {
        // Asked for by tools that prepare the mount namespace themselves, so it is obeyed.
        let message = "without a mount namespace of its own the container's mounts appear in the caller's";
        warnings.push(Warning::new("linux.namespaces", message));
    }
    for (index, mount) in mounts.iter().enumerate() {
        one(&format!("mounts[{index}]"), mount, namespaces, warnings)?;
    }
    Ok(())
}

fn one(field: &str, mount: &Mount, namespaces: &Namespaces, warnings: &mut Vec<Warning>) -> Result<()> {
    let destination = mount.destination();
    if destination.as_os_str().is_empty() {
        return Err(Error::spec(format!("{field}.destination"), "found an empty path"));
    }
    no_nul_path(&format!("{field}.destination"), destination)?;
    if !destination.is_absolute() {
        let message = format!(
            "mount destination {} is not absolute, it is read from /; relative destinations are deprecated",
            destination.display()
        );
        warnings.push(Warning::new(format!("{field}.destination"), message));
    }
    no_nul(
        &format!("{field}.type"),
        mount.typ().as_deref().unwrap_or_default(),
    )?;
    if let Some(source) = mount.source() {
        no_nul_path(&format!("{field}.source"), source)?;
    }
    let options_field = format!("{field}.options");
    let options = MountOptions::parse_at(&options_field, mount.options().as_deref().unwrap_or_default())?;
    if options.bind.is_some() && !options.data.is_empty() {
        let message = format!(
            "bind mounts cannot have any filesystem-specific options applied, found {:?}",
            options.data.join(",")
        );
        return Err(Error::spec(options_field, message));
    }
    out_of_place(field, mount, &options, warnings);
    id_maps(field, mount, &options, namespaces)
}

/// Options that mean nothing for this mount are said, not obeyed.
fn out_of_place(field: &str, mount: &Mount, options: &MountOptions, warnings: &mut Vec<Warning>) {
    let tmpfs = options.bind.is_none() && mount.typ().as_deref() == Some("tmpfs");
    let wrong = [
        ("tmpcopyup", options.tmpcopyup && !tmpfs, "tmpfs"),
        (
            "copy-symlink",
            options.copy_symlink && options.bind.is_none(),
            "bind",
        ),
        (
            "src-nofollow",
            options.src_nofollow && options.bind.is_none(),
            "bind",
        ),
        (
            "dest-nofollow",
            options.dest_nofollow && options.bind.is_none(),
            "bind",
        ),
    ];
    for (option, wrong, kind) in wrong {
        if wrong {
            let message = format!("{option} is for {kind} mounts only, ignored");
            warnings.push(Warning::new(format!("{field}.options"), message));
        }
    }
}

fn id_maps(field: &str, mount: &Mount, options: &MountOptions, namespaces: &Namespaces) -> Result<()> {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    let text = options.idmap.as_ref().is_some_and(|idmap| !idmap.uids.is_empty());
    if options.idmap.is_none() && uids.is_empty() && gids.is_empty() {
        return Ok(());
    }
    if options.bind.is_none() {
        return Err(Error::spec(
            field,
            "id-mapped mounts are only supported for bind-mounts",
        ));
    }
    if uids.is_empty() != gids.is_empty() {
        let missing = if uids.is_empty() {
            "uidMappings"
        } else {
            "gidMappings"
        };
        let message = "id-mapped mounts must have both uid and gid mappings specified";
        return Err(Error::spec(format!("{field}.{missing}"), message));
    }
    if text && !uids.is_empty() {
        let message = "mappings are given both in the option idmap= and as uidMappings";
        return Err(Error::spec(format!("{field}.options"), message));
    }
    if uids.is_empty() && !text && !namespaces.user {
        let message = "id-mapped mounts must have both uid and gid mappings specified, or the container a user namespace";
        return Err(Error::spec(field, message));
    }
    ranges(&format!("{field}.uidMappings"), uids)?;
    ranges(&format!("{field}.gidMappings"), gids)
}
