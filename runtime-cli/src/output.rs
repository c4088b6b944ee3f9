//! What the program prints: tables and documents on standard output, complaints on standard error.
//!
//! Names come from strangers, so control bytes are escaped before they reach a terminal.

use std::fmt::Write as _;
use std::io::Write as _;

use runtime_core::State;

/// The longest value in a log line, in bytes.
pub(crate) const MAX_VALUE: usize = 4096;

/// The text without control characters, cut in the middle when it is long: the cause is at its end.
pub(crate) fn escape(line: &mut String, text: &str, quoted: bool) {
    let cut = text.len() > MAX_VALUE;
    let head = if cut {
        text.floor_char_boundary(MAX_VALUE * 3 / 4)
    } else {
        text.len()
    };
    let tail = if cut {
        text.ceil_char_boundary(text.len() - MAX_VALUE / 8)
    } else {
        text.len()
    };
    let shortened = [&text[..head], if cut { " [...] " } else { "" }, &text[tail..]];
    for char in shortened.into_iter().flat_map(str::chars) {
        match char {
            '"' | '\\' if quoted => line.extend(['\\', char]),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            char if char.is_control() => {
                let _ = write!(line, "\\u{:04x}", u32::from(char));
            }
            char => line.push(char),
        }
    }
}

/// The table of `list`: columns at least 12 wide, 3 spaces between them, the last one not padded.
pub(crate) fn table(states: &[State]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let cells = states.iter().map(|state| {
        let plain = |text: &str| {
            let mut cell = String::new();
            escape(&mut cell, text, false);
            cell
        };
        let status = state.status.as_str().to_owned();
        [
            plain(&state.id),
            state.pid.to_string(),
            status,
            plain(&state.bundle),
            plain(&state.created),
            plain(&state.owner),
        ]
    });
    let rows: Vec<[String; 6]> = [head].into_iter().chain(cells).collect();
    let width = |column: usize| {
        let widest = rows
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0);
        (widest + 3).max(12)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}");
        }
        text.push_str(&row[5]);
        text.push('\n');
    }
    text
}

/// Writes to standard output. Who closed it (`runtime list | head -1`) does not want more.
pub(crate) fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes to standard error; there is nowhere to report that this failed.
pub(crate) fn err(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_runcs() {
        let state = |id: &str, bundle: &str| -> State {
            let state = serde_json::json!({"ociVersion": "1.3.0", "id": id, "pid": 42, "status": "running",
                "bundle": bundle, "rootfs": "/r", "created": "2026-11-21T21:11:13.5Z", "owner": "root"});
            serde_json::from_value(state).expect("a state")
        };
        assert_eq!(
            table(&[state("a", "/b"), state("a-longer-name", "/a/longer/bundle")]),
            "ID              PID         STATUS      BUNDLE             CREATED                  OWNER\n\
             a               42          running     /b                 2026-11-21T21:11:13.5Z   root\n\
             a-longer-name   42          running     /a/longer/bundle   2026-11-21T21:11:13.5Z   root\n"
        );
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        assert!(!table(&[state("a", "/b\n\u{1b}[2J")]).contains('\u{1b}'));
    }
}
