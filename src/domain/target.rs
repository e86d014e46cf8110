//! State of one chat of one instance: its active code, its wrong attempts and its locks.
//!
//! Wrong attempts are counted here and not in the verification, so that requesting a new code does not reset them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::VerificationId;

/// The period over which wrong attempts are counted. The lock after too many in one window is never longer.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Number of consecutive wrong attempts, over all windows, that lock a chat (NIST SP 800-63B, 5.2.2).
pub const FAILURES: u32 = 100;
/// How long a chat with consecutive wrong attempts must be remembered after the last one.
pub const FAILURES_KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Limits on wrong attempts for a chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// How long [`FAILURES`] consecutive wrong attempts lock the chat. `None`: no such lock.
    pub locked_for: Option<SignedDuration>,
    /// Maximum number of wrong attempts in one [`WINDOW`]. `None`: no limit.
    pub misses: Option<u32>,
    /// The lock lasts a whole window from the last wrong attempt, instead of until the end of the current window.
    pub anew: bool,
}

/// The record of a chat, which outlives its codes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Target {
    /// The code that was requested last; only this one can be validated.
    pub active: Option<VerificationId>,
    /// Milliseconds since the epoch, as are all times below.
    asked_at: Option<i64>,
    misses: u32,
    window_until: i64,
    locked_until: i64,
    /// Consecutive wrong attempts, across codes and windows.
    failures: u32,
    /// When [`FAILURES`] was reached.
    failed_at: Option<i64>,
    shut_until: i64,
}

/// The lock of a chat after [`FAILURES`] wrong attempts in a row. Proving the chat through a link after `since` unlocks
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shut {
    pub since: Timestamp,
    pub left: SignedDuration,
}

impl Target {
    /// How much longer no code is compared, if the limit of the window is reached.
    pub fn locked(&self, now: Timestamp) -> Option<SignedDuration> {
        left(self.locked_until, now)
    }

    /// The lock after too many consecutive wrong attempts, if it is in force.
    pub fn shut(&self, now: Timestamp) -> Option<Shut> {
        let since = Timestamp::from_millisecond(self.failed_at?).ok()?;
        left(self.shut_until, now).map(|left| Shut { since, left })
    }

    /// How much longer the cooldown forbids requesting another code, if it does.
    pub fn cooling(&self, now: Timestamp, cooldown: SignedDuration) -> Option<SignedDuration> {
        left(self.asked_at?.saturating_add(millis(cooldown)), now)
    }

    /// Makes a newly requested code the active one.
    pub fn asked(&mut self, id: VerificationId, now: Timestamp) {
        (self.active, self.asked_at) = (Some(id), Some(now.as_millisecond()));
    }

    /// Counts a wrong attempt and applies the locks.
    pub fn missed(&mut self, guard: Guard, now: Timestamp) {
        let at = now.as_millisecond();
        if at >= self.window_until {
            (self.misses, self.window_until) = (0, at.saturating_add(millis(WINDOW)));
        }
        self.misses = self.misses.saturating_add(1);
        self.failures = self.failures.saturating_add(1);
        if let Some(locked_for) = guard.locked_for.filter(|_| self.failures >= FAILURES) {
            (self.failures, self.failed_at) = (0, Some(at));
            self.shut_until = at.saturating_add(millis(locked_for));
        }
        if guard.misses.is_some_and(|most| self.misses >= most) {
            self.locked_until = if guard.anew { at.saturating_add(millis(WINDOW)) } else { self.window_until };
            // Counting restarts when the lock ends.
            self.window_until = self.locked_until;
        }
    }

    /// Clears all counters and locks, because the chat was proved.
    pub fn proved(&mut self) {
        *self = Self { active: self.active, asked_at: self.asked_at, ..Self::default() };
    }

    /// Until when the record must be kept, because forgetting it earlier would allow more guesses.
    pub fn matters_until(&self, now: Timestamp) -> Timestamp {
        let shut = self.shut(now).map_or(now, |shut| now + shut.left);
        shut.max(now + if self.failures > 0 { FAILURES_KEPT } else { WINDOW * 2 })
    }
}

