//! Retry delays: a pure function of the attempt, the receiver's `Retry-After` and a random jitter.

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// Seconds before each attempt of a callback: dense while a person waits, then for three days.
const CALLBACK: &[u64] = &[0, 2, 5, 15, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Seconds before each attempt of a reply; after two minutes a reply is worse than none.
const REPLY: &[u64] = &[0, 2, 5, 15, 30];
/// Upper limit of `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);

/// A schedule of attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule(&'static [u64]);

impl Schedule {
    /// Of callbacks: three days.
    pub const CALLBACK: Self = Self(CALLBACK);
    /// Of messages to people.
    pub const REPLY: Self = Self(REPLY);

    /// Delay after `attempts` failed attempts; `None` means give up.
    ///
    /// `jitter` in `0.0..=1.0` is drawn by the caller and adds up to a fifth. `retry_after` can lengthen the delay,
    /// never shorten it.
    pub fn next_delay(self, attempts: u32, jitter: f64, retry_after: Option<Duration>) -> Option<Duration> {
        let base = Duration::from_secs(*self.0.get(attempts as usize)?);
        let jittered = base.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
        Some(jittered.max(retry_after.unwrap_or_default()).min(MAX_RETRY_AFTER.mul_f64(1.2)))
    }

    /// Time from the first attempt to the last, without jitter.
    pub fn span(self) -> Duration {
        Duration::from_secs(self.0.iter().sum())
    }

    pub fn attempts(self) -> usize {
        self.0.len()
    }
}

/// Parses `Retry-After` relative to `now`: seconds, or one of the three date formats of RFC 9110, section 5.6.7.
/// Everything else is ignored, and so is a date in the past.
pub fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
    }
    let delay = Duration::try_from(http_date(value, now)?.duration_since(now)).ok()?;
    Some(delay.min(MAX_RETRY_AFTER))
}

fn http_date(value: &str, now: Timestamp) -> Option<Timestamp> {
    let date = ["%a, %d %b %Y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .iter()
        .find_map(|format| DateTime::strptime(format, value).ok())
        .or_else(|| rfc850(value, now))?;
    // The last hours of the year 9999 are outside the range of `Timestamp`.
    Some(date.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |date| date.timestamp()))
}

/// A two-digit year means one that is at most fifty years ahead. The day of the week is not checked, since it depends
/// on the year.
fn rfc850(value: &str, now: Timestamp) -> Option<DateTime> {
    let (_, date) = value.split_once("day, ")?;
    let date = DateTime::strptime("%d-%b-%y %H:%M:%S GMT", date).ok()?;
    let this_year = now.to_zoned(TimeZone::UTC).year();
    let year = this_year - this_year.rem_euclid(100) + date.year().rem_euclid(100);
    let year = if year > this_year + 50 { year - 100 } else { year };
    date.with().year(year).build().ok()
}

/// The `Retry-After` of a response, if it is present and valid.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    parse_retry_after(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    #[test]
    fn the_schedule_is_the_documented_one() {
        let waits: Vec<u64> =
            (0..14).map_while(|n| Schedule::CALLBACK.next_delay(n, 0.0, None)).map(|d| d.as_secs()).collect();
        assert_eq!(waits, CALLBACK);
        assert_eq!(Schedule::CALLBACK.next_delay(13, 0.0, None), None);
        assert_eq!(Schedule::CALLBACK.span().as_secs() / 3600, 75);
    }

    #[test]
    fn jitter_and_retry_after_only_delay() {
        let delay = |jitter, after| Schedule::CALLBACK.next_delay(3, jitter, after).unwrap();
        assert_eq!(delay(1.0, None), Duration::from_secs(18));
        assert_eq!(delay(0.0, Some(Duration::from_secs(1))), Duration::from_secs(15));
        assert_eq!(delay(0.0, Some(Duration::from_secs(7200))), Duration::from_secs(7200));
        assert!(delay(9.0, Some(Duration::MAX)) <= MAX_RETRY_AFTER.mul_f64(1.2));
    }

    #[test]
    fn retry_after_in_seconds_and_in_all_formats_of_a_date() {
        let now = from_millis(1_795_168_830_000);
        for (text, seconds) in [
            ("120", 120),
            ("Fri, 20 Nov 2026 10:01:00 GMT", 30),
            ("Friday, 20-Nov-26 10:01:00 GMT", 30),
            ("Fri Nov 20 10:01:00 2026", 30),
            ("Tue Dec  1 10:00:30 2026", 86_400),
            ("Tuesday, 01-Dec-26 10:00:30 GMT", 86_400),
            ("Friday, 20-Nov-76 10:00:30 GMT", 86_400),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
            ("18446744073709551615", 86_400),
            ("999999999999999999999999", 86_400),
        ] {
            assert_eq!(parse_retry_after(text, now), Some(Duration::from_secs(seconds)), "{text}");
        }
        for ignored in [
            "-1",
            "soon",
            "",
            "1.5",
            "Fri, 20 Nov 2026 09:00:00 GMT",
            "Friday, 20-Nov-26 09:00:00 GMT",
            "Fri Nov 20 09:00:00 2026",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Friday, 20-Nov-77 10:00:30 GMT",
            "Fri Nov 31 10:01:00 2026",
        ] {
            assert_eq!(parse_retry_after(ignored, now), None, "{ignored}");
        }
    }
}
