//! The main road: runs the steps in order. What a step needs from an earlier one is in [`Init`].

use runtime_core_program::{FrameKind, Program, Step, detail};

use crate::failure::{Failure, Outcome};
use crate::report::Report;
use crate::sys::{self, Fd, fd, identity, process};

/// What the steps leave for one another.
pub(crate) struct Init {
    pub(crate) report: Report,
    /// What the last Borrow brought.
    pub(crate) borrowed: Option<Fd>,
}

/// Runs the program; it ends with the execution of the container's own.
pub(crate) fn run(program: Program<'static>, report: Report) -> ! {
    let mut init = Init {
        report,
        borrowed: None,
    };
    for step in program.steps() {
        let (line, step) = match step {
            Ok(step) => step,
            Err(why) => init
                .report
                .fail(Failure::because(detail::MALFORMED).value(why as u64)),
        };
        init.report.at_line(line);
        if let Err(failure) = init.step(step) {
            init.report.fail(failure);
        }
    }
    init.report.fail(Failure::malformed())
}

impl Init {
    fn step(&mut self, step: Step<'static>) -> Outcome {
        match step {
            Step::Undumpable {} => identity::set_dumpable(false),
            Step::NewSession {} => process::new_session(),
            Step::Sync {} => {
                self.report.say(FrameKind::Reached);
                self.report.wait().map(drop)
            }
            Step::Tell {} => {
                self.report.say(FrameKind::Reached);
                Ok(())
            }
            Step::Borrow {} => {
                self.report.say(FrameKind::Wanted);
                self.borrowed = self.report.wait()?;
                Ok(())
            }
            Step::Unshare { namespaces } => process::unshare(namespaces),
            Step::Hostname { name } => identity::set_host_name(name),
            Step::Domainname { name } => identity::set_domain_name(name),
            Step::NoNewPrivs {} => identity::set_no_new_privileges(),
            Step::IoPriority { value } => identity::set_io_priority(value),
            Step::Personality { persona } => identity::set_personality(persona),
            Step::Umask { mask } => {
                process::set_umask(mask);
                Ok(())
            }
            _ => Err(Failure::malformed()),
        }
    }
}
