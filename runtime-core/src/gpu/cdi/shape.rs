//! The tree of a CDI file before it gets its types: names and scalars are brought into the form that the types take.
//!
//! The format's Go library takes field names in any case, reads a number as text where text is wanted (`name: 0`), and an
//! empty value as absence. Files in the field rely on all three, so the same is done here; unknown fields are refused.

use serde_json::{Map, Number, Value};

use super::yaml::as_text;
use crate::spec::load::kind_of;

/// What may stand at one place.
#[derive(Debug)]
enum Shape {
    Text,
    Number,
    Truth,
    List(&'static Shape),
    /// Free keys with text.
    Texts,
    Object(&'static [(&'static str, &'static Shape)]),
}

use Shape::{List, Object, Text, Texts, Truth};

const LINES: Shape = List(&Text);

static FILE: Shape = Object(&[
    ("cdiVersion", &Text),
    ("kind", &Text),
    ("annotations", &Texts),
    (
        "devices",
        &List(&Object(&[
            ("name", &Text),
            ("annotations", &Texts),
            ("containerEdits", &EDITS),
        ])),
    ),
    ("containerEdits", &EDITS),
]);

static EDITS: Shape = Object(&[
    ("env", &LINES),
    (
        "deviceNodes",
        &List(&Object(&[
            ("path", &Text),
            ("hostPath", &Text),
            ("type", &Text),
            ("major", &Shape::Number),
            ("minor", &Shape::Number),
            ("fileMode", &Shape::Number),
            ("permissions", &Text),
            ("uid", &Shape::Number),
            ("gid", &Shape::Number),
        ])),
    ),
    (
        "netDevices",
        &List(&Object(&[("hostInterfaceName", &Text), ("name", &Text)])),
    ),
    (
        "hooks",
        &List(&Object(&[
            ("hookName", &Text),
            ("path", &Text),
            ("args", &LINES),
            ("env", &LINES),
            ("timeout", &Shape::Number),
        ])),
    ),
    (
        "mounts",
        &List(&Object(&[
            ("hostPath", &Text),
            ("containerPath", &Text),
            ("options", &LINES),
            ("type", &Text),
        ])),
    ),
    (
        "intelRdt",
        &Object(&[
            ("closID", &Text),
            ("l3CacheSchema", &Text),
            ("memBwSchema", &Text),
            ("schemata", &LINES),
            ("enableMonitoring", &Truth),
        ]),
    ),
    ("additionalGids", &List(&Shape::Number)),
]);

/// Brings the tree of a file into the form that its types take.
pub(super) fn fit(document: &mut Value) -> Result<(), String> {
    fit_at(document, &FILE, "")
}

fn fit_at(value: &mut Value, shape: &Shape, place: &str) -> Result<(), String> {
    match (shape, value) {
        (Object(fields), Value::Object(members)) => fit_members(members, fields, place),
        (List(shape), Value::Array(items)) => {
            for (position, item) in items.iter_mut().enumerate() {
                if item.is_null() && matches!(shape, Text) {
                    *item = Value::String(String::new());
                }
                fit_at(item, shape, &format!("{place}[{position}]"))?;
            }
            Ok(())
        }
        (Texts, Value::Object(members)) => {
            for value in members.values_mut() {
                if value.is_null() {
                    *value = Value::String(String::new());
                }
                fit_at(value, &Text, place)?;
            }
            Ok(())
        }
        (Text, value @ (Value::Number(_) | Value::Bool(_))) => {
            *value = Value::String(as_text(value.take()));
            Ok(())
        }
        (Shape::Number, Value::Number(number)) => {
            if let Some(whole) = number.as_f64().filter(|_| number.is_f64()).and_then(whole) {
                *number = whole;
            }
            Ok(())
        }
        // A type with fields would take a list of their values.
        (Object(_) | Texts, other) => {
            let place = if place.is_empty() { "the file" } else { place };
            Err(format!("{place}: found {}, allowed is an object", kind_of(other)))
        }
        // The types say what is wrong.
        _ => Ok(()),
    }
}

type Fields = [(&'static str, &'static Shape)];

fn fit_members(members: &mut Map<String, Value>, fields: &Fields, place: &str) -> Result<(), String> {
    let found = std::mem::take(members);
    for (key, mut member) in found {
        let exact = fields.iter().find(|(name, _)| *name == key);
        let field = exact.or_else(|| fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(&key)));
        let Some((name, shape)) = field else {
            let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            let place = if place.is_empty() { "the file" } else { place };
            return Err(format!(
                "{place}: unknown field {key:?}; allowed: {}",
                names.join(", ")
            ));
        };
        if member.is_null() {
            continue;
        }
        let place = join(place, name);
        fit_at(&mut member, shape, &place)?;
        if members.insert((*name).to_owned(), member).is_some() {
            return Err(format!("{place}: the field stands twice"));
        }
    }
    Ok(())
}

/// A floating number that is a whole one: YAML reads `08` as such.
#[allow(
    clippy::cast_possible_truncation,
    reason = "only whole numbers within 53 bits"
)]
fn whole(number: f64) -> Option<Number> {
    (number.fract() == 0.0 && number.abs() < 9e15).then(|| Number::from(number as i64))
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}
