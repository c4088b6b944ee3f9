//! Labels of AppArmor and SELinux, memory policies, resctrl: what a host has is applied, what it lacks is refused.

use crate::case::{Case, text};
use crate::command;
use crate::suite::{Check, Failure, Need, Test, ensure, ensure_eq, test, why};
use fixtures::Bundle;
use serde_json::{Value, json};
use std::io::Write;
use std::process::Stdio;

const LINUX: &str = "config.md#linux-process";
const MOUNT_LABEL: &str = "config-linux.md#configLinuxMountLabel";
const MEMORY: &str = "config-linux.md#configLinuxMemoryPolicy";
const RDT: &str = "config-linux.md#configLinuxIntelRdt";

const PARSER: &str = "/sbin/apparmor_parser";
const WITH_APPARMOR: &[Need] = &[Need::AppArmor(true)];
const WITH_PROFILE: &[Need] = &[
    Need::Root(why::PROFILE),
    Need::AppArmor(true),
    Need::Program(PARSER),
];
const LABEL: &str = "system_u:system_r:container_t:s0:c4,c5";
/// Shows what confines the program; the second is for kernels before 5.8.
const SHOW: &str = "cat /proc/self/attr/apparmor/current 2>/dev/null || cat /proc/self/attr/current";
const POLICY: &str = "head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2";

/// The topic's tests.
pub(crate) const TESTS: &[Test] = &[
    test("apparmor-profile", LINUX, |case| {
        let profile = Profile::load(case)?;
        let shown = case.shell(SHOW, |config| {
            config["process"]["apparmorProfile"] = profile.name.clone().into()
        })?;
        profile.confines(&shown)
    })
    .needs(WITH_PROFILE),
    test("apparmor-profile-of-exec", LINUX, |case| {
        let profile = Profile::load(case)?;
        run_sleeper(case, |_| {})?;
        let args = [
            "exec",
            "--apparmor",
            &profile.name,
            case.id(),
            "/bin/sh",
            "-c",
            SHOW,
        ];
        profile.confines(&case.run(&args)?.ok()?.stdout)
    })
    .needs(WITH_PROFILE),
    test("apparmor-profile-of-the-container-for-exec", LINUX, |case| {
        let profile = Profile::load(case)?;
        run_sleeper(case, |config| {
            config["process"]["apparmorProfile"] = profile.name.clone().into()
        })?;
        let args = ["exec", case.id(), "/bin/sh", "-c", SHOW];
        profile.confines(&case.run(&args)?.ok()?.stdout)?;
        let own = std::fs::read_to_string(format!("/proc/{}/attr/current", case.pid()?))?;
        profile.confines(&own)
    })
    .needs(WITH_PROFILE),
    test("apparmor-profile-in-a-user-namespace", LINUX, |case| {
        let profile = Profile::load(case)?;
        let shown = case.shell(SHOW, |config| {
            config["process"]["apparmorProfile"] = profile.name.clone().into();
            case.who().with_user_namespace(config);
        })?;
        profile.confines(&shown)
    })
    .needs(WITH_PROFILE),
    test("apparmor-unconfined", LINUX, |case| {
        let shown = case.shell(SHOW, |config| {
            config["process"]["apparmorProfile"] = "unconfined".into()
        })?;
        ensure!(
            shown.ends_with("unconfined") || shown.ends_with("(unconfined)"),
            "{shown:?}"
        );
        Ok(())
    })
    .needs(WITH_APPARMOR),
    test("apparmor-profile-that-is-not-loaded-is-refused", LINUX, |case| {
        refuse(case, |config| {
            config["process"]["apparmorProfile"] = "cf-no-such-profile".into()
        })
    })
    .needs(WITH_APPARMOR),
    // A container must not run without the confinement that was asked for.
    test("apparmor-where-it-is-off-is-refused", LINUX, |case| {
        refuse(case, |config| {
            config["process"]["apparmorProfile"] = "docker-default".into()
        })
    })
    .needs(&[Need::AppArmor(false)]),
    test("selinux-label-where-it-is-off-is-refused", LINUX, |case| {
        refuse(case, |config| config["process"]["selinuxLabel"] = LABEL.into())
    })
    .needs(&[Need::Selinux(false)]),
    test(
        "mount-label-where-selinux-is-off-is-refused",
        MOUNT_LABEL,
        |case| refuse(case, |config| config["linux"]["mountLabel"] = LABEL.into()),
    )
    .needs(&[Need::Selinux(false)]),
    test("memory-policy-interleave", MEMORY, |case| {
        policy(
            case,
            json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}),
            "interleave:0",
        )
    }),
    test("memory-policy-bind-with-a-flag", MEMORY, |case| {
        let policy_of = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
        policy(case, policy_of, "bind=static:0")
    }),
    test("memory-policy-default", MEMORY, |case| {
        policy(case, json!({"mode": "MPOL_DEFAULT"}), "default")
    }),
    test("memory-policy-for-exec", MEMORY, |case| {
        let policy = json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]});
        run_sleeper(case, |config| config["linux"]["memoryPolicy"] = policy)?;
        let shown = case
            .run(&["exec", case.id(), "/bin/sh", "-c", POLICY])?
            .ok()?
            .stdout;
        ensure_eq!(shown.trim(), "prefer=relative:0", "policy of exec");
        Ok(())
    }),
    test("memory-policy-mode-missing", MEMORY, |case| {
        policy_refused(case, json!({"nodes": "0"}))
    }),
    test("memory-policy-mode-unknown", MEMORY, |case| {
        policy_refused(case, json!({"mode": "INTERLEAVE", "nodes": "0"}))
    }),
    test("memory-policy-flag-unknown", MEMORY, |case| {
        policy_refused(
            case,
            json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"]}),
        )
    }),
    test("memory-policy-nodes-for-default", MEMORY, |case| {
        policy_refused(case, json!({"mode": "MPOL_DEFAULT", "nodes": "0"}))
    }),
    test("memory-policy-without-nodes", MEMORY, |case| {
        policy_refused(case, json!({"mode": "MPOL_BIND"}))
    }),
    test("memory-policy-nodes-beyond-every-machine", MEMORY, |case| {
        policy_refused(case, json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}))
    }),
    test("rdt-without-resctrl-is-refused", RDT, |case| {
        refuse(case, |config| {
            config["linux"]["intelRdt"] = json!({"closID": "guaranteed"})
        })
    })
    .needs(&[Need::Resctrl(false)]),
];

