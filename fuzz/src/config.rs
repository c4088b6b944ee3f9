//! Configurations, processes of `exec` and resources of `update`: read, judged and planned on recorded hosts.
//!
//! Whatever they say, planning ends with a schedule that keeps every law or with an error that is not ours: a broken law
//! is an error of the kind Internal.

use std::sync::OnceLock;

use runtime_core::CgroupDriver;
use runtime_core::ErrorKind;
use runtime_core::cgroup;
use runtime_core::facts::HostFacts;
use runtime_core::facts::systemd::SystemdFacts;
use runtime_core::plan::{ExecPlanRequest, Plan, PlanRequest};
use runtime_core::spec::{LoadedProcess, LoadedResources, LoadedSpec};

const HOSTS: [&str; 4] = [
    include_str!("../../fixtures/facts/hybrid-v1.json"),
    include_str!("../../fixtures/facts/pure-v2.json"),
    include_str!("../../fixtures/facts/rootless-v2.json"),
    include_str!("../../fixtures/facts/selinux-v2.json"),
];

fn hosts() -> &'static [HostFacts] {
    static READ: OnceLock<Vec<HostFacts>> = OnceLock::new();
    READ.get_or_init(|| {
        let facts = HOSTS.iter().map(|text| serde_json::from_str(text));
        facts.collect::<Result<_, _>>().expect("facts of this repository")
    })
}

/// The same hosts, each with the service manager that the caller would use.
fn hosts_with_systemd() -> &'static [HostFacts] {
    static READ: OnceLock<Vec<HostFacts>> = OnceLock::new();
    READ.get_or_init(|| {
        let with_systemd = |facts: &HostFacts| {
            let user = facts.euid != 0;
            let place = if user {
                "/user.slice/user-1000.slice/user@1000.service"
            } else {
                "/"
            };
            let mut with = facts.clone();
            with.systemd = Some(SystemdFacts {
                version: 257,
                user,
                control_group: place.to_owned(),
            });
            with
        };
        hosts().iter().map(with_systemd).collect()
    })
}

fn judge(planned: runtime_core::Result<Plan>, facts: &HostFacts) -> Option<Plan> {
    match planned {
        Ok(plan) => Some(plan),
        Err(error) => {
            assert_ne!(
                error.kind(),
                ErrorKind::Internal,
                "{:?}: {error}",
                facts.cgroup.mode
            );
            None
        }
    }
}

pub(crate) fn plan(data: &[u8]) {
    let Ok(loaded) = LoadedSpec::from_slice(data, "config.json") else {
        return;
    };
    let id = "fuzz".parse().expect("an id");
    let mut request = PlanRequest::new(id, "/bundle");
    request.console_socket = Some("/run/console.sock".into());
    for facts in hosts() {
        planned(&loaded, facts, &request);
    }
    request.driver = CgroupDriver::Systemd;
    for facts in hosts_with_systemd() {
        request.rootless = facts.euid != 0;
        planned(&loaded, facts, &request);
    }
}

fn planned(loaded: &LoadedSpec, facts: &HostFacts, request: &PlanRequest) {
    let plan = judge(Plan::create(loaded, facts, request), facts);
    if let Some(plan) = plan {
        assert!(!plan.to_text().is_empty());
        let again = Plan::create(loaded, facts, request).expect("the second time, too");
        assert_eq!(again.to_json(), plan.to_json(), "planning is pure");
    }
}

/// The configuration is the default one; the process is the fuzzer's.
pub(crate) fn exec(data: &[u8]) {
    static SAVED: OnceLock<LoadedSpec> = OnceLock::new();
    let saved = SAVED.get_or_init(|| {
        let text = include_str!("../../fixtures/configs/spec-default.json");
        LoadedSpec::from_slice(text.as_bytes(), "spec-default").expect("a configuration of this repository")
    });
    let Ok(loaded) = LoadedProcess::from_slice(data, "process.json") else {
        return;
    };
    let id = "fuzz".parse().expect("an id");
    let mut request = ExecPlanRequest::new(id, 77, 1, "/bundle/rootfs");
    request.console_socket = Some("/run/console.sock".into());
    for facts in hosts() {
        judge(Plan::exec(saved, &loaded.process, facts, &request), facts);
    }
}

pub(crate) fn resources(data: &[u8]) {
    let Ok(loaded) = LoadedResources::from_slice(data, "resources.json") else {
        return;
    };
    for facts in hosts() {
        match cgroup::limits(&loaded.resources, &facts.cgroup) {
            // One file, one line. A break makes two writes of one, which only those ask for that name a file themselves.
            Ok(limits) => {
                for write in &limits.writes {
                    assert!(
                        !write.file.contains('/') && write.file != ".." && !write.file.contains('\0'),
                        "{write:?}"
                    );
                    let verbatim = write.origin.starts_with("linux.resources.unified[");
                    assert!(verbatim || !write.value.contains(['\n', '\0']), "{write:?}");
                }
            }
            Err(error) => assert_ne!(error.kind(), ErrorKind::Internal, "{error}"),
        }
    }
}
