//! Mount options: each class once, seen from inside in mountinfo or by trying.

use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test, why};
use fixtures::mountinfo::MountEntry;
use fixtures::{Report, config};
use serde_json::json;
use std::path::PathBuf;

const ANCHOR: &str = "config.md#linux-mount-options";
const HOST_MOUNT: &[Need] = &[Need::Root(why::HOST_MOUNT)];
/// The source is a tmpfs, which takes such mounts from 6.3 on.
const IDMAP: &[Need] = &[Need::Root("mounts of the host are id-mapped"), Need::Kernel(6, 3)];

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("option-ro", ANCHOR, |case| shows(case, &["ro"], &["ro"], &["rw"])),
    test("option-rw-after-ro", ANCHOR, |case| {
        shows(case, &["ro", "rw"], &["rw"], &["ro"])
    }),
    test("option-nosuid", ANCHOR, |case| {
        shows(case, &["nosuid"], &["nosuid"], &[])
    }),
    test("option-suid-after-nosuid", ANCHOR, |case| {
        shows(case, &["nosuid", "suid"], &[], &["nosuid"])
    }),
    test("option-nodev", ANCHOR, |case| {
        shows(case, &["nodev"], &["nodev"], &[])
    }),
    test("option-dev-after-nodev", ANCHOR, |case| {
        shows(case, &["nodev", "dev"], &[], &["nodev"])
    }),
    test("option-noexec", ANCHOR, |case| {
        shows(case, &["noexec"], &["noexec"], &[])
    }),
    test("option-exec-after-noexec", ANCHOR, |case| {
        shows(case, &["noexec", "exec"], &[], &["noexec"])
    }),
    test("option-noatime", ANCHOR, |case| {
        shows(case, &["noatime"], &["noatime"], &["relatime"])
    }),
    test("option-nodiratime", ANCHOR, |case| {
        shows(case, &["nodiratime"], &["nodiratime"], &[])
    }),
    test("option-relatime", ANCHOR, |case| {
        shows(case, &["relatime"], &["relatime"], &["noatime"])
    }),
    test("option-strictatime", ANCHOR, |case| {
        shows(case, &["strictatime"], &[], &["relatime", "noatime"])
    }),
    test("option-nosymfollow", ANCHOR, |case| {
        shows(case, &["nosymfollow"], &["nosymfollow"], &[])
    })
    .needs(&[Need::Kernel(5, 10)]),
    test("option-sync", ANCHOR, |case| {
        shows(case, &["sync"], &["sync"], &[])
    }),
    test("option-dirsync", ANCHOR, |case| {
        shows(case, &["dirsync"], &["dirsync"], &[])
    }),
    test("option-lazytime", ANCHOR, |case| {
        shows(case, &["lazytime"], &["lazytime"], &[])
    }),
    test("option-nolazytime", ANCHOR, |case| {
        shows(case, &["lazytime", "nolazytime"], &[], &["lazytime"])
    }),
    test("option-silent-and-loud", ANCHOR, |case| {
        shows(case, &["silent", "loud"], &[], &[])
    }),
    test("option-iversion", ANCHOR, |case| {
        shows(case, &["noiversion"], &[], &[])
    }),
    test("option-defaults", ANCHOR, |case| {
        shows(case, &["defaults"], &["rw"], &["nosuid", "nodev", "noexec"])
    }),
    test("several-options-at-once", ANCHOR, |case| {
        shows(
            case,
            &["nosuid", "nodev", "noexec", "ro", "noatime"],
            &["ro", "nosuid", "nodev", "noexec", "noatime"],
            &[],
        )
    }),
    test("tmpfs-data", "config.md#mounts", |case| {
        let entry = on_tmpfs(case, &["size=2048k", "mode=1750", "nr_inodes=64"])?.0;
        ensure!(
            entry.has_super("size=2048k"),
            "superblock options {:?}",
            entry.super_options
        );
        ensure!(
            entry.has_super("mode=1750"),
            "superblock options {:?}",
            entry.super_options
        );
        ensure!(
            entry.has_super("nr_inodes=64"),
            "superblock options {:?}",
            entry.super_options
        );
        Ok(())
    }),
    // As mount(8) takes them, and as engines split an empty list.
    test("tmpfs-data-in-one-text", "config.md#mounts", |case| {
        let entry = on_tmpfs(case, &["size=2048k,mode=1750", ""])?.0;
        ensure!(
            entry.has_super("size=2048k") && entry.has_super("mode=1750"),
            "superblock options {:?}",
            entry.super_options
        );
        Ok(())
    }),
    test("no-options-at-all", "config.md#mounts", |case| {
        let report = case.probe(&["--try-write", "/mnt"], |config| {
            config::push(
                &mut config["mounts"],
                json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}),
            );
        })?;
        ensure!(
            report.writes["/mnt"].ok,
            "cannot write to a plain tmpfs: {:?}",
            report.writes
        );
        Ok(())
    }),
    test("tmpcopyup-copies", ANCHOR, |case| {
        let report = case.probe(&["--read", "/etc/passwd", "--try-write", "/etc"], |config| {
            config::add_mount(config, "/etc", "tmpfs", "tmpfs", &["tmpcopyup"]);
        })?;
        let copied = report.reads["/etc/passwd"].content.as_deref().unwrap_or_default();
        ensure!(
            copied.starts_with("root:"),
            "/etc/passwd in the tmpfs: {:?}",
            report.reads
        );
        ensure_eq!(
            report.mount("/etc").map(|entry| entry.fs_type.as_str()),
            Some("tmpfs"),
            "file system on /etc"
        );
        Ok(())
    }),
    test("bind-ro", ANCHOR, |case| {
        let (entry, report) = on_bind(case, &["bind", "ro"])?;
        ensure!(entry.has("ro"), "options {:?}", entry.options);
        ensure_eq!(
            report.writes["/mnt"].errno,
            Some(30),
            "errno of a write (EROFS is 30)"
        );
        Ok(())
    }),
    test("bind-rw", ANCHOR, |case| {
        let report = on_bind(case, &["bind", "rw"])?.1;
        ensure!(report.writes["/mnt"].ok, "cannot write: {:?}", report.writes);
        Ok(())
    }),
    test("bind-nosuid-nodev-noexec", ANCHOR, |case| {
        let entry = on_bind(case, &["bind", "nosuid", "nodev", "noexec"])?.0;
        for option in ["nosuid", "nodev", "noexec"] {
            ensure!(entry.has(option), "no {option} in {:?}", entry.options);
        }
        Ok(())
    }),
    test("bind-noexec-refuses-programs", ANCHOR, |case| {
        let source = case.dir().join("source");
        std::fs::create_dir_all(&source)?;
        std::fs::copy("/bin/busybox", source.join("true"))?;
        let report = case.probe(&["--try-exec", "/mnt/true"], |config| {
            config::add_mount(config, "/mnt", "bind", &text(&source), &["bind", "noexec"]);
        })?;
        ensure_eq!(
            report.execs["/mnt/true"].errno,
            Some(13),
            "errno of execve (EACCES is 13)"
        );
        Ok(())
    }),
    // In a user namespace the flags of the source are locked, mount_namespaces(7): a remount that only says "read-only"
    // would clear them and is refused by the kernel; the runtime must ask again with them.
    test("bind-ro-of-flagged-source-in-user-namespace", ANCHOR, |case| {
        let source = flagged(case)?;
        let report = case.probe(&[], |config| {
            case.who().with_user_namespace(config);
            config::add_mount(config, "/mnt", "bind", &text(&source), &["bind", "ro"]);
        })?;
        let entry = report.mount("/mnt").cloned().unwrap_or_else(none);
        ensure!(
            entry.has("ro") && entry.has("nosuid") && entry.has("nodev"),
            "options {:?}",
            entry.options
        );
        Ok(())
    }),
    test("bind-is-told-by-option-not-type", "config.md#mounts", |case| {
        let source = source(case)?;
        let report = case.probe(&["--read", "/mnt/file"], |config| {
            config::add_mount(config, "/mnt", "none", &source, &["bind"]);
        })?;
        ensure_eq!(
            report.reads["/mnt/file"].content.as_deref(),
            Some("content"),
            "file through the bind mount"
        );
        Ok(())
    }),
    test("rbind-carries-submounts", ANCHOR, |case| {
        let report = with_submount(case, &["rbind"])?;
        ensure!(report.mount("/mnt/sub").is_some(), "the submount is not there");
        Ok(())
    })
    .needs(HOST_MOUNT),
    test("bind-leaves-submounts", ANCHOR, |case| {
        let report = with_submount(case, &["bind"])?;
        ensure!(report.mount("/mnt/sub").is_none(), "the submount came along");
        Ok(())
    })
    .needs(HOST_MOUNT),
    test("rbind-ro-is-not-recursive", ANCHOR, |case| {
        let report = with_submount(case, &["rbind", "ro"])?;
        ensure_eq!(
            report.writes["/mnt"].errno,
            Some(30),
            "errno of a write to the mount"
        );
        ensure!(
            report.writes["/mnt/sub"].ok,
            "the submount is read-only too: {:?}",
            report.writes
        );
        Ok(())
    })
    .needs(HOST_MOUNT),
    test("rro-is-recursive", ANCHOR, |case| {
        let report = with_submount(case, &["rbind", "rro"])?;
        ensure_eq!(
            report.writes["/mnt"].errno,
            Some(30),
            "errno of a write to the mount"
        );
        ensure_eq!(
            report.writes["/mnt/sub"].errno,
            Some(30),
            "errno of a write to the submount"
        );
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT), Need::Kernel(5, 12)]),
    test("rnosuid-rnodev-rnoexec-are-recursive", ANCHOR, |case| {
        let report = with_submount(case, &["rbind", "rnosuid", "rnodev", "rnoexec"])?;
        let entry = report.mount("/mnt/sub").cloned().unwrap_or_else(none);
        for option in ["nosuid", "nodev", "noexec"] {
            ensure!(
                entry.has(option),
                "no {option} on the submount: {:?}",
                entry.options
            );
        }
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT), Need::Kernel(5, 12)]),
    test("rnoatime-is-recursive", ANCHOR, |case| {
        let report = with_submount(case, &["rbind", "rnoatime"])?;
        let entry = report.mount("/mnt/sub").cloned().unwrap_or_else(none);
        ensure!(
            entry.has("noatime"),
            "options of the submount {:?}",
            entry.options
        );
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT), Need::Kernel(5, 12)]),
    test("rnosymfollow-is-recursive", ANCHOR, |case| {
        let report = with_submount(case, &["rbind", "rnosymfollow"])?;
        let entry = report.mount("/mnt/sub").cloned().unwrap_or_else(none);
        ensure!(
            entry.has("nosymfollow"),
            "options of the submount {:?}",
            entry.options
        );
        Ok(())
    })
    .needs(&[Need::Root(why::HOST_MOUNT), Need::Kernel(5, 14)]),
    test("propagation-private", ANCHOR, |case| {
        propagates(case, "private", "")
    }),
    test("propagation-shared", ANCHOR, |case| {
        propagates(case, "shared", "shared:")
    }),
    test("propagation-slave-of-private", ANCHOR, |case| {
        propagates(case, "slave", "")
    }),
    test("propagation-unbindable", ANCHOR, |case| {
        propagates(case, "unbindable", "unbindable")
    }),
    test("propagation-rshared", ANCHOR, |case| {
        propagates(case, "rshared", "shared:")
    }),
    test("propagation-rprivate", ANCHOR, |case| {
        propagates(case, "rprivate", "")
    }),
    test("idmap-with-mappings", "config.md#posix-platform-mounts", |case| {
        idmapped(case, "idmap", true)
    })
    .needs(IDMAP),
    test(
        "ridmap-with-mappings",
        "config.md#posix-platform-mounts",
        |case| idmapped(case, "ridmap", true),
    )
    .needs(IDMAP),
    test(
        "idmap-by-user-namespace",
        "config.md#posix-platform-mounts",
        |case| idmapped(case, "idmap", false),
    )
    .needs(IDMAP),
];

