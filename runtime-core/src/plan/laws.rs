//! Laws of every schedule, of create as of exec, as code: each says what would go wrong and which bug taught it.
//!
//! They are checked on every plan (a few microseconds) and on random configurations by the property tests. A broken law
//! is a bug of the planner, never of the configuration.

use super::Plan;
use super::schedule::{Action, Line, ParentStep, Step};
use crate::seccomp::FLAG_NEW_LISTENER;

/// Gives the line that breaks the law.
type Law = fn(&Plan) -> Option<usize>;

/// Checks all laws; the error names the law and the line.
pub fn check(plan: &Plan) -> Result<(), String> {
    let laws: [(&str, Law); 17] = [
        ("the record exists before anything outside does", record_first),
        (
            "what is opened of a running container is checked to be its own before anything enters it",
            container_checked,
        ),
        (
            "init waits exactly where the parent answers (both halves of a handshake)",
            handshakes_pair,
        ),
        (
            "network devices move while init waits in its last namespaces, before any hook",
            devices_move_to_waiting_init,
        ),
        (
            "systemd moves a waiting init, and before it can be seen in a cgroup namespace or leave a child behind",
            scope_before_namespace,
        ),
        (
            "stray descriptors are closed before anything else (CVE-2024-21626)",
            stray_descriptors_first,
        ),
        (
            "init is undumpable before it joins a namespace (CVE-2016-9962)",
            undumpable_before_joining,
        ),
        (
            "no path of the host is opened after the root changed (CVE-2019-14271)",
            no_host_path_after_root,
        ),
        (
            "the root that every path is found from is opened behind the last namespace",
            root_behind_namespaces,
        ),
        (
            "what takes the place of files of the image does so before the root changes (CVE-2024-0132)",
            furnished_before_root,
        ),
        (
            "masks and read-only paths come after the mounts and the new root (CVE-2019-19921)",
            masks_after_mounts,
        ),
        (
            "sysctls are written before /proc/sys may become read-only",
            sysctls_before_protection,
        ),
        (
            "labels are written on a procfs of init's own, in its last namespaces (CVE-2019-16884, CVE-2025-52881)",
            labels_on_own_procfs,
        ),
        (
            "nothing needs privilege after the capabilities are dropped",
            no_privilege_after_drop,
        ),
        (
            "a cgroup is closed to new processes when the last one is made",
            closed_last,
        ),
        (
            "after the filter only waiting, hooks and the program",
            nothing_after_filter,
        ),
        (
            "the listener of a filter is passed on at once, and only there is one waited for",
            listener_passed_on,
        ),
    ];
    for (law, broken_at) in laws {
        if let Some(line) = broken_at(plan) {
            return Err(format!("broken law at line {line} of the schedule: {law}"));
        }
    }
    Ok(())
}

fn init_steps(plan: &Plan) -> impl Iterator<Item = (usize, &Step)> {
    plan.lines
        .iter()
        .enumerate()
        .filter_map(|(line, entry)| match &entry.action {
            Action::Init(step) => Some((line, step)),
            Action::Parent(_) => None,
        })
}

fn position(plan: &Plan, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
    init_steps(plan)
        .find(|(_, step)| wanted(step))
        .map(|(line, _)| line)
}

fn parent_steps(plan: &Plan) -> impl Iterator<Item = (usize, &ParentStep)> {
    plan.lines
        .iter()
        .enumerate()
        .filter_map(|(line, entry)| match &entry.action {
            Action::Parent(step) => Some((line, step)),
            Action::Init(_) => None,
        })
}

fn parent_position(plan: &Plan, wanted: impl Fn(&ParentStep) -> bool) -> Option<usize> {
    parent_steps(plan)
        .find(|(_, step)| wanted(step))
        .map(|(line, _)| line)
}

/// Where the schedule makes sure of a container that exists; None where it makes one.
fn check_of_container(plan: &Plan) -> Option<usize> {
    parent_position(plan, |step| matches!(step, ParentStep::CheckProcess { .. }))
}

fn record_first(plan: &Plan) -> Option<usize> {
    if check_of_container(plan).is_some() {
        // The container has its record; a program that comes to it leaves nothing that would need another one.
        return parent_position(plan, |step| {
            matches!(
                step,
                ParentStep::SaveRecord { .. }
                    | ParentStep::MakeCgroup { .. }
                    | ParentStep::StartScope { .. }
                    | ParentStep::Limit { .. }
                    | ParentStep::DeviceRules { .. }
                    | ParentStep::DelegateCgroup { .. }
                    | ParentStep::Listen
                    | ParentStep::WriteIdMaps { .. }
                    | ParentStep::RdtGroup { .. }
                    | ParentStep::RdtSchemata { .. }
                    | ParentStep::RdtMonitor { .. }
                    | ParentStep::MoveNetDevice { .. }
            )
        });
    }
    match plan.lines.first().map(|line| &line.action) {
        Some(Action::Parent(ParentStep::SaveRecord { .. })) => None,
        _ => Some(0),
    }
}

