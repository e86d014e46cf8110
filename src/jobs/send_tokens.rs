//! Send tokens: permission to send at a number's rate, which all replicas share.
//!
//! Replicas draw tokens in blocks from one bucket in the store, and only as many as they have work for. A block expires
//! after a second, so that no replica can save tokens up.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::store::{DrawnTokens, Lane};

const BLOCK_TTL: Duration = Duration::from_secs(1);
/// Minimum time between two draws of a lane whose bucket is empty.
const MIN_DRAW_INTERVAL: Duration = Duration::from_millis(50);

/// Tokens held by this replica, by lane.
#[derive(Default)]
pub(super) struct SendTokens(HashMap<Lane, TokenBlock>);

struct TokenBlock {
    units: u32,
    until: Instant,
    /// Tokens used since the last draw: about as many will be needed again.
    used: u32,
    next_draw: Instant,
    /// The bucket was empty after the draw.
    short: bool,
}

impl SendTokens {
    /// Takes up to `wanted` tokens, and returns how many were taken.
    pub(super) fn take(&mut self, lane: &Lane, wanted: u32, now: Instant) -> u32 {
        let Some(hand) = self.0.get_mut(lane).filter(|hand| now < hand.until) else { return 0 };
        let taken = wanted.min(hand.units);
        hand.units -= taken;
        hand.used += taken;
        taken
    }

    /// Returns a token with which nothing was sent.
    pub(super) fn put_back(&mut self, lane: &Lane) {
        if let Some(hand) = self.0.get_mut(lane) {
            hand.units += 1;
            hand.used = hand.used.saturating_sub(1);
        }
    }

    /// How many tokens to draw for `wanted` jobs; 0 if there are enough, or if it is too early to draw again.
    pub(super) fn tokens_to_draw(&self, lane: &Lane, wanted: u32, rate: u32, now: Instant) -> u32 {
        match self.0.get(lane) {
            Some(hand) if now < hand.next_draw => 0,
            Some(hand) if now < hand.until && wanted <= hand.units => 0,
            Some(hand) if now < hand.until => (wanted - hand.units).max(hand.used).min(rate),
            Some(hand) if now < hand.until + BLOCK_TTL => wanted.max(hand.used).min(rate),
            _ => wanted.min(rate),
        }
    }

    pub(super) fn add(&mut self, lane: &Lane, drawn: DrawnTokens, now: Instant) {
        let left = self.0.get(lane).filter(|hand| now < hand.until).map_or(0, |hand| hand.units);
        let short = !drawn.wait.is_zero();
        let next_draw = if short { now + drawn.wait.max(MIN_DRAW_INTERVAL) } else { now };
        self.0.retain(|_, hand| now < hand.until + BLOCK_TTL);
        self.0.insert(
            lane.clone(),
            TokenBlock { units: left + drawn.units, until: now + BLOCK_TTL, used: 0, next_draw, short },
        );
    }

    /// When the bucket, if it was empty, can be drawn from again.
    pub(super) fn next_draw(&self, lane: &Lane) -> Option<Instant> {
        self.0.get(lane).filter(|hand| hand.short).map(|hand| hand.next_draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::InstanceId;

    #[test]
    fn a_block_lasts_a_second_and_is_as_large_as_the_work() {
        let (lane, now) = (Lane::replies(InstanceId::from_random([1; 16])), Instant::now());
        let mut hands = SendTokens::default();
        assert_eq!(hands.take(&lane, 1, now), 0);
        assert_eq!(hands.tokens_to_draw(&lane, 3, 20, now), 3);
        hands.add(&lane, DrawnTokens { units: 3, wait: Duration::ZERO }, now);
        assert_eq!(hands.tokens_to_draw(&lane, 3, 20, now), 0, "enough tokens are left");
        assert_eq!(hands.tokens_to_draw(&lane, 5, 20, now), 2);
        assert_eq!(hands.next_draw(&lane), None, "the bucket has more");
        assert_eq!((hands.take(&lane, 2, now), hands.take(&lane, 2, now)), (2, 1));
        assert_eq!(hands.tokens_to_draw(&lane, 1, 20, now), 3, "as much as was used");
        assert_eq!(hands.tokens_to_draw(&lane, 100, 20, now), 20, "a second of the rate");
        hands.put_back(&lane);
        assert_eq!(hands.take(&lane, 9, now + BLOCK_TTL), 0, "what was not used is lost");
        assert_eq!(hands.tokens_to_draw(&lane, 1, 20, now + 2 * BLOCK_TTL), 1);
    }

    #[test]
    fn an_empty_bucket_is_asked_again_when_it_has_something() {
        let (lane, now) = (Lane::replies(InstanceId::from_random([1; 16])), Instant::now());
        let mut hands = SendTokens::default();
        hands.add(&lane, DrawnTokens { units: 0, wait: Duration::from_millis(200) }, now);
        assert_eq!(hands.tokens_to_draw(&lane, 1, 5, now), 0);
        assert_eq!(hands.next_draw(&lane), Some(now + Duration::from_millis(200)));
        assert_eq!(hands.tokens_to_draw(&lane, 1, 5, now + Duration::from_millis(200)), 1);
    }
}
