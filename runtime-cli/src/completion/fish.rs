//! The script for fish: one `complete` for each option, under the condition that its command was typed.

use std::fmt::Write;

use super::{Kind, shown};
use crate::args::{Command, Flag, VERSION};

/// The script for the program `name`.
pub(crate) fn script(name: &str, globals: &'static [Flag], commands: &[&'static Command]) -> String {
    let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
    let names = names.join(" ");
    let mut text = format!(
        "# fish completion of {name}: put it as {name}.fish into a directory of $fish_complete_path

function __{name}_containers
    set -l words (commandline -opc)
    set -l root
    for index in (seq (count $words))
        switch $words[$index]
            case --root
                set -l next (math $index + 1)
                set root --root $words[$next]
            case '--root=*'
                set root $words[$index]
        end
    end
    {name} $root list --quiet 2>/dev/null
end

complete -c {name} -f
"
    );
    let none = format!("not __fish_seen_subcommand_from {names} help");
    for flag in shown(globals).chain([&VERSION]) {
        option(&mut text, name, &none, flag);
    }
    for command in commands {
        let about = quoted(command.about);
        let _ = writeln!(
            text,
            "complete -c {name} -n {} -a {} -d {about}",
            quoted(&none),
            command.name
        );
    }
    let _ = writeln!(
        text,
        "complete -c {name} -n {} -a help -d 'show help'",
        quoted(&none)
    );
    let _ = writeln!(
        text,
        "complete -c {name} -n '__fish_seen_subcommand_from help' -a {}",
        quoted(&names)
    );
    for command in commands {
        let here = format!("__fish_seen_subcommand_from {}", command.name);
        for flag in shown(command.flags) {
            option(&mut text, name, &here, flag);
        }
        let words = answer(name, Kind::of_word(command));
        if !words.is_empty() {
            let _ = writeln!(text, "complete -c {name} -n {}{words}", quoted(&here));
        }
    }
    text
}

fn option(text: &mut String, name: &str, condition: &str, flag: &Flag) {
    let _ = write!(
        text,
        "complete -c {name} -n {} -l {}",
        quoted(condition),
        flag.long
    );
    if let Some(letter) = flag.short {
        let _ = write!(text, " -s {letter}");
    }
    if let Some(kind) = Kind::of_value(flag) {
        // -x: a value, and no file names beside the answer.
        let wanted = if kind == Kind::File { "-r" } else { "-x" };
        let _ = write!(text, " {wanted}{}", answer(name, kind));
    }
    let _ = writeln!(text, " -d {}", quoted(flag.help));
}

/// What completes a word of this kind.
fn answer(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Choice(choices) => format!(" -a {}", quoted(&choices.join(" "))),
        Kind::File => " -F".to_owned(),
        Kind::Directory => " -a '(__fish_complete_directories)'".to_owned(),
        Kind::Container => format!(" -a '(__{name}_containers)'"),
        Kind::Free => String::new(),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
