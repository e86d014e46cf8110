//! Rate limits, counted with the generic cell rate algorithm (GCRA).

use std::time::Duration;

/// A burst size and the time in which one unit is restored.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quota {
    burst: u32,
    interval: Duration,
}

/// The limits. Their names appear in API responses, metrics and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LimitName {
    /// Links and codes requested with one token.
    Mint,
    /// Links and codes requested with all tokens of one instance.
    Instance,
    /// Records of one instance in the store.
    Records,
    /// Bytes used by the records of one instance.
    Bytes,
    /// Pending jobs for the receivers and gateways of one instance.
    PendingJobs,
    /// Links requested for one chat.
    Links,
    /// Codes sent to one chat.
    Codes,
    /// Time between two codes, or between two requests for an approval, for one chat.
    Cooldown,
    /// Codes checked with one token.
    Validate,
    /// Wrong codes for one chat.
    WrongCodes,
    /// Consecutive wrong codes for one chat.
    CodeFailures,
    /// Codes sent for one client address, as given by the app.
    CodesOfAddress,
    /// Codes sent to one country.
    CodesOfCountry,
    /// Codes sent to numbers with the same prefix ([`prefix`](super::country::prefix)).
    CodesOfPrefix,
    /// Unknown codes from one sender.
    Guesses,
    /// Replies about failed codes to one sender.
    FailureReplies,
    /// Repeated success replies to one sender.
    SuccessReplies,
    /// Test callbacks of one instance.
    TestCallbacks,
    /// Requests from one address to the pages of one link, or to the other public paths.
    Pages,
    /// Those of the page requests that change state.
    Taps,
    /// Requests with wrong tokens from one address.
    Authentication,
    /// Attempts to enter the operator's password.
    OperatorLogin,
}

impl LimitName {
    pub const ALL: &[Self] = &[
        Self::Mint,
        Self::Instance,
        Self::Records,
        Self::Bytes,
        Self::PendingJobs,
        Self::Links,
        Self::Codes,
        Self::Cooldown,
        Self::Validate,
        Self::WrongCodes,
        Self::CodeFailures,
        Self::CodesOfAddress,
        Self::CodesOfCountry,
        Self::CodesOfPrefix,
        Self::Guesses,
        Self::FailureReplies,
        Self::SuccessReplies,
        Self::TestCallbacks,
        Self::Pages,
        Self::Taps,
        Self::Authentication,
        Self::OperatorLogin,
    ];

    /// Whether the limit bounds stored data instead of the rate of requests.
    pub const fn is_storage(self) -> bool {
        matches!(self, Self::Records | Self::Bytes | Self::PendingJobs)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mint => "mint",
            Self::Instance => "instance",
            Self::Records => "records",
            Self::Bytes => "bytes",
            Self::PendingJobs => "pending_jobs",
            Self::Links => "links",
            Self::Codes => "codes",
            Self::Cooldown => "cooldown",
            Self::Validate => "validate",
            Self::WrongCodes => "wrong_codes",
            Self::CodeFailures => "code_failures",
            Self::CodesOfAddress => "codes_of_address",
            Self::CodesOfCountry => "codes_of_country",
            Self::CodesOfPrefix => "codes_of_prefix",
            Self::Guesses => "guesses",
            Self::FailureReplies => "failure_replies",
            Self::SuccessReplies => "success_replies",
            Self::TestCallbacks => "test_callbacks",
            Self::Pages => "pages",
            Self::Taps => "taps",
            Self::Authentication => "authentication",
            Self::OperatorLogin => "operator_login",
        }
    }
}

/// The store's answer for one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowance {
    Allowed {
        remaining: u32,
    },
    /// Nothing was taken. The caller may retry after `retry_after`.
    Exhausted {
        retry_after: Duration,
    },
}

impl Quota {
    /// `count` units per `window`, all of which may be used at once.
    pub fn per(count: u32, window: Duration) -> Self {
        let count = count.max(1);
        Self { burst: count, interval: window / count }
    }

    /// `per_second` units sustained, with a burst of `burst`.
    pub fn sustained(per_second: u32, burst: u32) -> Self {
        Self { burst: burst.max(1), interval: Duration::from_secs(1) / per_second.max(1) }
    }

