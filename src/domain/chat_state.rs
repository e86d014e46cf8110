//! State of one chat of one instance: its active code, its wrong attempts and its locks.
//!
//! Wrong attempts are counted here and not in the verification, so that requesting a new code does not reset them.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::VerificationId;

/// The period over which wrong attempts are counted. The lock after too many in one window is never longer.
pub const ATTEMPT_WINDOW: SignedDuration = SignedDuration::from_mins(15);

/// Number of consecutive wrong attempts, over all windows, that lock a chat (NIST SP 800-63B, 5.2.2).
pub const MAX_CONSECUTIVE_FAILURES: u32 = 100;
/// How long a chat with consecutive wrong attempts must be remembered after the last one.
pub const FAILURES_RETENTION: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Limits on wrong attempts for a chat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockoutPolicy {
    /// How long [`MAX_CONSECUTIVE_FAILURES`] consecutive wrong attempts lock the chat. `None`: no such lock.
    pub lockout: Option<SignedDuration>,
    /// Maximum number of wrong attempts in one [`ATTEMPT_WINDOW`]. `None`: no limit.
    pub max_per_window: Option<u32>,
    /// The lock lasts a whole window from the last wrong attempt, instead of until the end of the current window.
    pub full_window: bool,
}

/// The record of a chat, which outlives its codes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatState {
    /// The code that was requested last; only this one can be validated.
    pub active: Option<VerificationId>,
    /// Milliseconds since the epoch, as are all times below.
    #[serde(rename = "asked_at")]
    requested_at: Option<i64>,
    #[serde(rename = "misses")]
    failures_in_window: u32,
    window_until: i64,
    locked_until: i64,
    /// Consecutive wrong attempts, across codes and windows.
    #[serde(rename = "failures")]
    consecutive_failures: u32,
    /// When [`MAX_CONSECUTIVE_FAILURES`] was reached.
    #[serde(rename = "failed_at")]
    lockout_since: Option<i64>,
    #[serde(rename = "shut_until")]
    lockout_until: i64,
}

/// The lock of a chat after [`MAX_CONSECUTIVE_FAILURES`] wrong attempts in a row. Proving the chat through a link after `since` unlocks
/// it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lockout {
    pub since: Timestamp,
    pub left: SignedDuration,
}

impl ChatState {
    /// How much longer no code is compared, if the limit of the window is reached.
    pub fn window_lock(&self, now: Timestamp) -> Option<SignedDuration> {
        left(self.locked_until, now)
    }

    /// The lock after too many consecutive wrong attempts, if it is in force.
    pub fn lockout(&self, now: Timestamp) -> Option<Lockout> {
        let since = Timestamp::from_millisecond(self.lockout_since?).ok()?;
        left(self.lockout_until, now).map(|left| Lockout { since, left })
    }

    /// How much longer the cooldown forbids requesting another code, if it does.
    pub fn cooldown_left(&self, now: Timestamp, cooldown: SignedDuration) -> Option<SignedDuration> {
        left(self.requested_at?.saturating_add(millis(cooldown)), now)
    }

    /// Makes a newly requested code the active one.
    pub fn code_requested(&mut self, id: VerificationId, now: Timestamp) {
        (self.active, self.requested_at) = (Some(id), Some(now.as_millisecond()));
    }

    /// Counts a wrong attempt and applies the locks.
    pub fn record_failure(&mut self, guard: LockoutPolicy, now: Timestamp) {
        let at = now.as_millisecond();
        if at >= self.window_until {
            (self.failures_in_window, self.window_until) = (0, at.saturating_add(millis(ATTEMPT_WINDOW)));
        }
        self.failures_in_window = self.failures_in_window.saturating_add(1);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if let Some(locked_for) = guard.lockout.filter(|_| self.consecutive_failures >= MAX_CONSECUTIVE_FAILURES) {
            (self.consecutive_failures, self.lockout_since) = (0, Some(at));
            self.lockout_until = at.saturating_add(millis(locked_for));
        }
        if guard.max_per_window.is_some_and(|most| self.failures_in_window >= most) {
            self.locked_until =
                if guard.full_window { at.saturating_add(millis(ATTEMPT_WINDOW)) } else { self.window_until };
            // Counting restarts when the lock ends.
            self.window_until = self.locked_until;
        }
    }

