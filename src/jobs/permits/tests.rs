//! Which jobs a process may claim: order, groups, send tokens, prefetching.

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
fn a_new_job_does_not_overtake_due_jobs() {
    let (permits, lane, here) = (Permits::new(), lane(), Partition::from_byte(1));
    assert!(permits.try_claim_new(&lane, None, false).is_some());
    permits.record_due(&lane, here, from_millis(1));
    assert!(has_changed(&permits));
    assert!(permits.try_claim_new(&lane, None, false).is_none());
    assert!(permits.try_claim_new(&Lane::timer(), None, false).is_some(), "other lanes do not wait");
    let (request, held) = permits.prepare_leases(&lane, false).remove(0);
    assert_eq!((request.partition, request.limit, held.len()), (here, 8, 8));
    assert!(permits.record_grant(&request, LeaseGrant::default(), held).is_empty());
    assert!(permits.try_claim_new(&lane, None, false).is_some(), "no due job is left");
    assert_eq!(permits.claimed_jobs(), 0);
}

#[test]
fn one_job_of_a_group_is_claimed_at_a_time() {
    let (permits, lane) = (Permits::new(), lane());
    let held = permits.try_claim_new(&lane, Some("chat"), false);
    assert!(held.is_some());
    assert!(permits.try_claim_new(&lane, Some("chat"), false).is_none());
    assert!(permits.try_claim_new(&lane, Some("other"), false).is_some());
    permits.record_due(&lane, Partition::from_byte(1), from_millis(1));
    let (request, unused) = permits.prepare_leases(&lane, false).remove(0);
    assert_eq!(request.busy_groups[..], ["chat"]);
    let blocked = LeaseGrant { jobs: Vec::new(), oldest_left: Some(from_millis(1)) };
    assert!(permits.record_grant(&request, blocked, unused).is_empty());
    assert!(permits.refresh_ready_lanes().is_empty(), "all due jobs wait for the claimed job of their group");
    while has_changed(&permits) {}
    drop(held);
    assert!(has_changed(&permits));
    assert_eq!(permits.refresh_ready_lanes(), [lane]);
}

#[test]
fn a_permit_that_sent_nothing_returns_its_send_token() {
    let (permits, lane) = (Permits::new(), lane());
    assert!(permits.try_claim_new(&lane, None, true).is_none(), "no send token was drawn");
    permits.add_send_tokens(&lane, DrawnTokens { units: 1, wait: Duration::from_secs(1) });
    drop(permits.try_claim_new(&lane, None, true).unwrap());
    let permit = permits.try_claim_new(&lane, None, true).unwrap();
    permit.mark_sending();
    drop(permit);
    assert!(permits.try_claim_new(&lane, None, true).is_none());
    assert_eq!(permits.tokens_to_draw(&lane, 5), 0, "nothing is due");
}

#[test]
fn a_poll_is_scheduled_for_a_retry() {
    let permits = Permits::new();
    assert_eq!(permits.take_next_poll(), None);
    permits.schedule_poll_in(Duration::from_secs(60));
    assert!(has_changed(&permits));
    permits.schedule_poll_in(Duration::ZERO);
    let first = permits.take_next_poll().unwrap();
    assert!(first < tokio::time::Instant::now() + Duration::from_secs(1));
    std::thread::sleep(STORE_CLOCK_LAG);
    assert_eq!(permits.take_next_poll(), Some(first), "due now, and removed");
    assert!(permits.take_next_poll().unwrap() > first);
}

#[test]
fn all_message_lanes_of_an_instance_share_their_health() {
    let (permits, number) = (Permits::new(), InstanceId::from_random([1; 16]));
    let now = from_millis(0);
    assert!(permits.record_outcome(&Lane::codes(number), now, AttemptOutcome::Refused).is_some());
    assert!(permits.refused_until(&Lane::replies(number)).is_some());
    assert_eq!(permits.held_lanes_by_kind(), HashMap::from([(LaneKind::Replies, 1)]));
    assert_eq!(permits.forget_message_health(), [Lane::replies(number)]);
    assert_eq!(permits.held_lanes_by_kind(), HashMap::new());
}

/// A lane whose destination responds fast, after `ended` attempts.
fn fast_lane(permits: &Arc<Permits>, ended: usize) -> Lane {
    let lane = Lane("other".to_owned());
    for _ in 0..ended {
        let permit = permits.try_claim_new(&lane, None, false).unwrap();
        assert!(permit.has_started());
        let _ = permits.record_outcome(&lane, from_millis(0), AttemptOutcome::Answered(Duration::ZERO));
        permit.end();
    }
    lane
}

#[test]
fn a_fast_lane_prefetches_its_recent_throughput() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let concurrency = permits.state().max_concurrency(&lane);
    permits.record_due(&lane, Partition::from_byte(1), from_millis(1));
    let (request, mut held) = permits.prepare_leases(&lane, false).remove(0);
    assert_eq!(request.limit, concurrency + 10);
    assert!(held.iter().all(|permit| !permit.has_started()));
    assert!(permits.refresh_ready_lanes().is_empty(), "enough jobs are prefetched");
    let begun: Vec<StartResult> = held.iter_mut().map(|permit| permits.try_start(permit)).collect();
    assert_eq!(begun.iter().filter(|begin| **begin == StartResult::Started).count(), concurrency);
    assert_eq!(begun.last(), Some(&StartResult::AtLimit));
    // The end of each attempt lets the next one start.
    held.remove(0).end();
    assert_eq!(held.last_mut().map(|permit| permits.try_start(permit)), Some(StartResult::Started));
}

#[test]
fn a_new_job_waits_behind_prefetched_ones() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let concurrency = permits.state().max_concurrency(&lane);
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_claim_new(&lane, None, false)).collect();
    assert_eq!(held.iter().filter(|permit| permit.has_started()).count(), concurrency);
    assert_eq!(held.len(), concurrency + 10);
    held.remove(0).end();
    let next = permits.try_claim_new(&lane, None, false).unwrap();
    assert!(!next.has_started(), "others wait before it");
}

#[test]
fn a_failing_lane_prefetches_nothing() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let _ = permits.record_outcome(&lane, from_millis(0), AttemptOutcome::Failed);
    let concurrency = permits.state().max_concurrency(&lane);
    let held: Vec<Permit> = std::iter::from_fn(|| permits.try_claim_new(&lane, None, false)).collect();
    assert_eq!(held.len(), concurrency);
}

#[test]
fn an_unused_permit_notifies_the_worker() {
    let permits = Permits::new();
    let lane = fast_lane(&permits, 10);
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_claim_new(&lane, None, false)).collect();
    while has_changed(&permits) {}
    // For example because its commit failed.
    drop(held.remove(0));
    assert!(has_changed(&permits));
}

#[test]
fn the_end_of_an_attempt_notifies_a_full_lane() {
    let (permits, lane) = (Permits::new(), lane());
    let mut held: Vec<Permit> = std::iter::from_fn(|| permits.try_claim_new(&lane, None, false)).collect();
    permits.record_due(&lane, Partition::from_byte(1), from_millis(1));
    assert!(!has_changed(&permits));
    held.remove(0).end();
    assert!(has_changed(&permits));
    permits.record_due(&lane, Partition::from_byte(1), from_millis(1));
    assert!(has_changed(&permits), "the lane has capacity");
}
