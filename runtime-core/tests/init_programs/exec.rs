//! Finding and executing the program, its descriptors, its HOME, its filter.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use runtime_core_program::step::NO_HOME;
use runtime_core_program::{Call, detail};

use crate::harness::*;

fn find(name: &str, search: &str) -> [Step; 2] {
    let exec = Step::Exec {
        args: texts(&["x"]),
        env: vec![],
        home: NO_HOME,
        keep: 0,
    };
    [
        Step::FindProgram {
            name: text(name),
            search: text(search),
        },
        exec,
    ]
}

#[test]
fn each_way_of_not_finding_has_its_name() {
    let folder = Folder::new();
    fs::write(folder.join("plain"), "").unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let dir = folder.path().to_str().unwrap();
    for (name, search, expected) in [
        ("nothing".to_owned(), dir, detail::NOT_IN_PATH),
        ("plain".to_owned(), dir, detail::NOT_IN_PATH),
        ("sh".to_owned(), "::usr/bin:.", detail::NOT_IN_PATH),
        (String::new(), dir, detail::NOT_IN_PATH),
        (path("nothing"), dir, detail::MISSING),
        (path("plain/below"), dir, detail::MISSING),
        (path("plain"), dir, detail::NOT_EXECUTABLE),
        (path(""), dir, detail::DIRECTORY),
    ] {
        let frame = Init::start(&find(&name, search)).failure();
        assert_eq!(
            (frame.line, frame.call, frame.detail),
            (1, Call::Execve, expected),
            "{name} in {search}"
        );
    }
}

