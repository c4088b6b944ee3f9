//! Ids, capabilities, working directory, scheduling, user and time namespaces.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use runtime_core_program::{Call, FrameKind, detail};

use crate::harness::*;

const SYS_RESOURCE: u64 = 1 << 24;
const NET_BIND: u64 = 1 << 10;
const KILL: u64 = 1 << 5;

fn user(uid: u32, gid: u32, groups: &[u64]) -> Step {
    Step::User {
        uid,
        gid,
        groups: groups.to_vec(),
        set_groups: true,
    }
}

fn capabilities(set: u64, inheritable: u64, ambient: u64) -> Step {
    Step::Capabilities {
        effective: set,
        permitted: set,
        inheritable,
        ambient,
    }
}

fn stopped(steps: &[Step]) -> Init {
    let program = all(&[steps, &[Step::Sync {}]]);
    let init = Init::start(&program);
    init.expect(FrameKind::Reached, u32::try_from(program.len()).unwrap());
    init
}

#[test]
fn a_user_gets_exactly_its_ids_and_capabilities() {
    if !is_root() {
        return;
    }
    let set = KILL | NET_BIND;
    let init = stopped(&[
        Step::Undumpable {},
        Step::LimitBounding { keep: set },
        user(1000, 100, &[7, 8]),
        capabilities(set, NET_BIND, NET_BIND | KILL),
        Step::NoNewPrivs {},
    ]);
    let hex = |set: u64| format!("{set:016x}");
    assert_eq!(init.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(init.status("Gid"), "100\t100\t100\t100");
    assert_eq!(init.status("Groups"), "7 8");
    for (field, value) in [
        ("CapBnd", set),
        ("CapEff", set),
        ("CapPrm", set),
        ("CapInh", NET_BIND),
        ("CapAmb", NET_BIND), // KILL is not inheritable and cannot be ambient
    ] {
        assert_eq!(init.status(field), hex(value), "{field}");
    }
    assert_eq!(init.status("NoNewPrivs"), "1");
    // Still undumpable: its files belong to root.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(
        fs::metadata(format!("/proc/{}/environ", init.child.id()))
            .unwrap()
            .uid(),
        0
    );
}

#[test]
fn capabilities_last_until_their_step() {
    if !is_root() {
        return;
    }
    // After the change of user: a filter without no_new_privs needs CAP_SYS_ADMIN, as does the host's name.
    let allow = vec![6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let init = stopped(&[
        Step::Unshare { namespaces: NEWUTS },
        user(1000, 100, &[]),
        Step::Hostname {
            name: b"later".to_vec(),
        },
        Step::Seccomp {
            filter: allow,
            flags: 0,
        },
        capabilities(0, 0, 0),
    ]);
    assert_eq!(init.status("Groups"), "");
    assert_eq!(init.status("CapEff"), "0000000000000000");
    assert_eq!(init.status("Seccomp"), "2");
}

#[test]
fn a_capability_that_the_caller_lacks_is_refused() {
    if !is_root() {
        return;
    }
    let held = u64::from_str_radix(
        fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:"))
            .unwrap()
            .trim(),
        16,
    )
    .unwrap();
    let steps = [
        capabilities(held & !SYS_RESOURCE, 0, 0),
        capabilities(held | SYS_RESOURCE, 0, 0),
    ];
    let frame = Init::start(&steps).failure();
    assert_eq!((frame.line, frame.call, frame.errno), (2, Call::Capset, 1));
}

#[test]
fn the_program_inherits_who_init_became() {
    if !is_root() {
        return;
    }
    let steps = all(&[
        &[
            Step::Umask { mask: 0o27 },
            Step::Personality { persona: 8 },
            Step::Scheduler {
                policy: 0,
                flags: 0,
                nice: 3,
                priority: 0,
                runtime: 0,
                deadline: 0,
                period: 0,
            },
            Step::IoPriority { value: 2 << 13 | 5 },
            Step::NewKeyring {
                name: text("_ses.test"),
            },
            Step::NewSession {},
            user(1000, 100, &[]),
            Step::WorkDir {
                path: text("/usr"),
                may_fail: false,
            },
        ],
        &shell(
            "umask; uname -m; cut -d' ' -f19 /proc/self/stat; pwd; cut -d' ' -f6 /proc/$$/stat; echo $$; awk '/_ses.test/ { print $5; exit }' /proc/keys",
        ),
    ]);
    let output = Init::start(&steps).output();
    let lines: Vec<&str> = output.lines().collect();
    let machine = if cfg!(target_arch = "x86_64") {
        "i686"
    } else {
        "armv8l"
    };
    assert_eq!(&lines[..4], ["0027", machine, "3", "/usr"], "{output}");
    assert_eq!(lines[4], lines[5], "leader of its own session");
    assert_eq!(lines.get(6), Some(&"3f0b0000"), "{output}");
}

#[test]
fn the_working_directory_is_inside() {
    if !is_root() {
        return;
    }
    let root = Folder::new();
    let private = root.join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let work_dir = |path: &str, may_fail| Step::WorkDir {
        path: text(path),
        may_fail,
    };
    let path = private.to_str().unwrap();
    // With the first attempt refused the second decides.
    let frame = Init::start(&[
        user(1000, 100, &[]),
        capabilities(0, 0, 0),
        work_dir(path, true),
        work_dir(path, false),
    ])
    .failure();
    assert_eq!((frame.line, frame.call, frame.errno), (4, Call::Chdir, 13));
    let frame = Init::start(&[work_dir("/no/such", true)]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Chdir, 2));
    // A descriptor of the host, reached through procfs (CVE-2024-21626).
    let host = fs::File::open("/usr").unwrap();
    use std::os::fd::{AsFd, AsRawFd};
    symlink(format!("/proc/self/fd/{}", host.as_raw_fd()), root.join("link")).unwrap();
    let steps = all(&[
        &rooted(&root),
        &[
            filesystem("proc", "/proc", &[], 0),
            Step::Pivot {},
            work_dir("/link", false),
        ],
    ]);
    let frame = Init::start_with(&bytes(&steps), &[host.as_fd()], std::process::Stdio::null()).failure();
    assert_eq!((frame.line, frame.detail), (6, detail::OUTSIDE));
}