    /// A `capacity` that is restored within `window` and of which each call takes `weight`.
    pub fn weighted(capacity: u64, window: Duration, weight: u64) -> Self {
        let weight = weight.max(1);
        let burst = u32::try_from(capacity / weight).unwrap_or(u32::MAX).max(1);
        Self { burst, interval: window / burst }
    }

    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty bucket becomes full.
    pub fn window(self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    /// The time until the bucket is full again, or, if `remaining` is 0, until the next unit is available.
    pub fn reset(self, remaining: u32) -> Duration {
        if remaining == 0 { self.interval } else { self.interval * self.burst.saturating_sub(remaining) }
    }

    /// The time in which one unit is restored, in microseconds.
    pub fn interval_micros(self) -> i64 {
        i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX / 4).max(1)
    }

    /// Takes one unit from a bucket whose theoretical arrival time is `tat` (both in microseconds of the store's
    /// clock). Returns the new arrival time, or the old one, corrected as below, if nothing is left.
    ///
    /// `tat` is capped at one window after `now`, because the clock may go back slightly. A `tat` of more than two
    /// windows after `now` was written by a clock that was ahead; it is ignored and the bucket counts as full.
    pub fn take(self, tat: i64, now: i64) -> (i64, Allowance) {
        let interval = self.interval_micros();
        let tolerance = self.tolerance_micros();
        let tat = self.corrected(tat, now);
        let next = tat.max(now).saturating_add(interval);
        let room = now.saturating_add(tolerance).saturating_sub(next);
        if room < 0 {
            let retry_after = Duration::from_micros(u64::try_from(-room).unwrap_or(u64::MAX));
            return (tat, Allowance::Exhausted { retry_after });
        }
        let remaining = u32::try_from(room / interval).unwrap_or(u32::MAX);
        (next, Allowance::Allowed { remaining })
    }

    /// The arrival time of a bucket that gets one unit back, with the same corrections as in [`Self::take`].
    pub fn give_back(self, tat: i64, now: i64) -> i64 {
        self.corrected(tat, now).saturating_sub(self.interval_micros()).max(now)
    }

    fn corrected(self, tat: i64, now: i64) -> i64 {
        let owed = now.saturating_add(self.tolerance_micros());
        if tat > owed.saturating_add(self.tolerance_micros()) { now } else { tat.min(owed) }
    }

    fn tolerance_micros(self) -> i64 {
        self.interval_micros().saturating_mul(i64::from(self.burst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_ones_take_more_of_the_same_room() {
        let quota = |weight| Quota::weighted(100, Duration::from_secs(1000), weight);
        let now = 1_000_000_000_000;
        let (mut tat, mut taken) = (0, 0);
        for weight in [10, 50, 20, 50, 20, 10] {
            let (next, allowance) = quota(weight).take(tat, now);
            tat = next;
            taken += if matches!(allowance, Allowance::Allowed { .. }) { weight } else { 0 };
        }
        assert_eq!(taken, 100, "what is too heavy is refused, what fits is not");
        let half = quota(50).take(tat, now + 500_000_000);
        assert_eq!(half.1, Allowance::Allowed { remaining: 0 });
    }

    #[test]
    fn a_burst_then_one_per_interval() {
        let quota = Quota::per(3, Duration::from_secs(3));
        let (mut tat, now) = (0, 1_000_000_000);
        for left in [2, 1, 0] {
            let (next, allowance) = quota.take(tat, now);
            assert_eq!(allowance, Allowance::Allowed { remaining: left });
            tat = next;
        }
        let (same, refused) = quota.take(tat, now);
        assert_eq!(refused, Allowance::Exhausted { retry_after: Duration::from_secs(1) });
        assert_eq!(same, tat);
        assert_eq!(quota.take(tat, now + 1_000_000).1, Allowance::Allowed { remaining: 0 });
    }

    #[test]
    fn a_bucket_owes_its_window_at_most() {
        let (quota, now) = (Quota::per(3, Duration::from_secs(3)), 1_000_000_000);
        let taken = |ahead: i64| quota.take(now + ahead, now).1;
        let refused = Allowance::Exhausted { retry_after: Duration::from_secs(1) };
        assert_eq!([taken(3_000_000), taken(6_000_000)], [refused; 2], "the clock went back a little");
        assert_eq!(taken(6_000_001), Allowance::Allowed { remaining: 2 }, "it was ahead");
    }
}
