//! The end of programs. A container's own is told last: those that exec brought end with it.

use std::time::Duration;

use prost::Message;
use runtime_core::{Event, Signal};
use rustix::event::epoll::EventFlags;

use super::{Exit, Phase, Waiter};
use crate::proto::events::{TaskExit, TaskOom};
use crate::proto::task::WaitResponse;
use crate::server::Server;

/// An exit code that is not known: somebody else reaped the program.
const UNKNOWN: u32 = 255;

fn code_of(exit: runtime_core::Result<runtime_core::Exit>) -> u32 {
    match exit {
        Ok(runtime_core::Exit::Code(code)) => code.cast_unsigned(),
        Ok(runtime_core::Exit::Signal(signal)) => (128 + signal).cast_unsigned(),
        Ok(runtime_core::Exit::Unknown) | Err(_) => UNKNOWN,
    }
}

impl Server {
    /// Takes what happened to a container.
    pub(crate) fn attend_events(&mut self, id: &str) {
        loop {
            let Some(events) = self.tasks.get_mut(id).and_then(|task| task.events.as_mut()) else {
                return;
            };
            match events.next(Some(Duration::ZERO)) {
                Ok(Some(Event::Oom)) => self.tell_oom(id),
                Ok(Some(_)) => return self.init_ended(id, None),
                Ok(None) => return,
                Err(error) => {
                    self.log.error(format!("events of {id}: {error}"));
                    return self.init_ended(id, None);
                }
            }
        }
    }

    fn tell_oom(&mut self, id: &str) {
        let event = TaskOom {
            container_id: id.to_owned(),
        };
        self.publish("/tasks/oom", "TaskOOM", &event);
    }

    /// A child was reaped: a program of ours, or an orphan that nobody asks for.
    pub(crate) fn child_ended(&mut self, pid: u32, code: u32) {
        let mut found = None;
        for (id, task) in &self.tasks {
            if task.init.pid == pid && task.events.is_some() {
                found = Some((id.clone(), None));
            }
            let exec = task
                .execs
                .iter()
                .find(|(_, exec)| exec.program.pid == pid && exec.executed.is_some());
            if let Some((exec_id, _)) = exec {
                found = Some((id.clone(), Some(exec_id.clone())));
            }
        }
        match found {
            None => {}
            Some((id, None)) => {
                // What came before the end.
                while let Some(events) = self.tasks.get_mut(&id).and_then(|task| task.events.as_mut())
                    && let Ok(Some(Event::Oom)) = events.next(Some(Duration::ZERO))
                {
                    self.tell_oom(&id);
                }
                self.init_ended(&id, Some(code));
            }
            Some((id, Some(exec_id))) => self.exec_ended(&id, &exec_id, Some(code)),
        }
    }

    fn init_ended(&mut self, id: &str, code: Option<u32>) {
        self.ignore_events(id);
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        task.events = None;
        let exit = Exit {
            code: code.unwrap_or_else(|| {
                task.container
                    .as_ref()
                    .map_or(UNKNOWN, |container| code_of(container.wait()))
            }),
            at: super::create::now(),
        };
        task.held = Some(exit);
        if task.shares_pids
            && let Ok(container) = task.live()
        {
            // Nothing else would end them; that there is nobody is fine.
            let _ = container.kill(Signal::KILL, true);
        }
        let mut io = std::mem::take(&mut task.init.io);
        self.program_ended(&mut io);
        if let Some(task) = self.tasks.get_mut(id) {
            task.init.io = io;
        }
        self.settle(id);
    }

    /// Listens to the end of a program that exec brought.
    pub(super) fn watch_exec(&mut self, id: &str, exec_id: &str) {
        let token = self.new_source_of_exec(id, exec_id);
        let exec = self.tasks.get(id).and_then(|task| task.execs.get(exec_id));
        match exec.and_then(|exec| exec.executed.as_ref()) {
            Some(executed) => {
                if let Err(status) = self.poller.add(executed.pidfd(), token, EventFlags::IN) {
                    self.log.error(status.message);
                }
            }
            None => self.forget_source(token),
        }
    }

    pub(crate) fn exec_ended(&mut self, id: &str, exec_id: &str, code: Option<u32>) {
        let Some(exec) = self
            .tasks
            .get_mut(id)
            .and_then(|task| task.execs.get_mut(exec_id))
        else {
            return;
        };
        let Some(executed) = exec.executed.take() else {
            return;
        };
        self.poller.remove(executed.pidfd());
        let exit = Exit {
            code: code.unwrap_or_else(|| code_of(executed.wait())),
            at: super::create::now(),
        };
        exec.program.phase = Phase::Ended;
        exec.program.exit = Some(exit);
        let waiters = std::mem::take(&mut exec.program.waiters);
        let mut io = std::mem::take(&mut exec.program.io);
        let pid = exec.program.pid;
        self.forget_exec_source(id, exec_id);
        self.program_ended(&mut io);
        if let Some(exec) = self
            .tasks
            .get_mut(id)
            .and_then(|task| task.execs.get_mut(exec_id))
        {
            exec.program.io = io;
        }
        self.tell_exit(id, exec_id, pid, exit);
        self.answer_waiters(waiters, Some(exit));
        self.settle(id);
    }

    /// Tells the end of a container once all of its programs have ended.
    pub(super) fn settle(&mut self, id: &str) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        let running = |phase| matches!(phase, Phase::Running | Phase::Starting);
        let busy = task.execs.values().any(|exec| running(exec.program.phase));
        let Some(exit) = task.held.filter(|_| !busy && task.init.exit.is_none()) else {
            return;
        };
        task.init.phase = Phase::Ended;
        task.init.exit = Some(exit);
        let waiters = std::mem::take(&mut task.init.waiters);
        let pid = task.init.pid;
        let deleter = task.deleter.take();
        self.tell_exit(id, id, pid, exit);
        self.answer_waiters(waiters, Some(exit));
        if let Some(deleter) = deleter
            && let Err(status) = self.delete_container(deleter, id)
        {
            self.reply(deleter, Err(status));
        }
    }

    fn tell_exit(&mut self, id: &str, program: &str, pid: u32, exit: Exit) {
        if self.tasks.get(id).is_some_and(|task| task.sandbox.is_some()) {
            // Of sandboxes containerd hears by WaitSandbox.
            return;
        }
        let event = TaskExit {
            container_id: id.to_owned(),
            id: program.to_owned(),
            pid,
            exit_status: exit.code,
            exited_at: Some(exit.at),
        };
        self.publish("/tasks/exit", "TaskExit", &event);
    }

    pub(super) fn answer_waiters(&mut self, waiters: Vec<Waiter>, exit: Option<Exit>) {
        let response = WaitResponse {
            exit_status: exit.map_or(UNKNOWN, |exit| exit.code),
            exited_at: exit.map(|exit| exit.at),
        };
        let bytes = response.encode_to_vec();
        for waiter in waiters {
            match waiter {
                Waiter::Exit(caller) => self.reply(caller, Ok(bytes.clone())),
                Waiter::End(caller) => self.reply(caller, Ok(Vec::new())),
            }
        }
    }
}
