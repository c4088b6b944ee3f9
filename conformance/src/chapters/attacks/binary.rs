//! The runtime's own program and its processes, seen from inside: T-13, T-14.

use super::LIMIT;
use crate::case::{Case, text};
use crate::command::Running;
use crate::suite::{Check, Failure, Need, Test, ensure, test};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const OVERWRITE: &str = "CVE-2019-5736";
const SPY: &str = "CVE-2016-9962";
/// Most times that a container is joined while it is looking; fewer where the time limit ends first.
const JOINS: u32 = 60;
/// Seconds that the attacker inside looks.
const WATCH: &str = "6";

/// The topic's tests.
pub(in super::super) const TESTS: &[Test] = &[
    test("t13-program-is-run-by-proc-self-exe", OVERWRITE, |case| {
        let runtime = Copied::new(case)?;
        for interpreter in ["/proc/self/exe", "/proc/1/exe"] {
            let bundle = case.bundle(&["/script"], |config| config["root"]["readonly"] = false.into())?;
            std::fs::write(bundle.rootfs().join("script"), format!("#!{interpreter}\n"))?;
            std::fs::set_permissions(bundle.rootfs().join("script"), PermissionsExt::from_mode(0o755))?;
            let args = ["run", "--bundle", &text(bundle.dir()), case.id()];
            runtime.run(case, &args)?.finish()?;
        }
        runtime.unchanged()
    }),
    test("t13-program-of-exec-is-overwritten", OVERWRITE, |case| {
        watched(case, Power::Tracer, judge_writes)
    })
    .needs(&[Need::Root("the attacker is root of the host's user namespace")]),
    test("t14-process-that-joins-is-opened", SPY, |case| {
        watched(case, Power::Root, judge_looks)
    })
    .needs(&[Need::Root("the attacker is root of the host's user namespace")]),
    test("t14-process-that-joins-a-user-namespace-is-opened", SPY, |case| {
        watched(case, Power::RootOfItsOwn, judge_looks)
    }),
];

/// A copy of the runtime: what is attacked must not be what the suite goes on with.
struct Copied {
    path: PathBuf,
    before: Vec<u8>,
}

impl Copied {
    fn new(case: &Case<'_>) -> Check<Copied> {
        let path = case.dir().join("runtime");
        std::fs::copy(case.runtime_path(), &path)?;
        let before = std::fs::read(&path)?;
        Ok(Copied { path, before })
    }

    fn run(&self, case: &Case<'_>, args: &[&str]) -> Check<Running> {
        let plain = case.command(args);
        let mut command = crate::command::plain(&self.path);
        command.args(plain.get_args()).current_dir(case.dir());
        case.start_within(command, &args.join(" "), LIMIT)
    }

    fn unchanged(&self) -> Check {
        let same = std::fs::read(&self.path)? == self.before;
        ensure!(same, "FELL: the runtime's own program was written to");
        Ok(())
    }
}

/// What the attacker is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    /// Root of the host's user namespace without the right to trace.
    Root,
    /// The same with that right: nothing is hidden from it, so that only what is sealed holds.
    Tracer,
    /// Root of a user namespace, with every right there.
    RootOfItsOwn,
}

/// Joins a container by exec again and again, while its program opens what it can of every process that appears.
fn watched(case: &Case<'_>, power: Power, judge: fn(&Value, u32) -> Check) -> Check {
    let runtime = Copied::new(case)?;
    let bundle = case.bundle(&["/bin/probe", "watch-processes", WATCH], |config| {
        let capabilities = match power {
            Power::Root => json!(["CAP_DAC_OVERRIDE"]),
            _ => json!([
                "CAP_SYS_PTRACE",
                "CAP_DAC_OVERRIDE",
                "CAP_DAC_READ_SEARCH",
                "CAP_KILL"
            ]),
        };
        config["process"]["capabilities"] =
            json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
        if power == Power::RootOfItsOwn {
            case.who().with_user_namespace(config);
        }
    })?;
    reachable_by_mapped_root(&bundle.rootfs())?;
    let attacker = case.start_command(
        case.command(&["run", "--bundle", &text(bundle.dir()), case.id()]),
        "run",
    )?;
    case.until("the attacker is ready", || {
        Ok(attacker.stdout()?.contains("ready"))
    })?;
    let mut joins = 0;
    while joins < JOINS && attacker.stdout()?.lines().count() < 2 {
        // The attacker may be at its end by then.
        runtime
            .run(case, &["exec", case.id(), "/bin/probe", "exit", "0"])?
            .finish()?;
        joins += 1;
    }
    let finished = attacker.finish()?.ok()?;
    let last = finished.stdout.lines().last().unwrap_or_default().to_owned();
    let counts: Value = serde_json::from_str(&last)?;
    case.note(format!("{joins} joins: {last}"));
    ensure!(
        counts["seen"].as_u64().unwrap_or_default() > 0,
        "the attacker saw no process, so nothing was shown: {last}"
    );
    judge(&counts, joins)?;
    runtime.unchanged()
}

/// In a user namespace its root reads the bundle as some user of the host.
fn reachable_by_mapped_root(rootfs: &Path) -> Check {
    for ancestor in rootfs.ancestors().take(2) {
        std::fs::set_permissions(ancestor, PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

fn judge_writes(counts: &Value, joins: u32) -> Check {
    let written = counts["written"].as_u64().unwrap_or_default();
    if written > 0 {
        return Err(Failure::Failed(format!(
            "FELL: the program of {written} of {joins} processes that joined could be written"
        )));
    }
    Ok(())
}

fn judge_looks(counts: &Value, joins: u32) -> Check {
    let opened = counts["opened"].as_u64().unwrap_or_default();
    if opened > 0 {
        return Err(Failure::Failed(format!(
            "FELL: descriptors, root or memory of a process that joined were opened {opened} times in {joins} joins"
        )));
    }
    Ok(())
}
