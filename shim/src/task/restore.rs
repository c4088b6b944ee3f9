//! Checkpoint, and containers that come from one: Create prepares them, Start has the library restore them.

use std::path::PathBuf;

use prost::Message;
use runtime_core::spec::LoadedSpec;
use runtime_core::{
    CheckpointRequest, Container, ContainerId, CriuOptions, Events, ManageCgroups, RestoreRequest, Terminal,
};

use super::create::Making;
use super::{Outcome, Phase};
use crate::proto::events::TaskCheckpointed;
use crate::proto::options::{CHECKPOINT_OPTIONS, CheckpointOptions, LEGACY_CHECKPOINT_OPTIONS};
use crate::proto::task::CheckpointTaskRequest;
use crate::proto::types::Any;
use crate::server::{Caller, Server};
use crate::stdio::{self, Names, Opened, Owner};
use crate::ttrpc::Status;

/// A container that is to be made from an image.
///
/// Its input and output are opened when it is started: a client that gives it up before, as Docker does, waits for the
/// ends of its fifos before it asks for the deletion.
#[derive(Debug)]
pub(crate) struct Restoring {
    bundle: PathBuf,
    spec: LoadedSpec,
    image: PathBuf,
    work: PathBuf,
    names: Names,
    /// User and group that own what is opened.
    owner: (u32, u32),
    namespace: String,
}

impl Restoring {
    /// Keeps what Start needs.
    pub(super) fn new(making: &Making, spec: LoadedSpec) -> Self {
        Self {
            bundle: making.bundle.clone(),
            spec,
            image: PathBuf::from(&making.checkpoint),
            work: work_directory(&making.options.criu_work_path, &making.bundle),
            names: making.names.clone(),
            owner: (making.options.io_uid, making.options.io_gid),
            namespace: making.namespace.clone(),
        }
    }

    fn restore(self, runtime: &runtime_core::Runtime, id: ContainerId) -> Result<Restored, Status> {
        let owner = Owner {
            uid: self.owner.0,
            gid: self.owner.1,
            id: id.as_str(),
            namespace: &self.namespace,
        };
        let mut opened = stdio::open(&self.names, owner)?;
        let mut request = RestoreRequest::new(id, self.bundle, self.spec, self.image);
        request.criu.work = Some(self.work);
        request.stdio = std::mem::take(&mut opened.stdio);
        if self.names.terminal {
            request.terminal = Terminal::Keep;
        }
        let mut container = runtime.restore(request).map_err(|error| {
            if let Some(logger) = &opened.logger {
                logger.kill();
            }
            Status::from(error).context("OCI runtime restore failed")
        })?;
        let joined = match container.take_terminal() {
            Some(master) => opened.attach(master),
            None => Ok(()),
        };
        match joined.and_then(|()| Ok(container.events()?)) {
            Ok(events) => Ok((container, events, opened)),
            Err(status) => {
                let _ = runtime.delete(container.id(), true);
                Err(status)
            }
        }
    }
}

type Restored = (Container, Events, Opened);

/// Where CRIU writes its log: the option, or a directory in the bundle.
fn work_directory(option: &str, bundle: &std::path::Path) -> PathBuf {
    if option.is_empty() {
        bundle.join("work")
    } else {
        PathBuf::from(option)
    }
}

impl Server {
    /// Has a thread restore a container; see `begin_start`.
    pub(super) fn begin_restore(
        &mut self,
        id: &str,
        restoring: Restoring,
        tell: impl FnOnce(&mut Self, &str, Result<u32, Status>) + Send + 'static,
    ) -> Outcome {
        let task = self.task(id)?;
        let (runtime, container_id) = (task.runtime.clone(), task.id.clone());
        let id = id.to_owned();
        let job = move || restoring.restore(&runtime, container_id);
        self.later(job, move |server, restored| {
            let pid = restored.map(|restored| server.keep_restored(&id, restored));
            if pid.is_err()
                && let Some(task) = server.tasks.get_mut(&id)
            {
                // There never was a process; what is left is to be deleted.
                task.held = Some(super::Exit {
                    code: 255,
                    at: super::create::now(),
                });
            }
            let failed = pid.is_err();
            tell(server, &id, pid);
            if failed {
                server.settle(&id);
            } else {
                server.watch_events(&id);
            }
        })?;
        Ok(None)
    }

