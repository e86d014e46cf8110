//! Which keys may sign: only one that every verifier can already know.
//!
//! Clients keep the key set for the time that its response allows. A key that signs earlier than that after the last
//! response without it would produce tokens that some of them reject.

use jiff::{SignedDuration, Timestamp};

/// What is known about one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Announced {
    /// Since when every live replica has announced it, as the store recorded it; `None` if at least one did not.
    pub since: Option<Timestamp>,
    /// Every live replica announces it now.
    pub by_all: bool,
}

/// Whether a key may sign at `now`. `cache` is how long clients keep the key set.
pub fn may_sign(announced: Announced, cache: SignedDuration, now: Timestamp) -> bool {
    announced.by_all && announced.since.is_some_and(|since| now.duration_since(since) >= cache)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    #[test]
    fn a_key_signs_once_all_replicas_have_announced_it_for_the_cache_time() {
        let (cache, at) = (SignedDuration::from_mins(10), |minute: i64| from_millis(minute * 60_000));
        for (since, by_all, now, may) in [
            (None, true, 99, false),
            (Some(0), true, 9, false),
            (Some(0), true, 10, true),
            (Some(0), false, 10, false),
            (Some(5), true, 10, false),
            (Some(5), true, 15, true),
        ] {
            let announced = Announced { since: since.map(at), by_all };
            assert_eq!(may_sign(announced, cache, at(now)), may, "{since:?} {by_all} {now}");
        }
    }
}
