//! Hooks: what they get, how they end, how long they may take.

use std::fs;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use runtime_core_program::{Call, FrameKind, detail};

use crate::harness::*;

fn hook(script: &str) -> Step {
    Step::Hook {
        path: text("/bin/sh"),
        args: texts(&["hook", "-c", script]),
        env: texts(&["PATH=/bin:/usr/bin", "ONE=1"]),
        home: runtime_core_program::step::NO_HOME,
        cwd: text("/usr"),
        head: b"{\"pid\":".to_vec(),
        tail: b"}".to_vec(),
        timeout: 10,
    }
}

fn with(mut hook: Step, change: impl FnOnce(&mut Step)) -> Step {
    change(&mut hook);
    hook
}

#[test]
fn a_hook_gets_state_environment_directory_and_session() {
    let folder = Folder::new();
    let out = folder.join("out");
    let script = format!(
        "{{ cat; echo; env | sort | grep -v ^_= | grep -v ^SHLVL; pwd; cut -d' ' -f6 /proc/$$/stat; echo $$; ls /proc/$$/fd; grep SigIgn /proc/$$/status; }} >{}",
        out.display()
    );
    let mut init = Init::start(&[hook(&script), Step::Sync {}]);
    init.expect(FrameKind::Reached, 2);
    let text = fs::read_to_string(out).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!("{{\"pid\":{}}}", init.child.id()));
    let end = lines.iter().position(|line| *line == "/usr").unwrap();
    assert_eq!(
        &lines[1..end],
        ["ONE=1", "PATH=/bin:/usr/bin", "PWD=/usr"],
        "the shell adds PWD"
    );
    assert_eq!(lines[end + 1], lines[end + 2], "leader of its own session");
    let fds: Vec<&str> = lines[end + 3..]
        .iter()
        .copied()
        .filter(|line| line.parse::<u32>().is_ok())
        .collect();
    assert!(
        fds.iter().all(|fd| ["0", "1", "2"].contains(fd) || fd.len() == 2),
        "{fds:?}"
    );
    assert!(text.ends_with("SigIgn:\t0000000000000000\n"), "{text}");
    init.go(None);
    assert_eq!(init.code(), Some(1));
}

#[test]
fn the_ends_of_a_hook_are_told_apart() {
    for (script, expected, value) in [
        ("exit 3", detail::HOOK_EXIT, 3),
        ("kill -TERM $$", detail::HOOK_SIGNAL, 15),
        ("kill -KILL $$", detail::HOOK_SIGNAL, 9),
    ] {
        let frame = Init::start(&[hook(script)]).failure();
        assert_eq!(
            (frame.line, frame.detail, frame.value),
            (1, expected, value),
            "{script}"
        );
    }
}

#[test]
fn a_hook_that_cannot_be_executed_says_why() {
    let folder = Folder::new();
    let plain = folder.join("plain");
    fs::write(&plain, "").unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    let at = |new: &str| {
        with(hook(""), |hook| {
            if let Step::Hook { path, .. } = hook {
                *path = text(new)
            }
        })
    };
    let frame = Init::start(&[at("/no/such/hook")]).failure();
    assert_eq!((frame.call, frame.errno, frame.detail), (Call::Execve, 2, 0));
    let frame = Init::start(&[at(plain.to_str().unwrap())]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Execve, 13));
    let lost = with(hook(""), |hook| {
        if let Step::Hook { cwd, .. } = hook {
            *cwd = text("/no/such")
        }
    });
    let frame = Init::start(&[lost]).failure();
    assert_eq!((frame.call, frame.errno), (Call::Chdir, 2));
}