fn container_checked(plan: &Plan) -> Option<usize> {
    let opens = |step: &ParentStep| {
        matches!(
            step,
            ParentStep::OpenCgroup { .. } | ParentStep::OpenNamespace { .. }
        )
    };
    let Some(checked) = check_of_container(plan) else {
        return parent_position(plan, |step| matches!(step, ParentStep::OpenCgroup { .. }));
    };
    let late = parent_steps(plan).find(|(line, step)| *line > checked && opens(step));
    let spawned = parent_position(plan, |step| matches!(step, ParentStep::Spawn { .. }));
    late.map(|(line, _)| line)
        .or(spawned.filter(|line| *line < checked))
}

fn root_behind_namespaces(plan: &Plan) -> Option<usize> {
    let root = position(plan, |step| matches!(step, Step::OpenRoot { .. }))?;
    init_steps(plan)
        .find(|(line, step)| {
            *line > root && matches!(step, Step::Join { .. } | Step::Fork {} | Step::ForkInto { .. })
        })
        .map(|(line, _)| line)
}

fn handshakes_pair(plan: &Plan) -> Option<usize> {
    let mut waiting = false;
    for (number, line) in plan.lines.iter().enumerate() {
        match &line.action {
            Action::Init(Step::Sync {} | Step::Borrow {} | Step::Extend {} | Step::WaitStart { .. })
                if !waiting =>
            {
                waiting = true
            }

            Action::Init(_) if waiting => return Some(number),
            Action::Parent(ParentStep::Release | ParentStep::Lend { .. } | ParentStep::Look { .. }) => {
                if !waiting {
                    return Some(number);
                }
                waiting = false;
            }
            _ => {}
        }
    }
    waiting.then_some(plan.lines.len())
}

fn devices_move_to_waiting_init(plan: &Plan) -> Option<usize> {
    let first = parent_position(plan, |step| matches!(step, ParentStep::MoveNetDevice { .. }))?;
    let mut waiting = false;
    let mut hooked = false;
    for (number, line) in plan.lines.iter().enumerate() {
        match &line.action {
            Action::Parent(ParentStep::MoveNetDevice { .. }) if !waiting || hooked => return Some(number),
            Action::Init(
                Step::Join { .. } | Step::Unshare { .. } | Step::Fork {} | Step::ForkInto { .. },
            ) if number > first => {
                return Some(number);
            }
            Action::Parent(ParentStep::Hook { .. }) | Action::Init(Step::Hook { .. }) => hooked = true,
            Action::Init(step) => waiting = matches!(step, Step::Sync {}),
            Action::Parent(ParentStep::Release) => waiting = false,
            Action::Parent(_) => {}
        }
    }
    None
}

fn scope_before_namespace(plan: &Plan) -> Option<usize> {
    let moved = parent_position(plan, |step| {
        matches!(
            step,
            ParentStep::StartScope { .. } | ParentStep::AttachToScope { .. }
        )
    })?;
    let waits = plan.lines[..moved]
        .iter()
        .rev()
        .find_map(|line| match &line.action {
            Action::Init(step) => Some(matches!(step, Step::Sync {})),
            Action::Parent(ParentStep::Release) => Some(false),
            Action::Parent(_) => None,
        });
    let early = init_steps(plan).find(|(line, step)| {
        *line < moved
            && matches!(
                step,
                Step::Unshare { .. } | Step::Join { .. } | Step::Fork {} | Step::Undumpable {}
            )
    });
    let late = init_steps(plan).find(|(line, step)| *line > moved && matches!(step, Step::ForkInto { .. }));
    match (waits, early.or(late)) {
        (Some(true), wrong) => wrong.map(|(line, _)| line),
        _ => Some(moved),
    }
}

fn stray_descriptors_first(plan: &Plan) -> Option<usize> {
    init_steps(plan)
        .next()
        .filter(|(_, step)| !matches!(step, Step::CloseStray { .. }))
        .map(|(line, _)| line)
}

fn undumpable_before_joining(plan: &Plan) -> Option<usize> {
    let joins = position(plan, |step| matches!(step, Step::Join { .. }))?;
    let undumpable = position(plan, |step| matches!(step, Step::Undumpable {}));
    undumpable
        .is_none_or(|undumpable| joins < undumpable)
        .then_some(joins)
}

fn changes_root(step: &Step) -> bool {
    matches!(step, Step::Pivot {} | Step::MoveRoot {} | Step::Chroot {})
}

