//! Delete: of a container that has ended, or was never started, and of programs that exec brought; and the end of the shim.

use prost::Message;
use runtime_core::Signal;

use super::{Outcome, Phase, Task};
use crate::proto::events::TaskDelete;
use crate::proto::task::{DeleteRequest, DeleteResponse, ShutdownRequest};
use crate::server::{Caller, Server, done};
use crate::ttrpc::Status;
use crate::{place, rootfs};

impl Server {
    pub(crate) fn delete(&mut self, caller: Caller, request: &DeleteRequest) -> Outcome {
        if !request.exec_id.is_empty() {
            return self.delete_exec(caller, &request.id, &request.exec_id);
        }
        self.attend_events(&request.id);
        let task = self.task(&request.id)?;
        if task.deleter.is_some() {
            return Err(Status::precondition(format!(
                "task {:?} is being deleted",
                request.id
            )));
        }
        match task.init.phase {
            Phase::Ended => self.delete_container(caller, &request.id),
            // There is no process yet.
            Phase::Created if task.restoring.is_some() => self.delete_container(caller, &request.id),
            // Nobody started it, or it is ending: the rest comes when it has.
            Phase::Created => {
                let container = task.live()?;
                container.kill(Signal::KILL, false)?;
                task.deleter = Some(caller);
                Ok(None)
            }
            Phase::Running if task.held.is_some() => {
                task.deleter = Some(caller);
                Ok(None)
            }
            Phase::Starting | Phase::Running => Err(Status::precondition(format!(
                "cannot delete task {:?}: it is running",
                request.id
            ))),
        }
    }

    fn delete_exec(&mut self, caller: Caller, id: &str, exec_id: &str) -> Outcome {
        self.exec_may_have_ended(id, exec_id);
        let task = self.task(id)?;
        let program = task.program(exec_id)?;
        if matches!(program.phase, Phase::Starting | Phase::Running) {
            return Err(Status::precondition(format!(
                "cannot delete process {exec_id:?}: it is running"
            )));
        }
        let response = DeleteResponse {
            pid: program.pid,
            exit_status: program.exit.map_or(0, |exit| exit.code),
            exited_at: program.exit.map(|exit| exit.at),
        };
        let io = std::mem::take(&mut program.io);
        let outputs = std::mem::take(&mut program.names);
        task.execs.remove(exec_id);
        self.program_deleted(io);
        self.reply_when_read(caller, response.encode_to_vec(), outputs);
        Ok(None)
    }

    /// The library removes the container, in a thread: poststop hooks are run.
    pub(super) fn delete_container(&mut self, caller: Caller, id: &str) -> Outcome {
        let task = self.task(id)?;
        task.deleter = Some(caller);
        let (runtime, container_id) = (task.runtime.clone(), task.id.clone());
        let target = place::rootfs(&task.bundle);
        let job = move || -> Result<Vec<String>, Status> {
            let deleted = runtime.delete(&container_id, true)?;
            rootfs::unmount(&target)?;
            Ok(deleted.warnings.iter().map(ToString::to_string).collect())
        };
        let id = id.to_owned();
        self.later(job, move |server, deleted| {
            let result = deleted.and_then(|warnings| {
                for warning in warnings {
                    server.log.warn(format!("delete of {id}: {warning}"));
                }
                let task = server.tasks.remove(&id);
                let task = task.ok_or_else(|| Status::not_found(format!("task {id:?} does not exist")))?;
                let outputs = task.init.names.clone();
                Ok((server.deleted(task), outputs))
            });
            match result {
                Ok((answer, outputs)) => server.reply_when_read(caller, answer, outputs),
                Err(status) => {
                    if let Some(task) = server.tasks.get_mut(&id) {
                        task.deleter = None;
                    }
                    server.reply(caller, Err(status));
                }
            }
        })?;
        Ok(None)
    }

    fn deleted(&mut self, task: Task) -> Vec<u8> {
        let exit = task.init.exit;
        let response = DeleteResponse {
            pid: task.init.pid,
            exit_status: exit.map_or(0, |exit| exit.code),
            exited_at: exit.map(|exit| exit.at),
        };
        for exec in task.execs.into_values() {
            self.program_deleted(exec.program.io);
        }
        self.program_deleted(task.init.io);
        let event = TaskDelete {
            container_id: task.id.to_string(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
            id: String::new(),
        };
        if task.sandbox.is_none() {
            self.publish("/tasks/delete", "TaskDelete", &event);
        }
        response.encode_to_vec()
    }

    /// Ends the shim where it serves nobody any more. A task that is being made counts until it is clear what becomes of it.
    pub(crate) fn shutdown(&mut self, _request: &ShutdownRequest) -> Outcome {
        self.end_when_unused();
        done()
    }

    /// Nobody wants the shim any more: it ends once there is no task and none is being made.
    pub(super) fn end_when_unused(&mut self) {
        self.unwanted = self.tasks.is_empty();
        self.ending |= self.unwanted && self.creating.is_empty();
    }
}
