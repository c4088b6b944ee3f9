//! Exec: notes a program that is to be brought into a container; Start brings it.

use runtime_core::spec::LoadedProcess;

use super::{Exec, Outcome, Program};
use crate::proto::events::TaskExecAdded;
use crate::proto::task::ExecProcessRequest;
use crate::server::{Server, done};
use crate::stdio::Names;
use crate::ttrpc::{Code, Status};

impl Server {
    pub(crate) fn exec(&mut self, request: &ExecProcessRequest) -> Outcome {
        let task = self.task(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(Status::invalid("exec_id: is empty"));
        }
        if task.execs.contains_key(&request.exec_id) {
            let text = format!(
                "process {:?} already exists in task {:?}",
                request.exec_id, request.id
            );
            return Err(Status::new(Code::AlreadyExists, text));
        }
        let spec = request
            .spec
            .as_ref()
            .ok_or_else(|| Status::invalid("spec: is missing"))?;
        let mut spec = LoadedProcess::from_slice(&spec.value, "spec")?.process;
        spec.set_terminal(Some(request.terminal));
        let program = Program::new(Names {
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            terminal: request.terminal,
        });
        let exec = Exec {
            program,
            spec,
            executed: None,
        };
        task.execs.insert(request.exec_id.clone(), exec);
        let event = TaskExecAdded {
            container_id: request.id.clone(),
            exec_id: request.exec_id.clone(),
        };
        self.publish("/tasks/exec-added", "TaskExecAdded", &event);
        done()
    }
}
