//! `exec`: runs another program in a container.
//!
//! The program is described by a file (--process), or by the container's own description with changes from the command
//! line. Every failure of exec itself exits with 255, so that it is not taken for the program's.

use std::io::Read;
use std::path::Path;

use runtime_core::spec::{LoadedProcess, LoadedSpec, Process, capability, no_process};
use runtime_core::{
    Container, Error, ErrorKind, ExecRequest, Executed, PrepareTerminal, Result, SubCgroup, Terminal as Place,
};

use crate::args::{Command, Flag, Matches, bad_value};
use crate::cmd::launch;
use crate::fail::{Failure, Outcome};
use crate::session::{Session, absolute};
use crate::signals::{self, Signals};
use crate::terminal::{self, Terminal};

const FLAGS: &[Flag] = &[
    Flag::option(
        "console-socket",
        "PATH",
        "unix socket that gets the master of the program's terminal",
    ),
    Flag::option(
        "pidfd-socket",
        "PATH",
        "unix socket that gets a pidfd of the program",
    ),
    Flag::option("cwd", "DIR", "the program's working directory"),
    Flag::option(
        "env",
        "NAME=VALUE",
        "add to the program's environment (may be repeated)",
    )
    .short('e'),
    Flag::switch("tty", "give the program a terminal").short('t'),
    Flag::option("user", "UID[:GID]", "the program's user, in numbers").short('u'),
    Flag::option(
        "additional-gids",
        "GID",
        "add a supplementary group, a number (may be repeated)",
    )
    .short('g'),
    Flag::option(
        "process",
        "FILE",
        "the description of the program as JSON; the other options about it do not count then",
    )
    .short('p'),
    Flag::switch("detach", "do not wait for the program's end").short('d'),
    Flag::option("pid-file", "FILE", "write the program's pid to this file"),
    Flag::option("process-label", "LABEL", "the program's SELinux label"),
    Flag::option("apparmor", "PROFILE", "the program's AppArmor profile"),
    Flag::switch("no-new-privs", "let the program gain no privileges by execve"),
    Flag::option(
        "cap",
        "NAME",
        "give the program this capability too (may be repeated)",
    )
    .short('c'),
    launch::PRESERVE_FDS,
    Flag::option(
        "cgroup",
        "[CONTROLLERS:]PATH",
        "start in this cgroup below the container's (with controllers, for version 1, may be repeated)",
    ),
    Flag::switch(
        "ignore-paused",
        "also in a paused container: the program begins when it is resumed",
    ),
];

/// The options that describe the program.
const DESCRIBING: &[&str] = &[
    "cwd",
    "env",
    "tty",
    "user",
    "additional-gids",
    "process-label",
    "apparmor",
    "no-new-privs",
    "cap",
];

pub(crate) const COMMAND: Command = Command {
    name: "exec",
    about: "run another program in a container",
    words: "CONTAINER-ID PROGRAM [ARGUMENT...] | --process FILE CONTAINER-ID",
    min: 1,
    max: usize::MAX,
    first_word_ends_options: true,
    failure: 255,
    text: "   The program gets what the container's configuration gives to its own program: environment, user, working\n   \
           directory, capabilities, limits; options change that. The exit code is the program's, and 255 where it was\n   \
           not started.",
    flags: FLAGS,
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    if matches.has("detach") {
        let request = prepare(session, matches, true).map_err(beside)?;
        return begin(session, request).map(|_| 0).map_err(starting);
    }
    foreground(session, matches)
}

fn beside(error: Error) -> Failure {
    Failure::beside("exec", error)
}

fn starting(error: Error) -> Failure {
    Failure::starting("exec", error)
}

fn foreground(session: &Session, matches: &Matches) -> Outcome {
    let request = prepare(session, matches, false).map_err(beside)?;
    // From here on signals are for the program; those that come before it runs wait in the descriptor.
    let signals = Signals::take().map_err(beside)?;
    let mut executed = begin(session, request).map_err(starting)?;
    let mut terminal = executed
        .take_terminal()
        .map(|master| Terminal::new(Some(master)))
        .transpose()
        .map_err(beside)?;
    terminal
        .as_ref()
        .map(Terminal::make_raw)
        .transpose()
        .map_err(beside)?;
    let span = session.trace.span("wait for the program's end");
    let exit = signals::attend(session, &executed, &signals, terminal.as_mut(), None);
    if let Some(terminal) = terminal {
        terminal.finish();
    }
    drop(span);
    signals::exit_code(exit.map_err(beside)?).map_err(beside)
}

