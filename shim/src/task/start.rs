//! Start: of a container's own program, and of one that exec brings.

use oci_spec::runtime::Process as ProcessSpec;
use prost::Message;
use runtime_core::{Container, ExecRequest, Executed, Terminal};

use super::{Exit, Outcome, Phase};
use crate::proto::events::{TaskExecStarted, TaskStart};
use crate::proto::task::{StartRequest, StartResponse};
use crate::server::{Caller, Server};
use crate::stdio::{self, Names, Opened, Owner};
use crate::ttrpc::Status;

impl Server {
    pub(crate) fn start(&mut self, caller: Caller, request: &StartRequest) -> Outcome {
        if request.exec_id.is_empty() {
            self.start_init(caller, &request.id)
        } else {
            self.start_exec(caller, &request.id, &request.exec_id)
        }
    }

    fn start_init(&mut self, caller: Caller, id: &str) -> Outcome {
        self.begin_start(id, move |server, id, result| {
            let result = result.map(|pid| {
                let event = TaskStart {
                    container_id: id.to_owned(),
                    pid,
                };
                server.publish("/tasks/start", "TaskStart", &event);
                StartResponse { pid }.encode_to_vec()
            });
            server.reply(caller, result);
        })
    }

    /// Has a thread start a container; `tell` hears of its pid or the failure, before its end is looked at.
    pub(super) fn begin_start(
        &mut self,
        id: &str,
        tell: impl FnOnce(&mut Self, &str, Result<u32, Status>) + Send + 'static,
    ) -> Outcome {
        let task = self.task(id)?;
        if task.init.phase != Phase::Created || task.held.is_some() {
            return Err(Status::precondition(format!(
                "task {id:?} cannot be started: it is not in state created"
            )));
        }
        task.init.phase = Phase::Starting;
        if let Some(restoring) = task.restoring.take() {
            return self.begin_restore(id, restoring, tell);
        }
        let (runtime, container_id) = (task.runtime.clone(), task.id.clone());
        let mut io = std::mem::take(&mut task.init.io);
        self.begin_input(&mut io);
        self.task(id)?.init.io = io;
        self.ignore_events(id);
        let id = id.to_owned();
        let job = move || -> Result<(), Status> {
            let mut container: Container = runtime.container(&container_id)?;
            container
                .start()
                .map_err(|error| Status::from(error).context("OCI runtime start failed"))
        };
        self.later(job, move |server, started| {
            let mut pid = 0;
            if let Some(task) = server.tasks.get_mut(&id) {
                // After a failure init is on its way out.
                task.init.phase = Phase::Running;
                pid = task.init.pid;
            }
            tell(server, &id, started.map(|()| pid));
            server.watch_events(&id);
        })?;
        Ok(None)
    }

    fn start_exec(&mut self, caller: Caller, id: &str, exec_id: &str) -> Outcome {
        let namespace = self.namespace.clone();
        let task = self.task(id)?;
        if task.held.is_some() || task.init.phase == Phase::Ended {
            return Err(Status::precondition(format!(
                "task {id:?} has no running init process"
            )));
        }
        let (runtime, container_id, owner) = (task.runtime.clone(), task.id.clone(), task.owner);
        let exec = task
            .execs
            .get_mut(exec_id)
            .ok_or_else(|| Status::not_found(format!("process {exec_id:?} does not exist in task {id:?}")))?;
        if exec.program.phase != Phase::Created {
            return Err(Status::precondition(format!(
                "process {exec_id:?} has been started before"
            )));
        }
        exec.program.phase = Phase::Starting;
        let entering = Entering {
            names: exec.program.names.clone(),
            spec: exec.spec.clone(),
            exec_id: exec_id.to_owned(),
            namespace,
            owner,
        };
        let (id, exec_id) = (id.to_owned(), exec_id.to_owned());
        let job = move || {
            runtime
                .container(&container_id)
                .map_err(Status::from)
                .and_then(|found| entering.enter(&found))
        };
        self.later(job, move |server, entered| {
            let result = server.exec_started(&id, &exec_id, entered);
            server.reply(caller, result);
            server.watch_exec(&id, &exec_id);
            server.settle(&id);
        })?;
        Ok(None)
    }

    fn exec_started(
        &mut self,
        id: &str,
        exec_id: &str,
        entered: Result<(Executed, Opened), Status>,
    ) -> Result<Vec<u8>, Status> {
        let (executed, opened) = match entered {
            Ok(entered) => entered,
            Err(status) => {
                if let Some(exec) = self
                    .tasks
                    .get_mut(id)
                    .and_then(|task| task.execs.get_mut(exec_id))
                {
                    exec.program.phase = Phase::Ended;
                    exec.program.exit = Some(Exit {
                        code: 255,
                        at: super::create::now(),
                    });
                    let waiters = std::mem::take(&mut exec.program.waiters);
                    let exit = exec.program.exit;
                    self.answer_waiters(waiters, exit);
                }
                return Err(status);
            }
        };
        let mut io = self.adopt(opened);
        let exec = self.tasks.get(id).and_then(|task| task.execs.get(exec_id));
        io.closed = exec.is_some_and(|exec| exec.program.io.closed);
        self.begin_input(&mut io);
        let pid = executed.pid().cast_unsigned();
        if let Some(exec) = self
            .tasks
            .get_mut(id)
            .and_then(|task| task.execs.get_mut(exec_id))
        {
            exec.program.phase = Phase::Running;
            exec.program.pid = pid;
            exec.program.io = io;
            exec.executed = Some(executed);
        }
        let event = TaskExecStarted {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            pid,
        };
        self.publish("/tasks/exec-started", "TaskExecStarted", &event);
        Ok(StartResponse { pid }.encode_to_vec())
    }
}

/// Everything that a thread needs to bring a program into a container.
struct Entering {
    names: Names,
    spec: ProcessSpec,
    exec_id: String,
    namespace: String,
    owner: (u32, u32),
}

impl Entering {
    fn enter(self, container: &Container) -> Result<(Executed, Opened), Status> {
        let owner = Owner {
            uid: self.owner.0,
            gid: self.owner.1,
            id: &self.exec_id,
            namespace: &self.namespace,
        };
        let mut opened = stdio::open(&self.names, owner)?;
        let mut request = ExecRequest::new(self.spec);
        request.stdio = std::mem::take(&mut opened.stdio);
        if self.names.terminal {
            request.terminal = Terminal::Keep;
        }
        let mut executed = container.exec(request).map_err(|error| {
            if let Some(logger) = &opened.logger {
                logger.kill();
            }
            Status::from(error).context("OCI runtime exec failed")
        })?;
        if let Some(master) = executed.take_terminal() {
            opened.attach(master)?;
        }
        Ok((executed, opened))
    }
}
