//! Charts as SVG elements: bars with whiskers, and lines. Colours come from the page's style by class.

use super::super::contestant::{FLOOR, OWN};
use super::super::figures::{Figure, rank};
use super::super::series::Quantity;
use super::super::statistics::real;
use super::escape;
use std::fmt::Write as _;

/// Near to the width that a card has, so that letters come in their own size.
const WIDTH: f64 = 360.0;
/// A bar and the space to the next.
const STEP: f64 = 27.0;
const BAR: f64 = 16.0;
/// Where bars begin and how long they may get: beside them stand the name and the figure.
const LEFT: f64 = 62.0;
const LONGEST: f64 = 132.0;

const FULL_WIDTH: f64 = 460.0;
const HEIGHT: f64 = 250.0;
/// The place of a chart of lines in its picture.
const FIELD: (f64, f64, f64, f64) = (76.0, 14.0, 452.0, 196.0);

/// The class that has a runtime's colour.
pub(crate) fn class(runtime: &str) -> &'static str {
    match runtime {
        OWN => "own",
        FLOOR => "floor",
        "crun" => "first",
        "runc" => "second",
        "youki" => "third",
        _ => "other",
    }
}

/// Horizontal bars, one for each figure, all of one row.
pub(crate) fn bars(figures: &[&Figure<'_>]) -> String {
    let height = STEP * real(figures.len() as u64) + 4.0;
    let largest = figures
        .iter()
        .map(|one| one.estimate.high.max(1.0))
        .fold(1.0, f64::max);
    let x = |value: f64| LEFT + value / largest * LONGEST;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    for (number, figure) in figures.iter().enumerate() {
        let top = STEP * real(number as u64) + 5.0;
        let middle = top + BAR / 2.0;
        let estimate = &figure.estimate;
        let runtime = &figure.series.runtime;
        let _ = write!(
            svg,
            "<text class=\"name\" x=\"{}\" y=\"{:.1}\">{}</text>\
             <rect class=\"bar {}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"3\"/>",
            LEFT - 8.0,
            middle + 4.0,
            escape(runtime),
            class(runtime),
            (x(estimate.value) - LEFT).max(1.0)
        );
        whisker(&mut svg, (x(estimate.low), x(estimate.high)), middle);
        let _ = write!(
            svg,
            "<text class=\"figure\" x=\"{:.1}\" y=\"{:.1}\"><tspan>{}</tspan> <tspan class=\"note\">{}</tspan></text>",
            x(estimate.high) + 9.0,
            middle + 4.0,
            escape(&figure.series.quantity.show(figure.median)),
            escape(&beside(figures, figure))
        );
    }
    svg + "</svg>"
}

/// What stands behind a figure: for others, how many times the own one they take; for the own one, times the floor.
fn beside(figures: &[&Figure<'_>], figure: &Figure<'_>) -> String {
    let own = figures.iter().find(|one| one.series.runtime == OWN);
    match (figure.series.runtime.as_str(), own) {
        (FLOOR, _) | (_, None) => String::new(),
        (OWN, _) => figure
            .floors
            .map_or(String::new(), |floor| format!("{:.2}\u{d7} floor", floor.value)),
        (_, Some(own)) if own.estimate.value > 0.0 => {
            format!("{:.1}\u{d7} ours", figure.estimate.value / own.estimate.value)
        }
        _ => String::new(),
    }
}

fn whisker(svg: &mut String, (low, high): (f64, f64), y: f64) {
    let _ = write!(
        svg,
        "<path class=\"whisker\" d=\"M{low:.1} {y:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\"/>",
        y - 4.0,
        y - 4.0
    );
}

/// Lines, one for each runtime, over points at even distances; all of one row.
pub(crate) fn lines(figures: &[&Figure<'_>], axis: &str) -> String {
    let (left, top, right, bottom) = FIELD;
    let mut points: Vec<u64> = figures.iter().filter_map(|one| one.series.at).collect();
    points.sort_unstable();
    points.dedup();
    let largest = figures
        .iter()
        .map(|one| one.estimate.high.max(1.0))
        .fold(1.0, f64::max)
        * 1.05;
    let gaps = real(points.len().saturating_sub(1).max(1) as u64);
    let x = |at: u64| {
        let place = points.iter().position(|point| *point == at).unwrap_or(0);
        left + 26.0 + real(place as u64) / gaps * (right - left - 52.0)
    };
    let y = |value: f64| bottom - value / largest * (bottom - top);
    let mut svg = format!("<svg viewBox=\"0 0 {FULL_WIDTH} {HEIGHT}\" role=\"img\">");
    let quantity = figures.first().map_or(Quantity::Time, |one| one.series.quantity);
    grid(&mut svg, largest, quantity, y);
    for point in &points {
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(*point),
            bottom + 18.0,
            thousands(*point)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        f64::midpoint(left, right),
        bottom + 40.0,
        escape(axis)
    );
    let mut names: Vec<&str> = figures.iter().map(|one| one.series.runtime.as_str()).collect();
    names.sort_by_key(|name| rank(name));
    names.dedup();
    // The own line comes last, above the others.
    for name in names.iter().rev() {
        line(&mut svg, figures, name, x, y);
    }
    svg + "</svg>"
}

/// Horizontal lines at round numbers, with their figures.
fn grid(svg: &mut String, largest: f64, quantity: Quantity, y: impl Fn(f64) -> f64) {
    let (left, _, right, _) = FIELD;
    let step = round_step(largest / 4.0);
    let mut value = 0.0;
    while value <= largest {
        let label = match quantity {
            Quantity::Time => format!("{} ms", plain(value / 1e6)),
            _ => plain(value),
        };
        let _ = write!(
            svg,
            "<path class=\"rule\" d=\"M{left} {:.1}H{right}\"/><text class=\"scale\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            y(value),
            left - 6.0,
            y(value) + 4.0
        );
        value += step;
    }
}

fn line(
    svg: &mut String,
    figures: &[&Figure<'_>],
    name: &str,
    x: impl Fn(u64) -> f64,
    y: impl Fn(f64) -> f64,
) {
    let mut own: Vec<(u64, &Figure<'_>)> = figures
        .iter()
        .filter(|one| one.series.runtime == name)
        .filter_map(|one| Some((one.series.at?, *one)))
        .collect();
    own.sort_by_key(|(at, _)| *at);
    let way: Vec<String> = own
        .iter()
        .map(|(at, one)| format!("{:.1},{:.1}", x(*at), y(one.estimate.value)))
        .collect();
    let class = class(name);
    let _ = write!(
        svg,
        "<polyline class=\"line {class}\" points=\"{}\"/>",
        way.join(" ")
    );
    for (at, one) in own {
        let (middle, low, high) = (x(at), y(one.estimate.low), y(one.estimate.high));
        let _ = write!(
            svg,
            "<path class=\"whisker\" d=\"M{middle:.1} {low:.1}V{high:.1}\"/>\
             <circle class=\"bar {class}\" cx=\"{middle:.1}\" cy=\"{:.1}\" r=\"4\"><title>{} {}</title></circle>",
            y(one.estimate.value),
            escape(name),
            escape(&one.series.quantity.show(one.median))
        );
    }
}

/// The next of 1, 2, 5, 10, 20, ...
fn round_step(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= value);
    digit.unwrap_or(10.0) * power
}

/// Without digits that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn thousands(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", number / 1000, number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (value, step) in [
            (0.7, 1.0),
            (1.0, 1.0),
            (1.2, 2.0),
            (3e6, 5e6),
            (7e6, 1e7),
            (51.0, 100.0),
        ] {
            assert!(
                (round_step(value) - step).abs() < 1e-6 * step,
                "{value}: {}",
                round_step(value)
            );
        }
        assert_eq!(
            (plain(2.5), plain(10.0), plain(0.0)),
            ("2.5".into(), "10".into(), "0".into())
        );
        assert_eq!(
            (thousands(999), thousands(10_000)),
            ("999".into(), "10,000".into())
        );
    }

    #[test]
    fn every_runtime_has_a_colour_and_a_place() {
        let mut names = ["floor", "youki", "runtime", "crun"];
        names.sort_by_key(|name| rank(name));
        assert_eq!(names, ["runtime", "crun", "youki", "floor"]);
        assert!(
            ["own", "first", "second", "third", "floor", "other"]
                .iter()
                .all(|class| super::super::STYLE.contains(&format!(".{class}")))
        );
    }
}
