//! Reads the text notation of GVariant: `true`, `uint64 5`, `'text'`, `['a', 'b']`, `(1, 2)`, `@as []`, `<5>`.
//!
//! Pure. It is what the annotations `org.systemd.property.*` are written in. Dictionaries, maybes and byte strings are
//! not here, since no property of a unit has them. A number without a type is an int32, or a double where it has a point;
//! in an array the type of one element is that of all.

use super::value::Value;

/// How deep arrays, tuples and variants may be nested.
const MAX_DEPTH: u32 = 8;

/// The value of a text.
///
/// # Errors
/// What was found and what is allowed, for a message.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { rest: text.trim() };
    let value = parser.value(None, 0)?;
    match parser.rest.trim_start() {
        "" => Ok(value),
        rest => Err(format!("{rest:?} behind the value")),
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of nesting"));
        }
        self.rest = self.rest.trim_start();
        let first = self.rest.chars().next().ok_or("a value is missing")?;
        match first {
            '\'' | '"' => {
                let text = self.quoted(first)?;
                match wanted {
                    None | Some("s") => Ok(Value::Text(text)),
                    Some("o") => path(text),
                    Some("g") => Ok(Value::Signature(text)),
                    Some(other) => Err(format!("{text:?} is no value of the type {other:?}")),
                }
            }
            '[' => self.array(wanted, depth),
            '(' => self.tuple(wanted, depth),
            '<' => {
                self.expect('<')?;
                let value = self.value(None, depth + 1)?;
                self.expect('>')?;
                Ok(Value::Variant(Box::new(value)))
            }
            '@' => {
                self.expect('@')?;
                let kind = self.word(|c| !c.is_whitespace());
                self.value(Some(kind), depth)
            }
            _ => self.plain(wanted, depth),
        }
    }

    /// A word: a truth value, a number, or the name of a type before a value.
    fn plain(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, String> {
        let word = self.word(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.' | '_'));
        let kind = match word {
            "true" | "false" => {
                return match wanted {
                    None | Some("b") => Ok(Value::Bool(word == "true")),
                    Some(other) => Err(format!("{word} is no value of the type {other:?}")),
                };
            }
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            "" => return Err(format!("{:?} is no value", self.rest)),
            _ => return number(word, wanted),
        };
        self.value(Some(kind), depth + 1)
    }

    fn array(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, String> {
        let element = match wanted {
            None => None,
            Some(kind) => Some(
                kind.strip_prefix('a')
                    .ok_or_else(|| format!("an array is no value of the type {kind:?}"))?,
            ),
        };
        let start = self.rest;
        let items = self.list('[', ']', |_| element, depth)?;
        let kinds: Vec<String> = items.iter().map(Value::signature).collect();
        let Some(first) = kinds.first() else {
            return match element {
                Some(element) => Ok(Value::Array(element.to_owned(), items)),
                None => Err("an empty array has no type; write it like @as []".to_owned()),
            };
        };
        if kinds.iter().all(|kind| kind == first) {
            return Ok(Value::Array(first.clone(), items));
        }
        // One element with a type gives it to the numbers without one, which were taken for int32.
        let typed = kinds.iter().find(|kind| *kind != "i");
        let (Some(typed), None) = (typed, element) else {
            return Err("the elements of the array are of several types".to_owned());
        };
        self.rest = start;
        let items = self.list('[', ']', |_| Some(typed.as_str()), depth)?;
        Ok(Value::Array(typed.clone(), items))
    }

    fn tuple(&mut self, wanted: Option<&str>, depth: u32) -> Result<Value, String> {
        if let Some(kind) = wanted.filter(|kind| !kind.starts_with('(')) {
            return Err(format!("a tuple is no value of the type {kind:?}"));
        }
        let value = Value::Struct(self.list('(', ')', |_| None, depth)?);
        match wanted {
            Some(kind) if value.signature() != kind => {
                Err(format!("{value} is no value of the type {kind:?}"))
            }
            _ if value == Value::Struct(Vec::new()) => Err("a tuple is not empty".to_owned()),
            _ => Ok(value),
        }
    }

    fn list<'k>(
        &mut self,
        open: char,
        close: char,
        kind: impl Fn(usize) -> Option<&'k str>,
        depth: u32,
    ) -> Result<Vec<Value>, String> {
        self.expect(open)?;
        let mut items = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with(close) {
                self.expect(close)?;
                return Ok(items);
            }
            if !items.is_empty() {
                self.expect(',')?;
                // A tuple of one ends with a comma.
                self.rest = self.rest.trim_start();
                if close == ')' && self.rest.starts_with(close) {
                    continue;
                }
            }
            items.push(self.value(kind(items.len()), depth + 1)?);
        }
    }

    fn word(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        self.rest = self.rest.trim_start();
        self.rest = self
            .rest
            .strip_prefix(wanted)
            .ok_or_else(|| format!("{wanted:?} is missing before {:?}", self.rest))?;
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((position, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[1 + position + 1..];
                    return Ok(text);
                }
                '\\' => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, c @ ('\\' | '\'' | '"'))) => c,
                    _ => {
                        return Err(
                            "only \\n, \\t, \\\\, \\' and \\\" are allowed behind a backslash".to_owned()
                        );
                    }
                }),
                '\0' => return Err("a text holds no zero byte".to_owned()),
                c => text.push(c),
            }
        }
        Err("the end of a text is missing".to_owned())
    }
}

