//! Figures from series: what is computed of each, and how it is shown on a terminal and to machines.
//!
//! Must not live here: measuring; pages for people.

use super::contestant::{FLOOR, OWN};
use super::rounds::Operation;
use super::series::{Quantity, Series, Table};
use super::statistics::{Estimate, median, median_estimate, percentile, ratio_estimate};
use super::{callers, live};
use serde_json::{Value, json};

/// The figures of one series.
#[derive(Debug)]
pub(crate) struct Figure<'a> {
    pub(crate) series: &'a Series,
    pub(crate) median: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    /// The median, and between what it may lie.
    pub(crate) estimate: Estimate,
    /// The own runtime's median over each other one's, by name.
    pub(crate) ratios: Vec<(&'a str, Estimate)>,
    /// The median over the floor's.
    pub(crate) floors: Option<Estimate>,
}

/// The order in which runtimes are shown: the own one first, the floor last.
pub(crate) fn rank(runtime: &str) -> (u8, &str) {
    let rank = match runtime {
        OWN => 0,
        FLOOR => 2,
        _ => 1,
    };
    (rank, runtime)
}

/// One for each series: by quantity and row, and within a row the runtimes in their order at each point.
pub(crate) fn figures(table: &Table) -> Vec<Figure<'_>> {
    let mut all: Vec<&Series> = table.all().iter().collect();
    let place = |series: &Series| {
        let rows = table.rows(series.quantity);
        rows.iter().position(|row| *row == series.row)
    };
    all.sort_by_cached_key(|series| {
        let (rank, name) = rank(&series.runtime);
        (series.quantity, place(series), series.at, rank, name.to_owned())
    });
    all.into_iter()
        .filter_map(|series| {
            let samples = &series.samples;
            Some(Figure {
                series,
                median: median(samples),
                p90: percentile(samples, 90),
                p99: percentile(samples, 99),
                estimate: median_estimate(samples)?,
                ratios: ratios(table, series),
                floors: floors(table, series),
            })
        })
        .collect()
}

fn ratios<'a>(table: &'a Table, series: &Series) -> Vec<(&'a str, Estimate)> {
    if series.runtime != OWN {
        return Vec::new();
    }
    let others = table
        .runtimes()
        .into_iter()
        .filter(|name| *name != OWN && *name != FLOOR);
    others
        .filter_map(|name| {
            let other = table.samples(&series.row, series.quantity, series.at, name);
            Some((name, ratio_estimate(&series.samples, other)?))
        })
        .collect()
}

fn floors(table: &Table, series: &Series) -> Option<Estimate> {
    if series.runtime == FLOOR || series.quantity != Quantity::Time {
        return None;
    }
    let (row, at) = floor_of(&series.row, series.at)?;
    ratio_estimate(&series.samples, table.samples(row, Quantity::Time, at, FLOOR))
}

/// The floor's row that a row is times of: its own, or that of the default configuration.
fn floor_of(row: &str, at: Option<u64>) -> Option<(&str, Option<u64>)> {
    match row {
        callers::LIBRARY => Some((callers::CALLER, at)),
        live::CREATE => Some((Operation::Create.name(), None)),
        _ if at.is_some() || row == super::together::MANY => Some((row, at)),
        _ if row.starts_with("run") => Some((Operation::Run.name(), None)),
        _ if row.starts_with("create") => Some((Operation::Create.name(), None)),
        _ => None,
    }
}

