//! `cargo xtask engines`: container engines of Debian, driving the runtime and the shim.
//!
//! Lives here: what a trial is made of, and its table. Must not live here: what is asked of an engine; that is
//! `conformance/engines`, shell scripts because engines are command lines.
//!
//! Nothing of the host is touched: an engine runs in a Debian tree of its own ([`tree`]) under an overlay that is thrown
//! away, in new mount, network, pid, IPC, UTS and cgroup namespaces, with an image that is made on the spot. When the first
//! process of the pid namespace ends, every daemon, shim and container ends with it.

mod options;
mod tree;

use crate::tally::Tally;
use crate::workspace::{Scratch, cargo, programs};
use crate::{Outcome, checks, host, steps, workspace};
use options::{Options, Program};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the results and the daemons' logs lie in the scratch folder: the overlay's upper folder, then the tree's /opt.
const LEFT_IN: &str = "upper/opt";

/// Tries the engines; whether nothing failed. The last line of the output is `N passed, N failed, N skipped`.
pub(crate) fn run(words: &[&str]) -> Outcome {
    let options = Options::parse(words)?;
    if !host::is_root() {
        return Err("engines: has to run as root: engines do".to_owned());
    }
    host::install(&[host::Need::Bootstrap])?;
    let tree = tree::tree(options.suite)?;
    let (runtime, shim) = under_trial(&options, &tree)?;
    let target = workspace::root().join("target");
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let scratch = Scratch::below(&target, "engines")?;
    copy_extra(&options.with, &scratch)?;
    let group = format!("rc-engines-{}", std::process::id());
    let status = enter(&options, [&tree, &runtime, &shim], &scratch, &group);
    let left = remove_cgroups(&group);
    let mut tally = Tally::default();
    let results = fs::read_to_string(scratch.join(LEFT_IN).join("results")).unwrap_or_default();
    let table = judge(&mut tally, &results, &options)?;
    if let Err(error) = status {
        tally.fail(format!("engines: {error}"));
    }
    for group in left {
        tally.fail(format!("engines: the cgroup {group} cannot be removed"));
    }
    if let Some(folder) = &options.logs {
        keep_logs(&scratch.join(LEFT_IN), folder)?;
    }
    steps::heading(&format!("Debian {}, {}", options.suite, words.join(" ")));
    checks_summary(&tally, &table);
    Ok(tally.failed == 0)
}

fn checks_summary(tally: &Tally, table: &[Row]) {
    println!("{:<18}{:>8}{:>8}{:>8}", "engine", "passed", "failed", "skipped");
    for row in table {
        println!(
            "{:<18}{:>8}{:>8}{:>8}",
            row.engine, row.counts[0], row.counts[1], row.counts[2]
        );
    }
    checks::summary(tally);
}

/// The programs under trial; `none` stands for no shim.
fn under_trial(options: &Options, tree: &Path) -> Result<(PathBuf, PathBuf), String> {
    let mut build = vec!["build", "--release", "--locked"];
    if options.runtime == Program::Own {
        build.push("--package=runtime-cli");
    }
    if options.shim == Program::Own {
        build.push("--package=shim");
    }
    if build.len() > 3 {
        host::install(&host::Need::BUILD)?;
        steps::must(&mut cargo(&build))?;
    }
    let release = programs("release")?;
    let runtime = match &options.runtime {
        Program::Own => release.join("runtime"),
        Program::OfDebian(name) => tree::program(tree, name)?,
        Program::At(path) => path.clone(),
        Program::None => return Err("engines: there is no trial without a runtime".to_owned()),
    };
    let shim = match &options.shim {
        Program::Own => release.join("containerd-shim-runtime-core-v2"),
        Program::At(path) => path.clone(),
        Program::OfDebian(_) | Program::None => PathBuf::from("none"),
    };
    for program in [&runtime, &shim] {
        if program.as_os_str() != "none" && !program.is_file() {
            return Err(format!("engines: {} is no program", program.display()));
        }
    }
    Ok((runtime, shim))
}

/// Programs that come before Debian's on the search path.
fn copy_extra(programs: &[PathBuf], scratch: &Scratch) -> Result<(), String> {
    let folder = scratch.join("upper/usr/local/bin");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for program in programs {
        let name = program
            .file_name()
            .ok_or(format!("engines: {} has no name", program.display()))?;
        fs::copy(program, folder.join(name)).map_err(|error| format!("{}: {error}", program.display()))?;
    }
    Ok(())
}