fn path(text: String) -> Result<Value, String> {
    let part = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let valid = text == "/"
        || text
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(part));
    if valid {
        Ok(Value::Path(text))
    } else {
        Err(format!("{text:?} is no object path"))
    }
}

fn number(word: &str, wanted: Option<&str>) -> Result<Value, String> {
    let kind = wanted.unwrap_or(match word.starts_with("0x") || word.starts_with("-0x") {
        false if word.contains(['.', 'e', 'E']) => "d",
        _ => "i",
    });
    let refused = || {
        let name = match kind {
            "y" => "byte (0 to 255)",
            "n" => "int16",
            "q" => "uint16",
            "i" => "int32, which a number without a type is",
            "u" => "uint32",
            "x" => "int64",
            "t" => "uint64",
            "d" => "double",
            other => return format!("{word:?} is no value of the type {other:?}"),
        };
        format!("{word:?} is no {name}")
    };
    if kind == "d" {
        let number = word.parse::<f64>().ok().filter(|number| number.is_finite());
        return number.map(Value::Double).ok_or_else(refused);
    }
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (&digits[1..], 8),
        None => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return Err(refused());
    }
    let number = i128::from_str_radix(digits, radix).map_err(|_| refused())?;
    let number = if negative { -number } else { number };
    let value = match kind {
        "y" => number.try_into().ok().map(Value::Byte),
        "n" => number.try_into().ok().map(Value::I16),
        "q" => number.try_into().ok().map(Value::U16),
        "i" => number.try_into().ok().map(Value::I32),
        "u" => number.try_into().ok().map(Value::U32),
        "x" => number.try_into().ok().map(Value::I64),
        "t" => number.try_into().ok().map(Value::U64),
        _ => None,
    };
    value.ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for (text, value) in [
            ("true", Value::Bool(true)),
            ("5", Value::I32(5)),
            (" -5 ", Value::I32(-5)),
            ("0x1f", Value::I32(31)),
            ("010", Value::I32(8)),
            ("1.5", Value::Double(1.5)),
            ("uint64 18446744073709551615", Value::U64(u64::MAX)),
            ("@t 7", Value::U64(7)),
            ("byte 255", Value::Byte(255)),
            ("double 2", Value::Double(2.0)),
            ("'it\\'s'", Value::text("it's")),
            ("\"a\\\\b\"", Value::text("a\\b")),
            ("objectpath '/a/b'", Value::Path("/a/b".into())),
            ("<uint32 1>", Value::Variant(Box::new(Value::U32(1)))),
            ("@as []", Value::Array("s".into(), vec![])),
            (
                "['a', 'b']",
                Value::Array("s".into(), vec![Value::text("a"), Value::text("b")]),
            ),
            (
                "[uint32 1, 2]",
                Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]),
            ),
            (
                "[1, uint32 2]",
                Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)]),
            ),
            (
                "[1, 2.0]",
                Value::Array("d".into(), vec![Value::Double(1.0), Value::Double(2.0)]),
            ),
            ("(1,)", Value::Struct(vec![Value::I32(1)])),
            (
                "[('/dev/sda', uint64 5)]",
                Value::Array(
                    "(st)".into(),
                    vec![Value::Struct(vec![Value::text("/dev/sda"), Value::U64(5)])],
                ),
            ),
        ] {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "[byte 0x01, byte 0xff]",
            "@a(ss) []",
            "(\"a\", uint64 3)",
            "<<true>>",
            "0.5",
        ] {
            let value = parse(text).unwrap();
            assert_eq!(parse(&value.to_string()), Ok(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        for text in [
            "",
            "infinity",
            "5 6",
            "'a",
            "[1, 'a']",
            "[]",
            "()",
            "byte 256",
            "uint32 -1",
            "3000000000",
            "{'a': 1}",
            "uint64 'a'",
            "objectpath 'a'",
            "1x",
            "--1",
            "0x",
            "nan",
            "@z 1",
            "[1 2]",
            "'a\\q'",
            "<1",
            "@a",
            "((((((((((1,),),),),),),),),),)",
            "@(s) (1,)",
        ] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
    }
}
