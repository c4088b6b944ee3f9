//! Which method a call means. Versions 2 and 3 of the task service have the same messages.

use prost::Message;

use super::{Caller, Server};
use crate::proto::types::Empty;
use crate::task::Outcome;
use crate::ttrpc::{Code, Request, Status};

const TASK: [&str; 2] = ["containerd.task.v3.Task", "containerd.task.v2.Task"];
const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// The answer of a method that says nothing.
#[allow(clippy::unnecessary_wraps, reason = "it is the outcome of a method")]
pub(crate) fn done() -> Outcome {
    answer(&Empty {})
}

/// An answer.
#[allow(clippy::unnecessary_wraps, reason = "it is the outcome of a method")]
pub(crate) fn answer(message: &impl Message) -> Outcome {
    Ok(Some(message.encode_to_vec()))
}

fn decode<M: Message + Default>(request: &Request) -> Result<M, Status> {
    M::decode(request.payload.as_slice()).map_err(|error| {
        Status::invalid(format!(
            "{}/{}: the request: {error}",
            request.service, request.method
        ))
    })
}

impl Server {
    /// Does what a call asks for, or begins it.
    pub(super) fn dispatch(&mut self, caller: Caller, request: &Request) -> Outcome {
        self.log.debug(format!("{}/{}", request.service, request.method));
        if TASK.contains(&request.service.as_str()) {
            self.dispatch_task(caller, request)
        } else if request.service == SANDBOX {
            self.dispatch_sandbox(caller, request)
        } else {
            Err(Status::new(
                Code::Unimplemented,
                format!("service {} is not served here", request.service),
            ))
        }
    }

    fn dispatch_task(&mut self, caller: Caller, request: &Request) -> Outcome {
        match request.method.as_str() {
            "Create" => self.create(caller, decode(request)?),
            "Start" => self.start(caller, &decode(request)?),
            "State" => self.state(&decode(request)?),
            "Exec" => self.exec(&decode(request)?),
            "Delete" => self.delete(caller, &decode(request)?),
            "Pids" => self.pids(&decode(request)?),
            "Pause" => self.pause(caller, &decode(request)?),
            "Resume" => self.resume(caller, &decode(request)?),
            "Kill" => self.kill(&decode(request)?),
            "ResizePty" => self.resize(&decode(request)?),
            "CloseIO" => self.close_io(&decode(request)?),
            "Checkpoint" => self.checkpoint(caller, decode(request)?),
            "Update" => self.update(caller, &decode(request)?),
            "Wait" => self.wait(caller, &decode(request)?),
            "Stats" => self.stats(&decode(request)?),
            "Connect" => self.connect(&decode(request)?),
            "Shutdown" => self.shutdown(&decode(request)?),
            _ => Err(unknown(request)),
        }
    }

    fn dispatch_sandbox(&mut self, caller: Caller, request: &Request) -> Outcome {
        match request.method.as_str() {
            "CreateSandbox" => self.create_sandbox(caller, decode(request)?),
            "StartSandbox" => self.start_sandbox(caller, &decode(request)?),
            "Platform" => Self::platform(&decode(request)?),
            "StopSandbox" => self.stop_sandbox(caller, &decode(request)?),
            "WaitSandbox" => self.wait_sandbox(caller, &decode(request)?),
            "SandboxStatus" => self.sandbox_status(&decode(request)?),
            "PingSandbox" => self.ping_sandbox(&decode(request)?),
            "ShutdownSandbox" => self.shutdown_sandbox(caller, &decode(request)?),
            "SandboxMetrics" => self.sandbox_metrics(&decode(request)?),
            _ => Err(unknown(request)),
        }
    }
}

fn unknown(request: &Request) -> Status {
    Status::new(
        Code::Unimplemented,
        format!("method {} is not part of {}", request.method, request.service),
    )
}
