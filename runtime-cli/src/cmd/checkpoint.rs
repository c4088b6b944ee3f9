//! `checkpoint`: saves the processes of a container, and deletes it unless it is to run on.

use std::path::Path;

use runtime_core::{CheckpointRequest, Error, ErrorKind, Result};

use crate::args::{Command, Flag, Matches};
use crate::cmd::criu;
use crate::fail::Outcome;
use crate::session::Session;

pub(crate) const STATUS_FD: Flag = Flag::option(
    "status-fd",
    "N",
    "descriptor that gets a zero byte once memory is served, with --lazy-pages",
);

const FLAGS: &[Flag] = &[
    criu::IMAGE_PATH,
    criu::WORK_PATH,
    Flag::option(
        "parent-path",
        "DIR",
        "directory of earlier image files, relative to --image-path: what is unchanged is not written again",
    ),
    Flag::switch("leave-running", "let the container run on"),
    criu::TCP_ESTABLISHED,
    Flag::switch(
        "tcp-skip-in-flight",
        "leave out connections of TCP that are about to be made",
    ),
    Flag::switch("link-remap", "give deleted files that are open a name again"),
    criu::EXT_UNIX_SK,
    criu::SHELL_JOB,
    criu::LAZY_PAGES,
    STATUS_FD,
    Flag::option(
        "page-server",
        "ADDRESS:PORT",
        "server that memory is sent to; with --lazy-pages where it is served",
    ),
    criu::FILE_LOCKS,
    Flag::switch(
        "pre-dump",
        "save memory only and let the container run on: the checkpoint that follows is short",
    ),
    criu::MANAGE_CGROUPS,
    criu::EMPTY_NS,
    criu::AUTO_DEDUP,
    criu::NETWORK_LOCK,
];

pub(crate) const COMMAND: Command = Command {
    name: "checkpoint",
    about: "save a running container in files",
    words: "CONTAINER-ID",
    min: 1,
    max: 1,
    first_word_ends_options: false,
    failure: 1,
    text: "   CRIU (criu(8), 3.15 or newer) writes memory, open files and all else of the container's processes to image files.\n   \
           The container is deleted then, unless --leave-running or --pre-dump is given; restore makes it again. When it\n   \
           fails, the container runs on.",
    flags: FLAGS,
    run,
};

fn run(session: &Session, matches: &Matches) -> Outcome {
    let id = matches.id()?;
    let request = request(session, matches)?;
    let stays = request.leave_running || request.pre_dump;
    session.container(&id)?.checkpoint(request)?;
    if !stays {
        // The image is written: what cannot be removed is no failure of the checkpoint.
        match session.runtime().delete(&id, false) {
            Ok(deleted) => {
                for warning in deleted.warnings {
                    session.log.warn(format_args!("{warning}"));
                }
            }
            Err(error) => session.log.warn(format_args!("{error}")),
        }
    }
    Ok(0)
}

fn request(session: &Session, matches: &Matches) -> Result<CheckpointRequest> {
    let options = criu::options(matches)?;
    let mut request = CheckpointRequest::new(&options.image);
    request.criu = options;
    request.parent = matches.path("parent-path");
    if request.parent.as_deref().is_some_and(Path::is_absolute) {
        let message = "--parent-path must be relative, to --image-path";
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    request.leave_running = matches.has("leave-running");
    request.pre_dump = matches.has("pre-dump");
    request.tcp_skip_in_flight = matches.has("tcp-skip-in-flight");
    request.link_remap = matches.has("link-remap");
    request.page_server = matches.text("page-server")?.map(criu::page_server).transpose()?;
    request.lazy_pages_ready = session.take_inherited()?.status;
    if request.lazy_pages_ready.is_some() && !request.criu.lazy_pages {
        let message = "--status-fd tells when memory is served, which is so with --lazy-pages only";
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(request)
}
