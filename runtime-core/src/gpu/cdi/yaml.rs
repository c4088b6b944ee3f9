//! The text of a CDI file as a tree of JSON values.
//!
//! CDI files are YAML, and JSON as a part of it, as the format's Go library reads them: the first document counts, a key
//! may stand once, and plain scalars mean what YAML 1.1 says (`0660` is octal, `yes` is a boolean). Events come from
//! saphyr-parser; what they mean is decided here, because that library's own tree follows YAML 1.2. Aliases and merge keys
//! are refused and nesting is bounded (a file of a few lines can stand for gigabytes otherwise).

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Number, Value};

/// How deep values may be nested.
const MAX_DEPTH: usize = 64;

/// A fault with its place: `line 3, column 5: ...`.
type Outcome<T> = Result<T, String>;

/// The first document of a text; None where there is none.
pub(super) fn parse(text: &str) -> Outcome<Option<Value>> {
    let mut tree = Tree {
        parser: Parser::new_from_str(text),
    };
    loop {
        match tree.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd | Event::DocumentEnd, _) => return Ok(None),
            (event, span) => return tree.value(event, span, 0).map(Some),
        }
    }
}

struct Tree<'a> {
    parser: Parser<'a, StrInput<'a>>,
}

impl<'a> Tree<'a> {
    fn next(&mut self) -> Outcome<(Event<'a>, Span)> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Span::default())),
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let place = *error.marker();
                Err(format!(
                    "line {}, column {}: {}",
                    place.line(),
                    place.col() + 1,
                    error.info()
                ))
            }
        }
    }

    fn value(&mut self, event: Event<'a>, span: Span, depth: usize) -> Outcome<Value> {
        if depth > MAX_DEPTH {
            return Err(at(span, &format!("nested deeper than {MAX_DEPTH}")));
        }
        match event {
            Event::Scalar(text, style, _, tag) => scalar(&text, style, tag.as_deref(), span),
            Event::SequenceStart(_, tag) => {
                no_tag(tag.as_deref(), span)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => return Ok(Value::Array(items)),
                        (event, span) => items.push(self.value(event, span, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(_, tag) => {
                no_tag(tag.as_deref(), span)?;
                self.mapping(depth)
            }
            Event::Alias(_) => Err(at(span, "aliases are not allowed")),
            other => Err(at(span, &format!("unexpected {other:?}"))),
        }
    }

    fn mapping(&mut self, depth: usize) -> Outcome<Value> {
        let mut members = Map::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Object(members));
            }
            if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<") {
                return Err(at(span, "merge keys are not allowed"));
            }
            let key = match self.value(event, span, depth + 1)? {
                Value::Null => return Err(at(span, "found null, a key must be text")),
                Value::Array(_) | Value::Object(_) => {
                    return Err(at(span, "found a collection, a key must be text"));
                }
                scalar => as_text(scalar),
            };
            let (event, place) = self.next()?;
            let value = self.value(event, place, depth + 1)?;
            if members.contains_key(&key) {
                return Err(at(span, &format!("the key {key:?} stands twice")));
            }
            members.insert(key, value);
        }
    }
}

fn at(span: Span, message: &str) -> String {
    format!(
        "line {}, column {}: {message}",
        span.start.line(),
        span.start.col() + 1
    )
}

fn no_tag(tag: Option<&Tag>, span: Span) -> Outcome<()> {
    tag.map_or(Ok(()), |tag| {
        Err(at(span, &format!("the tag {tag} is not allowed")))
    })
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Outcome<Value> {
    let is_string = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => true,
        Some(tag) => {
            let message = format!("the tag {tag} is not allowed; allowed: !!str");
            return Err(at(span, &message));
        }
    };
    if is_string {
        return Ok(Value::String(text.to_owned()));
    }
    plain(text).map_err(|message| at(span, &message))
}

/// What a plain scalar means in YAML 1.1 as go-yaml reads it.
fn plain(text: &str) -> Outcome<Value> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Ok(Value::Bool(true));
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Ok(Value::Bool(false));
        }
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => float(text)?,
        b'0'..=b'9' | b'+' | b'-' => {
            let bare = text.replace('_', "");
            match integer(&bare) {
                Some(number) => Some(Value::Number(number)),
                None => float(&bare)?,
            }
        }
        _ => None,
    };
    Ok(number.unwrap_or_else(|| Value::String(text.to_owned())))
}

