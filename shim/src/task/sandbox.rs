//! containerd's sandbox service: this shim as a pod.
//!
//! A sandbox is a container that holds namespaces. Where containerd gives it a root filesystem with a program, that runs as
//! in any container. Otherwise no program is needed: the library's init waits, as it does between create and start, and
//! holds them at the cost of some tens of KiB.

use std::path::Path;

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, RootBuilder, Spec};
use prost::Message;
use runtime_core::Signal;
use runtime_core::spec::LoadedSpec;

use super::create::{Making, now};
use super::{Outcome, Phase, Sandbox, Waiter};
use crate::proto::sandbox::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, PlatformRequest,
    PlatformResponse, SandboxMetricsRequest, SandboxMetricsResponse, SandboxStatusRequest,
    SandboxStatusResponse, ShutdownSandboxRequest, StartSandboxRequest, StartSandboxResponse,
    StopSandboxRequest, WaitSandboxRequest,
};
use crate::proto::task::WaitRequest;
use crate::proto::types::{Metric, Mount, Platform};
use crate::server::{Caller, Server, answer};
use crate::stdio::Names;
use crate::ttrpc::Status;
use crate::{metrics, place};

/// The configuration of a sandbox: the bundle's own where its root has something to run, else one that only holds.
pub(super) fn configuration(bundle: &Path, netns: &str) -> Result<(LoadedSpec, Sandbox), Status> {
    let has_config = bundle.join("config.json").exists();
    let given = has_config
        .then(|| LoadedSpec::from_bundle(bundle, "config.json"))
        .transpose()?;
    let filled = !is_empty(&place::rootfs(bundle));
    let sandbox = |held_by_init| Sandbox {
        created_at: now(),
        held_by_init,
    };
    match given {
        Some(given) if filled => Ok((given, sandbox(false))),
        given => Ok((holder(given.map(|given| given.spec), netns)?, sandbox(true))),
    }
}

/// Whether there is nothing in a root, or no root.
pub(super) fn is_empty(root: &Path) -> bool {
    !std::fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some())
}

/// A root for a sandbox that has none.
pub(super) fn empty_root() -> Mount {
    Mount {
        kind: "tmpfs".to_owned(),
        source: "tmpfs".to_owned(),
        target: String::new(),
        options: ["nosuid", "noexec", "mode=755", "size=64k"]
            .map(str::to_owned)
            .to_vec(),
    }
}

/// Namespaces and a host name, an empty root and no program: such a container can be created and never started.
fn holder(given: Option<Spec>, netns: &str) -> Result<LoadedSpec, Status> {
    let wrong =
        |error: oci_spec::OciSpecError| Status::invalid(format!("the sandbox's configuration: {error}"));
    let mut spec = given.clone().unwrap_or_default();
    let linux = given
        .as_ref()
        .and_then(|given| given.linux().clone())
        .unwrap_or_default();
    let mut namespaces = linux.namespaces().clone().unwrap_or_default();
    let has =
        |namespaces: &[LinuxNamespace], kind| namespaces.iter().any(|namespace| namespace.typ() == kind);
    for kind in [
        LinuxNamespaceType::Mount,
        LinuxNamespaceType::Ipc,
        LinuxNamespaceType::Uts,
        LinuxNamespaceType::Pid,
    ] {
        if !has(&namespaces, kind) {
            namespaces.push(
                LinuxNamespaceBuilder::default()
                    .typ(kind)
                    .build()
                    .map_err(wrong)?,
            );
        }
    }
    if !netns.is_empty() && !has(&namespaces, LinuxNamespaceType::Network) {
        let network = LinuxNamespaceBuilder::default()
            .typ(LinuxNamespaceType::Network)
            .path(netns);
        namespaces.push(network.build().map_err(wrong)?);
    }
    let mut held = oci_spec::runtime::Linux::default();
    held.set_namespaces(Some(namespaces))
        .set_sysctl(linux.sysctl().clone())
        .set_cgroups_path(linux.cgroups_path().clone())
        .set_resources(None)
        .set_masked_paths(None)
        .set_readonly_paths(None);
    spec.set_linux(Some(held))
        .set_mounts(Some(Vec::new()))
        .set_process(None)
        .set_hooks(given.as_ref().and_then(|given| given.hooks().clone()))
        .set_root(Some(
            RootBuilder::default()
                .path("rootfs")
                .readonly(true)
                .build()
                .map_err(wrong)?,
        ));
    Ok(LoadedSpec::from_value(spec))
}

impl Server {
    pub(crate) fn create_sandbox(&mut self, caller: Caller, request: CreateSandboxRequest) -> Outcome {
        let making = Making {
            id: request.sandbox_id.parse()?,
            namespace: self.namespace.clone(),
            bundle: request.bundle_path.into(),
            rootfs: request.rootfs,
            // CRI gives a pod's configuration here, others runtime options.
            options: place::options(request.options.as_ref()).or_else(|status| match &request.options {
                Some(any) if !any.is(crate::proto::options::OPTIONS) => {
                    Ok(crate::proto::options::Options::default())
                }
                _ => Err(status),
            })?,
            names: Names::default(),
            sandbox: true,
            netns: request.netns_path,
            checkpoint: String::new(),
        };
        self.make_task(caller, making, move |server, made| {
            server.reply(caller, made.map(|_| CreateSandboxResponse {}.encode_to_vec()));
        })
    }

