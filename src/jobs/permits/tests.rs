use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::{
    domain::{InstanceId, Partition, time::from_millis},
    store::{DrawnTokens, LeaseGrant},
};

fn lane() -> Lane {
    Lane::replies(InstanceId::from_random([1; 16]))
}

fn has_changed(permits: &Permits) -> bool {
    permits.changed().now_or_never().is_some()
}

#[test]
fn a_commit_does_not_overtake_what_is_due() {
    let (permits, lane, here) = (Permits::new(), lane(), Partition::from_byte(1));
    assert!(permits.try_take(&lane, None, false).is_some());
    permits.record_waiting(&lane, here, from_millis(1));
    assert!(has_changed(&permits));
    assert!(permits.try_take(&lane, None, false).is_none());
    assert!(permits.try_take(&Lane::timer(), None, false).is_some(), "other lanes do not wait");
    let (request, held) = permits.request(&lane, false).remove(0);
    assert_eq!((request.partition, request.limit, held.len()), (here, 8, 8));
    assert!(permits.granted(&request, LeaseGrant::default(), held).is_empty());
    assert!(permits.try_take(&lane, None, false).is_some(), "there is no more");
    assert_eq!(permits.in_hand(), 0);
}

#[test]
fn a_group_has_one_job_in_hand() {
    let (permits, lane) = (Permits::new(), lane());
    let held = permits.try_take(&lane, Some("chat"), false);
    assert!(held.is_some());
    assert!(permits.try_take(&lane, Some("chat"), false).is_none());
    assert!(permits.try_take(&lane, Some("other"), false).is_some());
    permits.record_waiting(&lane, Partition::from_byte(1), from_millis(1));
    let (request, unused) = permits.request(&lane, false).remove(0);
    assert_eq!(request.busy[..], ["chat"]);
    let blocked = LeaseGrant { jobs: Vec::new(), more: Some(from_millis(1)) };
    assert!(permits.granted(&request, blocked, unused).is_empty());
    assert!(permits.ready().is_empty(), "all that is due waits for the job in hand");
    while has_changed(&permits) {}
    drop(held);
    assert!(has_changed(&permits));
    assert_eq!(permits.ready(), [lane]);
}

#[test]
fn permission_to_send_comes_back_unless_something_was_sent() {
    let (permits, lane) = (Permits::new(), lane());
    assert!(permits.try_take(&lane, None, true).is_none(), "there is none in hand");
    permits.add_send_tokens(&lane, DrawnTokens { units: 1, wait: Duration::from_secs(1) });
    drop(permits.try_take(&lane, None, true).unwrap());
    let permit = permits.try_take(&lane, None, true).unwrap();
    permit.spend();
    drop(permit);
    assert!(permits.try_take(&lane, None, true).is_none());
    assert_eq!(permits.units_to_draw(&lane, 5), 0, "nothing is due");
}

#[test]
fn the_store_is_looked_at_when_a_retry_comes_due() {
    let permits = Permits::new();
    assert_eq!(permits.next_retry(), None);
    permits.retry_in(Duration::from_secs(60));
    assert!(has_changed(&permits));
    permits.retry_in(Duration::ZERO);
    let first = permits.next_retry().unwrap();
    assert!(first < tokio::time::Instant::now() + Duration::from_secs(1));
    std::thread::sleep(CLOCK_TOLERANCE);
    assert_eq!(permits.next_retry(), Some(first), "due now, and forgotten");
    assert!(permits.next_retry().unwrap() > first);
}

#[test]
fn what_a_number_sends_has_one_party_behind_it() {
    let (permits, number) = (Permits::new(), InstanceId::from_random([1; 16]));
    let now = from_millis(0);
    assert!(permits.record_outcome(&Lane::codes(number), now, AttemptOutcome::Refused).is_some());
    assert!(permits.refused_until(&Lane::replies(number)).is_some());
    assert_eq!(permits.held(), HashMap::from([(LaneKind::Replies, 1)]));
    assert_eq!(permits.reset_message_holds(), [Lane::replies(number)]);
    assert_eq!(permits.held(), HashMap::new());
}

/// A lane whose party answers fast, after `ended` attempts.
fn fast_lane(permits: &Arc<Permits>, ended: usize) -> Lane {
    let lane = Lane("other".to_owned());
    for _ in 0..ended {
        let permit = permits.try_take(&lane, None, false).unwrap();
        assert!(permit.has_begun());
        let _ = permits.record_outcome(&lane, from_millis(0), AttemptOutcome::Answered(Duration::ZERO));
        permit.end();
    }
    lane
}

#[test]
fn a_fast_lane_takes_in_hand_what_it_sends_in_a_moment() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let width = permits.state().width(&lane);
    permits.record_waiting(&lane, Partition::from_byte(1), from_millis(1));
    let (request, mut held) = permits.request(&lane, false).remove(0);
    assert_eq!(request.limit, width + 10);
    assert!(held.iter().all(|permit| !permit.has_begun()));
    assert!(permits.ready().is_empty(), "enough is in hand");
    let begun: Vec<Begin> = held.iter_mut().map(|permit| permits.begin(permit)).collect();
    assert_eq!(begun.iter().filter(|begin| **begin == Begin::Begun).count(), width);
    assert_eq!(begun.last(), Some(&Begin::Full));
    // Each end lets the next one begin.
    held.remove(0).end();
    assert_eq!(held.last_mut().map(|permit| permits.begin(permit)), Some(Begin::Begun));
}

#[test]
fn what_is_committed_waits_in_hand_behind_what_waits() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let width = permits.state().width(&lane);
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_take(&lane, None, false)).collect();
    assert_eq!(held.iter().filter(|permit| permit.has_begun()).count(), width);
    assert_eq!(held.len(), width + 10);
    held.remove(0).end();
    let next = permits.try_take(&lane, None, false).unwrap();
    assert!(!next.has_begun(), "others were first");
}

#[test]
fn a_lane_that_fails_takes_nothing_beyond_its_attempts() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let _ = permits.record_outcome(&lane, from_millis(0), AttemptOutcome::Failed);
    let width = permits.state().width(&lane);
    let held: Vec<Permit> = std::iter::from_fn(|| permits.try_take(&lane, None, false)).collect();
    assert_eq!(held.len(), width);
}

#[test]
fn a_permit_that_goes_unused_lets_what_waits_begin() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_take(&lane, None, false)).collect();
    while has_changed(&permits) {}
    // For example because its commit failed.
    drop(held.remove(0));
    assert!(has_changed(&permits));
}

#[test]
fn a_lane_without_room_is_looked_at_when_an_attempt_ends() {
    let (permits, lane) = (Permits::new(), lane());
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_take(&lane, None, false)).collect();
    permits.record_waiting(&lane, Partition::from_byte(1), from_millis(1));
    assert!(!has_changed(&permits));
    held.remove(0).end();
    assert!(has_changed(&permits));
    permits.record_waiting(&lane, Partition::from_byte(1), from_millis(1));
    assert!(has_changed(&permits), "there is room");
}