    /// Clears all counters and locks, because the chat was proved.
    pub fn reset_failures(&mut self) {
        *self = Self { active: self.active, requested_at: self.requested_at, ..Self::default() };
    }

    /// Until when the record must be kept, because forgetting it earlier would allow more guesses.
    pub fn retain_until(&self, now: Timestamp) -> Timestamp {
        let lockout = self.lockout(now).map_or(now, |lockout| now + lockout.left);
        lockout.max(now + if self.consecutive_failures > 0 { FAILURES_RETENTION } else { ATTEMPT_WINDOW * 2 })
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
    const FIFTEEN: LockoutPolicy = LockoutPolicy { max_per_window: Some(15), full_window: false, lockout: DAY };
    const FIVE: LockoutPolicy = LockoutPolicy { max_per_window: Some(5), full_window: true, lockout: None };

    #[test]
    fn fifteen_misses_lock_for_the_rest_of_the_window() {
        let mut target = ChatState::default();
        for second in 0..15 {
            assert_eq!(target.window_lock(at(second * 10)), None, "the last allowed try is still compared");
            target.record_failure(FIFTEEN, at(second * 10));
            target.code_requested(VerificationId::from_bytes([7; 16]), at(second * 10));
        }
        assert_eq!(target.window_lock(at(140)), Some(SignedDuration::from_secs(760)));
        assert!(target.window_lock(at(899)).is_some());
        assert_eq!(target.window_lock(at(900)), None);
        target.record_failure(FIFTEEN, at(900));
        assert_eq!(target.window_lock(at(901)), None, "a new window");
    }

    #[test]
    fn misses_are_forgotten_with_their_window_and_by_a_success() {
        let mut target = ChatState::default();
        (0..14).for_each(|_| target.record_failure(FIFTEEN, at(0)));
        target.record_failure(FIFTEEN, at(900));
        assert_eq!(target.window_lock(at(900)), None);
        (0..13).for_each(|_| target.record_failure(FIFTEEN, at(901)));
        target.reset_failures();
        target.record_failure(FIFTEEN, at(902));
        assert_eq!(target.window_lock(at(902)), None);
    }

    #[test]
    fn five_misses_lock_for_a_whole_window_from_the_last() {
        let mut target = ChatState::default();
        (0..5).for_each(|second| target.record_failure(FIVE, at(second * 100)));
        assert_eq!(target.window_lock(at(400)), Some(ATTEMPT_WINDOW));
        assert_eq!(target.window_lock(at(1300)), None);
        let off = LockoutPolicy { max_per_window: None, full_window: false, lockout: None };
        (0..99).for_each(|_| target.record_failure(off, at(1300)));
        assert_eq!(target.window_lock(at(1300)), None);
    }

    #[test]
    fn a_hundred_failures_in_a_row_shut_a_chat_for_a_day() {
        let mut target = ChatState::default();
        for index in 0..100 {
            let now = at(index * 900);
            assert_eq!((target.window_lock(now), target.lockout(now)), (None, None), "{index}");
            target.record_failure(FIFTEEN, now);
            assert!(target.retain_until(now) >= now + SignedDuration::from_hours(24), "a pause forgets none");
        }
        let last = 99 * 900;
        let lockout = target.lockout(at(last)).unwrap();
        assert_eq!((lockout.since, lockout.left), (at(last), SignedDuration::from_hours(24)));
        assert!(target.lockout(at(last + 86_399)).is_some() && target.lockout(at(last + 86_400)).is_none());
        let mut forgiven = target.clone();
        forgiven.reset_failures();
        assert_eq!(forgiven.lockout(at(last)), None);
        (0..99).for_each(|index| forgiven.record_failure(FIFTEEN, at(last + index * 900)));
        forgiven.reset_failures();
        forgiven.record_failure(FIFTEEN, at(last + 99 * 900));
        assert_eq!(forgiven.lockout(at(last + 99 * 900)), None, "a success between them starts anew");
    }

    #[test]
    fn a_chat_cools_down_after_it_was_asked() {
        let mut target = ChatState::default();
        let minute = SignedDuration::from_mins(1);
        assert_eq!(target.cooldown_left(at(0), minute), None);
        target.code_requested(VerificationId::from_bytes([7; 16]), at(0));
        assert_eq!(target.cooldown_left(at(1), minute), Some(SignedDuration::from_secs(59)));
        assert_eq!(target.cooldown_left(at(60), minute), None);
    }
}