fn left(until: i64, now: Timestamp) -> Option<SignedDuration> {
    let left = until.saturating_sub(now.as_millisecond());
    (left > 0).then(|| SignedDuration::from_millis(left))
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    fn at(seconds: i64) -> Timestamp {
        from_millis(1_795_168_830_000 + seconds * 1000)
    }

    const DAY: Option<SignedDuration> = Some(SignedDuration::from_hours(24));
    const FIFTEEN: Guard = Guard { misses: Some(15), anew: false, locked_for: DAY };
    const FIVE: Guard = Guard { misses: Some(5), anew: true, locked_for: None };

    #[test]
    fn fifteen_misses_lock_for_the_rest_of_the_window() {
        let mut target = Target::default();
        for second in 0..15 {
            assert_eq!(target.locked(at(second * 10)), None, "the last allowed try is still compared");
            target.missed(FIFTEEN, at(second * 10));
            target.asked(VerificationId::from_bytes([7; 16]), at(second * 10));
        }
        assert_eq!(target.locked(at(140)), Some(SignedDuration::from_secs(760)));
        assert!(target.locked(at(899)).is_some());
        assert_eq!(target.locked(at(900)), None);
        target.missed(FIFTEEN, at(900));
        assert_eq!(target.locked(at(901)), None, "a new window");
    }

    #[test]
    fn misses_are_forgotten_with_their_window_and_by_a_success() {
        let mut target = Target::default();
        (0..14).for_each(|_| target.missed(FIFTEEN, at(0)));
        target.missed(FIFTEEN, at(900));
        assert_eq!(target.locked(at(900)), None);
        (0..13).for_each(|_| target.missed(FIFTEEN, at(901)));
        target.proved();
        target.missed(FIFTEEN, at(902));
        assert_eq!(target.locked(at(902)), None);
    }

    #[test]
    fn five_misses_lock_for_a_whole_window_from_the_last() {
        let mut target = Target::default();
        (0..5).for_each(|second| target.missed(FIVE, at(second * 100)));
        assert_eq!(target.locked(at(400)), Some(WINDOW));
        assert_eq!(target.locked(at(1300)), None);
        let off = Guard { misses: None, anew: false, locked_for: None };
        (0..99).for_each(|_| target.missed(off, at(1300)));
        assert_eq!(target.locked(at(1300)), None);
    }

    #[test]
    fn a_hundred_failures_in_a_row_shut_a_chat_for_a_day() {
        let mut target = Target::default();
        for index in 0..100 {
            let now = at(index * 900);
            assert_eq!((target.locked(now), target.shut(now)), (None, None), "{index}");
            target.missed(FIFTEEN, now);
            assert!(target.matters_until(now) >= now + SignedDuration::from_hours(24), "a pause forgets none");
        }
        let last = 99 * 900;
        let shut = target.shut(at(last)).unwrap();
        assert_eq!((shut.since, shut.left), (at(last), SignedDuration::from_hours(24)));
        assert!(target.shut(at(last + 86_399)).is_some() && target.shut(at(last + 86_400)).is_none());
        let mut forgiven = target.clone();
        forgiven.proved();
        assert_eq!(forgiven.shut(at(last)), None);
        (0..99).for_each(|index| forgiven.missed(FIFTEEN, at(last + index * 900)));
        forgiven.proved();
        forgiven.missed(FIFTEEN, at(last + 99 * 900));
        assert_eq!(forgiven.shut(at(last + 99 * 900)), None, "a success between them starts anew");
    }

    #[test]
    fn a_chat_cools_down_after_it_was_asked() {
        let mut target = Target::default();
        let minute = SignedDuration::from_mins(1);
        assert_eq!(target.cooling(at(0), minute), None);
        target.asked(VerificationId::from_bytes([7; 16]), at(0));
        assert_eq!(target.cooling(at(1), minute), Some(SignedDuration::from_secs(59)));
        assert_eq!(target.cooling(at(60), minute), None);
    }
}
