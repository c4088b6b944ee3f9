//! What create and run share: their options and the request that the library gets.
//!
//! Relative paths start at the caller's directory, bundle or not, so that nothing has to change directory.

use std::path::{Path, PathBuf};

use runtime_core::spec::LoadedSpec;
use runtime_core::{ContainerId, CreateRequest, Error, ErrorKind, Result, Terminal};

use crate::args::{Flag, Matches};
use crate::cmd::device;
use crate::notify;
use crate::session::{Session, absolute};

pub(crate) const BUNDLE: Flag = Flag::option(
    "bundle",
    "DIR",
    "the bundle's directory (default: the current directory)",
)
.short('b');
pub(crate) const CONFIG: Flag = Flag::option(
    "config",
    "FILE",
    "the configuration's name in the bundle (default: config.json)",
)
.short('f');
pub(crate) const CONSOLE_SOCKET: Flag = Flag::option(
    "console-socket",
    "PATH",
    "unix socket that gets the master of the container's terminal",
);
pub(crate) const PIDFD_SOCKET: Flag = Flag::option(
    "pidfd-socket",
    "PATH",
    "unix socket that gets a pidfd of the container's first process",
);
pub(crate) const PID_FILE: Flag =
    Flag::option("pid-file", "FILE", "write the first process's pid to this file");
pub(crate) const NO_PIVOT: Flag = Flag::switch(
    "no-pivot",
    "change the root by moving mounts, for a rootfs on the initial ramdisk, instead of pivot_root",
);
pub(crate) const NO_NEW_KEYRING: Flag = Flag::switch(
    "no-new-keyring",
    "stay in the caller's session keyring instead of making a new one",
);
pub(crate) const PRESERVE_FDS: Flag = Flag::option(
    "preserve-fds",
    "N",
    "pass N descriptors after standard error and $LISTEN_FDS (default: 0)",
);

/// The description of both commands.
pub(crate) const WHERE: &str = "   \
The bundle is a directory with a configuration (config.json) and, usually, the root filesystem that it names.
   CONTAINER-ID is the new container's name: letters, digits, '_', '+', '-' and '.', unique in the state directory.";

/// The options that create and run share, as typed.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) id: ContainerId,
    bundle: PathBuf,
    config: String,
    console_socket: Option<PathBuf>,
    pidfd_socket: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    no_pivot: bool,
    no_new_keyring: bool,
}

impl Launch {
    pub(crate) fn from(matches: &Matches) -> Result<Self> {
        Ok(Self {
            id: matches.id()?,
            bundle: matches.path("bundle").unwrap_or_else(|| PathBuf::from(".")),
            config: matches.text("config")?.unwrap_or("config.json").to_owned(),
            console_socket: matches.path("console-socket"),
            pidfd_socket: matches.path("pidfd-socket"),
            pid_file: matches.path("pid-file"),
            no_pivot: matches.has("no-pivot"),
            no_new_keyring: matches.has("no-new-keyring"),
        })
    }

    /// The request. `detach`: this program does not stay with the container.
    pub(crate) fn request(
        &self,
        session: &Session,
        matches: &Matches,
        detach: bool,
    ) -> Result<CreateRequest> {
        let inherited = session.take_inherited()?;
        let bundle = std::fs::canonicalize(&self.bundle).map_err(|error| {
            Error::os(format!("realpath({:?})", self.bundle), error).with_step("open the bundle")
        })?;
        let load = || LoadedSpec::from_bundle(&bundle, &self.config);
        let spec = session.trace.time("load the configuration", load)?;
        session
            .log
            .debug(format_args!("loaded {} of {}", self.config, bundle.display()));
        let wants_terminal = spec
            .spec
            .process()
            .as_ref()
            .and_then(|process| process.terminal())
            == Some(true);
        let terminal = terminal(wants_terminal, detach, self.console_socket.as_deref())?;
        if matches!(terminal, Terminal::None) && rustix::termios::isatty(rustix::stdio::stdin()) {
            // Only for who debugs: runc's tests compare the output of such runs.
            session.log.debug(format_args!(
                "process.terminal is false: the program gets the caller's terminal"
            ));
        }
        let mut request = CreateRequest::new(self.id.clone(), bundle, spec);
        device::set(matches, &mut request)?;
        request.terminal = terminal;
        request.preserve_fds = inherited.descriptors;
        request.listen_fds = inherited.listen;
        request.listen_fd_names = inherited.listen_names;
        request.notify_socket = notify::host();
        request.pid_file = self.pid_file.as_deref().map(absolute).transpose()?;
        request.pidfd_socket = self.pidfd_socket.as_deref().map(absolute).transpose()?;
        request.no_pivot = self.no_pivot;
        request.no_new_keyring = self.no_new_keyring;
        Ok(request)
    }
}

/// Where the terminal goes. Both messages are runc's, word for word.
pub(crate) fn terminal(wanted: bool, detach: bool, socket: Option<&Path>) -> Result<Terminal> {
    let refuse =
        |message: &str, hint: &str| Err(Error::new(ErrorKind::InvalidArgument, message).with_hint(hint));
    match (wanted, detach, socket) {
        (true, true, Some(socket)) => Ok(Terminal::Socket(absolute(socket)?)),
        (true, true, None) => refuse(
            "cannot allocate tty if runc will detach without setting console socket",
            "give --console-socket PATH, or set process.terminal to false",
        ),
        (_, _, Some(_)) => refuse(
            "cannot use console socket if runc will not detach or allocate tty",
            "--console-socket needs process.terminal and create, or run --detach",
        ),
        (true, false, None) => Ok(Terminal::Keep),
        (false, _, None) => Ok(Terminal::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_a_receiver() {
        let socket = Path::new("/s");
        assert!(matches!(terminal(true, true, Some(socket)), Ok(Terminal::Socket(path)) if path == socket));
        assert!(matches!(terminal(true, false, None), Ok(Terminal::Keep)));
        assert!(matches!(terminal(false, true, None), Ok(Terminal::None)));
        assert!(matches!(terminal(false, false, None), Ok(Terminal::None)));
        let without = terminal(true, true, None).expect_err("no socket").to_string();
        assert!(without.contains("cannot allocate tty if runc will detach without setting console socket"));
        for (wanted, detach) in [(true, false), (false, true), (false, false)] {
            let with = terminal(wanted, detach, Some(socket))
                .expect_err("useless socket")
                .to_string();
            assert!(with.contains("cannot use console socket if runc will not detach or allocate tty"));
        }
    }
}