/// What the library is asked for.
fn prepare(session: &Session, matches: &Matches, detach: bool) -> Result<(Container, ExecRequest)> {
    let container = session.container(&matches.id()?)?;
    let process = match matches.path("process") {
        Some(path) => from_file(session, matches, &path)?,
        None => from_options(session, matches, &container)?,
    };
    let inherited = session.take_inherited()?;
    let socket = matches.path("console-socket");
    let mut request = ExecRequest::new(process);
    let wants_terminal = request.process.terminal() == Some(true);
    request.terminal = launch::terminal(wants_terminal, detach, socket.as_deref())?;
    if matches!(request.terminal, Place::Keep) {
        request.prepare_terminal = Some(PrepareTerminal::new(terminal::prepare));
    }
    request.preserve_fds = inherited.descriptors;
    request.listen_fds = inherited.listen;
    request.listen_fd_names = inherited.listen_names;
    request.pid_file = matches.path("pid-file").as_deref().map(absolute).transpose()?;
    request.pidfd_socket = matches
        .path("pidfd-socket")
        .as_deref()
        .map(absolute)
        .transpose()?;
    request.sub_cgroups = sub_cgroups(&matches.values("cgroup")?)?;
    request.ignore_paused = matches.has("ignore-paused");
    Ok((container, request))
}

/// Starts the program.
fn begin(session: &Session, (container, request): (Container, ExecRequest)) -> Result<Executed> {
    let affinity = request.process.exec_cpu_affinity().as_ref();
    let affinity = affinity.and_then(|cpus| cpu_mask(cpus.initial().as_deref()?));
    let executed = container.exec(request)?;
    if let Some(mask) = affinity {
        session
            .log
            .debug(format_args!("nsexec container setup: affinity: {mask:#x}"));
    }
    // runc's words, which are looked for in logs (exec.bats); all three are true by now.
    let pid = executed.pid();
    for said in [
        "nsexec container setup: pid {} is in the container's namespaces",
        "child process in init(): pid {} has become the program's user",
        "setns_init: about to exec: pid {} is the program now",
    ] {
        session
            .log
            .debug(format_args!("{}", said.replace("{}", &pid.to_string())));
    }
    Ok(executed)
}

/// The mask of a list of CPUs that the library has accepted; None where it needs more than 64 bits.
fn cpu_mask(list: &str) -> Option<u64> {
    let mut mask = 0;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        for cpu in first.trim().parse::<u32>().ok()?..=last.trim().parse().ok()? {
            mask |= 1_u64.checked_shl(cpu)?;
        }
    }
    Some(mask)
}

/// The program of --process; the file may be a pipe of the caller's shell.
fn from_file(session: &Session, matches: &Matches, path: &Path) -> Result<Process> {
    for name in DESCRIBING.iter().filter(|name| matches.given(name)) {
        session
            .log
            .debug(format_args!("--{name} does not count beside --process"));
    }
    let limit = runtime_core::spec::load::MAX_CONFIG_BYTES;
    let os = |error| Error::os(format!("open({path:?}, O_RDONLY|O_CLOEXEC)"), error);
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(os)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::os(format!("read({path:?})"), error))?;
    if bytes.len() as u64 > limit {
        let message = format!("{} is larger than {limit} bytes", path.display());
        return Err(Error::new(ErrorKind::InvalidSpec, message));
    }
    let loaded = LoadedProcess::from_slice(&bytes, &path.display().to_string())?;
    for warning in &loaded.warnings {
        session.log.warn(format_args!("{warning}"));
    }
    Ok(loaded.process)
}

fn from_options(session: &Session, matches: &Matches, container: &Container) -> Result<Process> {
    let (process, unknown) = described(&container.config()?, matches)?;
    if !unknown.is_empty() {
        session.log.warn(format_args!(
            "ignoring unknown or unavailable capabilities: [{}]",
            unknown.join(" ")
        ));
    }
    Ok(process)
}

