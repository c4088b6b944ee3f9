//! Where mounts go and come from: order, destinations, symbolic links, the root, and the kernel's own file systems.

use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::config;
use serde_json::json;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("order-is-kept", "config.md#mounts", |case| {
        let source = folder(case, "source")?;
        let report = case.probe(&["--stat", "/mnt/inner/file", "--stat", "/mnt/file"], |config| {
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
            config::add_mount(config, "/mnt/inner", "bind", &text(&source), &["bind"]);
        })?;
        ensure_eq!(
            report.stats["/mnt/inner/file"].kind,
            "file",
            "the later mount, inside the earlier one"
        );
        Ok(())
    }),
    test("readonly-tmpfs-holds-later-mounts", "config.md#mounts", |case| {
        let source = folder(case, "source")?;
        let looks = [
            "--stat",
            "/run/inner/file",
            "--try-write",
            "/run",
            "--stat",
            "/run/here",
        ];
        let report = case.probe(&looks, |config| {
            config::add_mount(config, "/run", "tmpfs", "tmpfs", &["ro"]);
            config::add_mount(config, "/run/inner", "bind", &text(&source), &["bind"]);
            config["process"]["cwd"] = "/run/here".into();
        })?;
        ensure_eq!(
            (
                report.stats["/run/inner/file"].kind.as_str(),
                report.stats["/run/here"].kind.as_str()
            ),
            ("file", "dir"),
            "the later mount and the working directory"
        );
        ensure!(!report.writes["/run"].ok, "the read-only tmpfs can be written");
        Ok(())
    }),
    test("readonly-tmpfs-below-a-later-mount", "config.md#mounts", |case| {
        let report = case.probe(&["--try-write", "/mnt"], |config| {
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &["ro"]);
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
        })?;
        ensure!(
            report.writes["/mnt"].ok,
            "the later tmpfs cannot be written: {:?}",
            report.writes
        );
        Ok(())
    }),
    test("later-mount-covers", "config.md#mounts", |case| {
        let source = folder(case, "source")?;
        let report = case.probe(&["--list", "/mnt"], |config| {
            config::add_mount(config, "/mnt", "bind", &text(&source), &["bind"]);
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &[]);
        })?;
        ensure!(
            report.lists["/mnt"].is_empty(),
            "the earlier mount is seen: {:?}",
            report.lists
        );
        Ok(())
    }),
    test("missing-destination-is-made", "config.md#mounts", |case| {
        let source = folder(case, "source")?;
        let report = case.probe(&["--stat", "/new/deep/folder/file"], |config| {
            config::add_mount(config, "/new/deep/folder", "bind", &text(&source), &["bind"]);
        })?;
        ensure_eq!(
            report.stats["/new/deep/folder/file"].kind,
            "file",
            "file in the new destination"
        );
        Ok(())
    }),
    test("file-onto-existing-file", "config.md#mounts", |case| {
        let source = folder(case, "source")?.join("file");
        let report = case.probe(&["--read", "/etc/hosts"], |config| {
            config::add_mount(config, "/etc/hosts", "bind", &text(&source), &["bind"]);
        })?;
        ensure_eq!(
            report.reads["/etc/hosts"].content.as_deref(),
            Some("content"),
            "/etc/hosts"
        );
        Ok(())
    }),
    test("file-onto-missing-file", "config.md#mounts", |case| {
        let source = folder(case, "source")?.join("file");
        let report = case.probe(&["--read", "/etc/new/file"], |config| {
            config::add_mount(config, "/etc/new/file", "bind", &text(&source), &["bind"]);
        })?;
        ensure_eq!(
            report.reads["/etc/new/file"].content.as_deref(),
            Some("content"),
            "the new file"
        );
        Ok(())
    }),
    test(
        "relative-bind-source-is-from-bundle",
        "config.md#mounts",
        |case| {
            let bundle = case.bundle(&["/bin/probe", "--stat", "/mnt/file"], |config| {
                config::add_mount(config, "/mnt", "bind", "beside", &["bind"]);
            })?;
            std::fs::create_dir_all(bundle.dir().join("beside"))?;
            std::fs::write(bundle.dir().join("beside/file"), "")?;
            ensure_eq!(
                case.probe_in(&bundle)?.stats["/mnt/file"].kind,
                "file",
                "file of the relative source"
            );
            Ok(())
        },
    ),
    test(
        "destination-through-symlink-stays-inside",
        "config.md#mounts",
        |case| {
            let source = folder(case, "source")?;
            let bundle = case.bundle(&["/bin/probe", "--stat", "/link/file"], |config| {
                config::add_mount(config, "/link", "bind", &text(&source), &["bind"]);
            })?;
            symlink("/linked-by-conformance/place", bundle.rootfs().join("link"))?;
            let report = case.probe_in(&bundle)?;
            ensure_eq!(report.stats["/link/file"].kind, "file", "file through the link");
            ensure!(
                bundle.rootfs().join("linked-by-conformance/place").exists(),
                "not resolved in the rootfs"
            );
            ensure!(
                !PathBuf::from("/linked-by-conformance").exists(),
                "something was made on the host"
            );
            Ok(())
        },
    ),
    test("destination-with-dots-stays-inside", "config.md#mounts", |case| {
        let source = folder(case, "source")?;
        let report = case.probe(&["--stat", "/mnt/escape/file"], |config| {
            config::add_mount(config, "/../../../mnt/escape", "bind", &text(&source), &["bind"]);
        })?;
        ensure_eq!(
            report.stats["/mnt/escape/file"].kind,
            "file",
            "file in the resolved destination"
        );
        Ok(())
    }),
    test("relative-symlink-out-stays-inside", "config.md#mounts", |case| {
        let bundle = case.bundle(&["/bin/probe"], |config| {
            config::add_mount(config, "/up/made-by-mount", "tmpfs", "tmpfs", &[]);
        })?;
        symlink("../../../../../../..", bundle.rootfs().join("up"))?;
        let report = case.probe_in(&bundle)?;
        ensure!(
            report.mount("/made-by-mount").is_some(),
            "the mount is not at the resolved place"
        );
        ensure!(
            !PathBuf::from("/made-by-mount").exists(),
            "something was made on the host"
        );
        Ok(())
    }),
    test("mounts-do-not-reach-the-host", "config.md#mounts", |case| {
        let bundle = case.bundle(&["/bin/sleep", "100"], |config| {
            config::add_mount(config, "/mnt", "tmpfs", "tmpfs", &["rshared"]);
        })?;
        case.run_detached(&bundle)?;
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        ensure!(
            !mounts.contains(&text(bundle.dir())),
            "a mount of the container is seen on the host"
        );
        Ok(())
    }),
    test("root-readonly", "config.md#root", |case| {
        let report = case.probe(&["--try-write", "/", "--try-write", "/etc/passwd"], |config| {
            config["root"]["readonly"] = true.into();
        })?;
        ensure_eq!(
            report.writes["/"].errno,
            Some(30),
            "errno of a write to / (EROFS is 30)"
        );
        ensure_eq!(
            report.writes["/etc/passwd"].errno,
            Some(30),
            "errno of a write to a file"
        );
        Ok(())
    }),
    test("root-writable", "config.md#root", |case| {
        let report = case.probe(&["--try-write", "/"], |config| {
            config["root"]["readonly"] = false.into()
        })?;
        ensure!(report.writes["/"].ok, "cannot write to /: {:?}", report.writes);
        Ok(())
    }),
    test("root-path-absolute", "config.md#root", |case| {
        let mut bundle = case.bundle(&["/bin/probe"], |_| {})?;
        let root = text(&bundle.rootfs());
        bundle.edit(|config| config["root"]["path"] = root.into())?;
        case.probe_in(&bundle)?;
        Ok(())
    }),
    test("root-path-of-other-name", "config.md#root", |case| {
        let mut bundle = case.bundle(&["/bin/probe"], |_| {})?;
        std::fs::rename(bundle.rootfs(), bundle.dir().join("tree"))?;
        bundle.edit(|config| config["root"]["path"] = "tree".into())?;
        case.probe_in(&bundle)?;
        Ok(())
    }),
    test("host-root-is-not-reachable", "config.md#root", |case| {
        let report = case.probe(
            &["--stat", "/rootfs", "--stat", "/.oldroot", "--list", "/"],
            |_| {},
        )?;
        let host = report
            .mounts
            .iter()
            .filter(|entry| entry.mount_point == "/")
            .count();
        ensure_eq!(host, 1, "mounts on /");
        let strange = report
            .mounts
            .iter()
            .find(|entry| entry.mount_point.contains("bundle"));
        ensure!(strange.is_none(), "a mount of the host is left: {strange:?}");
        Ok(())
    }),
    test(
        "rootfs-propagation-private",
        "config-linux.md#rootfs-mount-propagation",
        |case| root_propagation(case, "private", ""),
    ),
    test(
        "rootfs-propagation-slave",
        "config-linux.md#rootfs-mount-propagation",
        |case| root_propagation(case, "slave", ""),
    ),
    test(
        "rootfs-propagation-shared",
        "config-linux.md#rootfs-mount-propagation",
        |case| root_propagation(case, "shared", "shared:"),
    ),
    test(
        "rootfs-propagation-unbindable",
        "config-linux.md#rootfs-mount-propagation",
        |case| root_propagation(case, "unbindable", "unbindable"),
    ),
    test(
        "proc-belongs-to-the-pid-namespace",
        "config-linux.md#default-filesystems",
        |case| {
            let report = case.probe(&["--list", "/proc"], |_| {})?;
            let pids: Vec<_> = report.lists["/proc"]
                .iter()
                .filter(|name| name.parse::<u32>().is_ok())
                .collect();
            ensure_eq!(pids, ["1"], "processes in /proc");
            Ok(())
        },
    ),
    test(
        "sysfs-is-readonly",
        "config-linux.md#default-filesystems",
        |case| {
            let report = case.probe(&[], |_| {})?;
            let entry = report
                .mount("/sys")
                .map(|entry| (entry.fs_type.clone(), entry.has("ro")));
            ensure_eq!(entry, Some(("sysfs".to_owned(), true)), "type and ro of /sys");
            Ok(())
        },
    ),
    test(
        "devpts-is-a-new-instance",
        "config-linux.md#default-filesystems",
        |case| {
            let report = case.probe(&["--list", "/dev/pts", "--stat", "/dev/pts/ptmx"], |_| {})?;
            ensure_eq!(report.lists["/dev/pts"], ["ptmx"], "terminals in /dev/pts");
            ensure_eq!(report.stats["/dev/pts/ptmx"].mode, 0o666, "mode of ptmx");
            Ok(())
        },
    ),
    test("mqueue-and-shm", "config-linux.md#default-filesystems", |case| {
        let report = case.probe(&["--stat", "/dev/shm"], |_| {})?;
        ensure_eq!(
            report.mount("/dev/mqueue").map(|entry| entry.fs_type.as_str()),
            Some("mqueue"),
            "/dev/mqueue"
        );
        ensure_eq!(
            report.mount("/dev/shm").map(|entry| entry.fs_type.as_str()),
            Some("tmpfs"),
            "/dev/shm"
        );
        ensure_eq!(report.stats["/dev/shm"].mode, 0o1777, "mode of /dev/shm");
        Ok(())
    }),
    test(
        "cgroup-mount-on-v1",
        "config-linux.md#default-filesystems",
        |case| {
            let report = case.probe(&["--list", "/sys/fs/cgroup"], |_| {})?;
            ensure!(
                report.mount("/sys/fs/cgroup/memory").is_some(),
                "mounts {:?}",
                report.lists
            );
            let mount = report
                .mount("/sys/fs/cgroup/memory")
                .map(|entry| (entry.fs_type.clone(), entry.has("ro")));
            ensure_eq!(
                mount,
                Some(("cgroup".to_owned(), true)),
                "type and ro of the memory controller"
            );
            Ok(())
        },
    )
    .needs(&[Need::CgroupV1("memory")]),
    test(
        "cgroup-mount-on-v2",
        "config-linux.md#default-filesystems",
        |case| {
            let report = case.probe(&[], |_| {})?;
            let mount = report
                .mount("/sys/fs/cgroup")
                .map(|entry| (entry.fs_type.clone(), entry.has("ro")));
            ensure_eq!(
                mount,
                Some(("cgroup2".to_owned(), true)),
                "type and ro of /sys/fs/cgroup"
            );
            Ok(())
        },
    )
    .needs(&[Need::CgroupV2("memory")]),
    test("minimal-configuration-runs", "config.md#configuration", |case| {
        let bundle = case.bundle(&["/bin/probe"], |config| {
            *config = config::minimal(&["/bin/probe"]);
            case.who().fit(config);
            case.set_cgroup(config, case.id());
        })?;
        let report = case.probe_in(&bundle)?;
        ensure_eq!(report.pid, 1, "pid");
        Ok(())
    }),
    test("no-mounts-at-all", "config.md#mounts", |case| {
        let printed = case.shell("echo works; ls /proc | wc -l", |config| {
            config["mounts"] = json!([])
        })?;
        ensure_eq!(printed, "works\n0", "output without mounts");
        Ok(())
    }),
];

/// A folder with one file in it.
fn folder(case: &Case<'_>, name: &str) -> Check<PathBuf> {
    let path = case.dir().join(name);
    std::fs::create_dir_all(&path)?;
    std::fs::write(path.join("file"), "content")?;
    Ok(path)
}

fn root_propagation(case: &Case<'_>, value: &str, wanted: &str) -> Check {
    let report = case.probe(&[], |config| config["linux"]["rootfsPropagation"] = value.into())?;
    let root = report
        .mount("/")
        .ok_or_else(|| Failure::Failed("no mount on /".to_owned()))?;
    let found = &root.propagation;
    let fits = if wanted.is_empty() {
        !found.iter().any(|field| field.starts_with("shared:"))
    } else {
        found.iter().any(|field| field.starts_with(wanted))
    };
    ensure!(fits, "propagation of / is {found:?}, expected {value}");
    Ok(())
}