fn no_host_path_after_root(plan: &Plan) -> Option<usize> {
    let root = position(plan, changes_root)?;
    let names_host = |step: &Step| {
        matches!(
            step,
            Step::OpenRoot { .. }
                | Step::MountBind { .. }
                | Step::MountFs { .. }
                | Step::MountPage { .. }
                | Step::BindDevice { .. }
                | Step::PrepareMasks { .. }
                | Step::WriteSelf { .. }
                | Step::EnterTime { .. }
        )
    };
    init_steps(plan)
        .find(|(line, step)| *line > root && names_host(step))
        .map(|(line, _)| line)
}

/// The old root's procfs and the descriptor of the new one are there until then, and no hook of the image's runs before.
fn furnished_before_root(plan: &Plan) -> Option<usize> {
    let changed = position(plan, changes_root)?;
    let furnishes = |step: &Step| {
        matches!(
            step,
            Step::Extend {}
                | Step::ReplaceLink { .. }
                | Step::WriteFile { .. }
                | Step::CoverFile { .. }
                | Step::SetMode { .. }
        )
    };
    init_steps(plan)
        .find(|(line, step)| *line > changed && furnishes(step))
        .map(|(line, _)| line)
}

fn masks_after_mounts(plan: &Plan) -> Option<usize> {
    let root = position(plan, changes_root)?;
    init_steps(plan)
        .find(|(line, step)| *line < root && matches!(step, Step::Mask { .. } | Step::ReadOnlyPath { .. }))
        .map(|(line, _)| line)
}

fn sysctls_before_protection(plan: &Plan) -> Option<usize> {
    let protected = position(plan, |step| {
        matches!(step, Step::Mask { .. } | Step::ReadOnlyPath { .. })
    })?;
    init_steps(plan)
        .find(|(line, step)| *line > protected && matches!(step, Step::Sysctl { .. }))
        .map(|(line, _)| line)
}

fn labels_on_own_procfs(plan: &Plan) -> Option<usize> {
    let mut opened = false;
    for (line, step) in init_steps(plan) {
        match step {
            Step::OpenProc {} => opened = true,
            // The procfs shows the pid namespace that it was made in; whoever waits gives it up.
            Step::Join { .. } | Step::Fork {} | Step::ForkInto { .. } | Step::WaitStart { .. } => {
                opened = false
            }
            Step::ExecProfile { .. } | Step::ExecLabel { .. } | Step::KeyLabel { .. } if !opened => {
                return Some(line);
            }
            _ => {}
        }
    }
    None
}

fn no_privilege_after_drop(plan: &Plan) -> Option<usize> {
    let drop = position(plan, |step| matches!(step, Step::Capabilities { .. }))?;
    let free = |step: &Step| {
        matches!(
            step,
            Step::FindProgram { .. }
                | Step::PlaceFds { .. }
                | Step::WaitStart { .. }
                | Step::Seccomp { .. }
                | Step::Hook { .. }
                | Step::Exec { .. }
        )
    };
    init_steps(plan)
        .find(|(line, step)| *line > drop && !free(step))
        .map(|(line, _)| line)
}

fn closed_last(plan: &Plan) -> Option<usize> {
    let waits = position(plan, |step| matches!(step, Step::WaitStart { .. }))?;
    let closes = |step: &ParentStep| matches!(step, ParentStep::Limit { write } if write.admits_nobody());
    parent_position(plan, closes).filter(|line| *line < waits)
}

fn nothing_after_filter(plan: &Plan) -> Option<usize> {
    let filter = position(plan, |step| matches!(step, Step::Seccomp { .. }))?;
    let free = |step: &Step| {
        matches!(
            step,
            Step::Capabilities { .. }
                | Step::FindProgram { .. }
                | Step::PlaceFds { .. }
                | Step::WaitStart { .. }
                | Step::Hook { .. }
                | Step::Exec { .. }
        )
    };
    init_steps(plan)
        .find(|(line, step)| *line > filter && !free(step))
        .map(|(line, _)| line)
}

/// Until it is, every call that the filter asks about hangs.
fn listener_passed_on(plan: &Plan) -> Option<usize> {
    let has_listener = |line: Option<&Line>| match line.map(|line| &line.action) {
        Some(Action::Init(Step::Seccomp { flags, .. })) => flags & FLAG_NEW_LISTENER != 0,
        _ => false,
    };
    let passes = |line: Option<&Line>| {
        let action = line.map(|line| &line.action);
        matches!(action, Some(Action::Parent(ParentStep::PassListener { .. })))
    };
    (0..plan.lines.len())
        .find(|&number| has_listener(plan.lines.get(number)) != passes(plan.lines.get(number + 1)))
}