    fn sandbox(&mut self, id: &str) -> Result<(&mut super::Task, Sandbox), Status> {
        let task = self.tasks.get_mut(id);
        let found = task.and_then(|task| task.sandbox.map(|sandbox| (task, sandbox)));
        found.ok_or_else(|| Status::not_found(format!("sandbox {id:?} does not exist")))
    }

    pub(crate) fn start_sandbox(&mut self, caller: Caller, request: &StartSandboxRequest) -> Outcome {
        let (task, sandbox) = self.sandbox(&request.sandbox_id)?;
        let started = move |pid| StartSandboxResponse {
            pid,
            created_at: Some(sandbox.created_at),
            spec: None,
        };
        if !sandbox.held_by_init {
            return self.begin_start(&request.sandbox_id, move |server, _, result| {
                server.reply(caller, result.map(|pid| started(pid).encode_to_vec()));
            });
        }
        if task.init.phase != Phase::Created || task.held.is_some() {
            return Err(Status::precondition(format!(
                "sandbox {:?} cannot be started: it is not in state created",
                request.sandbox_id
            )));
        }
        task.init.phase = Phase::Running;
        answer(&started(task.init.pid))
    }

    pub(crate) fn platform(_request: &PlatformRequest) -> Outcome {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        answer(&PlatformResponse {
            platform: Some(Platform {
                os: "linux".to_owned(),
                architecture: architecture.to_owned(),
            }),
        })
    }

    pub(crate) fn stop_sandbox(&mut self, caller: Caller, request: &StopSandboxRequest) -> Outcome {
        let (task, _) = self.sandbox(&request.sandbox_id)?;
        if task.init.exit.is_some() {
            return Ok(Some(Vec::new()));
        }
        task.live()?.kill(Signal::KILL, true)?;
        task.init.waiters.push(Waiter::End(caller));
        Ok(None)
    }

    pub(crate) fn wait_sandbox(&mut self, caller: Caller, request: &WaitSandboxRequest) -> Outcome {
        self.sandbox(&request.sandbox_id)?;
        // The answers have the same form.
        let wait = WaitRequest {
            id: request.sandbox_id.clone(),
            exec_id: String::new(),
        };
        self.wait(caller, &wait)
    }

    pub(crate) fn sandbox_status(&mut self, request: &SandboxStatusRequest) -> Outcome {
        self.attend_events(&request.sandbox_id);
        let (task, sandbox) = self.sandbox(&request.sandbox_id)?;
        let ready = task.held.is_none() && task.init.phase == Phase::Running;
        answer(&SandboxStatusResponse {
            sandbox_id: request.sandbox_id.clone(),
            pid: task.init.pid,
            state: if ready {
                "SANDBOX_READY"
            } else {
                "SANDBOX_NOTREADY"
            }
            .to_owned(),
            created_at: Some(sandbox.created_at),
            exited_at: task.init.exit.map(|exit| exit.at),
            ..SandboxStatusResponse::default()
        })
    }

    pub(crate) fn ping_sandbox(&mut self, request: &PingRequest) -> Outcome {
        self.sandbox(&request.sandbox_id)?;
        answer(&PingResponse {})
    }

    /// Ends the sandbox, and the shim with it.
    pub(crate) fn shutdown_sandbox(&mut self, caller: Caller, request: &ShutdownSandboxRequest) -> Outcome {
        let others = self.tasks.values().filter(|task| task.sandbox.is_none()).count();
        if others > 0 {
            return Err(Status::precondition(format!(
                "sandbox {:?} has {others} containers that are not deleted",
                request.sandbox_id
            )));
        }
        let Ok((task, _)) = self.sandbox(&request.sandbox_id) else {
            self.end_when_unused();
            return Ok(Some(Vec::new()));
        };
        let (runtime, id) = (task.runtime.clone(), task.id.clone());
        let rootfs = place::rootfs(&task.bundle);
        self.ignore_events(id.as_str());
        let name = id.to_string();
        let job = move || -> Result<(), Status> {
            runtime.delete(&id, true)?;
            crate::rootfs::unmount(&rootfs)
        };
        self.later(job, move |server, deleted| {
            if deleted.is_ok() {
                if let Some(task) = server.tasks.remove(&name) {
                    server.answer_waiters(task.init.waiters, None);
                }
                server.end_when_unused();
            }
            server.reply(caller, deleted.map(|()| Vec::new()));
        })?;
        Ok(None)
    }

    pub(crate) fn sandbox_metrics(&mut self, request: &SandboxMetricsRequest) -> Outcome {
        let stats = self.sandbox(&request.sandbox_id)?.0.live()?.stats()?;
        answer(&SandboxMetricsResponse {
            metrics: Some(Metric {
                timestamp: Some(now()),
                id: request.sandbox_id.clone(),
                data: Some(metrics::of(&stats)),
            }),
        })
    }
}
