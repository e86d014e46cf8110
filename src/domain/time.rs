//! Conversion of timestamps: RFC 3339 text for the API, milliseconds for the store.

use jiff::Timestamp;

/// `2026-11-20T10:00:00+00:00`: whole seconds and an explicit offset, the format that clients of the API parse.
pub fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The time `millis` after the epoch, clamped to the range of `Timestamp`.
pub fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

/// Milliseconds since the epoch; 0 for earlier times.
pub fn unix_millis(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_with_an_offset() {
        assert_eq!(rfc3339(from_millis(1_795_168_830_999)), "2026-11-20T10:00:30+00:00");
    }

    #[test]
    fn an_impossible_time_is_clamped() {
        assert_eq!(from_millis(i64::MAX), Timestamp::MAX);
        assert_eq!(from_millis(i64::MIN), Timestamp::MIN);
    }
}