#[test]
fn a_program_that_cannot_run_is_reported_by_exec() {
    let folder = Folder::new();
    let path = folder.join("script");
    fs::write(&path, "#!/nowhere/interpreter\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let init = Init::start(&find(path.to_str().unwrap(), ""));
    let (frame, _) = init.receive().unwrap();
    assert_eq!(frame.kind, runtime_core_program::FrameKind::Starting);
    let frame = init.failure();
    assert_eq!(
        (frame.line, frame.call, frame.errno, frame.detail),
        (2, Call::Execve, 2, detail::MISSING)
    );
}

#[test]
fn the_search_passes_over_what_cannot_run() {
    let folder = Folder::new();
    fs::create_dir(folder.join("sh")).unwrap();
    let search = format!("{}:/nowhere:/bin:/usr/bin", folder.path().display());
    let steps = [
        Step::FindProgram {
            name: text("sh"),
            search: text(&search),
        },
        Step::Exec {
            args: texts(&["sh", "-c", "echo $0 $ONE"]),
            env: texts(&["ONE=1"]),
            home: NO_HOME,
            keep: 0,
        },
    ];
    assert_eq!(Init::start(&steps).output(), "sh 1\n");
}

#[test]
fn only_named_descriptors_reach_the_program() {
    let file = |content: &str| {
        let folder = Folder::new();
        let path = folder.join("file");
        fs::File::create(&path)
            .unwrap()
            .write_all(content.as_bytes())
            .unwrap();
        fs::File::open(path).unwrap()
    };
    let (a, b, stray) = (file("a"), file("b"), file("stray"));
    let place = Step::PlaceFds {
        fds: vec![b.as_raw_fd(), a.as_raw_fd()],
    };
    let mut steps = vec![place];
    steps.extend(shell(
        "cat <&3; cat <&4; echo; n=0; while [ $n -lt 64 ]; do [ -e /proc/self/fd/$n ] && printf '%s ' $n; n=$((n + 1)); done",
    ));
    if let Some(Step::Exec { keep, .. }) = steps.last_mut() {
        *keep = 2;
    }
    let inherited = [a.as_fd(), b.as_fd(), stray.as_fd()];
    let output = Init::start_with(&bytes(&steps), &inherited, Stdio::null()).output();
    assert_eq!(output, "ba\n0 1 2 3 4 ");
}

#[test]
fn many_descriptors_are_placed_over_one_another() {
    // In reverse, so that each stands where another belongs; the report socket is among them.
    let folder = Folder::new();
    let files: Vec<fs::File> = (0..40)
        .map(|number| {
            fs::write(folder.join(&number.to_string()), format!("{number} ")).unwrap();
            fs::File::open(folder.join(&number.to_string())).unwrap()
        })
        .collect();
    let fds = files.iter().rev().map(AsRawFd::as_raw_fd).collect();
    let mut steps = vec![Step::PlaceFds { fds }];
    steps.extend(shell(
        "n=3; while [ $n -lt 43 ]; do cat /proc/self/fd/$n; n=$((n + 1)); done",
    ));
    if let Some(Step::Exec { keep, .. }) = steps.last_mut() {
        *keep = 40;
    }
    let inherited: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let output = Init::start_with(&bytes(&steps), &inherited, Stdio::null()).output();
    let expected: String = (0..40).rev().map(|number| format!("{number} ")).collect();
    assert_eq!(output, expected);
}

#[test]
fn standard_descriptors_may_be_exchanged() {
    let file = fs::File::create(Folder::new().path().with_extension("out")).unwrap();
    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    // stdout becomes stderr's place and the other way round.
    let mut steps = vec![Step::Stdio {
        input: -1,
        output: file.as_raw_fd(),
        error: 1,
    }];
    steps.extend(shell("echo out; echo err >&2"));
    let output = Init::start_with(&bytes(&steps), &[file.as_fd()], Stdio::null()).output();
    let written = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!((output.as_str(), written.as_str()), ("err\n", "out\n"));
}

#[test]
fn home_comes_from_the_containers_passwd() {
    if !is_root() {
        return;
    }
    let long = format!("long:x:7:7::/{}:/bin/sh\n", "x".repeat(5000));
    let good = "root:x:0:0:root:/root:/bin/sh\nuser:x:7:7::/home/seven:/bin/sh";
    let cases = [
        (Some(good.to_owned()), 7, "/home/seven"),
        (Some(good.to_owned()), 0, "/root"),
        (Some(good.to_owned()), 8, "/"),
        (
            Some(format!("x:x:07x:7::/wrong\nbroken\n:::\n{good}")),
            7,
            "/home/seven",
        ),
        (Some(format!("{long}{good}\n")), 7, "/home/seven"),
        (Some("user:x:7:7:::\n".to_owned()), 7, "/"),
        (None, 0, "/"),
    ];
    for (passwd, home, expected) in cases {
        let root = Folder::new();
        if let Some(passwd) = &passwd {
            fs::create_dir(root.join("etc")).unwrap();
            fs::write(root.join("etc/passwd"), passwd).unwrap();
        }
        assert_eq!(home_in(&root, home), format!("{expected}\n"), "{passwd:?}");
    }
}

#[test]
fn a_hostile_passwd_does_not_block() {
    if !is_root() {
        return;
    }
    for kind in ["fifo", "device", "directory", "magic link", "huge"] {
        let root = Folder::new();
        fs::create_dir(root.join("etc")).unwrap();
        let path = root.join("etc/passwd");
        match kind {
            "fifo" => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap(),
            "device" => symlink("/dev/zero", &path).unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            "magic link" => symlink("/proc/self/fd/0", &path).unwrap(),
            _ => fs::File::create(&path).unwrap().set_len(8 << 30).unwrap(),
        }
        let begun = std::time::Instant::now();
        assert_eq!(home_in(&root, 7), "/\n", "{kind}");
        assert!(begun.elapsed().as_secs() < 60, "{kind}");
    }
}

fn home_in(root: &Folder, uid: u32) -> String {
    let mut steps = all(&[
        &rooted(root),
        &host_programs(),
        &[
            filesystem("proc", "/proc", &[], 0),
            bind("/dev/zero", "/dev/zero", 0),
            Step::Pivot {},
        ],
        &shell("echo $HOME"),
    ]);
    if let Some(Step::Exec { home, .. }) = steps.last_mut() {
        *home = uid;
    }
    Init::start(&steps).output()
}

/// A filter of classic BPF: this system call is refused with EPERM (or allowed alone), the rest the other way round.
fn filter(allowed: &[u32], otherwise: u32) -> Vec<u8> {
    let instruction = |code: u16, jt: u8, jf: u8, k: u32| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([jt, jf]);
        bytes.extend(k.to_ne_bytes());
        bytes
    };
    let mut program = instruction(0x20, 0, 0, 0); // load the system call's number
    for number in allowed {
        program.extend(instruction(0x15, 0, 1, *number));
        program.extend(instruction(0x06, 0, 0, 0x7fff_0000)); // allow
    }
    program.extend(instruction(0x06, 0, 0, otherwise));
    program
}

