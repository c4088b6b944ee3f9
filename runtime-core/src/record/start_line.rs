//! What `start`, perhaps another process than `create`, needs to put init's last failures into words.

use runtime_core_program::Text;
use runtime_core_program::step::NO_HOME;
use serde::{Deserialize, Serialize};

use crate::plan::{Action, Line, ParentStep, Plan, Step};
use crate::seccomp::Agent;

/// A line of the schedule behind the wait for start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StartLine {
    /// Its number in the schedule.
    pub(crate) number: u32,
    from: String,
    step: StartStep,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StartStep {
    Seccomp,
    Agent(Agent),
    Hook(String),
    Exec(String),
}

impl StartLine {
    /// The lines behind the wait.
    pub(crate) fn of(plan: &Plan) -> Vec<Self> {
        let wait = plan
            .lines
            .iter()
            .position(|line| matches!(line.action, Action::Init(Step::WaitStart { .. })));
        let behind = plan.lines.iter().enumerate().skip(wait.unwrap_or(0));
        behind
            .filter_map(|(number, line)| {
                let step = match &line.action {
                    Action::Init(Step::Seccomp { .. }) => StartStep::Seccomp,
                    Action::Parent(ParentStep::PassListener { agent }) => StartStep::Agent(agent.clone()),
                    Action::Init(Step::Hook { path, .. }) => StartStep::Hook(path.to_string()),
                    Action::Init(Step::Exec { args, .. }) => {
                        StartStep::Exec(args.first().map(ToString::to_string).unwrap_or_default())
                    }
                    _ => return None,
                };
                Some(Self {
                    number: u32::try_from(number).ok()?,
                    from: line.from.clone(),
                    step,
                })
            })
            .collect()
    }

    /// Whether the line executes the program.
    pub(crate) fn is_exec(&self) -> bool {
        matches!(self.step, StartStep::Exec(_))
    }

    /// Who gets the filter's listener, where this is the line that passes it on.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        match &self.step {
            StartStep::Agent(agent) => Some(agent),
            _ => None,
        }
    }

    /// The line as far as words need it.
    pub(crate) fn line(&self) -> Line {
        let text = |value: &str| Text::new(value).unwrap_or_default();
        let step = match &self.step {
            StartStep::Agent(agent) => {
                let agent = agent.clone();
                return Line {
                    action: Action::Parent(ParentStep::PassListener { agent }),
                    from: self.from.clone(),
                };
            }
            StartStep::Seccomp => Step::Seccomp {
                filter: Vec::new(),
                flags: 0,
            },
            StartStep::Hook(path) => Step::Hook {
                path: text(path),
                args: Vec::new(),
                env: Vec::new(),
                home: NO_HOME,
                cwd: Text::default(),
                head: Vec::new(),
                tail: Vec::new(),
                timeout: 0,
            },
            StartStep::Exec(name) => Step::Exec {
                args: vec![text(name)],
                env: Vec::new(),
                home: NO_HOME,
                keep: 0,
            },
        };
        Line {
            action: Action::Init(step),
            from: self.from.clone(),
        }
    }
}
