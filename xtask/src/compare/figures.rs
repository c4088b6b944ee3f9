//! Figures from samples: medians, 99th percentiles, ratios, and how they are shown.
//!
//! Must not live here: measuring.

use super::rounds::{Operation, Samples};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The runtime that ratios are taken to: the fastest of the peers.
const REFERENCE: &str = "crun";

/// The figures of one runtime and one command.
#[derive(Debug)]
pub(crate) struct Row {
    operation: Operation,
    runtime: String,
    /// Sorted, in nanoseconds.
    nanos: Vec<u64>,
    /// Sorted, in KiB.
    peaks: Vec<u64>,
    /// Median time over the reference's.
    ratio: Option<f64>,
}

/// Times in nanoseconds and peaks in KiB.
type Columns = (Vec<u64>, Vec<u64>);

/// One row for each command and runtime, by command.
pub(crate) fn rows(samples: &Samples) -> Vec<Row> {
    let mut groups = BTreeMap::<(Operation, &str), Columns>::new();
    for measured in &samples.all {
        let (nanos, peaks) = groups.entry((measured.operation, &measured.runtime)).or_default();
        nanos.push(measured.sample.nanos);
        peaks.push(measured.sample.peak_kib);
    }
    for (nanos, peaks) in groups.values_mut() {
        nanos.sort_unstable();
        peaks.sort_unstable();
    }
    let reference = |operation| {
        groups
            .get(&(operation, REFERENCE))
            .map(|(nanos, _)| median(nanos))
    };
    groups
        .iter()
        .map(|((operation, runtime), (nanos, peaks))| Row {
            operation: *operation,
            runtime: (*runtime).to_owned(),
            ratio: reference(*operation).map(|of_reference| ratio(median(nanos), of_reference)),
            nanos: nanos.clone(),
            peaks: peaks.clone(),
        })
        .collect()
}

/// The table for people.
pub(crate) fn print(rows: &[Row]) {
    println!(
        "\n{:<16} {:<10} {:>10} {:>10} {:>8} {:>10}",
        "command", "runtime", "median ms", "p99 ms", "to crun", "peak KiB"
    );
    for row in rows {
        println!(
            "{:<16} {:<10} {:>10} {:>10} {:>8} {:>10}",
            row.operation.name(),
            row.runtime,
            millis(median(&row.nanos)),
            millis(percentile(&row.nanos, 99)),
            row.ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            median(&row.peaks)
        );
    }
}

/// Everything for machines, every sample included.
pub(crate) fn json(rows: &[Row]) -> Vec<Value> {
    rows.iter()
        .map(|row| {
            json!({
                "command": row.operation.name(),
                "runtime": row.runtime,
                "median_ns": median(&row.nanos),
                "p99_ns": percentile(&row.nanos, 99),
                "min_ns": row.nanos.first(),
                "ratio_to_crun": row.ratio,
                "median_peak_kib": median(&row.peaks),
                "max_peak_kib": row.peaks.last(),
                "sorted_ns": row.nanos,
            })
        })
        .collect()
}

/// Nanoseconds as milliseconds with two digits, rounded.
fn millis(nanos: u64) -> String {
    let hundredths = (nanos + 5_000) / 10_000;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// The middle of a sorted list, the mean of two for an even number; 0 for none.
fn median(sorted: &[u64]) -> u64 {
    match sorted.len() {
        0 => 0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => u64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The smallest sample that `percent` of a sorted list do not exceed (nearest rank); 0 for none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nanoseconds below 2^53 are exact, 104 days"
)]
fn ratio(own: u64, reference: u64) -> f64 {
    own as f64 / reference.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::rounds::Measured;
    use super::super::sample::Sample;
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[3]), 3);
        assert_eq!(median(&[1, 3, 9]), 3);
        assert_eq!(median(&[1, 3, 5, 9]), 4);
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&hundred[..50], 99), 50);
        assert_eq!(percentile(&[], 99), 0);
        assert_eq!(millis(1_234_567), "1.23");
        assert_eq!(millis(999_999), "1.00");
    }

    #[test]
    fn ratios_are_to_the_reference_of_the_same_command() {
        let measured = |runtime: &str, operation, nanos| Measured {
            runtime: runtime.to_owned(),
            operation,
            sample: Sample {
                nanos,
                peak_kib: 10,
                floor_kib: 1,
            },
        };
        let samples = Samples {
            all: vec![
                measured("crun", Operation::Run, 200),
                measured("runtime", Operation::Run, 100),
                measured("runtime", Operation::Exec, 100),
            ],
            floor_kib: 1,
        };
        let ratios: Vec<_> = rows(&samples)
            .into_iter()
            .map(|row| (row.runtime, row.ratio))
            .collect();
        assert_eq!(
            ratios,
            [
                ("crun".to_owned(), Some(1.0)),
                ("runtime".to_owned(), Some(0.5)),
                ("runtime".to_owned(), None)
            ]
        );
    }
}
