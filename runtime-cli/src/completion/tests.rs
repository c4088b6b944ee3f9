//! The scripts: every flag is in each, and bash itself answers as it should.

use std::process::Command as Program;

use super::*;
use crate::cmd::ALL;
use crate::session::GLOBALS;

/// The options of a script's commands, as each shell writes them.
#[test]
fn every_flag_that_is_shown_is_in_every_script() {
    let (bash, zsh, fish) = (
        bash("runtime", GLOBALS, ALL),
        zsh("runtime", GLOBALS, ALL),
        fish("runtime", GLOBALS, ALL),
    );
    for flag in GLOBALS {
        assert!(bash.contains(&format!("--{}", flag.long)));
        assert!(zsh.contains(&format!("--{}[", flag.long)));
        assert!(fish.contains(&format!("help' -l {}", flag.long)));
    }
    for command in ALL {
        let of_bash = bash
            .lines()
            .filter(|line| {
                line.trim_start()
                    .starts_with(&format!("{}) COMPREPLY=($(compgen -W '--", command.name))
            })
            .collect::<String>();
        let of_zsh = zsh
            .split(&format!("        {})\n", command.name))
            .nth(1)
            .unwrap_or_default();
        let of_zsh = of_zsh.split(";;").next().unwrap_or_default();
        for flag in shown(command.flags) {
            for spelling in spellings(flag) {
                let place = format!("{} {spelling}", command.name);
                assert!(
                    of_bash.split([' ', '\'']).any(|word| word == spelling),
                    "bash: {place}"
                );
                assert!(of_zsh.contains(&format!("{spelling}[")), "zsh: {place}");
            }
            let condition = format!("'__fish_seen_subcommand_from {}' -l {}", command.name, flag.long);
            assert!(fish.contains(&condition), "fish: {} {}", command.name, flag.long);
        }
    }
}

/// What bash offers for the last of these words; the list of containers is a stand-in's.
fn offered(words: &[&str]) -> Vec<String> {
    let script = format!(
        "runtime() {{ echo \"$*\" | tr ' /' '__'; }}\n{}\nCOMP_WORDS=(\"$@\")\nCOMP_CWORD=$(($# - 1))\n_runtime\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        bash("runtime", GLOBALS, ALL)
    );
    let output = Program::new("bash")
        .args(["--norc", "-c", &script, "bash"])
        .args(words)
        .output()
        .expect("bash");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_offers_what_fits() {
    if Program::new("bash").arg("-c").arg(":").status().is_err() {
        #[allow(clippy::print_stderr, reason = "a skip must be seen")]
        {
            eprintln!("SKIPPED bash_offers_what_fits: there is no bash here");
        }
        return;
    }
    assert_eq!(offered(&["runtime", "st"]), ["start", "state"]);
    assert_eq!(offered(&["runtime", "--root", "/r", "sta"]), ["start", "state"]);
    assert_eq!(offered(&["runtime", "--log-f",]), ["--log-format"]);
    assert_eq!(offered(&["runtime", "--log-format", "j"]), ["json"]);
    assert_eq!(offered(&["runtime", "--log-format", "=", "j"]), ["json"]);
    assert_eq!(offered(&["runtime", "list", "-f", ""]), ["table", "json"]);
    assert_eq!(offered(&["runtime", "kill", "--re"]), ["--regex"]);
    assert_eq!(offered(&["runtime", "exec", "--ignore"]), ["--ignore-paused"]);
    assert_eq!(offered(&["runtime", "completion", "z"]), ["zsh"]);
    assert_eq!(
        offered(&["runtime", "--root", "/r", "kill", ""]),
        ["--root__r_list_--quiet"]
    );
    assert_eq!(
        offered(&["runtime", "--root", "=", "/r", "kill", ""]),
        ["--root__r_list_--quiet"]
    );
    assert_eq!(offered(&["runtime", "create", ""]), Vec::<String>::new());
    assert_eq!(offered(&["runtime", "run", "--bundle", "/us"]), ["/usr"]);
}
