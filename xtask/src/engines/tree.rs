//! The Debian tree that engines run in, made once for each suite and kept beside the guests' images.
//!
//! Must not live here: anything that is written to the tree later; trials see it through an overlay.

use super::options::Suite;
use crate::steps;
use crate::vm::Trouble;
use crate::vm::image::{cache, digest, kept, sources};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What every suite has.
const PACKAGES: &str = "ca-certificates,busybox-static,iproute2,iptables,nftables,procps,jq,bsdutils,passwd,e2fsprogs,kmod,\
    docker.io,docker-compose,containerd,podman,conmon,netavark,aardvark-dns,catatonit,buildah,runc,crun,criu,\
    containernetworking-plugins,uidmap,slirp4netns,fuse-overlayfs,dbus";

/// What else there is in a suite.
fn more(suite: Suite) -> &'static str {
    match suite {
        Suite::Bookworm => "",
        Suite::Trixie | Suite::Sid => ",docker-cli,docker-buildx,passt",
    }
}

/// The tree of a suite.
///
/// # Errors
/// It cannot be made, with mmdebstrap's reason.
pub(super) fn tree(suite: Suite) -> Result<PathBuf, String> {
    let packages = format!("{PACKAGES}{}", more(suite));
    let said = |trouble: Trouble| trouble.to_string();
    let name = format!("engines-{suite}-{}", digest(&[&packages]));
    let folder = cache().map_err(said)?.join(name);
    let folder = kept(&folder, |new| make(new, suite, &packages)).map_err(said)?;
    Ok(folder.join("root"))
}

fn make(new: &Path, suite: Suite, packages: &str) -> Result<(), Trouble> {
    println!("making a Debian tree of {suite} with its engines, once (1 GB, some minutes)");
    let mut command = Command::new("unshare");
    command
        // A mount namespace of its own: no mount of the bootstrap can stay on the host.
        .args(["--mount", "--propagation", "private", "mmdebstrap"])
        .args(["--quiet", "--mode=root", "--variant=minbase"])
        .arg(format!("--include={packages}"))
        .arg("--aptopt=APT::Install-Recommends false")
        // A mirror that stands still serves as well: packages are proved by signatures, not by their age.
        .arg("--aptopt=Acquire::Check-Valid-Until false")
        .arg("--dpkgopt=force-unsafe-io");
    for left_out in ["doc", "man", "locale"] {
        command.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    command
        .arg(suite.to_string())
        .arg(new.join("root"))
        .args(sources(new, &suite.to_string())?);
    steps::must(&mut command).map_err(Trouble::Absent)
}

/// A program of the tree.
///
/// # Errors
/// There is none of this name.
pub(super) fn program(tree: &Path, name: &str) -> Result<PathBuf, String> {
    let folders = ["usr/bin", "usr/sbin"];
    let mut places = folders.iter().map(|folder| tree.join(folder).join(name));
    places
        .find(|place| place.is_file())
        .ok_or(format!("engines: Debian's tree has no program {name:?}"))
}
