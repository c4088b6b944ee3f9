//! Hooks: which run where, with which state on stdin.

use oci_spec::runtime::{Hook, Hooks, Spec};
use runtime_core_program::step::NO_HOME;
use serde::{Deserialize, Serialize};

use super::create::{PlanRequest, text, texts};
use super::schedule::{ParentStep, Schedule, Step};
use crate::error::{Error, Result};
use crate::facts::HostFacts;
use crate::gpu::hooks::{ImageWork, NativeHook, NativeHooks, Work, steps_of};
use crate::state::Status;

/// The six kinds (config.md, POSIX-platform Hooks).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HookKind {
    /// Deprecated; before createRuntime.
    Prestart,
    /// In the runtime's namespaces, before the root changes.
    CreateRuntime,
    /// In the container's namespaces, before the root changes.
    CreateContainer,
    /// In the container, before the program.
    StartContainer,
    /// In the runtime's namespaces, after the program was started.
    Poststart,
    /// In the runtime's namespaces, after the container was deleted.
    Poststop,
}

impl HookKind {
    /// Every kind, in the order of a container's life.
    pub const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The name in config.json.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    #[allow(deprecated, reason = "prestart hooks are deprecated, not gone")]
    fn list(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// A hook that the parent runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedHook {
    /// Its kind.
    pub kind: HookKind,
    /// Its position in the list.
    pub position: usize,
    /// The program, an absolute path.
    pub path: String,
    /// All arguments, `argv[0]` first; empty: the path alone.
    pub args: Vec<String>,
    /// The whole environment: nothing is inherited (CVE-2025-23266).
    pub env: Vec<String>,
    /// Seconds after which it is killed.
    pub timeout: Option<u64>,
}

impl PlannedHook {
    /// The field of config.json.
    pub fn field(&self) -> String {
        format!("hooks.{}[{}]", self.kind.as_str(), self.position)
    }
}

/// The hooks of one kind, in order.
pub(crate) fn planned(spec: &Spec, kind: HookKind) -> Vec<PlannedHook> {
    let hooks = spec
        .hooks()
        .as_ref()
        .map(|hooks| kind.list(hooks))
        .unwrap_or_default();
    let planned = hooks.iter().enumerate().map(|(position, hook)| PlannedHook {
        kind,
        position,
        path: hook.path().to_string_lossy().into_owned(),
        args: hook.args().clone().unwrap_or_default(),
        env: hook.env().clone().unwrap_or_default(),
        timeout: hook.timeout().and_then(|timeout| u64::try_from(timeout).ok()),
    });
    planned.collect()
}

/// prestart and createRuntime: the parent runs them while init waits.
pub(super) fn runtime(schedule: &mut Schedule, spec: &Spec) {
    let hooks = planned(spec, HookKind::Prestart)
        .into_iter()
        .chain(planned(spec, HookKind::CreateRuntime));
    let steps: Vec<_> = hooks
        .map(|hook| {
            let field = hook.field();
            (ParentStep::Hook { hook: Box::new(hook) }, field)
        })
        .collect();
    if !steps.is_empty() {
        schedule.barrier("hooks.createRuntime", steps);
    }
}

/// createContainer: init runs them, in its namespaces, before the root changes. They stand in the bundle, as crun's do, not
/// in the container's root, as runc's do: what is loaded or opened by a relative name would be the image's (R-32,
/// CVE-2025-23266).
pub(super) fn container(
    schedule: &mut Schedule,
    spec: &Spec,
    facts: &HostFacts,
    request: &PlanRequest,
    natively: bool,
) -> Result<()> {
    let gpu = &request.gpu;
    let params = gpu.params.as_deref().or(facts.nvidia_params.as_deref());
    if !natively && !gpu.native.is_empty() {
        return Err(Error::spec(
            "linux.namespaces",
            "a GPU needs a mount namespace: what is mounted and linked for it would be the host's",
        ));
    }
    for native in &gpu.native {
        furnish(schedule, native, spec, params, "(gpu)")?;
    }
    let hooks = spec.hooks().as_ref();
    let listed = hooks
        .map(|hooks| HookKind::CreateContainer.list(hooks))
        .unwrap_or_default();
    for (hook, native) in planned(spec, HookKind::CreateContainer).into_iter().zip(listed) {
        let native =
            NativeHook::recognise(native).filter(|_| natively && gpu.native_hooks != NativeHooks::Off);
        if let Some(native) = &native {
            furnish(schedule, native, spec, params, &hook.field())?;
            if gpu.native_hooks == NativeHooks::On {
                continue;
            }
            look(schedule, ImageWork::Remember(native.clone()), &hook.field());
        }
        let step = step(
            &hook,
            &hook.env,
            NO_HOME,
            &request.bundle.to_string_lossy(),
            spec,
            request,
            Status::Creating,
        )?;
        schedule.init(step, hook.field());
        if let Some(native) = native {
            look(schedule, ImageWork::Compare(native), &hook.field());
        }
    }
    Ok(())
}

/// What a known hook does, by steps.
fn furnish(
    schedule: &mut Schedule,
    native: &NativeHook,
    spec: &Spec,
    params: Option<&str>,
    field: &str,
) -> Result<()> {
    for work in steps_of(native, spec, params, field)? {
        match work {
            Work::Step(step) => schedule.init(step, field),
            Work::Look(work) => look(schedule, work, field),
        }
    }
    Ok(())
}

/// init lends its root, the parent looks into it.
fn look(schedule: &mut Schedule, work: ImageWork, field: &str) {
    schedule.init(Step::Extend {}, field);
    schedule.parent(ParentStep::Look { work }, field);
}

/// startContainer: init runs them as the program's user. One without `env` gets the program's environment, as runc
/// does: it is a process of the container like any other.
pub(super) fn start(
    schedule: &mut Schedule,
    spec: &Spec,
    request: &PlanRequest,
    process_env: &[String],
    home: u32,
) -> Result<()> {
    let without_env = |position: usize| {
        let hooks = spec
            .hooks()
            .as_ref()
            .map(|hooks| HookKind::StartContainer.list(hooks));
        hooks
            .and_then(|hooks| hooks.get(position))
            .is_some_and(|hook| hook.env().is_none())
    };
    for hook in planned(spec, HookKind::StartContainer) {
        let (env, home) = if without_env(hook.position) {
            (process_env, home)
        } else {
            (hook.env.as_slice(), NO_HOME)
        };
        let step = step(&hook, env, home, "", spec, request, Status::Created)?;
        schedule.init(step, hook.field());
    }
    Ok(())
}

fn step(
    hook: &PlannedHook,
    env: &[String],
    home: u32,
    cwd: &str,
    spec: &Spec,
    request: &PlanRequest,
    status: Status,
) -> Result<Step> {
    let field = hook.field();
    let (head, tail) = state_around_pid(spec, request, status);
    let args = if hook.args.is_empty() {
        std::slice::from_ref(&hook.path)
    } else {
        hook.args.as_slice()
    };
    Ok(Step::Hook {
        path: text(&field, &hook.path)?,
        args: texts(&field, args)?,
        env: texts(&field, env)?,
        home,
        cwd: text(&field, cwd)?,
        head,
        tail,
        timeout: hook.timeout.unwrap_or(0),
    })
}

/// The state document for a hook that init runs, in two halves: between them stands the pid as the container sees it.
fn state_around_pid(spec: &Spec, request: &PlanRequest, status: Status) -> (Vec<u8>, Vec<u8>) {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let head = format!(
        "{{\"ociVersion\":{},\"id\":{},\"status\":{},\"pid\":",
        quoted(spec.version()),
        quoted(request.id.as_str()),
        quoted(status.as_str()),
    );
    let mut tail = format!(",\"bundle\":{}", quoted(&request.bundle.to_string_lossy()));
    if let Some(annotations) = spec
        .annotations()
        .as_ref()
        .filter(|annotations| !annotations.is_empty())
    {
        let sorted: std::collections::BTreeMap<_, _> = annotations.iter().collect();
        tail.push_str(",\"annotations\":");
        tail.push_str(&serde_json::to_string(&sorted).unwrap_or_else(|_| "{}".to_owned()));
    }
    tail.push('}');
    (head.into_bytes(), tail.into_bytes())
}
