//! Kill, Pause, Resume, Update, ResizePty, CloseIO.

use runtime_core::spec::LoadedResources;
use runtime_core::{Signal, UpdateRequest};
use rustix::termios::Winsize;

use super::{Outcome, Phase};
use crate::proto::events::{TaskPaused, TaskResumed};
use crate::proto::task::{
    CloseIoRequest, KillRequest, PauseRequest, ResizePtyRequest, ResumeRequest, UpdateTaskRequest,
};
use crate::server::{Caller, Server, done};
use crate::ttrpc::Status;

impl Server {
    pub(crate) fn kill(&mut self, request: &KillRequest) -> Outcome {
        let signal = i32::try_from(request.signal).ok().and_then(Signal::from_number);
        let signal = signal.ok_or_else(|| {
            Status::invalid(format!("signal: found {}, allowed is 0 to 64", request.signal))
        })?;
        if !request.exec_id.is_empty() {
            return self.kill_exec(&request.id, &request.exec_id, signal);
        }
        self.attend_events(&request.id);
        let task = self.task(&request.id)?;
        if task.held.is_some() && !request.all {
            return Err(Status::not_found("process already finished"));
        }
        task.live()?.kill(signal, request.all)?;
        done()
    }

    fn kill_exec(&mut self, id: &str, exec_id: &str, signal: Signal) -> Outcome {
        self.exec_may_have_ended(id, exec_id);
        let task = self.task(id)?;
        let phase = task.program(exec_id)?.phase;
        let executed = task.execs.get(exec_id).and_then(|exec| exec.executed.as_ref());
        match (phase, executed) {
            (_, Some(executed)) => {
                executed.kill(signal)?;
                done()
            }
            (Phase::Ended, None) => Err(Status::not_found("process already finished")),
            (_, None) => Err(Status::precondition(format!(
                "process {exec_id:?} has not been started"
            ))),
        }
    }

    pub(crate) fn pause(&mut self, caller: Caller, request: &PauseRequest) -> Outcome {
        let event = TaskPaused {
            container_id: request.id.clone(),
        };
        self.freeze(caller, &request.id, true, move |server| {
            server.publish("/tasks/paused", "TaskPaused", &event);
        })
    }

    pub(crate) fn resume(&mut self, caller: Caller, request: &ResumeRequest) -> Outcome {
        let event = TaskResumed {
            container_id: request.id.clone(),
        };
        self.freeze(caller, &request.id, false, move |server| {
            server.publish("/tasks/resumed", "TaskResumed", &event);
        })
    }

    fn freeze(
        &mut self,
        caller: Caller,
        id: &str,
        frozen: bool,
        tell: impl FnOnce(&mut Self) + Send + 'static,
    ) -> Outcome {
        let task = self.task(id)?;
        let (runtime, id) = (task.runtime.clone(), task.id.clone());
        let job = move || -> Result<(), Status> {
            let container = runtime.container(&id)?;
            if frozen {
                container.pause()?
            } else {
                container.resume()?
            }
            Ok(())
        };
        self.later(job, move |server, result| {
            if result.is_ok() {
                tell(server);
            }
            server.reply(caller, result.map(|()| Vec::new()));
        })?;
        Ok(None)
    }

    pub(crate) fn update(&mut self, caller: Caller, request: &UpdateTaskRequest) -> Outcome {
        let task = self.task(&request.id)?;
        let resources = request
            .resources
            .as_ref()
            .ok_or_else(|| Status::invalid("resources: is missing"))?;
        let resources = LoadedResources::from_slice(&resources.value, "resources")?.resources;
        let (runtime, id) = (task.runtime.clone(), task.id.clone());
        let job = move || -> Result<(), Status> {
            runtime.container(&id)?.update(&UpdateRequest::new(resources))?;
            Ok(())
        };
        self.later(job, move |server, result| {
            server.reply(caller, result.map(|()| Vec::new()))
        })?;
        Ok(None)
    }

    pub(crate) fn resize(&mut self, request: &ResizePtyRequest) -> Outcome {
        let program = self.task(&request.id)?.program(&request.exec_id)?;
        // Without a terminal, or before it is there, there is nothing to size: as with runc's shim no error.
        if let Some(terminal) = &program.io.terminal {
            let size = Winsize {
                ws_row: u16::try_from(request.height).unwrap_or(u16::MAX),
                ws_col: u16::try_from(request.width).unwrap_or(u16::MAX),
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(terminal, size)
                .map_err(|errno| Status::os("ioctl(terminal, TIOCSWINSZ)", errno))?;
        }
        done()
    }

    pub(crate) fn close_io(&mut self, request: &CloseIoRequest) -> Outcome {
        let program = self.task(&request.id)?.program(&request.exec_id)?;
        if request.stdin {
            program.io.closed = true;
            program.io.keeper = None;
        }
        done()
    }
}
