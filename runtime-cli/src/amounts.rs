//! Amounts as people type them: bytes with a unit, and durations.
//!
//! The spellings are those of the Go libraries behind runc's flags (docker/go-units RAMInBytes, time.ParseDuration),
//! because scripts and engines rely on them. Pure; who complains about a value names the flag.

use std::time::Duration;

/// Bytes: a number, perhaps with a fraction and after it perhaps a unit: k, m, g, t or p in powers of 1024, alone or
/// followed by b or ib; any case; one space before it.
pub(crate) fn bytes(text: &str) -> Option<i64> {
    let digits = |c: char| c.is_ascii_digit() || c == '.' || c == ' ';
    let end = text.rfind(digits)? + 1;
    let (number, unit) = (
        text[..end].strip_suffix(' ').unwrap_or(&text[..end]),
        &text[end..],
    );
    // What parse::<f64> takes beyond this (signs, exponents, "inf") is no amount.
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let power = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        unit => {
            let (letter, rest) = unit.split_at_checked(1)?;
            if !matches!(rest, "" | "b" | "ib") {
                return None;
            }
            1 + "kmgtp".find(letter)?
        }
    };
    let bytes = number * 1024f64.powi(i32::try_from(power).ok()?);
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a fraction of a byte is dropped, the range is checked"
    )]
    (bytes < 9.2e18).then_some(bytes as i64)
}

/// A duration in Go's spelling: numbers with units, one after the other (`1m30s`, `1.5s`, `100ms`), or a bare 0.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number * unit;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_and_without_units() {
        for (text, expected) in [
            ("67108864", 67_108_864),
            ("50M", 50 << 20),
            ("50m", 50 << 20),
            ("1.5g", 3 << 29),
            ("2KiB", 2048),
            ("2 kb", 2048),
            ("7b", 7),
            ("1t", 1 << 40),
            ("1P", 1 << 50),
            ("0", 0),
        ] {
            assert_eq!(bytes(text), Some(expected), "{text}");
        }
        for text in [
            "", "m", "-2", "1x", "1kk", "1mbb", "1e3", "inf", "1 2", "0x10", "99999p", "1..2",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn durations_as_go_writes_them() {
        for (text, expected) in [
            ("5s", 5000),
            ("100ms", 100),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("2h", 7_200_000),
            ("1000us", 1),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(expected)), "{text}");
        }
        for text in ["", "5", "s", "5 s", "-1s", "5x", "+", "1s2"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