#[test]
fn the_time_namespace_gets_its_offsets() {
    if !is_root() {
        return;
    }
    let offsets = |text: &[u8]| Step::EnterTime {
        offsets: text.to_vec(),
    };
    let init = stopped(&[
        Step::Undumpable {},
        offsets(b"monotonic 7881 5\nboottime 1337 0\n"),
    ]);
    let found: Vec<String> = init
        .proc("timens_offsets")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(found, ["monotonic", "7881", "5", "boottime", "1337", "0"]);
    assert_ne!(
        fs::read_link(format!("/proc/{}/ns/time", init.child.id())).unwrap(),
        fs::read_link("/proc/self/ns/time").unwrap()
    );
    let frame = Init::start(&[offsets(b"nonsense")]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Write, 22));
    drop(stopped(&[offsets(b"")]));
}

#[test]
fn limits_are_the_programs_too() {
    let limit = |resource, soft, hard| Step::Rlimit { resource, soft, hard };
    // RLIMIT_NOFILE and RLIMIT_CORE.
    let steps = all(&[
        &[limit(7, 33, 44), limit(4, 0, 0)],
        &shell("ulimit -Sn; ulimit -Hn; ulimit -Hc"),
    ]);
    assert_eq!(Init::start(&steps).output(), "33\n44\n0\n");
    let frame = Init::start(&[limit(7, 44, 33)]).failure();
    assert_eq!((frame.call.name(), frame.errno), ("prlimit64", 22));
}

#[test]
fn a_waiting_init_is_small() {
    let init = stopped(&[]);
    let kib = |field: &str| init.status(field).trim_end_matches(" kB").parse::<u32>().unwrap();
    assert!(
        kib("RssAnon") <= 64 && kib("VmRSS") <= 256,
        "{} {} KiB",
        kib("RssAnon"),
        kib("VmRSS")
    );
}

#[test]
fn a_cgroup_is_joined_by_its_file() {
    // The file need not be a cgroup's to see what is written.
    let folder = Folder::new();
    let tasks = fs::File::create(folder.join("tasks")).unwrap();
    use std::os::fd::{AsFd, AsRawFd};
    let steps = [
        Step::JoinCgroup {
            tasks: tasks.as_raw_fd(),
        },
        Step::Sync {},
    ];
    let init = Init::start_with(&bytes(&steps), &[tasks.as_fd()], std::process::Stdio::null());
    init.expect(FrameKind::Reached, 2);
    assert_eq!(fs::read(folder.join("tasks")).unwrap(), b"0");
}

#[test]
fn namespaces_are_joined_by_descriptor() {
    if !is_root() {
        return;
    }
    use std::os::fd::{AsFd, AsRawFd};
    let first = stopped(&[
        Step::Unshare { namespaces: NEWUTS },
        Step::Hostname {
            name: b"first".to_vec(),
        },
    ]);
    let namespace = fs::File::open(format!("/proc/{}/ns/uts", first.child.id())).unwrap();
    let kind = u32::try_from(NEWUTS).unwrap();
    let join = |kind| Step::Join {
        namespace: namespace.as_raw_fd(),
        kind,
    };
    let steps = all(&[&[join(kind)], &shell("uname -n; ls /proc/$$/fd | tr '\\n' ' '")]);
    let output = Init::start_with(&bytes(&steps), &[namespace.as_fd()], std::process::Stdio::null()).output();
    assert!(output.starts_with("first\n0 1 2 "), "{output}");
    let wrong = [join(u32::try_from(NEWNET).unwrap())];
    let init = Init::start_with(&bytes(&wrong), &[namespace.as_fd()], std::process::Stdio::null());
    let frame = init.failure();
    assert_eq!((frame.call, frame.errno), (Call::Setns, 22));
}

#[test]
fn the_callers_cpus_are_no_bound() {
    let all = rustix::thread::sched_getaffinity(None).unwrap();
    let cpus: Vec<usize> = (0..1024).filter(|cpu| all.is_set(*cpu)).collect();
    if cpus.len() < 2 {
        eprintln!("SKIPPED the_callers_cpus_are_no_bound: needs two CPUs");
        return;
    }
    // A thread of its own is bound, and init is its child.
    std::thread::spawn(move || {
        let mut one = rustix::thread::CpuSet::new();
        one.set(cpus[0]);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        let list = |init: &Init| init.status("Cpus_allowed_list");
        assert_eq!(list(&stopped(&[])), cpus[0].to_string());
        assert_ne!(list(&stopped(&[Step::AllCpus {}])), cpus[0].to_string());
    })
    .join()
    .unwrap();
}