const KILL: u32 = 0x8000_0000;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_filter_directly_before_exec_need_not_allow_init() {
    // Only execve and exit: what init does after the filter must not be more.
    let mut steps = vec![Step::NoNewPrivs {}];
    let exec = shell("echo runs");
    steps.push(exec[0].clone());
    steps.push(Step::Seccomp {
        filter: filter(&[59], KILL),
        flags: 0,
    });
    steps.push(exec[1].clone());
    let mut init = Init::start(&steps);
    init.expect(runtime_core_program::FrameKind::Starting, 4);
    assert!(init.receive().is_none(), "execve happened");
    assert_eq!(init.code(), None, "the shell was killed by its first call");
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(init.child.wait().unwrap().signal(), Some(31));
}

#[test]
fn a_filter_that_allows_all_lets_the_program_run() {
    let mut steps = vec![
        Step::NoNewPrivs {},
        Step::Seccomp {
            filter: filter(&[], 0x7fff_0000),
            flags: 0,
        },
    ];
    steps.extend(shell(
        "grep Seccomp: /proc/self/status; grep NoNewPrivs /proc/self/status",
    ));
    assert_eq!(Init::start(&steps).output(), "Seccomp:\t2\nNoNewPrivs:\t1\n");
}

#[test]
fn a_filters_listener_goes_to_the_parent() {
    if !is_root() {
        return;
    }
    const NOTIFY: u32 = 0x7fc0_0000;
    const NEW_LISTENER: u32 = 1 << 3;
    // sethostname is for the listener to judge; the program does not make it.
    let judged = [
        &filter(&[], 0)[..8],
        &filter(&[170], 0)[8..16],
        &filter(&[], NOTIFY)[8..],
        &filter(&[], 0x7fff_0000)[8..],
    ];
    for directly in [true, false] {
        let mut steps = vec![Step::Seccomp {
            filter: judged.concat(),
            flags: NEW_LISTENER,
        }];
        let exec = shell("ls /proc/self/fd | wc -l");
        steps.insert(usize::from(!directly), exec[0].clone());
        steps.push(exec[1].clone());
        let init = Init::start(&steps);
        let line = if directly { 2 } else { 1 };
        if directly {
            init.expect(runtime_core_program::FrameKind::Starting, 3);
        }
        let listener = init
            .expect(runtime_core_program::FrameKind::Descriptor, line)
            .unwrap();
        let name = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        assert_eq!(name.to_str(), Some("anon_inode:seccomp notify"));
        if !directly {
            init.expect(runtime_core_program::FrameKind::Starting, 3);
        }
        assert!(init.receive().is_none());
        assert_eq!(init.rest(), "4\n", "three, and the one that ls reads");
    }
}

/// Neither sendmsg(2), which hands the listener out, nor anything else: the thread that does it has no filter.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_filter_with_a_listener_need_not_allow_what_hands_it_out() {
    if !is_root() {
        return;
    }
    const NEW_LISTENER: u32 = 1 << 3;
    for otherwise in [KILL, 0x7fc0_0000] {
        let mut steps = shell("echo runs");
        steps.insert(
            1,
            Step::Seccomp {
                filter: filter(&[59], otherwise),
                flags: NEW_LISTENER,
            },
        );
        let mut init = Init::start(&steps);
        init.expect(runtime_core_program::FrameKind::Starting, 3);
        let listener = init.expect(runtime_core_program::FrameKind::Descriptor, 2);
        assert!(init.receive().is_none(), "execve happened");
        if otherwise == KILL {
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(init.child.wait().unwrap().signal(), Some(31));
        } else {
            // The program waits for an answer to its first call, and gets ENOSYS when nobody can give one any more.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(init.child.try_wait().unwrap().is_none(), "it waits");
            drop(listener);
            assert!(!init.child.wait().unwrap().success());
        }
    }
}

#[test]
fn a_filter_that_is_none_is_refused() {
    let frame = Init::start(&[
        Step::NoNewPrivs {},
        Step::Seccomp {
            filter: vec![],
            flags: 0,
        },
    ])
    .failure();
    assert_eq!((frame.line, frame.call, frame.errno), (2, Call::Seccomp, 22));
}
