//! What the host must have beside Rust, and how Debian installs it.
//!
//! Lives here: the list of needs, each proved by a file and not by a package database, so that a host of another
//! distribution passes when the file is there. Must not live here: anything that changes the host beside `apt-get install`.

use crate::steps;
use std::path::Path;
use std::process::Command;

/// One thing of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C linker; rustc has none of its own.
    Linker,
    /// The static C library and its start files.
    CLibrary,
    /// libseccomp as an archive, to be linked in.
    Seccomp,
    /// A static shell for root file systems of tests.
    Busybox,
    /// `ip`, to make network devices that tests move into containers.
    Ip,
    /// `newuidmap`, for containers of users with a range of ids.
    IdMaps,
    /// `mmdebstrap`, which makes the guest's disk.
    Bootstrap,
    /// `mke2fs`, which packs it.
    Ext4,
    /// A C++ compiler: libFuzzer is written in it.
    Cxx,
    /// `perf`, which samples what runs.
    Perf,
}

impl Need {
    /// Of the test bed alone, beside what every Debian has.
    pub(crate) const VM: [Need; 2] = [Need::Bootstrap, Need::Ext4];

    /// What fuzzing takes beside [`Need::ALL`].
    pub(crate) const FUZZ: [Need; 1] = [Need::Cxx];

    /// What `hot` takes beside [`Need::ALL`].
    pub(crate) const HOT: [Need; 1] = [Need::Perf];

    /// What building takes.
    pub(crate) const BUILD: [Need; 3] = [Need::Linker, Need::CLibrary, Need::Seccomp];

    /// Everything that building and testing on this host takes.
    pub(crate) const ALL: [Need; 6] = [
        Need::Linker,
        Need::CLibrary,
        Need::Seccomp,
        Need::Busybox,
        Need::Ip,
        Need::IdMaps,
    ];

    /// Debian's package.
    fn package(self) -> &'static str {
        match self {
            Need::Linker => "gcc",
            Need::CLibrary => "libc6-dev",
            Need::Seccomp => "libseccomp-dev",
            Need::Busybox => "busybox-static",
            Need::Ip => "iproute2",
            Need::IdMaps => "uidmap",
            Need::Bootstrap => "mmdebstrap",
            Need::Ext4 => "e2fsprogs",
            Need::Cxx => "g++",
            Need::Perf => "linux-perf",
        }
    }

    /// Files of which one proves that the need is met.
    fn evidence(self) -> Vec<String> {
        let library = |name: &str| {
            let places = [
                format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH),
                "/usr/lib64".into(),
                "/usr/lib".into(),
            ];
            places
                .iter()
                .map(|folder| format!("{folder}/{name}"))
                .collect::<Vec<_>>()
        };
        match self {
            Need::Linker => vec!["/usr/bin/cc".into(), "/usr/local/bin/cc".into()],
            Need::CLibrary => library("libc.a"),
            Need::Seccomp => library("libseccomp.a"),
            Need::Busybox => vec!["/usr/bin/busybox".into(), "/bin/busybox".into()],
            Need::IdMaps => vec!["/usr/bin/newuidmap".into()],
            Need::Bootstrap => vec!["/usr/bin/mmdebstrap".into()],
            Need::Ext4 => vec!["/usr/sbin/mke2fs".into(), "/sbin/mke2fs".into()],
            Need::Cxx => vec!["/usr/bin/c++".into(), "/usr/local/bin/c++".into()],
            Need::Perf => vec!["/usr/bin/perf".into(), "/usr/local/bin/perf".into()],
            Need::Ip => ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip", "/bin/ip"]
                .map(String::from)
                .to_vec(),
        }
    }

    fn is_met(self) -> bool {
        self.evidence().iter().any(|path| Path::new(path).exists())
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command run as root: itself for root, through sudo for others.
///
/// # Errors
/// Neither root nor sudo.
pub(crate) fn as_root(program: &str) -> Result<Command, String> {
    if is_root() {
        return Ok(Command::new(program));
    }
    if !on_path("sudo") {
        return Err(format!(
            "{program} has to run as root, this user is not root and there is no sudo: run this command as root"
        ));
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    Ok(command)
}

/// Whether PATH has this program.
pub(crate) fn on_path(name: &str) -> bool {
    find_on_path(name).is_some()
}

/// The first program of this name on PATH.
pub(crate) fn find_on_path(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Installs the packages of those needs that are not met.
///
/// # Errors
/// No apt-get, no right to use it, or it failed.
pub(crate) fn install(needs: &[Need]) -> Result<(), String> {
    let missing: Vec<Need> = needs.iter().copied().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        println!("the host has everything that is needed");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package()).collect();
    println!("missing packages: {}", packages.join(" "));
    if !on_path("apt-get") {
        let files: Vec<String> = missing.iter().map(|need| need.evidence().join(" or ")).collect();
        return Err(format!(
            "no apt-get here: install what provides {}",
            files.join(", and ")
        ));
    }
    let apt = |arguments: &[&str]| {
        let mut command = as_root("env")?;
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(arguments);
        steps::must(&mut command)
    };
    apt(&["update", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(&packages);
    apt(&arguments)?;
    match missing.iter().find(|need| !need.is_met()) {
        None => Ok(()),
        Some(need) => Err(format!(
            "{} is installed, but {} is not there",
            need.package(),
            need.evidence().join(" or ")
        )),
    }
}
