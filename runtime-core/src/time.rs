//! Points of time as RFC 3339 writes them, in UTC: what records, states and logs hold; and deadlines of any length.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A hundred years in seconds: longer than any host runs.
const NEVER: u64 = 100 * 365 * 86_400;

/// The moment when this much time is over. A patience that the clock cannot count (a hook's `timeout` may be 2^63 seconds)
/// ends when nobody is there to see it.
pub(crate) fn deadline(patience: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(patience)
        .unwrap_or_else(|| now + Duration::from_secs(NEVER))
}

/// `2026-11-20T23:59:59Z`.
pub fn to_the_second(time: SystemTime) -> String {
    let (seconds, _) = since_the_epoch(time);
    format!("{}Z", civil(seconds))
}

/// `2026-11-20T23:59:59.000000005Z`.
pub fn to_the_nanosecond(time: SystemTime) -> String {
    let (seconds, nanoseconds) = since_the_epoch(time);
    format!("{}.{nanoseconds:09}Z", civil(seconds))
}

/// A clock that stands before 1970 is taken for one that stands at its beginning.
fn since_the_epoch(time: SystemTime) -> (u64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

/// Date and time of day from seconds since 1970: the proleptic Gregorian calendar in eras of 400 years that begin on
/// 1 March (H. Hinnant, chrono-compatible date algorithms).
fn civil(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_of_any_length() {
        for patience in [Duration::ZERO, Duration::from_secs(u64::MAX >> 1), Duration::MAX] {
            let now = Instant::now();
            let left = deadline(patience).duration_since(now);
            assert!(left >= patience.min(Duration::from_secs(NEVER)), "{patience:?}");
        }
    }

    #[test]
    fn times_are_rfc3339() {
        let at = |seconds, nanoseconds| UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        assert_eq!(to_the_nanosecond(at(0, 0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            to_the_nanosecond(at(951_782_400, 5)),
            "2000-02-29T00:00:00.000000005Z"
        );
        assert_eq!(
            to_the_nanosecond(at(1_795_219_199, 999_999_999)),
            "2026-11-20T23:59:59.999999999Z"
        );
        assert_eq!(to_the_second(at(951_782_400, 5)), "2000-02-29T00:00:00Z");
    }
}
