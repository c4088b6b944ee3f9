//! A trace as a picture: time from left to right, one band for each process, a bar for each event, what is within another
//! below it. Pure.

use std::fmt::Write as _;

use serde_json::Value;

/// Pixels.
const WIDTH: f64 = 1180.0;
const LEFT: f64 = 10.0;
const ROW: f64 = 20.0;
const BAR: f64 = 17.0;
const HEAD: f64 = 46.0;
/// About the width of a character of the labels.
const LETTER: f64 = 6.1;

/// Kinds of events, their colours, and what the legend calls them.
const KINDS: [(&str, &str, &str); 4] = [
    ("phase", "#9ecae1", "beside the schedule"),
    ("line", "#6baed6", "line of the runtime"),
    ("wait", "#d9d9d9", "waits for init"),
    ("step", "#a1d99b", "step of init"),
];

/// An event of the trace.
#[derive(Debug, Clone, PartialEq)]
struct Bar {
    process: String,
    kind: &'static str,
    name: String,
    begin: f64,
    end: f64,
    /// How many others it is within.
    depth: usize,
}

/// How long the whole trace is, in microseconds.
///
/// # Errors
/// It is no trace, or has no event.
pub(super) fn length(trace: &Value) -> Result<f64, String> {
    let bars = bars(trace)?;
    Ok(bars.iter().map(|bar| bar.end).fold(0.0, f64::max))
}

/// The picture, as SVG.
///
/// # Errors
/// As [`length`].
pub(super) fn draw(trace: &Value) -> Result<String, String> {
    let bars = bars(trace)?;
    let total = length(trace)?;
    let scale = (WIDTH - 2.0 * LEFT) / total.max(1.0);
    let mut bands: Vec<&str> = Vec::new();
    for bar in &bars {
        if !bands.contains(&bar.process.as_str()) {
            bands.push(&bar.process);
        }
    }
    let mut body = String::new();
    let mut top = HEAD;
    for band in bands {
        let own: Vec<&Bar> = bars.iter().filter(|bar| bar.process == band).collect();
        let _ = writeln!(
            body,
            "<text x=\"{LEFT}\" y=\"{:.1}\" class=\"process\">{}</text>",
            top + 13.0,
            escaped(band)
        );
        top += ROW;
        let rows = own.iter().map(|bar| bar.depth + 1).max().unwrap_or(0);
        own.iter().for_each(|bar| rectangle(&mut body, bar, top, scale));
        top = if rows == 1 {
            slanted(&mut body, &own, top + ROW, scale)
        } else {
            top + row(rows) + ROW / 2.0
        };
    }
    Ok(page(&body, total, scale, top))
}

fn row(number: usize) -> f64 {
    ROW * f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn page(body: &str, total: f64, scale: f64, height: f64) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\">\n\
         <style>text{{font-size:11px}} .process{{font-weight:bold;font-size:13px}} .tick{{fill:#666}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#fff\"/>\n"
    );
    let mut at = LEFT;
    for (_, colour, meaning) in KINDS {
        let _ = writeln!(
            text,
            "<rect x=\"{at:.1}\" y=\"6\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
        );
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"16\">{meaning}</text>", at + 16.0);
        at += 150.0;
    }
    let step = tick(total);
    let mut time = 0.0;
    while time <= total {
        let x = LEFT + time * scale;
        let _ = writeln!(
            text,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"38\" y2=\"{height:.0}\" stroke=\"#eee\"/>\
             <text x=\"{x:.1}\" y=\"34\" class=\"tick\">{:.1} ms</text>",
            time / 1000.0
        );
        time += step;
    }
    text.push_str(body);
    text.push_str("</svg>\n");
    text
}

/// Between two marks of the scale, in microseconds: eight marks or so, at round numbers.
fn tick(total: f64) -> f64 {
    let rough = total.max(1.0) / 8.0;
    let power = 10f64.powf(rough.log10().floor());
    let fits = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= rough);
    fits.unwrap_or(10.0) * power
}

fn rectangle(text: &mut String, bar: &Bar, top: f64, scale: f64) {
    let (x, y) = (LEFT + bar.begin * scale, top + row(bar.depth));
    let width = ((bar.end - bar.begin) * scale).max(0.6);
    let colour = KINDS
        .iter()
        .find(|(kind, ..)| *kind == bar.kind)
        .map_or("#ccc", |(_, colour, _)| colour);
    let took = bar.end - bar.begin;
    let _ = write!(
        text,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{colour}\" stroke=\"#fff\" \
         stroke-width=\"0.5\"><title>{}: {took:.0} µs</title></rect>",
        escaped(&bar.name)
    );
    if let Some(label) = fitting(&bar.name, width) {
        let _ = write!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 3.0,
            y + 12.5,
            escaped(&label)
        );
    }
    text.push('\n');
}

/// As much of a name as the width holds; None where it is not worth it.
fn fitting(name: &str, width: f64) -> Option<String> {
    let letters = name.chars().scan(6.0, |used, char| {
        *used += LETTER;
        (*used <= width).then_some(char)
    });
    let shown: String = letters.collect();
    (shown.len() == name.len() || shown.chars().count() >= 6).then_some(shown)
}

