//! Create: mounts the root filesystem, opens input and output, and has the library make the container.

use std::path::PathBuf;

use oci_spec::runtime::LinuxNamespaceType;
use prost::Message;
use runtime_core::spec::LoadedSpec;
use runtime_core::{Container, ContainerId, CreateRequest, Events, Runtime, Terminal};
use rustix::event::epoll::EventFlags;

use super::{Outcome, Program, Restoring, Sandbox, Task};
use crate::proto::events::{TaskCreate, TaskIo};
use crate::proto::options::Options;
use crate::proto::task::{CreateTaskRequest, CreateTaskResponse};
use crate::proto::types::{Mount, Timestamp};
use crate::server::{Caller, Server};
use crate::stdio::{Names, Opened, Owner};
use crate::ttrpc::{Code, Status};
use crate::{place, rootfs, stdio};

/// Everything that a thread needs to make a container.
pub(super) struct Making {
    pub(super) id: ContainerId,
    pub(super) namespace: String,
    pub(super) bundle: PathBuf,
    pub(super) rootfs: Vec<Mount>,
    pub(super) options: Options,
    pub(super) names: Names,
    /// The sandbox of a pod is made.
    pub(super) sandbox: bool,
    /// The network namespace that it has, where its configuration names none.
    pub(super) netns: String,
    /// The directory of an image to restore from, when it is started; empty: none.
    pub(super) checkpoint: String,
}

/// What it gives.
pub(super) struct Made {
    runtime: Runtime,
    container: Option<(Container, Events)>,
    restoring: Option<Restoring>,
    opened: Opened,
    shares_pids: bool,
    sandbox: Option<Sandbox>,
}

impl Making {
    fn make(&self) -> Result<Made, Status> {
        let runtime = place::runtime(&self.options, &self.namespace);
        place::save(&self.options, &self.bundle)?;
        let target = place::rootfs(&self.bundle);
        // What create makes in an empty root, as /dev, must not stay in the bundle.
        let own = [super::sandbox::empty_root()];
        let held = self.sandbox && self.rootfs.is_empty() && super::sandbox::is_empty(&target);
        let mounts = if held { &own[..] } else { &self.rootfs };
        if !mounts.is_empty() {
            match std::fs::create_dir(&target) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(Status::os(format!("mkdir({target:?})"), error));
                }
                _ => {}
            }
        }
        rootfs::mount(mounts, &target)?;
        self.create(runtime).inspect_err(|_| {
            if !mounts.is_empty() {
                // What went wrong first is what the caller must hear.
                let _ = rootfs::unmount(&target);
            }
        })
    }

    fn create(&self, runtime: Runtime) -> Result<Made, Status> {
        let failed = |status: Status| status.context("OCI runtime create failed");
        let (spec, sandbox) = if self.sandbox {
            super::sandbox::configuration(&self.bundle, &self.netns)
                .map(|(spec, sandbox)| (spec, Some(sandbox)))
                .map_err(failed)?
        } else {
            let spec = LoadedSpec::from_bundle(&self.bundle, "config.json");
            (spec.map_err(|error| failed(error.into()))?, None)
        };
        let shares_pids = shares_pids(&spec);
        let owner = Owner {
            uid: self.options.io_uid,
            gid: self.options.io_gid,
            id: self.id.as_str(),
            namespace: &self.namespace,
        };
        if !self.checkpoint.is_empty() {
            let restoring = Restoring::new(self, spec);
            return Ok(Made {
                runtime,
                container: None,
                restoring: Some(restoring),
                opened: Opened::default(),
                shares_pids,
                sandbox,
            });
        }
        let mut opened = stdio::open(&self.names, owner)?;
        let mut request = CreateRequest::new(self.id.clone(), &self.bundle, spec);
        request.no_pivot = self.options.no_pivot_root;
        request.no_new_keyring = self.options.no_new_keyring;
        request.stdio = std::mem::take(&mut opened.stdio);
        if self.names.terminal {
            request.terminal = Terminal::Keep;
        }
        let mut container = runtime.create(request).map_err(|error| {
            if let Some(logger) = &opened.logger {
                logger.kill();
            }
            failed(error.into())
        })?;
        let attached = match container.take_terminal() {
            Some(master) => opened.attach(master),
            None => Ok(()),
        };
        let events = attached.and_then(|()| Ok(container.events()?));
        match events {
            Ok(events) => Ok(Made {
                runtime,
                container: Some((container, events)),
                restoring: None,
                opened,
                shares_pids,
                sandbox,
            }),
            Err(status) => {
                let _ = runtime.delete(&self.id, true);
                Err(status)
            }
        }
    }
}

/// Whether the container's processes outlive its init: without a pid namespace of its own.
fn shares_pids(spec: &LoadedSpec) -> bool {
    let linux = spec.spec.linux().as_ref();
    let mut namespaces = linux.iter().flat_map(|linux| linux.namespaces()).flatten();
    !namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Pid && namespace.path().is_none())
}

