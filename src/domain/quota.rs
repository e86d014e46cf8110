//! Rates, as the generic cell rate algorithm counts them.

use std::time::Duration;

/// So many at once, then so many per second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quota {
    burst: u32,
    interval: Duration,
}

/// The limits there are. Callers, metrics and people know them by these words.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    /// Links and codes asked for with one token.
    Mint,
    /// Links and codes asked for with all tokens of one instance.
    Instance,
    /// Records that an instance has in the store.
    Records,
    /// Bytes that they take.
    Bytes,
    /// Jobs that wait for its receivers and gateways.
    PendingJobs,
    /// Links for one chat.
    Links,
    /// Codes sent to one chat.
    Codes,
    /// Between two codes.
    Cooldown,
    /// Codes checked with one token.
    Validate,
    /// Wrong codes for one chat.
    WrongCodes,
    /// Wrong codes for one chat, in a row.
    CodeFailures,
    /// Codes sent for one client address of the app.
    CodesOfAddress,
    /// Codes sent to one country.
    CodesOfCountry,
    /// Codes sent to numbers beside one another.
    CodesOfPrefix,
    /// Unknown codes from one sender.
    Guesses,
    /// Replies to one sender whose code failed.
    FailureReplies,
    /// Success replies to one sender that are repeated.
    SuccessReplies,
    /// Test callbacks of one instance.
    TestCallbacks,
    /// Requests of one address to the pages of one link, and to everything else that is public.
    Pages,
    /// Those of them that change something.
    Taps,
    /// Wrong tokens from one address.
    Authentication,
    /// Tries at the operator's password.
    OperatorLogin,
}

impl Name {
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

    /// Whether it counts what lies in the store, and not how often somebody asks.
    pub const fn is_room(self) -> bool {
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

/// What the store said about one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Allowance {
    Allowed {
        remaining: u32,
    },
    /// Nothing was taken; ask again after this time.
    Exhausted {
        retry_after: Duration,
    },
}

impl Quota {
    /// `count` within `window`, all of which may come at once.
    pub fn per(count: u32, window: Duration) -> Self {
        let count = count.max(1);
        Self { burst: count, interval: window / count }
    }

    /// `per_second` sustained, `burst` at once.
    pub fn sustained(per_second: u32, burst: u32) -> Self {
        Self { burst: burst.max(1), interval: Duration::from_secs(1) / per_second.max(1) }
    }

    /// `capacity` at once, all of which comes back within `window`; each time `weight` of it is taken.
    pub fn weighed(capacity: u64, window: Duration, weight: u64) -> Self {
        let weight = weight.max(1);
        let burst = u32::try_from(capacity / weight).unwrap_or(u32::MAX).max(1);
        Self { burst, interval: window / burst }
    }

    pub fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty bucket fills.
    pub fn window(self) -> Duration {
        self.interval.saturating_mul(self.burst)
    }

    /// Until the bucket is full, when `remaining` units are left; until the next unit, when none is.
    pub fn reset(self, remaining: u32) -> Duration {
        if remaining == 0 { self.interval } else { self.interval * self.burst.saturating_sub(remaining) }
    }

    /// Time that one unit costs, in microseconds.
    pub fn interval_micros(self) -> i64 {
        i64::try_from(self.interval.as_micros()).unwrap_or(i64::MAX / 4).max(1)
    }

    /// Takes one unit from a bucket whose theoretical arrival time is `tat` (both in microseconds of the
    /// store's clock). Returns the new arrival time, or the unchanged one when nothing is left.
    ///
    /// A bucket owes its window at most, for the clock may go back a little. What is more than a window beyond that was
    /// written by a clock that was ahead, and is not believed: the bucket is full.
    pub fn take(self, tat: i64, now: i64) -> (i64, Allowance) {
        let interval = self.interval_micros();
        let tolerance = interval.saturating_mul(i64::from(self.burst));
        let owed = now.saturating_add(tolerance);
        let tat = if tat > owed.saturating_add(tolerance) { now } else { tat.min(owed) };
        let next = tat.max(now).saturating_add(interval);
        let room = now.saturating_add(tolerance).saturating_sub(next);
        if room < 0 {
            let retry_after = Duration::from_micros(u64::try_from(-room).unwrap_or(u64::MAX));
            return (tat, Allowance::Exhausted { retry_after });
        }
        let remaining = u32::try_from(room / interval).unwrap_or(u32::MAX);
        (next, Allowance::Allowed { remaining })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_ones_take_more_of_the_same_room() {
        let quota = |weight| Quota::weighed(100, Duration::from_secs(1000), weight);
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