/// A loaded profile that allows everything; removed on drop.
struct Profile {
    name: String,
}

impl Profile {
    fn load(case: &Case<'_>) -> Check<Profile> {
        let profile = Profile {
            name: format!("{}-profile", case.id()),
        };
        profile.parser("-r")?;
        Ok(profile)
    }

    fn parser(&self, action: &str) -> Check {
        let mut command = command::plain(PARSER.as_ref());
        command.args([action, "-K", "-q"]).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let rules = "file, capability, network, signal, ptrace, unix, mount, umount, pivot_root,";
        let text = format!(
            "profile {} flags=(attach_disconnected,mediate_deleted) {{ {rules} }}\n",
            self.name
        );
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Skipped(format!("{PARSER} {action}: {status}")))
    }

    /// A runtime that is confined itself gives a stack of both.
    fn confines(&self, shown: &str) -> Check {
        let shown = shown.trim();
        let found = shown.trim_end_matches(" (enforce)").trim_end_matches(" (mixed)");
        ensure!(
            found.split("//&").any(|name| name == self.name),
            "confined by {shown:?}, not by {:?}",
            self.name
        );
        Ok(())
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // What stays loaded confines nobody.
        let _ = self.parser("-R");
    }
}

fn run_sleeper(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check<Bundle> {
    let bundle = case.bundle(&["/bin/sh", "-c", "while :; do sleep 1; done"], edit)?;
    case.run_detached(&bundle)?;
    Ok(bundle)
}

fn refuse(case: &Case<'_>, edit: impl FnOnce(&mut Value)) -> Check {
    let bundle = case.bundle(&["/bin/true"], edit)?;
    let said = case.refused(&bundle)?.stderr;
    ensure!(
        !said.contains("no such file"),
        "looks like a missing program: {}",
        text(said.as_ref())
    );
    Ok(())
}

fn policy(case: &Case<'_>, policy: Value, shown: &str) -> Check {
    let found = case.shell(POLICY, |config| config["linux"]["memoryPolicy"] = policy)?;
    ensure_eq!(found, shown, "memory policy of the program");
    Ok(())
}

fn policy_refused(case: &Case<'_>, policy: Value) -> Check {
    refuse(case, |config| config["linux"]["memoryPolicy"] = policy)
}
