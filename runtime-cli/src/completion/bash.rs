//! The script for bash: one function, which finds the command among the words and completes the last one.

use std::fmt::Write;

use super::{Kind, shown, spellings};
use crate::args::{Command, Flag, VERSION};

/// The script for the program `name`.
pub(crate) fn script(name: &str, globals: &'static [Flag], commands: &[&'static Command]) -> String {
    let valued: Vec<String> = globals
        .iter()
        .filter(|flag| flag.value.is_some())
        .flat_map(spellings)
        .collect();
    let names: Vec<&str> = commands.iter().map(|command| command.name).collect();
    let mut text =
        format!("# bash completion of {name}; put it where bash-completion finds it, or source it\n");
    let _ = write!(
        text,
        "_{name}() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command='' index
    local -a root=()
    COMPREPLY=()
    # bash cuts --option=value at the sign.
    if [[ $current == = ]]; then
        current=''
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for ((index = 1; index < COMP_CWORD; index++)); do
        case ${{COMP_WORDS[index]}} in
            {})
                [[ ${{COMP_WORDS[index+1]}} == = ]] && ((index++))
                [[ ${{COMP_WORDS[index]}} == --root || ${{COMP_WORDS[index-1]}} == --root ]] &&
                    root=(--root \"${{COMP_WORDS[index+1]}}\")
                ((index++)) ;;
            -*) ;;
            *) command=${{COMP_WORDS[index]}}; break ;;
        esac
    done
    case \"$command $previous\" in
",
        valued.join(" | ")
    );
    values(&mut text, name, "", globals);
    for command in commands {
        values(&mut text, name, command.name, command.flags);
    }
    let _ = write!(
        text,
        "    esac
    if [[ $current == -* ]]; then
        case $command in
            '') COMPREPLY=($(compgen -W '{}' -- \"$current\")) ;;
",
        options(globals, &[VERSION])
    );
    for command in commands {
        let _ = writeln!(
            text,
            "            {}) COMPREPLY=($(compgen -W '{}' -- \"$current\")) ;;",
            command.name,
            options(command.flags, &[])
        );
    }
    let names = names.join(" ");
    let _ = write!(
        text,
        "        esac
        return
    fi
    case $command in
        '') COMPREPLY=($(compgen -W '{names} help' -- \"$current\")) ;;
        help) COMPREPLY=($(compgen -W '{names}' -- \"$current\")) ;;
"
    );
    for command in commands {
        if let Some(answer) = answer(name, Kind::of_word(command)) {
            let _ = writeln!(text, "        {}) {answer} ;;", command.name);
        }
    }
    let _ = writeln!(text, "    esac\n}}\ncomplete -o default -F _{name} {name}");
    text
}

/// The lines for the values of options.
fn values(text: &mut String, name: &str, command: &str, flags: &'static [Flag]) {
    for flag in flags.iter().filter(|flag| !flag.hidden) {
        let Some(kind) = Kind::of_value(flag) else {
            continue;
        };
        let patterns: Vec<String> = spellings(flag)
            .iter()
            .map(|spelling| format!("'{command} {spelling}'"))
            .collect();
        let answer = answer(name, kind).unwrap_or_else(|| ":".to_owned());
        let _ = writeln!(text, "        {}) {answer}; return ;;", patterns.join(" | "));
    }
}

/// What completes a word of this kind.
fn answer(name: &str, kind: Kind) -> Option<String> {
    let words = match kind {
        Kind::Choice(choices) => format!("-W '{}'", choices.join(" ")),
        Kind::File => "-f".to_owned(),
        Kind::Directory => "-d".to_owned(),
        Kind::Container => format!("-W \"$({name} \"${{root[@]}}\" list --quiet 2>/dev/null)\""),
        Kind::Free => return None,
    };
    Some(format!("COMPREPLY=($(compgen {words} -- \"$current\"))"))
}

fn options(flags: &'static [Flag], more: &'static [Flag]) -> String {
    let all: Vec<String> = shown(flags).chain(more).flat_map(spellings).collect();
    all.join(" ")
}
