//! Statistics of samples: medians, percentiles, and what they could as well have been.
//!
//! Must not live here: what the samples are of.
//!
//! The intervals are those of the percentile bootstrap (Efron 1979): the samples are drawn from again and again, with
//! replacement, and the middle 95 % of the results are the interval. It asks nothing of the distribution, and times of commands
//! have none that a formula knows. The same samples give the same interval: the drawing starts from a fixed number.

/// How often samples are drawn again.
const DRAWS: usize = 1_000;
/// What is left out on each side, in draws of a thousand.
const TAIL: usize = 25;

/// A value, and between what it may lie (95 %).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The middle of a list, the mean of two for an even number; 0 for none.
pub(crate) fn median(samples: &[u64]) -> u64 {
    middle(samples.to_vec())
}

/// As [`median`], of a list that may be mixed up: no sorting, which thousands of draws would wait for.
fn middle(mut samples: Vec<u64>) -> u64 {
    let half = samples.len() / 2;
    if samples.is_empty() {
        return 0;
    }
    let is_odd = samples.len() % 2 == 1;
    let (below, upper, _) = samples.select_nth_unstable(half);
    match below.iter().max() {
        Some(lower) if !is_odd => u64::midpoint(*lower, *upper),
        _ => *upper,
    }
}

/// The smallest sample that `percent` of a list do not exceed (nearest rank); 0 for none.
pub(crate) fn percentile(samples: &[u64], percent: usize) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The median with its interval; `None` for no samples.
pub(crate) fn median_estimate(samples: &[u64]) -> Option<Estimate> {
    if samples.is_empty() {
        return None;
    }
    let mut draw = Draw::new();
    let medians = (0..DRAWS).map(|_| real(middle(draw.again(samples)))).collect();
    Some(estimate(real(median(samples)), medians))
}

/// The median of one list over that of another, with its interval; `None` where one has no samples or the other's is 0.
pub(crate) fn ratio_estimate(own: &[u64], other: &[u64]) -> Option<Estimate> {
    if own.is_empty() || median(other) == 0 {
        return None;
    }
    let mut draw = Draw::new();
    let ratios = (0..DRAWS)
        .map(|_| ratio(middle(draw.again(own)), middle(draw.again(other))))
        .collect();
    Some(estimate(ratio(median(own), median(other)), ratios))
}

fn estimate(value: f64, mut drawn: Vec<f64>) -> Estimate {
    drawn.sort_unstable_by(f64::total_cmp);
    let cut = drawn.len() * TAIL / 1000;
    Estimate {
        value,
        low: drawn.get(cut).copied().unwrap_or(value).min(value),
        high: drawn.iter().rev().nth(cut).copied().unwrap_or(value).max(value),
    }
}

fn ratio(own: u64, other: u64) -> f64 {
    real(own) / real(other.max(1))
}

/// As a number with fractions; exact below 2^53, which in nanoseconds are 104 days.
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// Random numbers by splitmix64 (Steele, Lea and Flood 2014): enough for drawing, and the same on every run.
struct Draw(u64);

impl Draw {
    fn new() -> Self {
        Self(0x5EED)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// As many samples, drawn from these with replacement.
    fn again(&mut self, samples: &[u64]) -> Vec<u64> {
        let count = samples.len();
        (0..count)
            .map(|_| {
                // The high half of a product: even over the whole list, for lists shorter than 2^32.
                let at = ((self.next() >> 32) * count as u64) >> 32;
                samples[usize::try_from(at).unwrap_or(0)]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[3]), 3);
        assert_eq!(median(&[9, 1, 3]), 3);
        assert_eq!(median(&[9, 1, 5, 3]), 4);
        let hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!((percentile(&hundred, 99), percentile(&hundred, 90)), (99, 90));
        assert_eq!(percentile(&hundred[50..], 99), 50);
        assert_eq!((percentile(&[7], 1), percentile(&[], 99)), (7, 0));
    }

    #[test]
    fn draws_are_even_and_of_the_samples_alone() {
        let mut draw = Draw::new();
        let samples = [10, 20, 30, 40];
        let mut counts = [0u32; 4];
        for _ in 0..1000 {
            for value in draw.again(&samples) {
                counts[samples.iter().position(|sample| *sample == value).unwrap()] += 1;
            }
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_order_statistics() {
        // For 100 samples, 40th to 61st is the exact interval of at least 95 %; the bootstrap's lies close to it.
        let hundred: Vec<u64> = (1..=100).collect();
        let found = median_estimate(&hundred).unwrap();
        assert!((found.value - 50.0).abs() < 0.51, "{found:?}");
        assert!((38.0..44.0).contains(&found.low), "{found:?}");
        assert!((57.0..63.0).contains(&found.high), "{found:?}");
        assert_eq!(median_estimate(&hundred), Some(found));
        assert_eq!(median_estimate(&[]), None);
        let same = median_estimate(&[5; 20]).unwrap();
        assert!((same.low - 5.0).abs() < 1e-9 && (same.high - 5.0).abs() < 1e-9);
    }

    #[test]
    fn the_interval_of_a_ratio_holds_the_truth_mostly() {
        // Two lists from one distribution: the interval of 95 % has 1 in it in most of many tries, and not always.
        let mut source = Draw(42);
        let mut list = || (0..40).map(|_| 1000 + source.next() % 1000).collect::<Vec<u64>>();
        let tries = 100;
        let holds = (0..tries)
            .filter(|_| {
                let found = ratio_estimate(&list(), &list()).unwrap();
                found.low <= 1.0 && 1.0 <= found.high
            })
            .count();
        assert!((85..tries).contains(&holds), "{holds}");
    }

    #[test]
    fn ratios_of_nothing_are_none() {
        assert_eq!(ratio_estimate(&[], &[1]), None);
        assert_eq!(ratio_estimate(&[1], &[]), None);
        assert_eq!(ratio_estimate(&[1], &[0, 0, 0]), None);
        let half = ratio_estimate(&[2, 2, 2], &[4, 4, 4]).unwrap();
        assert!((half.value - 0.5).abs() < 1e-9);
    }
}
