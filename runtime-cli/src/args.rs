//! What the user typed, sorted by a table of flags: no question to the system, no meaning yet.
//!
//! The parser is ours because the form is runc's: the layout of help, "Incorrect Usage.", one dash before long names,
//! `--switch=false`, options behind the container id, and exit code 3 for an unknown command are things that engines
//! and scripts rely on. A command is one [`Command`] value in its own file; parser and help both read that table.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use runtime_core::{ContainerId, Error, ErrorKind, Result};

use crate::fail::Outcome;
use crate::session::Session;

/// One option of a command.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The name after two dashes.
    pub(crate) long: &'static str,
    /// The letter after one dash.
    pub(crate) short: Option<char>,
    /// What the value is called in the help; None: a switch.
    pub(crate) value: Option<&'static str>,
    /// The values that are allowed, where there are only these.
    pub(crate) choices: &'static [&'static str],
    /// One line of help.
    pub(crate) help: &'static str,
    /// Accepted, but not shown.
    pub(crate) hidden: bool,
}

impl Flag {
    /// An option without a value.
    pub(crate) const fn switch(long: &'static str, help: &'static str) -> Self {
        Self {
            long,
            short: None,
            value: None,
            choices: &[],
            help,
            hidden: false,
        }
    }

    /// An option with a value.
    pub(crate) const fn option(long: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            long,
            short: None,
            value: Some(value),
            choices: &[],
            help,
            hidden: false,
        }
    }

    /// Adds the letter.
    pub(crate) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Names the only values.
    pub(crate) const fn choices(mut self, choices: &'static [&'static str]) -> Self {
        self.choices = choices;
        self
    }

    /// Keeps it out of the help: for what engines still pass.
    pub(crate) const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// One command of the program.
#[derive(Debug)]
pub(crate) struct Command {
    /// The word that selects it.
    pub(crate) name: &'static str,
    /// One line about it.
    pub(crate) about: &'static str,
    /// The words that follow, as the usage shows them.
    pub(crate) words: &'static str,
    /// The fewest words.
    pub(crate) min: usize,
    /// The most words; `usize::MAX`: any number.
    pub(crate) max: usize,
    /// The first word ends the options: what follows belongs to another program.
    pub(crate) first_word_ends_options: bool,
    /// The exit code of a failure.
    pub(crate) failure: u8,
    /// The description in the help.
    pub(crate) text: &'static str,
    /// The options.
    pub(crate) flags: &'static [Flag],
    /// What it does.
    pub(crate) run: fn(&Session, &Matches) -> Outcome,
}

/// The flags and words of one command in the order in which they were typed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    flags: Vec<(&'static str, OsString)>,
    words: Vec<OsString>,
}

impl Matches {
    /// Whether a switch is on; the last mention counts.
    pub(crate) fn has(&self, long: &str) -> bool {
        self.value(long).is_some_and(|value| value == "true")
    }

