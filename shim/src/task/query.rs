//! State, Pids, Stats, Wait, Connect: nothing is changed here.

use std::time::Duration;

use runtime_core::Status as ContainerStatus;

use super::{Outcome, Phase, Task, Waiter};
use crate::metrics;
use crate::proto::options::{PROCESS_DETAILS, ProcessDetails};
use crate::proto::task::{
    ConnectRequest, ConnectResponse, PidsRequest, PidsResponse, ProcessInfo, StateRequest, StateResponse,
    StatsRequest, StatsResponse, Status as TaskStatus, WaitRequest, WaitResponse,
};
use crate::proto::types::Any;
use crate::server::{Caller, Server, answer};
use crate::ttrpc::Status;

impl Server {
    /// The task of this id.
    pub(crate) fn task(&mut self, id: &str) -> Result<&mut Task, Status> {
        self.tasks
            .get_mut(id)
            .ok_or_else(|| Status::not_found(format!("task {id:?} does not exist")))
    }

    pub(crate) fn state(&mut self, request: &StateRequest) -> Outcome {
        // An end that is there must be seen, whether its turn has come or not.
        if request.exec_id.is_empty() {
            self.attend_events(&request.id);
        } else {
            self.exec_may_have_ended(&request.id, &request.exec_id);
        }
        let task = self.task(&request.id)?;
        let status = task.status(&request.exec_id)?;
        let bundle = task.bundle.to_string_lossy().into_owned();
        let program = task.program(&request.exec_id)?;
        answer(&StateResponse {
            id: if request.exec_id.is_empty() {
                request.id.clone()
            } else {
                request.exec_id.clone()
            },
            bundle,
            pid: program.pid,
            status: status as i32,
            stdin: program.names.stdin.clone(),
            stdout: program.names.stdout.clone(),
            stderr: program.names.stderr.clone(),
            terminal: program.names.terminal,
            exit_status: program.exit.map_or(0, |exit| exit.code),
            exited_at: program.exit.map(|exit| exit.at),
            exec_id: request.exec_id.clone(),
        })
    }

    /// Looks whether a program that exec brought has ended.
    pub(crate) fn exec_may_have_ended(&mut self, id: &str, exec_id: &str) {
        let exec = self.tasks.get(id).and_then(|task| task.execs.get(exec_id));
        let Some(executed) = exec.and_then(|exec| exec.executed.as_ref()) else {
            return;
        };
        let mut polled = [rustix::event::PollFd::from_borrowed_fd(
            executed.pidfd(),
            rustix::event::PollFlags::IN,
        )];
        let at_once = rustix::event::Timespec::try_from(Duration::ZERO).ok();
        if rustix::event::poll(&mut polled, at_once.as_ref()).is_ok_and(|ready| ready > 0) {
            self.exec_ended(id, exec_id, None);
        }
    }

    pub(crate) fn pids(&mut self, request: &PidsRequest) -> Outcome {
        self.attend_events(&request.id);
        let task = self.task(&request.id)?;
        let mut pids = task.live()?.processes()?;
        if pids.is_empty() && task.init.phase == Phase::Ended {
            // containerd drops a task without processes when it comes back, and with it how the task ended. Its init is
            // ours until it is deleted.
            pids.push(task.init.pid.cast_signed());
        }
        let processes = pids.into_iter().map(i32::cast_unsigned).map(|pid| {
            let exec = task.execs.iter().find(|(_, exec)| exec.program.pid == pid);
            let info = exec.map(|(exec_id, _)| {
                let details = ProcessDetails {
                    exec_id: exec_id.clone(),
                };
                Any::of(PROCESS_DETAILS, &details)
            });
            ProcessInfo { pid, info }
        });
        let response = PidsResponse {
            processes: processes.collect(),
        };
        answer(&response)
    }

    pub(crate) fn stats(&mut self, request: &StatsRequest) -> Outcome {
        let stats = self.task(&request.id)?.live()?.stats()?;
        answer(&StatsResponse {
            stats: Some(metrics::of(&stats)),
        })
    }

    pub(crate) fn wait(&mut self, caller: Caller, request: &WaitRequest) -> Outcome {
        let program = self.task(&request.id)?.program(&request.exec_id)?;
        match program.exit {
            Some(exit) => answer(&WaitResponse {
                exit_status: exit.code,
                exited_at: Some(exit.at),
            }),
            None => {
                program.waiters.push(Waiter::Exit(caller));
                Ok(None)
            }
        }
    }

    pub(crate) fn connect(&mut self, request: &ConnectRequest) -> Outcome {
        let task = self.tasks.get(&request.id);
        answer(&ConnectResponse {
            shim_pid: std::process::id(),
            task_pid: task.map_or(0, |task| task.init.pid),
            version: String::new(),
        })
    }
}

impl Task {
    /// The status of a program; of a running container it is the library's to tell.
    fn status(&mut self, exec_id: &str) -> Result<TaskStatus, Status> {
        let phase = self.program(exec_id)?.phase;
        Ok(match phase {
            Phase::Ended => TaskStatus::Stopped,
            Phase::Created | Phase::Starting if !exec_id.is_empty() => TaskStatus::Created,
            Phase::Running if !exec_id.is_empty() => TaskStatus::Running,
            // It comes from a checkpoint and is not there yet.
            Phase::Created | Phase::Starting if self.container.is_none() => TaskStatus::Created,
            Phase::Created | Phase::Starting | Phase::Running => match self.live()?.status()? {
                ContainerStatus::Paused => TaskStatus::Paused,
                _ if phase == Phase::Running => TaskStatus::Running,
                _ => TaskStatus::Created,
            },
        })
    }
}
