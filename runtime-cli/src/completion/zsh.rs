//! The script for zsh: `_arguments` for the global options, then for the options of the command.

use std::fmt::Write;

use super::{Kind, shown, spellings};
use crate::args::{Command, Flag, VERSION};

/// The script for the program `name`.
pub(crate) fn script(name: &str, globals: &'static [Flag], commands: &[&'static Command]) -> String {
    let mut text = format!(
        "#compdef {name}
# zsh completion of {name}: put it as _{name} into a directory of $fpath

_{name}_containers() {{
    local -a root ids
    (( ${{+opt_args[--root]}} )) && root=(--root ${{opt_args[--root]}})
    ids=(${{(f)\"$({name} $root list --quiet 2>/dev/null)\"}})
    compadd -a ids
}}

_{name}() {{
    local context state line
    typeset -A opt_args
    _arguments -C \\
"
    );
    specs(&mut text, name, "        ", shown(globals).chain([&VERSION]));
    text.push_str("        '1: :->command' '*:: :->words'\n    case $state in\n    command)\n");
    text.push_str("        local -a commands=(\n");
    for command in commands {
        let about = command.about.replace(':', "\\:");
        let _ = writeln!(
            text,
            "            {}",
            quoted(&format!("{}:{about}", command.name))
        );
    }
    text.push_str("            'help:show help'\n        )\n        _describe command commands ;;\n");
    text.push_str("    words)\n        case $words[1] in\n");
    for command in commands {
        let _ = writeln!(text, "        {})\n            _arguments \\", command.name);
        specs(&mut text, name, "                ", shown(command.flags));
        let word = match action(name, Kind::of_word(command)) {
            Some(action) => format!("1: :{action}"),
            None => "*: :_default".to_owned(),
        };
        let _ = writeln!(text, "                {} ;;", quoted(&word));
    }
    let _ = write!(text, "        esac ;;\n    esac\n}}\n\n_{name} \"$@\"\n");
    text
}

/// One line for each option: what excludes it, its names, its help, its value.
fn specs(text: &mut String, name: &str, indent: &str, flags: impl Iterator<Item = &'static Flag>) {
    for flag in flags {
        let names = spellings(flag);
        let repeats = flag.help.contains("may be repeated");
        let value = Kind::of_value(flag).map_or_else(String::new, |kind| {
            let what = flag.value.unwrap_or_default().replace(':', "\\:");
            format!(":{what}:{}", action(name, kind).unwrap_or_default())
        });
        let excluded = if repeats {
            "*".to_owned()
        } else {
            format!("({})", names.join(" "))
        };
        let help = escaped(flag.help);
        for one in &names {
            let spec = format!("{excluded}{one}[{help}]{value}");
            let _ = writeln!(text, "{indent}{} \\", quoted(&spec));
        }
    }
}

/// What completes a word of this kind.
fn action(name: &str, kind: Kind) -> Option<String> {
    match kind {
        Kind::Choice(choices) => Some(format!("({})", choices.join(" "))),
        Kind::File => Some("_files".to_owned()),
        Kind::Directory => Some("_files -/".to_owned()),
        Kind::Container => Some(format!("_{name}_containers")),
        Kind::Free => None,
    }
}

/// Brackets end the help, colons begin the value.
fn escaped(help: &str) -> String {
    help.replace('[', "\\[").replace(']', "\\]").replace(':', "\\:")
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
