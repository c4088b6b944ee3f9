//! Running commands in the open: each is printed as a person would type it, then its output follows.
//!
//! Must not live here: which commands there are.

use std::process::{Command, ExitStatus};

/// Prints a heading for a part of the work.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// The command as typed.
pub(crate) fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted: Vec<String> = words.map(|word| quote(&word.to_string_lossy())).collect();
    quoted.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Prints and runs; the command's output goes where ours goes.
///
/// # Errors
/// It cannot be started.
pub(crate) fn run(command: &mut Command) -> Result<ExitStatus, String> {
    println!("$ {}", show(command));
    command
        .status()
        .map_err(|error| format!("cannot run {}: {error}", show(command)))
}

/// As [`run`], and the command has to succeed.
///
/// # Errors
/// It cannot be started or it failed.
pub(crate) fn must(command: &mut Command) -> Result<(), String> {
    let status = run(command)?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{} ended with {status}", show(command)))
}

/// Runs without printing; what the command writes to its standard output. Its complaints go where ours go.
///
/// # Errors
/// It cannot be started or it failed.
pub(crate) fn bytes(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot run {}: {error}", show(command)))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{} ended with {}", show(command), output.status)),
    }
}

/// As [`bytes`], of text.
///
/// # Errors
/// As there, or it is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let bytes = bytes(command)?;
    String::from_utf8(bytes).map_err(|_| format!("{} writes what is not UTF-8", show(command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_a_shell_takes_them() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'a b'", "", "--runtime=/x-y"]);
        assert_eq!(show(&command), r"sh -c 'echo '\''a b'\''' '' --runtime=/x-y");
    }
}
