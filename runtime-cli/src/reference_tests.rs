//! `docs/commands.md`, the reference of every command, is what the parser's tables say. UPDATE_GOLDEN=1 writes it anew.

use std::fmt::Write;
use std::path::Path;

use crate::args::{Command, Flag, HELP, VERSION};
use crate::cmd::ALL;
use crate::session::GLOBALS;

const HEAD: &str = "\
# Commands

Made from the tables that `runtime --help`, the completions and the manual pages are made from, and checked by a test; do not
edit it by hand (`UPDATE_GOLDEN=1 cargo test -p runtime-cli reference` writes it).

`runtime [global options] COMMAND [options] [arguments]`

An option takes its value as the next word or behind `=`; one dash before a long name will do. Exit status: 0 where the command
succeeded; where it failed, what the command's section says; 3 for a command that does not exist. `run` and `exec` end as the
container's program did: with its exit code, or 128 and the number of the signal that ended it.

";

fn reference() -> String {
    let mut text = HEAD.to_owned();
    for command in ALL {
        let _ = writeln!(text, "- [{0}](#{0}): {1}", command.name, command.about);
    }
    text.push_str("\n## Global options\n\n");
    options(&mut text, GLOBALS.iter().chain([&HELP, &VERSION]));
    for command in ALL {
        section(&mut text, command);
    }
    text
}

fn section(text: &mut String, command: &Command) {
    let usage = format!("runtime {} [options] {}", command.name, command.words);
    let _ = writeln!(text, "\n## {}\n\n{}.", command.name, capital(command.about));
    let _ = writeln!(text, "\n`{}`\n", usage.trim_end());
    let description: Vec<&str> = command.text.lines().map(str::trim).collect();
    let _ = writeln!(text, "{}\n", escaped(&description.join("\n")));
    let _ = writeln!(text, "Exit status of a failure: {}.\n", command.failure);
    options(text, command.flags.iter().chain([&HELP]));
}

fn options<'a>(text: &mut String, flags: impl Iterator<Item = &'a Flag>) {
    text.push_str("| Option | Meaning |\n|---|---|\n");
    for flag in flags.filter(|flag| !flag.hidden) {
        // Also within a code span: a bar ends a cell.
        let value = flag.value.map(|value| format!(" {}", value.replace('|', "\\|")));
        let value = value.unwrap_or_default();
        let _ = write!(text, "| `--{}{value}`", flag.long);
        if let Some(letter) = flag.short {
            let _ = write!(text, ", `-{letter}{value}`");
        }
        let _ = writeln!(text, " | {} |", escaped(flag.help));
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// What Markdown would take for its own.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "\\<")
        .replace('*', "\\*")
        .replace('_', "\\_")
}

#[test]
fn every_row_has_as_many_cells_as_its_head() {
    for line in reference().lines().filter(|line| line.starts_with('|')) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 3, "{line}");
    }
}

#[test]
fn the_reference_is_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    let expected = reference();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/commands.md is out of date: UPDATE_GOLDEN=1 cargo test -p runtime-cli reference writes it"
    );
}
