//! When to try again: a pure function of the attempt, the receiver's wish and a drawn jitter.

use std::time::Duration;

/// Seconds before each attempt of a callback: dense while a person waits, then for three days.
const CALLBACK: &[u64] = &[0, 2, 5, 15, 60, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// Seconds before each attempt of a reply; after two minutes a reply is worse than none.
const REPLY: &[u64] = &[0, 2, 5, 15, 30];
/// No receiver may ask for more than this.
const LONGEST: Duration = Duration::from_hours(24);

/// A schedule of attempts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule(&'static [u64]);

impl Schedule {
    pub const CALLBACK: Self = Self(CALLBACK);
    pub const REPLY: Self = Self(REPLY);

    /// How long to wait after `attempts` attempts failed; `None` means give up.
    ///
    /// `jitter` in `0.0..=1.0` is drawn by the caller and only ever delays, by up to a fifth.
    /// `retry_after` can delay further, never hasten.
    pub fn next_delay(self, attempts: u32, jitter: f64, retry_after: Option<Duration>) -> Option<Duration> {
        let base = Duration::from_secs(*self.0.get(attempts as usize)?);
        let jittered = base.mul_f64(1.0 + 0.2 * jitter.clamp(0.0, 1.0));
        Some(jittered.max(retry_after.unwrap_or_default()).min(LONGEST.mul_f64(1.2)))
    }

    /// How long a job lives from its first attempt to its last, without jitter.
    pub fn span(self) -> Duration {
        Duration::from_secs(self.0.iter().sum())
    }

    pub fn attempts(self) -> usize {
        self.0.len()
    }
}

/// Reads `Retry-After`, either form, relative to `now`; anything else is ignored.
pub fn parse_retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = value.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(LONGEST));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let delay = Duration::try_from(date.duration_since(now)).ok()?;
    Some(delay.min(LONGEST))
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
        assert!(delay(9.0, Some(Duration::MAX)) <= LONGEST.mul_f64(1.2));
    }

    #[test]
    fn retry_after_in_both_forms() {
        let now = from_millis(1_795_168_830_000);
        assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(parse_retry_after("Fri, 20 Nov 2026 10:01:00 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(parse_retry_after("999999999999999999999999", now), Some(LONGEST));
        for ignored in ["-1", "soon", "", "1.5", "Fri, 20 Nov 2026 09:00:00 GMT"] {
            assert_eq!(parse_retry_after(ignored, now), None, "{ignored}");
        }
    }
}