impl Server {
    pub(crate) fn create(&mut self, caller: Caller, request: CreateTaskRequest) -> Outcome {
        let names = Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        };
        let making = Making {
            id: request.id.parse()?,
            namespace: self.namespace.clone(),
            bundle: PathBuf::from(&request.bundle),
            rootfs: request.rootfs.clone(),
            options: place::options(request.options.as_ref())?,
            names,
            sandbox: false,
            netns: String::new(),
            checkpoint: request.checkpoint.clone(),
        };
        self.make_task(caller, making, move |server, made| {
            let result = made.map(|pid| {
                server.tell_created(request, pid);
                CreateTaskResponse { pid }.encode_to_vec()
            });
            server.reply(caller, result);
        })
    }

    /// Makes a task in a thread; `tell` hears of its pid or of the failure. A task whose caller is gone by then is given up:
    /// a containerd that comes back meanwhile finds no task, wants no shim, and never asks again.
    pub(super) fn make_task(
        &mut self,
        caller: Caller,
        making: Making,
        tell: impl FnOnce(&mut Self, Result<u32, Status>) + Send + 'static,
    ) -> Outcome {
        let id = making.id.to_string();
        if self.ending || self.tasks.contains_key(&id) || !self.creating.insert(id.clone()) {
            return Err(Status::new(
                Code::AlreadyExists,
                format!("task {id:?} already exists"),
            ));
        }
        let begun = self.later(
            move || {
                let made = making.make();
                (making, made)
            },
            move |server, (making, made)| {
                if !server.is_there(caller)
                    && let Ok(made) = made
                {
                    server.give_up(making, made);
                    return;
                }
                server.creating.remove(making.id.as_str());
                let pid = made.and_then(|made| server.keep_task(making, made));
                tell(server, pid);
            },
        );
        if let Err(status) = begun {
            self.creating.remove(&id);
            return Err(status);
        }
        Ok(None)
    }

    /// Removes what nobody waits for. Until it is gone it counts as being made.
    fn give_up(&mut self, making: Making, made: Made) {
        let id = making.id.to_string();
        self.log
            .warn(format!("task {id:?} is removed: who asked for it is gone"));
        let job = move || -> Result<(), Status> {
            made.runtime.delete(&making.id, true)?;
            rootfs::unmount(&place::rootfs(&making.bundle))
        };
        let name = id.clone();
        let begun = self.later(job, move |server, removed| {
            server.creating.remove(&name);
            if let Err(status) = removed {
                server.log.error(status.message);
            }
        });
        if let Err(status) = begun {
            self.creating.remove(&id);
            self.log.error(status.message);
        }
    }

    fn keep_task(&mut self, making: Making, made: Made) -> Result<u32, Status> {
        let mut init = Program::new(making.names);
        let (container, events) = made.container.unzip();
        init.pid = container
            .as_ref()
            .and_then(Container::pid)
            .unwrap_or(0)
            .cast_unsigned();
        init.io = self.adopt(made.opened);
        let pid = init.pid;
        let name = making.id.to_string();
        let task = Task {
            id: making.id,
            bundle: making.bundle,
            runtime: made.runtime,
            container,
            restoring: made.restoring,
            criu_work: making.options.criu_work_path,
            events,
            token: 0,
            init,
            execs: std::collections::BTreeMap::new(),
            shares_pids: made.shares_pids,
            held: None,
            deleter: None,
            sandbox: made.sandbox,
            owner: (making.options.io_uid, making.options.io_gid),
        };
        self.tasks.insert(name.clone(), task);
        self.unwanted = false;
        self.watch_events(&name);
        Ok(pid)
    }

    fn tell_created(&mut self, request: CreateTaskRequest, pid: u32) {
        let event = TaskCreate {
            container_id: request.id,
            bundle: request.bundle,
            rootfs: request.rootfs,
            io: Some(TaskIo {
                stdin: request.stdin,
                stdout: request.stdout,
                stderr: request.stderr,
                terminal: request.terminal,
            }),
            checkpoint: request.checkpoint,
            pid,
        };
        self.publish("/tasks/create", "TaskCreate", &event);
    }

    /// Listens to what happens to a container.
    pub(super) fn watch_events(&mut self, id: &str) {
        let token = self.new_source_of_events(id);
        if let Some(task) = self.tasks.get_mut(id) {
            task.token = token;
            if let Some(events) = &task.events
                && let Err(status) = self.poller.add(events, token, EventFlags::IN)
            {
                self.log.error(status.message);
            }
        }
    }

    /// Does not listen while a thread starts the container: its end is told after its start.
    pub(super) fn ignore_events(&mut self, id: &str) {
        if let Some(task) = self.tasks.get_mut(id) {
            if let Some(events) = &task.events {
                self.poller.remove(events);
            }
            let token = task.token;
            self.forget_source(token);
        }
    }
}

/// Now, as events have it.
pub(super) fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