    fn keep_restored(&mut self, id: &str, (container, events, opened): Restored) -> u32 {
        let pid = container.pid().unwrap_or(0).cast_unsigned();
        let mut io = self.adopt(opened);
        io.closed = self.tasks.get(id).is_some_and(|task| task.init.io.closed);
        self.begin_input(&mut io);
        if let Some(task) = self.tasks.get_mut(id) {
            task.container = Some(container);
            task.events = Some(events);
            task.init.phase = Phase::Running;
            task.init.pid = pid;
            task.init.io = io;
        }
        pid
    }

    pub(crate) fn checkpoint(&mut self, caller: Caller, request: CheckpointTaskRequest) -> Outcome {
        let options = checkpoint_options(request.options.as_ref())?;
        let task = self.task(&request.id)?;
        let dump = dump(
            &request.path,
            options,
            &work_directory(&task.criu_work, &task.bundle),
        )?;
        let (runtime, id) = (task.runtime.clone(), task.id.clone());
        let job = move || -> Result<(), Status> {
            let done = runtime.container(&id)?.checkpoint(dump);
            done.map_err(|error| Status::from(error).context("checkpoint failed"))
        };
        self.later(job, move |server, done| {
            let result = done.map(|()| {
                let event = TaskCheckpointed {
                    container_id: request.id.clone(),
                    checkpoint: request.path.clone(),
                };
                server.publish("/tasks/checkpointed", "TaskCheckpointed", &event);
                Vec::new()
            });
            server.reply(caller, result);
        })?;
        Ok(None)
    }
}

/// Reads the options of a checkpoint.
///
/// # Errors
/// They are of another kind.
fn checkpoint_options(any: Option<&Any>) -> Result<CheckpointOptions, Status> {
    let Some(any) = any.filter(|any| !any.value.is_empty()) else {
        return Ok(CheckpointOptions::default());
    };
    let kinds = [CHECKPOINT_OPTIONS, LEGACY_CHECKPOINT_OPTIONS];
    let Some(kind) = kinds.into_iter().find(|kind| any.is(kind)) else {
        let text = format!(
            "options: found {:?}, allowed is {CHECKPOINT_OPTIONS:?}",
            any.type_url
        );
        return Err(Status::invalid(text));
    };
    let mut options = CheckpointOptions::decode(any.value.as_slice())
        .map_err(|error| Status::invalid(format!("options: {kind}: {error}")))?;
    if kind == LEGACY_CHECKPOINT_OPTIONS {
        std::mem::swap(&mut options.image_path, &mut options.work_path);
    }
    Ok(options)
}

/// The request for the library.
fn dump(path: &str, options: CheckpointOptions, work: &std::path::Path) -> Result<CheckpointRequest, Status> {
    let image = if options.image_path.is_empty() {
        path
    } else {
        &options.image_path
    };
    if image.is_empty() {
        return Err(Status::invalid("path: is empty"));
    }
    if let Some(name) = options.empty_namespaces.first() {
        let text = format!("options.empty_namespaces: {name:?}: CRIU cannot be told so by this shim");
        return Err(Status::precondition(text));
    }
    let mut criu = CriuOptions::new(image);
    criu.work = Some(if options.work_path.is_empty() {
        work.to_owned()
    } else {
        options.work_path.into()
    });
    criu.tcp_established = options.open_tcp;
    criu.ext_unix_sk = options.external_unix_sockets;
    criu.shell_job = options.terminal;
    criu.file_locks = options.file_locks;
    criu.manage_cgroups = match options.cgroups_mode.as_str() {
        "" => ManageCgroups::Default,
        "soft" => ManageCgroups::Soft,
        "full" => ManageCgroups::Full,
        "strict" => ManageCgroups::Strict,
        "ignore" => ManageCgroups::Ignore,
        other => {
            let text =
                format!("options.cgroups_mode: found {other:?}, allowed are soft, full, strict and ignore");
            return Err(Status::invalid(text));
        }
    };
    let mut request = CheckpointRequest::new(image);
    request.criu = criu;
    request.leave_running = !options.exit;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_old_clients_are_understood() {
        // Field 8 is the work directory there, and 9 the image.
        let legacy = CheckpointOptions {
            exit: true,
            image_path: "/work".to_owned(),
            work_path: "/image".to_owned(),
            ..CheckpointOptions::default()
        };
        let read = checkpoint_options(Some(&Any::of(LEGACY_CHECKPOINT_OPTIONS, &legacy))).unwrap();
        assert_eq!(
            (read.exit, read.image_path.as_str(), read.work_path.as_str()),
            (true, "/image", "/work")
        );
        assert!(checkpoint_options(Some(&Any::of("a.B", &legacy))).is_err());
        assert_eq!(checkpoint_options(None).unwrap(), CheckpointOptions::default());
    }
}