#[test]
fn a_hook_past_its_time_is_killed_with_its_children() {
    let folder = Folder::new();
    let out = folder.join("pid");
    // A slow machine may take a second for the shell alone: with more time then.
    let sleeper = [1, 4, 16].into_iter().find_map(|seconds| {
        let script = format!("sleep 1000 & echo $! >{}; wait", out.display());
        let slow = with(hook(&script), |hook| {
            if let Step::Hook { timeout, .. } = hook {
                *timeout = seconds;
            }
        });
        let begun = Instant::now();
        let frame = Init::start(&[slow]).failure();
        assert_eq!(frame.detail, detail::HOOK_TIMEOUT);
        assert!(begun.elapsed().as_secs() >= seconds, "killed before its time");
        let pid = fs::read_to_string(&out).unwrap_or_default();
        pid.ends_with('\n').then(|| pid.trim().to_owned())
    });
    let sleeper = sleeper.expect("the hook's child begins");
    let lives = || {
        let status = fs::read_to_string(format!("/proc/{sleeper}/stat")).unwrap_or_default();
        (!status.is_empty() && !status.contains(") Z ")).then_some(status)
    };
    let begun = Instant::now();
    while let Some(status) = lives() {
        assert!(
            begun.elapsed().as_secs() < 60,
            "the hook's child lives on: {status}"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_hook_need_not_read_its_state() {
    for script in ["exec true", "head -c 5 >/dev/null", "exec <&-; sleep 0.2"] {
        let large = with(hook(script), |hook| {
            if let Step::Hook { tail, .. } = hook {
                *tail = vec![b'x'; 1 << 20]
            }
        });
        let init = Init::start(&[large, Step::Sync {}]);
        init.expect(FrameKind::Reached, 2);
        assert_eq!(init.status("SigIgn"), "0000000000000000");
    }
    // One that waits for ever without reading is killed in time.
    let stuck = with(hook("sleep 60"), |hook| {
        if let Step::Hook { tail, timeout, .. } = hook {
            (*tail, *timeout) = (vec![b'x'; 1 << 20], 1);
        }
    });
    assert_eq!(Init::start(&[stuck]).failure().detail, detail::HOOK_TIMEOUT);
}

#[test]
fn a_large_state_arrives_whole() {
    let folder = Folder::new();
    let out = folder.join("out");
    let large = with(hook(&format!("sleep 0.1; wc -c >{}", out.display())), |hook| {
        if let Step::Hook { tail, timeout, .. } = hook {
            (*tail, *timeout) = (vec![b'x'; 1 << 20], 0);
        }
    });
    let init = Init::start(&[large, Step::Sync {}]);
    init.expect(FrameKind::Reached, 2);
    let pid = init.child.id().to_string().len();
    assert_eq!(
        fs::read_to_string(out).unwrap().trim(),
        (7 + pid + (1 << 20)).to_string()
    );
}

#[test]
fn what_a_failed_hook_printed_goes_with_the_report() {
    let init = Init::start(&[hook("echo out; echo err >&2; exit 1")]);
    let (frame, printed) = init.receive().unwrap();
    assert_eq!((frame.detail, frame.value), (detail::HOOK_EXIT, 1));
    let mut text = String::new();
    let mut printed = fs::File::from(printed.unwrap());
    printed.seek(std::io::SeekFrom::Start(0)).unwrap();
    printed.read_to_string(&mut text).unwrap();
    assert_eq!(text, "out\nerr\n");
    // One that succeeds leaves nothing to the failure of a later step.
    let init = Init::start(&[hook("echo out"), Step::Pivot {}]);
    let (frame, printed) = init.receive().unwrap();
    assert_eq!((frame.line, frame.kind), (2, FrameKind::Failed));
    assert!(printed.is_none());
}

#[test]
fn a_hook_gets_the_home_of_its_user() {
    let folder = Folder::new();
    let out = folder.join("out");
    let home = with(hook(&format!("echo $HOME >{}", out.display())), |hook| {
        if let Step::Hook { home, .. } = hook {
            *home = 0;
        }
    });
    let init = Init::start(&[home, Step::Sync {}]);
    init.expect(FrameKind::Reached, 2);
    assert_eq!(fs::read_to_string(out).unwrap(), "/root\n");
}
