//! Golden schedules: what is planned for configurations as engines write them, on three recorded hosts.
//!
//! Here: planning and comparing with `tests/golden/CONFIG.HOST.txt`. Nothing is executed, so it runs anywhere and by
//! anyone. `UPDATE_GOLDEN=1` writes the files anew; the difference is what a reviewer reads. A configuration that is
//! refused has its error as the golden text: that wording is a promise too.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use runtime_core::CgroupDriver;
use runtime_core::facts::HostFacts;
use runtime_core::facts::systemd::SystemdFacts;
use runtime_core::plan::{Plan, PlanRequest, StartBy};
use runtime_core::spec::LoadedSpec;

/// With the systemd driver: how engines name scopes, the defaults, and a user's own manager.
const SYSTEMD: [(&str, &str); 6] = [
    ("podman-root", "pure-v2"),
    ("crio-container", "pure-v2"),
    ("spec-default", "pure-v2"),
    ("spec-default", "hybrid-v1"),
    ("podman-rootless", "rootless-v2"),
    ("spec-rootless", "rootless-v2"),
];

/// Configurations for the recorded host with SELinux and resctrl.
const LABELLED: [&str; 2] = ["podman-selinux", "resctrl"];
const HOSTS: [&str; 3] = ["hybrid-v1", "pure-v2", "rootless-v2"];

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixtures() -> PathBuf {
    package().join("../fixtures")
}

fn facts(host: &str) -> HostFacts {
    let path = fixtures().join("facts").join(format!("{host}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn configs() -> Vec<(String, PathBuf)> {
    let mut found: Vec<_> = std::fs::read_dir(fixtures().join("configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path))
        .collect();
    found.sort();
    found
}

fn request() -> PlanRequest {
    let mut request = PlanRequest::new("golden".parse().unwrap(), "/bundle");
    request.console_socket = Some("/run/console.sock".into());
    request
}

fn text_of(config: &Path, facts: &HostFacts, request: &PlanRequest) -> String {
    let name = config.file_name().unwrap().to_string_lossy().into_owned();
    let plan = LoadedSpec::from_slice(&std::fs::read(config).unwrap(), &name)
        .and_then(|loaded| Plan::create(&loaded, facts, request));
    let text = match plan {
        Ok(plan) => plan.to_text(),
        Err(error) => {
            let hint = error
                .hint()
                .map_or(String::new(), |hint| format!("hint: {hint}\n"));
            format!("refused, {:?}: {error}\n{hint}", error.kind())
        }
    };
    without_libseccomp(&text)
}

/// The number of a filter's instructions belongs to the libseccomp that compiled it, and so do the system calls that it
/// does not know.
fn without_libseccomp(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.contains(": unknown seccomp syscall "))
    {
        let shown = match (line.find("load seccomp ("), line.find(" instructions)")) {
            (Some(from), Some(to)) => {
                format!("{}load seccomp (N{}", &line[..from], &line[to..])
            }
            _ => line.to_owned(),
        };
        lines.push(shown);
    }
    lines.join("\n") + "\n"
}

/// The differing lines, for the message of a failure.
fn difference(golden: &str, found: &str) -> String {
    let (golden, found): (Vec<_>, Vec<_>) = (golden.lines().collect(), found.lines().collect());
    let first = golden
        .iter()
        .zip(&found)
        .position(|(a, b)| a != b)
        .unwrap_or_else(|| golden.len().min(found.len()));
    let show = |lines: &[&str]| lines.get(first).copied().unwrap_or("(end)").to_owned();
    format!(
        "line {}:\n  golden {}\n  found  {}",
        first + 1,
        show(&golden),
        show(&found)
    )
}

fn compare(name: &str, text: &str, wrong: &mut Vec<String>) {
    let path = package().join("tests/golden").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    match std::fs::read_to_string(&path) {
        Ok(golden) if golden == text => {}
        Ok(golden) => wrong.push(format!("{name}: {}", difference(&golden, text))),
        Err(error) => wrong.push(format!("{name}: {}: {error}", path.display())),
    }
}

#[test]
fn schedules_of_engine_configurations() {
    let configs = configs();
    assert!(
        configs.len() >= 16,
        "the configurations of the engines are missing"
    );
    let mut wrong = Vec::new();
    for (config, path) in &configs {
        for host in HOSTS {
            let text = text_of(path, &facts(host), &request());
            compare(&format!("{config}.{host}"), &text, &mut wrong);
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 writes the files anew",
        wrong.join("\n")
    );
}

#[test]
fn schedule_with_every_option_of_the_caller() {
    let mut request = request();
    request.start_by = StartBy::Caller;
    request.stdio = [true, true, false];
    request.preserve_fds = 3;
    request.listen_fds = 2;
    request.listen_fd_names = Some("web:admin".to_owned());
    request.notify_dir = Some("/run/runtime/golden/notify".into());
    request.pid_file = Some("/run/pid".into());
    request.pidfd_socket = Some("/run/pidfd.sock".into());
    request.no_pivot = true;
    request.no_new_keyring = true;
    let mut wrong = Vec::new();
    let path = fixtures().join("configs/containerd-ctr.json");
    let text = text_of(&path, &facts("hybrid-v1"), &request);
    compare("with-options.hybrid-v1", &text, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn schedules_of_the_systemd_driver() {
    let mut wrong = Vec::new();
    for (config, host) in SYSTEMD {
        let mut facts = facts(host);
        let user = facts.euid != 0;
        facts.systemd = Some(SystemdFacts {
            version: 257,
            user,
            control_group: match user {
                true => "/user.slice/user-1000.slice/user@1000.service".into(),
                false => "/".into(),
            },
        });
        let mut request = request();
        request.driver = CgroupDriver::Systemd;
        request.rootless = user;
        let path = fixtures().join(format!("configs/{config}.json"));
        let text = text_of(&path, &facts, &request);
        compare(&format!("{config}.{host}.systemd"), &text, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What only a host with SELinux and resctrl can do.
#[test]
fn schedules_of_a_host_with_selinux_and_resctrl() {
    let mut wrong = Vec::new();
    for config in LABELLED {
        let path = fixtures().join(format!("configs/{config}.json"));
        let text = text_of(&path, &facts("selinux-v2"), &request());
        compare(&format!("{config}.selinux-v2"), &text, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_golden_file_without_a_configuration() {
    let known: Vec<String> = configs()
        .iter()
        .flat_map(|(config, _)| HOSTS.map(|host| format!("{config}.{host}.txt")))
        .chain(LABELLED.map(|config| format!("{config}.selinux-v2.txt")))
        .chain(["with-options.hybrid-v1.txt".to_owned()])
        .chain(SYSTEMD.map(|(config, host)| format!("{config}.{host}.systemd.txt")))
        .collect();
    for entry in std::fs::read_dir(package().join("tests/golden")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            known.contains(&name),
            "tests/golden/{name} belongs to no configuration"
        );
    }
}
