//! Chrome's Trace Event Format ("Trace Event Format", Google, 2016): complete events, and names of the processes.

use serde_json::{Map, Number, Value, json};

use super::{Event, shown};

/// The document.
pub(super) fn document(events: &[Event]) -> String {
    let mut list = Vec::with_capacity(events.len() + 4);
    let mut processes: Vec<_> = events.iter().map(|event| (event.actor, event.pid)).collect();
    processes.sort_unstable();
    processes.dedup();
    for (position, (actor, pid)) in processes.into_iter().enumerate() {
        let name = actor.as_str();
        list.push(json!({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": name}}));
        list.push(
            json!({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": position}}),
        );
    }
    list.extend(events.iter().map(complete));
    json!({"traceEvents": list, "displayTimeUnit": "ns", "otherData": {"clock": "CLOCK_MONOTONIC"}})
        .to_string()
}

fn complete(event: &Event) -> Value {
    let line = event.line.map(|line| ("line".to_owned(), line.into()));
    let args: Map<String, Value> = event
        .args
        .iter()
        .map(|(key, value)| ((*key).to_owned(), shown(value).into()))
        .chain(line)
        .collect();
    json!({
        "ph": "X",
        "name": shown(&event.name),
        "cat": event.kind,
        "pid": event.pid,
        "tid": event.thread,
        "ts": microseconds(event.begin),
        "dur": microseconds(event.end - event.begin),
        "args": args,
    })
}

/// Nanoseconds as microseconds, exactly: three digits behind the point. A double holds that for a hundred days of uptime.
fn microseconds(nanoseconds: u64) -> Value {
    let (whole, rest) = (nanoseconds / 1000, nanoseconds % 1000);
    let text = format!("{whole}.{rest:03}");
    let number: Option<f64> = text.parse().ok();
    number
        .and_then(Number::from_f64)
        .map_or(Value::Null, Value::Number)
}
