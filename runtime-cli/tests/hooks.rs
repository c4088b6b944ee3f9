//! Hooks and the lock of a container: a hook may call the runtime for its container, and one that does not end holds no
//! delete by force up.
#![allow(clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod place;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use place::{Place, err};
use serde_json::{Value, json};

/// A script of this place that a hook executes on the host, with `$R` as the runtime on this state directory.
fn script(place: &Place, name: &str, body: &str) -> PathBuf {
    let path = place.dir.join(name);
    let text = format!(
        "#!/bin/sh\nexec >>{log} 2>&1\nR='{program} --root {state}'\n{body}\n",
        log = place.dir.join("hooks.log").display(),
        program = env!("CARGO_BIN_EXE_runtime"),
        state = place.dir.join("state").display(),
    );
    std::fs::write(&path, text).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

fn hook(kind: &str, path: &str, args: &[&str]) -> Value {
    json!({kind: [{"path": path, "args": args}]})
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.dir.join("hooks.log")).unwrap_or_default()
}

/// Nothing of the container is left, and no second look finds it.
fn nothing_left(place: &Place) {
    assert_eq!(place.expect(&["list", "--quiet"]), "");
    assert_eq!(place.cgroups(), Vec::<PathBuf>::new());
}

#[test]
fn a_hook_calls_the_runtime_for_its_container() {
    let Some(place) = Place::new("a_hook_calls_the_runtime_for_its_container") else {
        return;
    };
    let id = place.id("");
    let early = script(
        &place,
        "early",
        &format!("$R state {id} | grep '\"status\"' && $R update --pids-limit 77 {id} && echo early"),
    );
    let late = script(
        &place,
        "late",
        &format!(
            "$R pause {id} && $R resume {id} && $R update --pids-limit 78 {id} && $R exec {id} true && echo late"
        ),
    );
    place.configure("config.json", "exec sleep 1000", |config| {
        config["hooks"] = json!({
            "createRuntime": [{"path": early, "timeout": 30}],
            "poststart": [{"path": late, "timeout": 30}],
        });
    });
    for detached in [false, true] {
        if detached {
            place.expect(&["run", "--detach", &id]);
        } else {
            place.expect(&["create", &id]);
            place.expect(&["start", &id]);
        }
        let said = log(&place);
        for word in ["creating", "early", "late"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert_eq!(place.state(&id)["status"], "running");
        std::fs::remove_file(place.dir.join("hooks.log")).expect("the log");
        place.expect(&["delete", "--force", &id]);
        nothing_left(&place);
    }
}

#[test]
fn a_hook_deletes_its_container() {
    let Some(place) = Place::new("a_hook_deletes_its_container") else {
        return;
    };
    let id = place.id("");
    let delete = script(
        &place,
        "delete",
        &format!("$R delete --force {id} && echo deleted"),
    );
    for kind in ["prestart", "createRuntime"] {
        place.configure("config.json", "exec sleep 1000", |config| {
            config["hooks"] = json!({kind: [{"path": delete, "timeout": 30}]});
        });
        for command in [&["create", &id][..], &["run", "--detach", &id]] {
            let output = place.call(command);
            assert!(!output.status.success());
            assert!(
                err(&output).contains("deleted while it was created"),
                "{}",
                err(&output)
            );
            assert!(log(&place).contains("deleted"), "{}", log(&place));
            nothing_left(&place);
        }
    }
    // By then it runs, and start has done its work; what is wrong is only what comes later.
    place.configure("config.json", "exec sleep 1000", |config| {
        config["hooks"] = json!({"poststart": [{"path": delete, "timeout": 30}]});
    });
    place.expect(&["create", &id]);
    place.expect(&["start", &id]);
    nothing_left(&place);
}

#[test]
fn a_hook_that_does_not_end_holds_no_delete_up() {
    let Some(place) = Place::new("a_hook_that_does_not_end_holds_no_delete_up") else {
        return;
    };
    let id = place.id("");
    // On the host it ends when the container is gone, inside with the container.
    let waits = script(
        &place,
        "waits",
        &format!(
            "touch {dir}/begun; while [ -e {dir}/state/{id} ]; do sleep 0.05; done",
            dir = place.dir.display()
        ),
    );
    let waits = waits.to_str().expect("UTF-8");
    let inside = "exec >/dev/null; : >/run/begun; exec sleep 1000";
    let hooks = [
        hook("createRuntime", waits, &["waits"]),
        hook(
            "createContainer",
            "/bin/sh",
            &[
                "sh",
                "-c",
                &format!("touch {}/begun; exec sleep 1000", place.dir.display()),
            ],
        ),
        hook("startContainer", "/bin/sh", &["sh", "-c", inside]),
        hook("poststart", waits, &["waits"]),
    ];
    for own_pids in [true, false] {
        for hooks in &hooks {
            place.configure("config.json", "exec sleep 1000", |config| {
                config["hooks"] = hooks.clone();
                if !own_pids {
                    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
                    namespaces.retain(|namespace| namespace["type"] != "pid");
                }
            });
            let begun = [place.dir.join("begun"), place.bundle().join("rootfs/run/begun")];
            for file in &begun {
                let _ = std::fs::remove_file(file);
            }
            let (_, running) = place.begin(&["run", "--detach", &id]);
            let deadline = Instant::now() + Duration::from_secs(30);
            while !begun.iter().any(|file| file.exists()) {
                assert!(Instant::now() < deadline, "{hooks} does not begin");
                std::thread::sleep(Duration::from_millis(5));
            }
            // Its own time limit is far above what this takes.
            place.expect(&["delete", "--force", &id]);
            nothing_left(&place);
            // Behind a poststart hook the container has run, whatever became of it then.
            let output = running();
            let has_run = hooks.get("poststart").is_some();
            assert_eq!(output.status.success(), has_run, "{hooks}: {}", err(&output));
        }
    }
}