/// The longest bars of a row, which have no room for their names, named below it; where that ends.
fn slanted(text: &mut String, bars: &[&Bar], top: f64, scale: f64) -> f64 {
    const NAMED: usize = 14;
    let mut longest: Vec<&&Bar> = bars.iter().collect();
    longest.sort_by(|one, other| (other.end - other.begin).total_cmp(&(one.end - one.begin)));
    longest.truncate(NAMED);
    // The last one first: then no line runs through the words of an earlier one.
    longest.sort_by(|one, other| other.begin.total_cmp(&one.begin));
    let mut y = top + 8.0;
    for bar in longest {
        let x = LEFT + (bar.begin + bar.end) / 2.0 * scale;
        let took = bar.end - bar.begin;
        let words: String = bar.name.chars().take(60).collect();
        // Words that would not fit stand on the other side.
        let right = x > WIDTH - 420.0;
        let (anchor, at) = if right {
            ("end", x - 5.0)
        } else {
            ("start", x + 5.0)
        };
        let _ = writeln!(
            text,
            "<polyline points=\"{x:.1},{:.1} {x:.1},{:.1}\" stroke=\"#74c476\" fill=\"none\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}, {took:.0} µs</text>",
            top - 3.0,
            y + 8.0,
            y + 12.0,
            escaped(&words)
        );
        y += 14.0;
    }
    y + ROW
}

fn bars(trace: &Value) -> Result<Vec<Bar>, String> {
    let list = trace["traceEvents"]
        .as_array()
        .ok_or("this is no trace: it has no traceEvents")?;
    let name_of = |pid: &Value| {
        let named = |event: &&Value| event["name"] == "process_name" && event["pid"] == *pid;
        let name = list
            .iter()
            .find(named)
            .and_then(|event| event["args"]["name"].as_str());
        name.unwrap_or("?").to_owned()
    };
    let complete: Vec<&Value> = list.iter().filter(|event| event["ph"] == "X").collect();
    let number = |event: &Value, key: &str| {
        event[key]
            .as_f64()
            .ok_or(format!("an event without {key}: {event}"))
    };
    let mut origin = f64::INFINITY;
    for event in &complete {
        origin = origin.min(number(event, "ts")?);
    }
    let mut bars = Vec::with_capacity(complete.len());
    for event in complete {
        let begin = number(event, "ts")? - origin;
        let process = name_of(&event["pid"]);
        let kind = event["cat"].as_str().unwrap_or_default();
        let known = KINDS
            .iter()
            .map(|(known, ..)| *known)
            .find(|known| *known == kind);
        bars.push(Bar {
            kind: known.unwrap_or("step"),
            name: event["name"].as_str().unwrap_or_default().to_owned(),
            begin,
            end: begin + number(event, "dur")?,
            depth: 0,
            process,
        });
    }
    if bars.is_empty() {
        return Err("the trace has no event".to_owned());
    }
    nest(&mut bars);
    Ok(bars)
}

/// Counts what each bar is within.
fn nest(bars: &mut [Bar]) {
    /// The last digit of a time is rounded.
    const HAIR: f64 = 0.002;
    bars.sort_by(|one, other| {
        one.begin
            .total_cmp(&other.begin)
            .then(other.end.total_cmp(&one.end))
    });
    for at in 0..bars.len() {
        let (before, rest) = bars.split_at_mut(at);
        if let [bar, ..] = rest {
            let around = before.iter().filter(|other| {
                other.process == bar.process && other.end + HAIR >= bar.end && other.end > bar.begin + HAIR
            });
            bar.depth = around.count();
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trace() -> Value {
        let event = |name: &str, kind: &str, pid: u32, ts: f64, dur: f64| json!({"ph": "X", "name": name, "cat": kind, "pid": pid, "tid": pid, "ts": ts, "dur": dur});
        json!({"traceEvents": [
            {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "runtime"}},
            {"ph": "M", "name": "process_name", "pid": 2, "args": {"name": "init"}},
            event("run", "phase", 1, 5000.0, 4000.0),
            event("spawn <init>", "line", 1, 5100.0, 900.0),
            event("clone", "phase", 1, 5200.0, 100.0),
            event("save", "line", 1, 6000.0, 10.0),
            event("pivot root", "Pivot", 2, 5500.0, 300.0),
        ]})
    }

    #[test]
    fn bars_lie_below_what_they_are_within() {
        let found = bars(&trace()).unwrap_or_default();
        let depths: Vec<_> = found.iter().map(|bar| (bar.name.as_str(), bar.depth)).collect();
        assert_eq!(
            depths,
            [
                ("run", 0),
                ("spawn <init>", 1),
                ("clone", 2),
                ("pivot root", 0),
                ("save", 1)
            ]
        );
        assert_eq!(found[3].kind, "step");
        assert_eq!((found[0].begin, found[0].end), (0.0, 4000.0));
        assert_eq!(length(&trace()), Ok(4000.0));
    }

    #[test]
    fn the_picture_has_a_bar_for_each_event_and_no_markup_of_names() {
        let picture = draw(&trace()).unwrap_or_default();
        assert_eq!(picture.matches("<title>").count(), 5, "{picture}");
        assert!(
            picture.contains("spawn &lt;init&gt;") && !picture.contains("<init>"),
            "{picture}"
        );
        assert!(picture.contains("pivot root, 300 µs"), "{picture}");
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    }

    #[test]
    fn what_is_no_trace_is_refused() {
        assert!(draw(&json!({})).is_err());
        assert!(draw(&json!({"traceEvents": []})).is_err());
        assert!(draw(&json!({"traceEvents": [{"ph": "X", "name": "x", "ts": 1}]})).is_err());
    }
}