/// The tables for people.
pub(crate) fn print(figures: &[Figure<'_>]) {
    for quantity in Quantity::ALL {
        let of_it: Vec<&Figure<'_>> = figures
            .iter()
            .filter(|one| one.series.quantity == quantity)
            .collect();
        if of_it.is_empty() {
            continue;
        }
        println!(
            "\n{:<42} {:<9} {:>12} {:>12} {:>12} {:>8}  own to others (95 %)",
            quantity.name(),
            "runtime",
            "median",
            "90 %",
            "99 %",
            "x floor"
        );
        for figure in of_it {
            let show = |number| quantity.show(number);
            println!(
                "{:<42} {:<9} {:>12} {:>12} {:>12} {:>8}  {}",
                title(figure.series),
                figure.series.runtime,
                show(figure.median),
                show(figure.p90),
                show(figure.p99),
                figure
                    .floors
                    .map_or("-".to_owned(), |floor| format!("{:.2}", floor.value)),
                all_ratios(&figure.ratios)
            );
        }
    }
}

/// The row, and its point.
pub(crate) fn title(series: &Series) -> String {
    match series.at {
        Some(at) => format!("{} [{at}]", series.row),
        None => series.row.clone(),
    }
}

/// `crun 0.32 (0.30 to 0.35), runc 0.20 (0.19 to 0.22)`.
pub(crate) fn all_ratios(ratios: &[(&str, Estimate)]) -> String {
    let one = |(name, ratio): &(&str, Estimate)| format!("{name} {}", show_ratio(ratio));
    ratios.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// `0.32 (0.30 to 0.35)`.
pub(crate) fn show_ratio(ratio: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", ratio.value, ratio.low, ratio.high)
}

/// Everything for machines, every sample included.
pub(crate) fn json(figures: &[Figure<'_>]) -> Vec<Value> {
    let interval = |estimate: &Estimate| json!([estimate.low, estimate.high]);
    figures
        .iter()
        .map(|figure| {
            let ratios: serde_json::Map<String, Value> = figure
                .ratios
                .iter()
                .map(|(name, ratio)| {
                    (
                        (*name).to_owned(),
                        json!({"ratio": ratio.value, "interval": interval(ratio)}),
                    )
                })
                .collect();
            let floor = figure
                .floors
                .map(|floor| json!({"ratio": floor.value, "interval": interval(&floor)}));
            json!({
                "row": figure.series.row,
                "at": figure.series.at,
                "quantity": figure.series.quantity.name(),
                "unit": figure.series.quantity.unit(),
                "runtime": figure.series.runtime,
                "median": figure.median,
                "median_interval": interval(&figure.estimate),
                "p90": figure.p90,
                "p99": figure.p99,
                "ratios": ratios,
                "times_the_floor": floor,
                "samples": figure.series.samples,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::default();
        for (row, at, runtime, number) in [
            ("run true", None, "crun", 200),
            ("run true", None, OWN, 100),
            ("run true", None, FLOOR, 50),
            ("run, terminal", None, OWN, 150),
            ("state", None, OWN, 10),
            (callers::CALLER, Some(4), FLOOR, 40),
            (callers::LIBRARY, Some(4), OWN, 20),
            (live::CREATE, Some(500), OWN, 70),
            ("create", None, FLOOR, 35),
        ] {
            for extra in 0..3 {
                table.put(row, Quantity::Time, at, runtime, number + extra - 1);
            }
        }
        table
    }

    #[test]
    fn ratios_are_to_others_of_the_same_row_and_times_are_of_the_floor() {
        let table = table();
        let figures = figures(&table);
        let found = |row: &str, runtime: &str| {
            figures
                .iter()
                .find(|one| one.series.row == row && one.series.runtime == runtime)
                .unwrap()
        };
        let order: Vec<&str> = figures
            .iter()
            .take(4)
            .map(|one| one.series.runtime.as_str())
            .collect();
        assert_eq!(order, [OWN, "crun", FLOOR, OWN]);
        let own = found("run true", OWN);
        assert_eq!(own.ratios.len(), 1);
        assert!(own.ratios[0].0 == "crun" && (own.ratios[0].1.value - 0.5).abs() < 0.01);
        assert!((own.floors.unwrap().value - 2.0).abs() < 0.01);
        assert!((found("run true", "crun").floors.unwrap().value - 4.0).abs() < 0.01);
        assert!((found("run, terminal", OWN).floors.unwrap().value - 3.0).abs() < 0.01);
        assert!((found(callers::LIBRARY, OWN).floors.unwrap().value - 0.5).abs() < 0.02);
        assert!((found(live::CREATE, OWN).floors.unwrap().value - 2.0).abs() < 0.01);
        assert!(found("state", OWN).floors.is_none() && found("state", OWN).ratios.is_empty());
        assert!(found("run true", FLOOR).floors.is_none() && found("run true", "crun").ratios.is_empty());
    }

    #[test]
    fn machines_get_every_sample() {
        let table = table();
        let all = json(&figures(&table));
        assert_eq!(all[0]["samples"], json!([99, 100, 101]));
        assert_eq!(all[0]["ratios"]["crun"]["ratio"], 0.5);
        assert_eq!((&all[0]["at"], &all[6]["at"]), (&Value::Null, &json!(4)));
        assert_eq!(all.len(), table.all().len());
    }
}
