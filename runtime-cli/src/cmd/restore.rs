//! `restore`: makes a container from what checkpoint saved, and stays with it unless told to detach.

use runtime_core::spec::LoadedSpec;
use runtime_core::{Container, Error, RestoreRequest, Result, Terminal as Place};

use crate::args::{Command, Flag, Matches};
use crate::cmd::launch::{self, BUNDLE, CONFIG, CONSOLE_SOCKET, PID_FILE};
use crate::cmd::{criu, run};
use crate::fail::{Failure, Outcome};
use crate::notify;
use crate::session::{Session, absolute};
use crate::signals::Signals;
use crate::terminal::Terminal;

const FLAGS: &[Flag] = &[
    CONSOLE_SOCKET,
    criu::IMAGE_PATH,
    criu::WORK_PATH,
    criu::TCP_ESTABLISHED,
    Flag::switch("tcp-close", "close the connections of TCP that the image holds"),
    criu::EXT_UNIX_SK,
    criu::SHELL_JOB,
    criu::FILE_LOCKS,
    criu::MANAGE_CGROUPS,
    BUNDLE,
    CONFIG,
    run::DETACH,
    PID_FILE,
    run::NO_SUBREAPER,
    Flag::switch(
        "no-pivot",
        "accepted for callers of runc; CRIU itself changes the root, in its own way",
    ),
    criu::EMPTY_NS,
    criu::AUTO_DEDUP,
    criu::LAZY_PAGES,
    Flag::option(
        "lsm-profile",
        "TYPE:NAME",
        "profile of AppArmor or SELinux instead of that in the image",
    ),
    Flag::option(
        "lsm-mount-context",
        "CONTEXT",
        "SELinux context of mounts instead of that in the image",
    ),
    criu::NETWORK_LOCK,
];

pub(crate) const COMMAND: Command = Command {
    name: "restore",
    about: "make a container from saved files",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   The processes come from the image files that checkpoint wrote, as they were, privileges included: use images only\n   \
           from where you would take a configuration. Mounts, namespaces, hooks, the cgroup and its limits are those of the\n   \
           bundle. When it fails, nothing is left.",
    flags: FLAGS,
    run,
};

/// What failures begin with.
const VERB: &str = "runc restore";

fn run(session: &Session, matches: &Matches) -> Outcome {
    let detach = matches.has("detach");
    if matches.has("no-pivot") {
        session.log.warn(format_args!(
            "--no-pivot changes nothing at a restore: CRIU changes the root"
        ));
    }
    let request = request(session, matches, detach).map_err(beside)?;
    let runtime = session.runtime();
    if detach {
        let container = runtime.restore(request).map_err(starting)?;
        session.set_up(&container);
        return Ok(0);
    }
    // From here on signals are for the container; those that come before it runs wait in the descriptor.
    let mut signals = Signals::take().map_err(beside)?;
    if !matches.has("no-subreaper") {
        signals.adopt_orphans().map_err(beside)?;
    }
    let id = request.id.clone();
    let has_terminal = matches!(request.terminal, Place::Keep);
    let mut container = runtime.restore(request).map_err(starting)?;
    session.set_up(&container);
    let terminal = terminal(&mut container, has_terminal);
    let terminal = match terminal {
        Ok(terminal) => terminal,
        Err(error) => {
            if let Err(error) = runtime.delete(&id, true) {
                session.log.warn(format_args!("{error}"));
            }
            return Err(beside(error));
        }
    };
    run::stay(session, &container, &signals, terminal, None, true)
}

fn beside(error: Error) -> Failure {
    Failure::beside(VERB, error)
}

fn starting(error: Error) -> Failure {
    Failure::starting(VERB, error)
}

fn terminal(container: &mut Container, wanted: bool) -> Result<Option<Terminal>> {
    // An image of a container without a terminal has none to give.
    let Some(master) = container.take_terminal().filter(|_| wanted) else {
        return Ok(None);
    };
    let terminal = Terminal::new(Some(master))?;
    terminal.make_raw()?;
    Ok(Some(terminal))
}

fn request(session: &Session, matches: &Matches, detach: bool) -> Result<RestoreRequest> {
    let options = criu::options(matches)?;
    let bundle = matches.path("bundle").unwrap_or_else(|| ".".into());
    let bundle = std::fs::canonicalize(&bundle)
        .map_err(|error| Error::os(format!("realpath({bundle:?})"), error).with_step("open the bundle"))?;
    let config = matches.text("config")?.unwrap_or("config.json");
    let spec = LoadedSpec::from_bundle(&bundle, config)?;
    session
        .log
        .debug(format_args!("loaded {config} of {}", bundle.display()));
    let process = spec.spec.process().as_ref();
    let wanted = process.and_then(|process| process.terminal()) == Some(true);
    let socket = matches.path("console-socket");
    let place = launch::terminal(wanted, detach, socket.as_deref())?;
    let mut request = RestoreRequest::new(matches.id()?, bundle, spec, &options.image);
    request.criu = options;
    request.terminal = place;
    request.pid_file = matches.path("pid-file").as_deref().map(absolute).transpose()?;
    request.notify_socket = notify::host();
    request.tcp_close = matches.has("tcp-close");
    request.lsm_profile = matches.text("lsm-profile")?.map(str::to_owned);
    request.lsm_mount_context = matches.text("lsm-mount-context")?.map(str::to_owned);
    Ok(request)
}
