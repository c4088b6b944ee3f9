//! Help and version texts in runc's layout, made from the table of commands.
//!
//! Engines and runc's own tests read parts of them, named at the place.

use std::fmt::Write;

use crate::args::{Command, Flag};

/// The version text. The first line begins with "runc version" because go-runc requires it, moby takes the number from
/// behind "version" and runc's tests look for both; the number is this program's own, and what follows the plus says so.
pub(crate) fn version() -> String {
    let mut text = format!(
        "runc version {}+runtime-core\ncommit: {}\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        env!("RUNTIME_COMMIT"),
        runtime_core::spec::default::OCI_VERSION,
    );
    if let Some(version) = runtime_core::features::libseccomp_version() {
        let _ = writeln!(text, "libseccomp: {version}");
    }
    text
}

/// The help of the program.
pub(crate) fn program(program: &str, globals: &[Flag], commands: &[&Command]) -> String {
    // The second line holds "runc - Open Container Initiative runtime", which runc's help.bats looks for.
    let mut text = format!(
        "NAME:\n   {program}, with the command line of runc - Open Container Initiative runtime\n\n\
         {ABOUT}\n\nUSAGE:\n   {program} [global options] command [command options] [arguments...]\n\n\
         VERSION:\n   {}\n\nCOMMANDS:\n",
        env!("CARGO_PKG_VERSION"),
    );
    let names = commands
        .iter()
        .map(|command| (command.name.to_owned(), command.about));
    rows(
        &mut text,
        names.chain([(
            "help, h".to_owned(),
            "show a list of commands or the help of one command",
        )]),
    );
    text.push_str("\nGLOBAL OPTIONS:\n");
    let version = ("--version, -v".to_owned(), "print the version");
    rows(&mut text, options(globals).chain([help_row(), version]));
    text
}

pub(crate) const ABOUT: &str = "\
A container is made from a bundle: a directory with a configuration named config.json and, usually, the root
filesystem that it names. To make one and run it until it ends:

    # runtime run --bundle DIRECTORY CONTAINER-ID

The id is unique on the host among the containers of one state directory (--root).";

/// The help of a command. Its second line holds the program's name and the command's.
pub(crate) fn command(program: &str, command: &Command) -> String {
    let Command {
        name, about, words, ..
    } = command;
    let shown = command.flags.iter().any(|flag| !flag.hidden);
    let options_word = if shown { " [command options]" } else { "" };
    let mut text =
        format!("NAME:\n   {program} {name} - {about}\n\nUSAGE:\n   {program} {name}{options_word} {words}");
    text.truncate(text.trim_end().len());
    let _ = write!(text, "\n\nDESCRIPTION:\n{}\n\nOPTIONS:\n", command.text);
    rows(&mut text, options(command.flags).chain([help_row()]));
    text
}

/// The row of the help option, the same everywhere.
fn help_row() -> (String, &'static str) {
    ("--help, -h".to_owned(), "show help")
}

/// What a flag looks like and what it does.
fn options(flags: &[Flag]) -> impl Iterator<Item = (String, &'static str)> {
    flags.iter().filter(|flag| !flag.hidden).map(|flag| {
        let value = flag.value.map(|value| format!(" {value}")).unwrap_or_default();
        let short = flag
            .short
            .map(|letter| format!(", -{letter}{value}"))
            .unwrap_or_default();
        (format!("--{}{value}{short}", flag.long), flag.help)
    })
}

/// Two columns, indented by three.
fn rows(text: &mut String, rows: impl Iterator<Item = (String, &'static str)>) {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    for (left, right) in rows {
        let _ = writeln!(text, "   {left:width$}  {right}");
    }
}