/// Runs the scripts in the tree.
fn enter(
    options: &Options,
    [tree, runtime, shim]: [&Path; 3],
    scratch: &Scratch,
    group: &str,
) -> Result<(), String> {
    // In the foreground, so that who interrupts us interrupts all; the limit's signal to unshare ends the pid namespace.
    let mut command = Command::new("timeout");
    command
        .args(["--foreground", "--kill-after=5", "--signal=KILL"])
        .arg(options.limit.to_string())
        .args(["unshare", "--mount", "--net", "--pid", "--ipc", "--uts"])
        .args(["--fork", "--kill-child=KILL", "--propagation", "private", "bash"])
        .arg(workspace::root().join("conformance/engines/enter.sh"))
        .arg(tree)
        .arg(scratch.path())
        .arg(group)
        .arg(runtime)
        .arg(shim)
        .env("ENGINES", options.engines.join(" "))
        .env("ONLY", &options.only)
        .env("EXECS", options.execs.to_string())
        .env("KILLS", options.kills.to_string());
    steps::must(&mut command)
}

/// The folders of `group` in all hierarchies, from the inside out; those that stay.
fn remove_cgroups(group: &str) -> Vec<String> {
    let mut find = Command::new("find");
    find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "("])
        .args(["-name", group, "-o", "-path"])
        .arg(format!("*/{group}/*"))
        .arg(")");
    let folders = steps::output(&mut find).unwrap_or_default();
    let mut left: Vec<String> = folders.lines().map(str::to_owned).collect();
    // The kernel takes a moment to forget the killed.
    for _ in 0..50 {
        left.retain(|folder| fs::remove_dir(folder).is_err() && Path::new(folder).exists());
        if left.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    left
}

/// One engine's part of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    engine: String,
    /// Passed, failed, skipped.
    counts: [usize; 3],
}

/// Counts the scripts' lines. The last of them says that all engines were tried; without it something ended early.
fn judge(tally: &mut Tally, results: &str, options: &Options) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = options
        .engines
        .iter()
        .map(|engine| Row {
            engine: engine.clone(),
            counts: [0; 3],
        })
        .collect();
    let mut whole = false;
    for line in results.lines() {
        let check: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        let id = check["id"].as_str().unwrap_or_default();
        if id == "end" {
            whole = true;
            continue;
        }
        let told = format!("{id}: {}", check["evidence"].as_str().unwrap_or_default());
        let place = match check["verdict"].as_str() {
            Some("passed") => {
                tally.pass();
                0
            }
            Some("failed") => {
                tally.fail(told);
                1
            }
            Some("skipped") => {
                tally.skip(told);
                2
            }
            _ => return Err(format!("{line}: no verdict")),
        };
        let engine = id.split('/').next().unwrap_or_default();
        if let Some(row) = rows.iter_mut().find(|row| row.engine == engine) {
            row.counts[place] += 1;
        }
    }
    if !whole {
        tally.fail("engines: the trial ended before all engines were tried".to_owned());
    }
    for row in rows.iter().filter(|row| row.counts == [0; 3]) {
        tally.fail(format!("engines: no case of {} was run", row.engine));
    }
    Ok(rows)
}

/// Copies what the daemons said, and the results.
fn keep_logs(from: &Path, to: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", to.display());
    fs::create_dir_all(to).map_err(wrong)?;
    for entry in fs::read_dir(from).map_err(wrong)?.flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).map_err(wrong)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: &str, verdict: &str) -> String {
        format!("{{\"id\": \"{id}\", \"verdict\": \"{verdict}\", \"evidence\": \"e\"}}\n")
    }

    #[test]
    fn a_table_counts_each_engine() {
        let options = Options::parse(&["docker", "podman"]).unwrap();
        let results = line("docker/a", "passed")
            + &line("docker/b", "failed")
            + &line("podman/a", "skipped")
            + &line("end", "passed");
        let mut tally = Tally::default();
        let rows = judge(&mut tally, &results, &options).unwrap();
        assert_eq!(rows[0].counts, [1, 1, 0]);
        assert_eq!(rows[1].counts, [0, 0, 1]);
        assert_eq!((tally.passed(), tally.failed, tally.skipped), (1, 1, 1));
    }

    #[test]
    fn what_ends_early_or_tries_nothing_fails() {
        let options = Options::parse(&["docker"]).unwrap();
        let mut tally = Tally::default();
        judge(&mut tally, &line("docker/a", "passed"), &options).unwrap();
        assert_eq!((tally.passed(), tally.failed), (1, 1));
        let mut tally = Tally::default();
        judge(&mut tally, &line("end", "passed"), &options).unwrap();
        assert_eq!(tally.failed, 1);
        assert!(judge(&mut Tally::default(), "no JSON", &options).is_err());
    }
}
