//! `run`: create and start in one, and stay with the container unless told to detach.

use runtime_core::{Container, CreateRequest, Error, ErrorKind, Result, Terminal as Place};

use crate::args::{Command, Flag, Matches};
use crate::cmd::device;
use crate::cmd::launch::{self, Launch};
use crate::fail::{Failure, Outcome};
use crate::notify::Proxy;
use crate::session::Session;
use crate::signals::{self, Signals};
use crate::terminal::Terminal;

pub(crate) const DETACH: Flag = Flag::switch("detach", "do not wait for the container's end").short('d');
pub(crate) const NO_SUBREAPER: Flag = Flag::switch(
    "no-subreaper",
    "do not adopt processes that the container leaves behind",
);

const FLAGS: &[Flag] = &[
    launch::BUNDLE,
    launch::CONFIG,
    launch::CONSOLE_SOCKET,
    launch::PIDFD_SOCKET,
    launch::PID_FILE,
    DETACH,
    Flag::switch("keep", "do not delete the container when it has ended"),
    NO_SUBREAPER,
    launch::NO_PIVOT,
    launch::NO_NEW_KEYRING,
    launch::PRESERVE_FDS,
    device::DEVICE,
    device::CDI_SPEC_DIR,
    device::GPU_CONFIG,
    device::NATIVE_HOOKS,
];

pub(crate) const COMMAND: Command = Command {
    name: "run",
    about: "create and start a container",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: launch::WHERE,
    flags: FLAGS,
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let detach = matches.has("detach");
    let (launch, request) = prepare(session, matches, detach).map_err(beside)?;
    let delete = !matches.has("keep");
    if detach {
        let (container, proxy, _) = begin(session, &launch, request, delete).map_err(starting)?;
        if let Some(proxy) = proxy {
            proxy.wait_ready(&session.log, &container).map_err(beside)?;
        }
        return Ok(0);
    }
    foreground(session, &launch, request, delete, !matches.has("no-subreaper"))
}

fn beside(error: Error) -> Failure {
    Failure::beside("runc run", error)
}

fn starting(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Exec => Failure::program(error),
        _ => Failure::starting("runc run", error),
    }
}

fn prepare(session: &Session, matches: &Matches, detach: bool) -> Result<(Launch, CreateRequest)> {
    let launch = Launch::from(matches)?;
    let request = launch.request(session, matches, detach)?;
    Ok((launch, request))
}

fn foreground(
    session: &Session,
    launch: &Launch,
    request: CreateRequest,
    delete: bool,
    adopt: bool,
) -> Outcome {
    // From here on signals are for the container; those that come before it runs wait in the descriptor.
    let mut signals = Signals::take().map_err(beside)?;
    if adopt {
        signals.adopt_orphans().map_err(beside)?;
    }
    let (container, proxy, terminal) = begin(session, launch, request, delete).map_err(starting)?;
    stay(session, &container, &signals, terminal, proxy.as_ref(), delete)
}

/// Stays with a running container until its end; the exit code.
pub(crate) fn stay(
    session: &Session,
    container: &Container,
    signals: &Signals,
    mut terminal: Option<Terminal>,
    proxy: Option<&Proxy>,
    delete: bool,
) -> Outcome {
    let span = session.trace.span("wait for the container's end");
    let exit = signals::attend(session, container, signals, terminal.as_mut(), proxy);
    if let Some(terminal) = terminal {
        terminal.finish();
    }
    drop(span);
    if delete {
        // How the program ended is known and is what the caller waits for.
        match session.runtime().delete(container.id(), exit.is_err()) {
            Ok(deleted) => {
                for warning in deleted.warnings {
                    session.log.warn(format_args!("{warning}"));
                }
            }
            // Somebody else was faster, as a checkpoint is that ends the container.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => session.log.warn(format_args!("{error}")),
        }
    }
    signals::exit_code(exit.map_err(beside)?).map_err(beside)
}

/// Makes the container and starts its program: in one call where nothing has to happen in between.
fn begin(
    session: &Session,
    launch: &Launch,
    request: CreateRequest,
    delete: bool,
) -> Result<(Container, Option<Proxy>, Option<Terminal>)> {
    let runtime = session.runtime();
    let has_terminal = matches!(request.terminal, Place::Keep);
    let host_socket = request.notify_socket.clone();
    if !has_terminal && host_socket.is_none() {
        let container = runtime.run(request)?;
        session.set_up(&container);
        session.running(&container);
        return Ok((container, None, None));
    }
    let mut container = runtime.create(request)?;
    session.set_up(&container);
    let rest = || {
        let proxy = host_socket
            .map(|host| Proxy::bind(&session.container_dir(&launch.id), &host))
            .transpose()?;
        let terminal = has_terminal
            .then(|| Terminal::new(container.take_terminal()))
            .transpose()?;
        terminal.as_ref().map(Terminal::make_raw).transpose()?;
        container.start()?;
        Ok((proxy, terminal))
    };
    match rest() {
        Ok((proxy, terminal)) => {
            session.running(&container);
            Ok((container, proxy, terminal))
        }
        Err(error) => {
            if delete && let Err(error) = runtime.delete(&launch.id, true) {
                session.log.warn(format_args!("{error}"));
            }
            Err(error)
        }
    }
}