/// Stands for a mount that is not there, so that a message can say so.
fn none() -> MountEntry {
    MountEntry {
        id: 0,
        parent: 0,
        device: "no such mount".into(),
        root: String::new(),
        mount_point: String::new(),
        options: vec!["no such mount".into()],
        propagation: Vec::new(),
        fs_type: String::new(),
        source: String::new(),
        super_options: Vec::new(),
    }
}

/// A folder on a mount with the flags nosuid and nodev: one of our own, or for users one that most hosts have.
fn flagged(case: &Case<'_>) -> Check<PathBuf> {
    if case.who().is_root() {
        let source = case.host_tmpfs("flagged")?;
        let flags = rustix::mount::MountFlags::NOSUID | rustix::mount::MountFlags::NODEV;
        rustix::mount::mount_remount(&source, flags, "").map_err(std::io::Error::from)?;
        return Ok(source);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let fits = |entry: &&MountEntry| {
        ["/dev/shm", "/run/lock", "/tmp"].contains(&entry.mount_point.as_str())
            && entry.has("nosuid")
            && entry.has("nodev")
    };
    let found = fixtures::mountinfo::parse(&mounts);
    found
        .iter()
        .find(fits)
        .map(|entry| PathBuf::from(&entry.mount_point))
        .ok_or_else(|| Failure::Skipped("no mount with nosuid and nodev on this host".to_owned()))
}

fn on_tmpfs(case: &Case<'_>, options: &[&str]) -> Check<(MountEntry, Report)> {
    let report = case.probe(&[], |config| {
        config::add_mount(config, "/mnt", "tmpfs", "tmpfs", options)
    })?;
    let entry = report.mount("/mnt").cloned();
    ensure!(entry.is_some(), "nothing is mounted on /mnt");
    Ok((entry.unwrap_or_else(none), report))
}

/// Mounts a tmpfs with `options` and demands words in (or not in) the options of the mount or its superblock.
fn shows(case: &Case<'_>, options: &[&str], wanted: &[&str], unwanted: &[&str]) -> Check {
    let entry = on_tmpfs(case, options)?.0;
    for word in wanted {
        ensure!(
            entry.has(word) || entry.has_super(word),
            "no {word} in {:?} {:?}",
            entry.options,
            entry.super_options
        );
    }
    for word in unwanted {
        ensure!(!entry.has(word), "{word} in {:?}", entry.options);
    }
    Ok(())
}

fn source(case: &Case<'_>) -> Check<String> {
    let source = case.dir().join("source");
    std::fs::create_dir_all(&source)?;
    std::fs::write(source.join("file"), "content")?;
    Ok(text(&source))
}

fn on_bind(case: &Case<'_>, options: &[&str]) -> Check<(MountEntry, Report)> {
    let source = source(case)?;
    let report = case.probe(&["--try-write", "/mnt", "--read", "/mnt/file"], |config| {
        config::add_mount(config, "/mnt", "bind", &source, options);
    })?;
    ensure_eq!(
        report.reads["/mnt/file"].content.as_deref(),
        Some("content"),
        "file through the bind mount"
    );
    let entry = report.mount("/mnt").cloned().unwrap_or_else(none);
    Ok((entry, report))
}

/// Binds a folder in which something else is mounted.
fn with_submount(case: &Case<'_>, options: &[&str]) -> Check<Report> {
    let source = source(case)?;
    case.host_tmpfs("source/sub")?;
    let mut options = options.to_vec();
    options.push("rprivate");
    case.probe(&["--try-write", "/mnt", "--try-write", "/mnt/sub"], |config| {
        config::add_mount(config, "/mnt", "bind", &source, &options);
    })
}

fn propagates(case: &Case<'_>, option: &str, wanted: &str) -> Check {
    let found = on_tmpfs(case, &[option])?.0.propagation;
    let fits = if wanted.is_empty() {
        found.is_empty()
    } else {
        found.iter().any(|field| field.starts_with(wanted))
    };
    ensure!(fits, "propagation {found:?}, expected {wanted:?}");
    Ok(())
}

/// Binds a folder whose file belongs to root; shifted by its own mappings, or by those of the container.
fn idmapped(case: &Case<'_>, option: &str, own_mappings: bool) -> Check {
    let source = case.host_tmpfs("owned")?;
    std::fs::write(source.join("file"), "content")?;
    let source = text(&source);
    let maps = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
    let report = case.probe(&["--stat", "/mnt/file"], |config| {
        config::add_mount(config, "/mnt", "bind", &source, &["rbind", option]);
        if own_mappings {
            let last = config["mounts"].as_array().map_or(0, Vec::len) - 1;
            config["mounts"][last]["uidMappings"] = maps.clone();
            config["mounts"][last]["gidMappings"] = maps.clone();
        } else {
            case.who().with_user_namespace(config);
        }
    })?;
    let stat = &report.stats["/mnt/file"];
    // Without a user namespace the shifted id is seen as it is; in one with the same maps it is root again.
    let wanted = if own_mappings { 200_000 } else { 0 };
    ensure_eq!((stat.uid, stat.gid), (wanted, wanted), "owner of the file inside");
    Ok(())
}
