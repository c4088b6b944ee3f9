//! Tidying a parsed document before it gets its types.
//!
//! Four things happen here and nothing else: what the specification wants ignored (unknown fields, unknown
//! capabilities, other platforms) is taken out with a warning; `null` and an empty optional string are taken out, as
//! they mean absence; a name in another case gets its right one; and the few spellings that oci-spec 0.10 has differently from the specification are bridged, so
//! that its types lose nothing. No value is judged.

use super::capability;
use super::load::Warning;
use super::shape::Shape;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// A step of the way to the current place.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

/// The way to the current place, linked on the stack: text is made only when there is something to report.
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    step: Step<'a>,
}

impl Place<'_> {
    fn write(&self, text: &mut String) {
        if let Some(above) = self.above {
            above.write(text);
        }
        match self.step {
            Step::Field("") => {}
            Step::Field(name) if text.is_empty() => text.push_str(name),
            // Writing to a String cannot fail.
            Step::Field(name) => drop(write!(text, ".{name}")),
            Step::Item(index) => drop(write!(text, "[{index}]")),
        }
    }
}

/// Tidies `document`, which stands at the field `at` (empty for the whole document) and has `shape`.
pub(super) fn normalize(document: &mut Value, shape: &Shape, at: &str) -> Vec<Warning> {
    let mut tidy = Tidy { warnings: Vec::new() };
    tidy.value(
        document,
        shape,
        &Place {
            above: None,
            step: Step::Field(at),
        },
    );
    bridge(at, document);
    tidy.warnings
}

struct Tidy {
    warnings: Vec<Warning>,
}

impl Tidy {
    fn warn(&mut self, place: &Place<'_>, message: impl Into<String>) {
        let mut field = String::new();
        place.write(&mut field);
        self.warnings.push(Warning {
            field,
            message: message.into(),
        });
    }

    fn value(&mut self, value: &mut Value, shape: &Shape, place: &Place<'_>) {
        match (shape, value) {
            (Shape::Object(fields), Value::Object(map)) => {
                let mut other_case = Vec::new();
                map.retain(|name, member| match spelled(name, fields) {
                    Some(right) => {
                        other_case.push((name.clone(), right));
                        true
                    }
                    None => self.field(name, member, fields, place),
                });
                for (name, right) in other_case {
                    self.respell(map, &name, right, fields, place);
                }
            }
            (Shape::Map(of), Value::Object(map)) => {
                map.retain(|_, member| !member.is_null());
                for (name, member) in map.iter_mut() {
                    self.value(
                        member,
                        of,
                        &Place {
                            above: Some(place),
                            step: Step::Field(name),
                        },
                    );
                }
            }
            (Shape::List(Shape::Value), _) => {}
            (Shape::List(of), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(
                        item,
                        of,
                        &Place {
                            above: Some(place),
                            step: Step::Item(index),
                        },
                    );
                }
            }
            (Shape::Capabilities, Value::Array(items)) => self.capabilities(items, place),
            (Shape::CpuList, Value::String(text)) => text.retain(|char| char != ' '),
            (Shape::Unsigned, Value::Number(number)) if number.as_i64().is_none() && number.is_u64() => {
                self.warn(place, format!("{number} is read as {}", i64::MAX));
                *number = i64::MAX.into();
            }
            // Everything else is for the types to judge.
            _ => {}
        }
    }

    /// Tidies one member of an object; false takes it out.
    fn field(
        &mut self,
        name: &str,
        member: &mut Value,
        fields: &[(&str, &'static Shape)],
        above: &Place<'_>,
    ) -> bool {
        if member.is_null() {
            return false;
        }
        let place = Place {
            above: Some(above),
            step: Step::Field(name),
        };
        let Some((_, shape)) = fields.iter().find(|(known, _)| *known == name) else {
            self.warn(&place, "unknown field, ignored");
            return false;
        };
        if matches!(shape, Shape::OtherPlatform) {
            self.warn(&place, "section of another platform, ignored");
            return false;
        }
        self.value(member, shape, &place);
        let empty = member.as_str().is_some_and(str::is_empty);
        if empty && matches!(shape, Shape::Text | Shape::CpuList) {
            return false;
        }
        bridge(name, member);
        // `pids: {}` limits nothing; the type would read a limit of 0.
        !(name == "pids" && member.as_object().is_some_and(Map::is_empty))
    }

    /// Gives a member its right name. An object joins the one that is there already; any other value gives way to it.
    fn respell(
        &mut self,
        map: &mut Map<String, Value>,
        name: &str,
        right: &'static str,
        fields: &[(&str, &'static Shape)],
        above: &Place<'_>,
    ) {
        let place = Place {
            above: Some(above),
            step: Step::Field(name),
        };
        self.warn(&place, format!("the field is spelled {right:?}"));
        let Some(mut member) = map.remove(name).filter(|member| !member.is_null()) else {
            return;
        };
        if !self.field(right, &mut member, fields, above) {
            return;
        }
        match (map.get_mut(right), member) {
            (Some(Value::Object(there)), Value::Object(more)) => {
                for (name, value) in more {
                    there.entry(name).or_insert(value);
                }
            }
            (Some(_), _) => {}
            (None, member) => {
                map.insert(right.to_owned(), member);
            }
        }
    }

    fn capabilities(&mut self, items: &mut Vec<Value>, place: &Place<'_>) {
        let mut index = 0;
        items.retain(|item| {
            let unknown = item.as_str().filter(|name| capability::number(name).is_none());
            if let Some(name) = unknown {
                let place = Place {
                    above: Some(place),
                    step: Step::Item(index),
                };
                self.warn(&place, format!("unknown capability {name:?}, ignored"));
            }
            index += 1;
            unknown.is_none()
        });
    }
}

/// The right spelling of a name that differs from it in case alone. The readers of other runtimes take either (Go's JSON
/// decoder does), so there are configurations that rely on it.
fn spelled(name: &str, fields: &[(&'static str, &'static Shape)]) -> Option<&'static str> {
    if fields.iter().any(|(known, _)| *known == name) {
        return None;
    }
    fields
        .iter()
        .map(|(known, _)| *known)
        .find(|known| known.eq_ignore_ascii_case(name))
}

/// Rewrites what oci-spec 0.10 spells differently from the specification. Names are unique enough for this: each of
/// them occurs once in the specification.
fn bridge(name: &str, member: &mut Value) {
    match name {
        // Go reads a missing user as 0:0 and the schema does not demand one.
        "process" => {
            if let Value::Object(process) = member {
                process.entry("user").or_insert_with(|| Value::Object(Map::new()));
            }
        }
        "intelRdt" => {
            rename(member, "enableCMT", "enableCmt");
            rename(member, "enableMBM", "enableMbm");
        }
        "scheduler" => {
            for flag in member
                .get_mut("flags")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                match flag.as_str() {
                    Some("SCHED_FLAG_RESET_ON_FORK") => *flag = "SCHED_RESET_ON_FORK".into(),
                    Some("SCHED_FLAG_DL_OVERRUN") => *flag = "SCHED_FLAG_D_L_OVERRUN".into(),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(map) = object.as_object_mut()
        && let Some(value) = map.remove(from)
    {
        map.insert(to.to_owned(), value);
    }
}