/// Go's `strconv.ParseInt` and `ParseUint` with base 0.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // from_str_radix takes a sign of its own.
    if !digits.bytes().next()?.is_ascii_alphanumeric() {
        return None;
    }
    let amount = u64::from_str_radix(digits, radix).ok()?;
    if !negative {
        return Some(amount.into());
    }
    let amount = 0_i64.checked_sub_unsigned(amount)?;
    Some(amount.into())
}

fn float(text: &str) -> Outcome<Option<Value>> {
    if matches!(
        text.trim_start_matches(['+', '-']),
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return Err(format!("found {text}, which is no finite number"));
    }
    let of_a_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if !text.bytes().all(of_a_number) {
        return Ok(None);
    }
    Ok(text
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number))
}

/// A scalar where text is wanted, as Go's conversion of YAML to JSON writes it.
pub(super) fn as_text(scalar: Value) -> String {
    match scalar {
        Value::String(text) => text,
        Value::Number(number) => match (number.is_f64(), number.as_f64()) {
            (true, Some(float)) => short_float(float),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// Go's `strconv.FormatFloat(number, 'g', -1, 32)`: the fewest digits that name this number of 32 bits.
#[allow(clippy::cast_possible_truncation, reason = "the form is that of 32 bits")]
fn short_float(number: f64) -> String {
    let scientific = format!("{:e}", number as f32);
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{}", number as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Value {
        parse(text).unwrap().unwrap()
    }

    #[test]
    fn plain_scalars_mean_what_yaml_1_1_says() {
        let text = "a: 0660\nb: 0x10\nc: yes\nd: ~\ne: '0660'\nf: 0.5\ng: 0.5.0\nh: 1_000\ni: -3\nj: 08\nk: 0b11\nl: 0o17\n";
        assert_eq!(
            read(text),
            json!({"a": 432, "b": 16, "c": true, "d": null, "e": "0660", "f": 0.5, "g": "0.5.0", "h": 1000, "i": -3,
                "j": 8.0, "k": 3, "l": 15})
        );
        assert_eq!(read("18446744073709551615"), json!(u64::MAX));
        assert_eq!(read("-9223372036854775808"), json!(i64::MIN));
        assert_eq!(
            read("- +\n- 0x\n- 1-2\n- 2001-01-01\n"),
            json!(["+", "0x", "1-2", "2001-01-01"])
        );
        assert!(parse(".inf").is_err());
    }

    #[test]
    fn json_is_a_part_of_yaml() {
        let text = "{\n\t\"a\":[1,\"b\",{\"c\":null}],\"d\":\"\\u00e9\\n\",\n\t\"e\": {\"f\":true}\n}\n";
        assert_eq!(
            read(text),
            json!({"a": [1, "b", {"c": null}], "d": "é\n", "e": {"f": true}})
        );
    }

    #[test]
    fn only_the_first_document_counts() {
        assert_eq!(read("---\na: 1\n---\n*broken\n"), json!({"a": 1}));
        assert_eq!(parse("").unwrap(), None);
        assert_eq!(parse("# nothing\n").unwrap(), None);
    }

    #[test]
    fn what_can_grow_or_is_ambiguous_is_refused() {
        for (text, words) in [
            ("a: &x 1\nb: *x\n", "aliases"),
            ("<<: {a: 1}\n", "merge"),
            ("a: 1\na: 2\n", "twice"),
            ("1: 1\n\"1\": 2\n", "twice"),
            ("~: 1\n", "null"),
            ("a: !!binary aGk=\n", "tag"),
            ("[a]: 1\n", "collection"),
            ("a: [1\n", "line"),
            ("a: b: c\n", "line"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.starts_with("line "), "{error}");
        }
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert!(parse(&deep(MAX_DEPTH + 2)).unwrap_err().contains("deeper"));
    }

    #[test]
    fn a_mebibyte_of_brackets_ends_at_the_limit() {
        let start = std::time::Instant::now();
        for unit in ["[", "{a: ", "- ", "? "] {
            let text = unit.repeat((1 << 20) / unit.len());
            assert!(parse(&text).is_err(), "{unit}");
        }
        assert!(start.elapsed().as_secs() < 60, "no endless work");
    }

    #[test]
    fn numbers_become_text_as_in_go() {
        let texts = |text| as_text(read(text));
        assert_eq!(texts("0.5"), "0.5");
        assert_eq!(texts("1.10"), "1.1");
        assert_eq!(texts("7"), "7");
        assert_eq!(texts("yes"), "true");
        assert_eq!(texts("1e3"), "1000");
        assert_eq!(texts("1234567.0"), "1.234567e+06");
        assert_eq!(texts("1e-7"), "1e-07");
    }
}
