//! Terminals: T-02, T-05, T-35.

use super::dev::{dev_from, volume};
use super::{
    BAITED, LIMIT, Outside, Swapper, UNSHARE, WORD, in_own_uts, node, race, result, started, without_dev,
    writable_proc,
};
use crate::case::{Case, text};
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test};
use fixtures::console::ConsoleReceiver;
use fixtures::{Bundle, config};
use rustix::pty::OpenptFlags;
use serde_json::Value;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

const CONSOLE: &str = "CVE-2026-88264";
const PTS: &str = "CVE-2025-52565";
const TTY: &str = "TIOCSTI, CVE-2016-2568 and its kind";
const BAIT: &str = "/proc/sys/kernel/domainname";
/// Time in which a program says its word; what went elsewhere is never said.
const SAY: Duration = Duration::from_secs(2);

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t02-console-is-a-link", CONSOLE, |case| console_link(case, false)).needs(UNSHARE),
    test("t02-console-is-a-link-in-a-readonly-root", CONSOLE, |case| {
        console_link(case, true)
    })
    .needs(UNSHARE),
    test("t05-console-is-exchanged", PTS, |case| {
        let volume = volume(case)?;
        needed(&volume)?;
        std::fs::write(volume.join("console"), "")?;
        symlink(BAIT, volume.join("link"))?;
        let bundle = console_bundle(case, |config| {
            dev_from(config, &volume);
            devpts(config);
        })?;
        let swapper = Swapper::start(&volume.join("console"), &volume.join("link"));
        race(case, &swapper, |_| console_run(case, &bundle))
    })
    .needs(BAITED),
    test("t05-pts-is-exchanged", PTS, |case| {
        let volume = volume(case)?;
        needed(&volume)?;
        std::fs::create_dir(volume.join("pts"))?;
        std::fs::create_dir(volume.join("fake"))?;
        for number in 0..10 {
            symlink(BAIT, volume.join("fake").join(number.to_string()))?;
        }
        symlink(BAIT, volume.join("fake/ptmx"))?;
        let bundle = console_bundle(case, |config| {
            dev_from(config, &volume);
            devpts(config);
        })?;
        let swapper = Swapper::start(&volume.join("pts"), &volume.join("fake"));
        race(case, &swapper, |_| console_run(case, &bundle))
    })
    .needs(BAITED),
    test("t35-no-terminal-of-the-caller", TTY, |case| {
        let bundle = case.bundle(&["/bin/probe", "--read", "/dev/tty"], |_| {})?;
        // The caller's terminal is its controlling one, as in a shell.
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.map_err(pty_error)?;
        rustix::pty::unlockpt(&master).map_err(pty_error)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(pty_error)?;
        let inner = case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]);
        let mut command = std::process::Command::new("/usr/bin/setsid");
        command
            .args(["--ctty", "--wait", "--"])
            .arg(inner.get_program())
            .args(inner.get_args());
        command
            .current_dir(case.dir())
            .stdin(std::process::Stdio::from(slave));
        let finished = case.start_within(command, "run", LIMIT)?.finish()?.ok()?;
        let report = crate::case::parse(&finished.stdout)?;
        // ENXIO, tty(4): the process has no controlling terminal.
        ensure_eq!(
            report.reads["/dev/tty"].errno,
            Some(6),
            "FELL: errno of opening /dev/tty, which should be none's"
        );
        ensure_eq!(
            report.sid,
            report.pid,
            "FELL: the session, which should be the program's own"
        );
        Ok(())
    })
    .needs(&[Need::Program("/usr/bin/setsid")]),
];

fn pty_error(errno: rustix::io::Errno) -> Failure {
    Failure::Failed(format!("the test's own terminal: {errno}"))
}

/// What runtimes need of `/dev` and do not make in a volume: the null device for masks, and the multiplexer.
fn needed(volume: &std::path::Path) -> Check {
    symlink("pts/ptmx", volume.join("ptmx"))?;
    node(&volume.join("null"), rustix::fs::FileType::CharacterDevice, 1, 3)
}

fn devpts(config: &mut Value) {
    config::add_mount(
        config,
        "/dev/pts",
        "devpts",
        "devpts",
        &["newinstance", "ptmxmode=0666", "mode=0620"],
    );
}

/// A bundle with a terminal whose program tells what its console is, and writes to it.
fn console_bundle(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check<Bundle> {
    // The name /dev/console may be exchanged again by then; what counts is where the mount and the streams are.
    let script = format!(
        "grep -e /dev/console -e /dev/link -e {BAIT} /proc/self/mountinfo >/result; \
         test -t 0 && test -t 1 && test -t 2 && echo tty >>/result; echo {WORD}; cat {BAIT} >>/result"
    );
    case.bundle(&["/bin/sh", "-c", &script], |config| {
        config["process"]["terminal"] = true.into();
        edit(config);
    })
}

/// One life on a console socket. Whether it started.
fn console_run(case: &Case<'_>, bundle: &Bundle) -> Check<bool> {
    // It may not be there; then nothing has to be removed.
    let _ = std::fs::remove_file(bundle.rootfs().join("result"));
    let receiver = ConsoleReceiver::bind(&case.dir().join("console.sock"))?;
    let socket = text(receiver.path());
    let bundle_dir = text(bundle.dir());
    let args = [
        "create",
        "--console-socket",
        &socket,
        "--bundle",
        &bundle_dir,
        case.id(),
    ];
    let created = case
        .start_within(in_own_uts(case, &args), "create", LIMIT)?
        .finish()?;
    let said = created.stderr.trim().to_owned();
    if started(created)?.is_none() {
        case.note(format!("refused: {said}"));
        return Ok(false);
    }
    let console = receiver.receive(case.time_left())?;
    let began = started(case.run(&["start", case.id()])?)?.is_some();
    let said = match began {
        true => console.read_until(SAY, |text| text.contains(WORD))?,
        false => String::new(),
    };
    let end = Instant::now() + SAY;
    let mut stopped = !began;
    while !stopped && Instant::now() < end {
        stopped = case.state()?["status"] == "stopped";
    }
    case.run(&["delete", "--force", case.id()])?;
    let result = result(bundle);
    ensure!(
        !result.contains(WORD),
        "FELL: the terminal's output went to {BAIT}: {result:?}"
    );
    let elsewhere = result
        .lines()
        .find(|line| line.contains(" - ") && !line.contains(" - devpts "));
    ensure!(elsewhere.is_none(), "FELL: the console is {elsewhere:?}");
    ensure!(
        !began || result.lines().any(|line| line == "tty"),
        "FELL: the streams are no terminal: {result:?}, said {said:?}, ended: {stopped}"
    );
    Ok(began)
}

fn console_link(case: &Case<'_>, readonly: bool) -> Check {
    let outside = Outside::new(case)?;
    let bundle = case.bundle(&["/bin/true"], |config| {
        without_dev(config);
        writable_proc(config);
        devpts(config);
        config["process"]["terminal"] = true.into();
        config["root"]["readonly"] = readonly.into();
    })?;
    std::fs::create_dir(bundle.rootfs().join("dev/pts"))?;
    symlink(outside.dir().join("made"), bundle.rootfs().join("dev/console"))?;
    let receiver = ConsoleReceiver::bind(&case.dir().join("console.sock"))?;
    let socket = text(receiver.path());
    let bundle_dir = text(bundle.dir());
    let args = [
        "create",
        "--console-socket",
        &socket,
        "--bundle",
        &bundle_dir,
        case.id(),
    ];
    started(
        case.start_within(in_own_uts(case, &args), "create", LIMIT)?
            .finish()?,
    )?;
    outside.untouched()
}
