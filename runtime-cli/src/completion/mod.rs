//! Completion scripts for shells, made from the tables that the parser and the help read.
//!
//! A script knows the commands, their options and the values of an option; for a container's id it asks
//! `runtime list --quiet`. One file for each shell; here is what they share.

mod bash;
mod fish;
mod zsh;

pub(crate) use bash::script as bash;
pub(crate) use fish::script as fish;
pub(crate) use zsh::script as zsh;

use crate::args::{Command, Flag, HELP};

/// What a value or word is, for who completes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One of these.
    Choice(&'static [&'static str]),
    /// A file of any type.
    File,
    /// A directory.
    Directory,
    /// An existing container.
    Container,
    /// Nothing that a shell could know.
    Free,
}

impl Kind {
    /// Of an option's value; None for a switch.
    fn of_value(flag: &Flag) -> Option<Self> {
        let value = flag.value?;
        Some(match value {
            _ if !flag.choices.is_empty() => Self::Choice(flag.choices),
            "FILE" | "PATH" => Self::File,
            "DIR" => Self::Directory,
            _ => Self::Free,
        })
    }

    /// Of a command's first word.
    fn of_word(command: &Command) -> Self {
        match command.words.split([' ', '[', ']']).find(|word| !word.is_empty()) {
            // The id of a new container is the caller's choice.
            Some("CONTAINER-ID") if !["create", "run"].contains(&command.name) => Self::Container,
            Some("FILE") => Self::File,
            Some("BUNDLE") => Self::Directory,
            Some("SHELL") => Self::Choice(crate::cmd::completion::SHELLS),
            _ => Self::Free,
        }
    }
}

/// The options that are shown, and the help option.
fn shown(flags: &'static [Flag]) -> impl Iterator<Item = &'static Flag> {
    flags.iter().filter(|flag| !flag.hidden).chain([&HELP])
}

/// `--long` and `-s`.
fn spellings(flag: &Flag) -> Vec<String> {
    let short = flag.short.map(|letter| format!("-{letter}"));
    [format!("--{}", flag.long)].into_iter().chain(short).collect()
}

#[cfg(test)]
mod tests;