/// The container's own program with what the options change; and capabilities that nobody knows.
fn described(config: &LoadedSpec, matches: &Matches) -> Result<(Process, Vec<String>)> {
    let mut process = config.spec.process().clone().unwrap_or_else(no_process);
    let words = matches.words().get(1..).unwrap_or_default();
    if words.is_empty() {
        return Err(
            Error::new(ErrorKind::InvalidArgument, "exec args cannot be empty")
                .with_hint("give the program behind the container's id, or --process FILE"),
        );
    }
    let text = |word: &std::ffi::OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| {
            let message = format!("argument {:?} is not UTF-8 text", word.to_string_lossy());
            Error::new(ErrorKind::InvalidArgument, message)
        })
    };
    process.set_args(Some(words.iter().map(text).collect::<Result<_>>()?));
    process.set_command_line(None);
    process.set_terminal(Some(matches.has("tty")));
    if let Some(cwd) = matches.path("cwd") {
        process.set_cwd(cwd);
    }
    let added = matches.values("env")?;
    if !added.is_empty() {
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(added.into_iter().map(str::to_owned));
        process.set_env(Some(env));
    }
    if matches.given("no-new-privs") {
        process.set_no_new_privileges(Some(matches.has("no-new-privs")));
    }
    if let Some(label) = matches.text("process-label")? {
        process.set_selinux_label(Some(label.to_owned()));
    }
    if let Some(profile) = matches.text("apparmor")? {
        process.set_apparmor_profile(Some(profile.to_owned()));
    }
    identity(&mut process, matches)?;
    let unknown = matches
        .values("cap")?
        .into_iter()
        .filter(|name| !capability::grant(&mut process, name))
        .map(str::to_owned)
        .collect();
    Ok((process, unknown))
}

fn identity(process: &mut Process, matches: &Matches) -> Result<()> {
    let user = process.user_mut();
    if let Some(typed) = matches.text("user")? {
        let (uid, gid) = match typed.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (typed, None),
        };
        user.set_uid(number("user", typed, uid)?);
        if let Some(gid) = gid {
            user.set_gid(number("user", typed, gid)?);
        }
    }
    let mut groups = user.additional_gids().clone().unwrap_or_default();
    for gid in matches.values("additional-gids")? {
        groups.push(number("additional-gids", gid, gid)?);
    }
    user.set_additional_gids(Some(groups).filter(|groups| !groups.is_empty()));
    Ok(())
}

/// An id. Signs and spaces are not taken, and neither is 4294967295: setresuid(2) reads it as "leave it as it is", and
/// the program would run as the runtime's own user (CVE-2026-30892 and its kin).
fn number(long: &'static str, typed: &str, id: &str) -> Result<u32> {
    let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = id.parse().ok().filter(|number| digits && *number != u32::MAX);
    parsed.ok_or_else(|| {
        let form = if long == "user" { "UID or UID:GID" } else { "GID" };
        bad_value(
            long,
            typed.as_ref(),
            &format!("{form} in decimal digits, each from 0 to 4294967294"),
        )
    })
}

/// `PATH` alone, or `CONTROLLER,...:PATH` for hierarchies of version 1.
fn sub_cgroups(typed: &[&str]) -> Result<Vec<SubCgroup>> {
    let wrong = |argument: &str, why: &str| {
        let message = format!("invalid --cgroup argument: {argument} ({why})");
        Err(Error::new(ErrorKind::InvalidArgument, message))
    };
    let mut found: Vec<SubCgroup> = Vec::new();
    for argument in typed {
        let Some((controllers, path)) = argument.split_once(':') else {
            if typed.len() != 1 {
                return wrong(argument, "missing <controller>: prefix");
            }
            found.push(SubCgroup {
                controller: None,
                path: (*argument).to_owned(),
            });
            continue;
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return wrong(argument, "empty <controller> prefix");
            }
            let controller = Some(controller.to_owned());
            if found.iter().any(|other| other.controller == controller) {
                return wrong(argument, "a controller is specified multiple times");
            }
            found.push(SubCgroup {
                controller,
                path: path.to_owned(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
