//! Manual pages, made from the tables that the parser and the help read: one for the program, one for each command.

use std::fmt::Write;

use crate::args::{Command, Flag, HELP, VERSION};
use crate::help::ABOUT;

/// The page of the program.
pub(crate) fn program(name: &str, globals: &'static [Flag], commands: &[&Command]) -> String {
    let mut text = head(name, "container runtime with the command line of runc");
    let _ = writeln!(
        text,
        ".B {name}\n[\\fIglobal options\\fR] \\fIcommand\\fR [\\fIcommand options\\fR] [\\fIarguments\\fR]"
    );
    text.push_str(".SH DESCRIPTION\n");
    paragraphs(&mut text, ABOUT);
    text.push_str(".SH COMMANDS\n");
    for command in commands {
        let _ = writeln!(
            text,
            ".TP\n\\fB{name}\\-{}\\fR(1)\n{}",
            escaped(command.name),
            escaped(command.about)
        );
    }
    text.push_str(".SH GLOBAL OPTIONS\n");
    options(&mut text, globals.iter().chain([&HELP, &VERSION]));
    text.push_str(ENVIRONMENT);
    text.push_str(
        ".SH EXIT STATUS\n0 where the command succeeded, 1 where it failed, 3 for a command that does not exist. \
         .BR run and\n.B exec\nend with the exit status of the container's program, or 128 and the number of the signal \
         that ended it.\n",
    );
    text
}

/// The page of a command.
pub(crate) fn command(name: &str, command: &Command) -> String {
    let mut text = head(&format!("{name}-{}", command.name), command.about);
    let _ = writeln!(text, ".B {name} {}", escaped(command.name));
    if command.flags.iter().any(|flag| !flag.hidden) {
        text.push_str("[\\fIoptions\\fR]\n");
    }
    if !command.words.is_empty() {
        let _ = writeln!(text, "{}", escaped(command.words));
    }
    text.push_str(".SH DESCRIPTION\n");
    paragraphs(&mut text, command.text);
    text.push_str(".SH OPTIONS\n");
    options(&mut text, command.flags.iter().chain([&HELP]));
    let _ = writeln!(text, ".SH SEE ALSO\n.BR {name} (1)");
    text
}

/// What the environment changes, for all commands.
const ENVIRONMENT: &str = "\
.SH ENVIRONMENT
.TP
.B XDG_RUNTIME_DIR
The state directory of who is not root is \\fIruntime\\fR in it. Without it such a user needs \\fB--root\\fR.
.TP
.BR LISTEN_FDS \", \" LISTEN_PID \", \" LISTEN_FDNAMES
Sockets that systemd passes on are passed on to the container.
.TP
.B NOTIFY_SOCKET
What the container's program says to its notify socket is said there too.
";

fn head(page: &str, about: &str) -> String {
    format!(
        ".TH {} 1 \"\" \"runtime\\-core {}\" \"User Commands\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n",
        escaped(&page.to_uppercase()),
        env!("CARGO_PKG_VERSION"),
        escaped(page),
        escaped(about)
    )
}

fn options<'a>(text: &mut String, flags: impl Iterator<Item = &'a Flag>) {
    for flag in flags.filter(|flag| !flag.hidden) {
        let value = flag
            .value
            .map(|value| format!(" \\fI{}\\fR", escaped(value)))
            .unwrap_or_default();
        let _ = write!(text, ".TP\n\\fB\\-\\-{}\\fR{value}", escaped(flag.long));
        if let Some(letter) = flag.short {
            let _ = write!(text, ", \\fB\\-{letter}\\fR{value}");
        }
        let _ = writeln!(text, "\n{}", escaped(flag.help));
    }
}

/// Text for people; what is indented deeper than its neighbours is an example and keeps its lines.
fn paragraphs(text: &mut String, source: &str) {
    for (position, paragraph) in source.split("\n\n").enumerate() {
        let example = paragraph.trim_start().starts_with("# ");
        if position > 0 {
            text.push_str(".PP\n");
        }
        if example {
            text.push_str(".nf\n");
        }
        for line in paragraph.lines() {
            let _ = writeln!(text, "{}", escaped(line.trim()));
        }
        if example {
            text.push_str(".fi\n");
        }
    }
}

/// Backslashes and hyphens mean something to troff, and so does a dot or quote at a line's begin.
fn escaped(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}