    /// The last value of an option; an empty one counts as not given, as in runc.
    pub(crate) fn value(&self, long: &str) -> Option<&OsStr> {
        let last = self.flags.iter().rev().find(|(name, _)| *name == long);
        last.map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// All values of an option that may be repeated, in order.
    pub(crate) fn values(&self, long: &'static str) -> Result<Vec<&str>> {
        let typed = self.flags.iter().filter(|(name, _)| *name == long);
        typed
            .map(|(_, value)| value.to_str().ok_or_else(|| bad_value(long, value, "UTF-8 text")))
            .collect()
    }

    /// All words.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Whether the option was typed at all, even with an empty value.
    pub(crate) fn given(&self, long: &str) -> bool {
        self.flags.iter().any(|(name, _)| *name == long)
    }

    /// The last value as a path.
    pub(crate) fn path(&self, long: &str) -> Option<PathBuf> {
        self.value(long).map(PathBuf::from)
    }

    /// The last value as text.
    pub(crate) fn text(&self, long: &'static str) -> Result<Option<&str>> {
        self.value(long)
            .map(|value| value.to_str().ok_or_else(|| bad_value(long, value, "UTF-8 text")))
            .transpose()
    }

    /// The last value as a count; 0 when not given.
    pub(crate) fn count(&self, long: &'static str) -> Result<u32> {
        let Some(value) = self.value(long) else {
            return Ok(0);
        };
        let number = value.to_str().and_then(|text| text.parse().ok());
        number.ok_or_else(|| bad_value(long, value, "a number from 0 to 4294967295"))
    }

    /// A value out of a fixed set.
    pub(crate) fn choice<T: Copy>(&self, long: &'static str, default: T, set: &[(&str, T)]) -> Result<T> {
        let Some(value) = self.value(long) else {
            return Ok(default);
        };
        set.iter()
            .find(|(name, _)| value == *name)
            .map(|(_, choice)| *choice)
            .ok_or_else(|| {
                let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
                bad_value(long, value, &names.join(", "))
            })
    }

    /// The word at `position`.
    pub(crate) fn word(&self, position: usize) -> Option<&OsStr> {
        self.words.get(position).map(OsString::as_os_str)
    }

    /// The first word as a container id.
    pub(crate) fn id(&self) -> Result<ContainerId> {
        self.word(0).unwrap_or_default().to_string_lossy().parse()
    }
}

/// An option's value that is not allowed: names the flag, what was found, what is allowed.
pub(crate) fn bad_value(long: &str, found: &OsStr, allowed: &str) -> Error {
    let message = format!(
        "invalid value {:?} for --{long}: allowed: {allowed}",
        found.to_string_lossy()
    );
    Error::new(ErrorKind::InvalidArgument, message)
}

/// A command line that cannot be followed.
#[derive(Debug)]
pub(crate) struct Misuse {
    /// What is wrong.
    pub(crate) message: String,
    /// What to print before the help on standard output; None: no help.
    pub(crate) heading: Option<String>,
    /// Whose help; None: the program's.
    pub(crate) command: Option<&'static Command>,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Misuse {
    fn flag(message: String, command: Option<&'static Command>) -> Self {
        let colon = if command.is_some() { ":" } else { "." };
        Self {
            heading: Some(format!("Incorrect Usage{colon} {message}")),
            message,
            command,
            exit: 1,
        }
    }
}

/// What the words ask for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The help of a command or of the program.
    Help(Option<&'static Command>),
    /// The version.
    Version,
    /// To run a command.
    Run(&'static Command, Matches),
}

/// The help switch, part of every command.
pub(crate) const HELP: Flag = Flag::switch("help", "show help").short('h');
/// The version switch, part of the program.
pub(crate) const VERSION: Flag = Flag::switch("version", "print the version").short('v');

/// Sorts the words after the program's name. The global options come back even when the rest cannot be followed,
/// because they say where the complaint goes.
pub(crate) fn parse(
    program: &str,
    words: Vec<OsString>,
    globals: &'static [Flag],
    commands: &[&'static Command],
) -> (Matches, std::result::Result<Asked, Misuse>) {
    let mut words = words.into_iter();
    let mut global = Matches::default();
    let asked = sort(&mut words, globals, &[], &mut global, true)
        .map_err(|message| Misuse::flag(message, None))
        .and_then(|()| {
            if global.has("help") {
                return Ok(Asked::Help(None));
            }
            if global.has("version") {
                return Ok(Asked::Version);
            }
            match global.words.pop() {
                None => Ok(Asked::Help(None)),
                Some(name) => command(program, &name, words, globals, commands),
            }
        });
    (global, asked)
}

/// Sorts the words after the command's name.
fn command(
    program: &str,
    name: &OsStr,
    mut words: impl Iterator<Item = OsString>,
    globals: &'static [Flag],
    commands: &[&'static Command],
) -> std::result::Result<Asked, Misuse> {
    let find = |name: &OsStr| {
        commands
            .iter()
            .copied()
            .find(|command| name == command.name)
            .ok_or_else(|| Misuse {
                // runc's words, which its tests and others look for.
                message: format!("No help topic for '{}'", name.to_string_lossy()),
                heading: None,
                command: None,
                exit: 3,
            })
    };
    if name == "help" || name == "h" {
        return words.next().map(|name| find(&name)).transpose().map(Asked::Help);
    }
    let command = find(name)?;
    let mut matches = Matches::default();
    sort(
        &mut words,
        command.flags,
        globals,
        &mut matches,
        command.first_word_ends_options,
    )
    .map_err(|message| Misuse::flag(message, Some(command)))?;
    if matches.has("help") {
        return Ok(Asked::Help(Some(command)));
    }
    matches.words.extend(words);
    match wrong_count(command, matches.words.len()) {
        None => Ok(Asked::Run(command, matches)),
        Some(wrong) => Err(Misuse {
            message: format!("{program}: {:?} requires {wrong} argument(s)", command.name),
            heading: Some("Incorrect Usage.".to_owned()),
            command: Some(command),
            exit: 1,
        }),
    }
}

/// How the number of words is wrong, in runc's words.
fn wrong_count(command: &Command, count: usize) -> Option<String> {
    match (command.min, command.max) {
        (min, max) if (min..=max).contains(&count) => None,
        (min, max) if min == max => Some(format!("exactly {min}")),
        (min, _) if count < min => Some(format!("a minimum of {min}")),
        (_, max) => Some(format!("a maximum of {max}")),
    }
}

/// Moves options and words into `matches`; with `stop_at_word` the first word is the last that is taken. `earlier` are
/// those that would have been right before the command.
fn sort(
    words: &mut impl Iterator<Item = OsString>,
    flags: &'static [Flag],
    earlier: &'static [Flag],
    matches: &mut Matches,
    stop_at_word: bool,
) -> std::result::Result<(), String> {
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        // "-" and "-9" are words: a signal or an amount may be negative.
        let is_flag = bytes.len() > 1 && bytes[0] == b'-' && !bytes[1].is_ascii_digit();
        if bytes == b"--" {
            matches.words.extend(words);
            return Ok(());
        }
        if !is_flag {
            matches.words.push(word);
            if stop_at_word {
                return Ok(());
            }
            continue;
        }
        let (flag, inline) = find(&word, flags, earlier)?;
        let value = match (flag.value, inline) {
            (None, None) => "true".into(),
            (None, Some(value)) => boolean(flag, &value)?.into(),
            (Some(_), Some(value)) => value,
            (Some(_), None) => words
                .next()
                .ok_or(format!("flag needs an argument: --{}", flag.long))?,
        };
        matches.flags.push((flag.long, value));
    }
    Ok(())
}

/// The flag that a word names, and the value behind its equals sign.
fn find(
    word: &OsStr,
    flags: &'static [Flag],
    earlier: &[Flag],
) -> std::result::Result<(&'static Flag, Option<OsString>), String> {
    let bytes = word.as_bytes();
    let dashes = if bytes.starts_with(b"--") { 2 } else { 1 };
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(equals) => (
            &bytes[dashes..equals],
            Some(OsString::from_vec(bytes[equals + 1..].to_vec())),
        ),
        None => (&bytes[dashes..], None),
    };
    let is_short = |flag: &Flag| {
        flag.short
            .is_some_and(|letter| name == letter.to_string().as_bytes())
    };
    let named = |flag: &&Flag| name == flag.long.as_bytes() || (dashes == 1 && is_short(flag));
    match flags.iter().chain([&HELP]).find(named) {
        Some(flag) => Ok((flag, value)),
        None if named(&&VERSION) && flags.iter().any(|flag| flag.long == "root") => Ok((&VERSION, value)),
        None if earlier.iter().any(|flag| named(&flag)) => {
            let name = String::from_utf8_lossy(name);
            Err(format!(
                "flag provided but not defined: -{name} (a global option: it stands before the command)"
            ))
        }
        None => {
            let allowed: Vec<String> = flags
                .iter()
                .filter(|flag| !flag.hidden)
                .map(|flag| format!("--{}", flag.long))
                .collect();
            // runc writes one dash, whatever was typed.
            let name = String::from_utf8_lossy(name);
            Err(format!(
                "flag provided but not defined: -{name} (allowed: {} --help)",
                allowed.join(" ")
            ))
        }
    }
}

/// The value of a switch in Go's spellings, which go-runc and scripts use.
fn boolean(flag: &Flag, value: &OsStr) -> std::result::Result<&'static str, String> {
    parse_bool(value)
        .map(|on| if on { "true" } else { "false" })
        .ok_or_else(|| {
            format!(
                "invalid value {:?} for --{}: allowed: true, false",
                value.to_string_lossy(),
                flag.long
            )
        })
}

/// Go's strconv.ParseBool.
pub(crate) fn parse_bool(value: &OsStr) -> Option<bool> {
    match value.to_str()? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
