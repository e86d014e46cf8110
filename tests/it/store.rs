//! The contract of `Store`, sentence by sentence, for both stores; Redis also as a cluster.
//!
//! A case gets an empty store and the clock that moves its time. A sentence that holds for one store only is no
//! sentence of the contract; what is left to say about the files of the embedded one is in `embedded`.

mod archive;
mod changes;
mod counters;
mod embedded;
mod fast_clock;
mod fixture;
mod jobs;
mod limits;
mod lists;
mod operations;
mod queue;
mod records;
mod retention;
mod timers;

use std::time::Duration;

use countersign::domain::Partition;

use crate::wait::until;

macro_rules! run {
    ($name:ident, $($module:ident: $($case:ident)*;)*) => {
        mod $name {$(
            mod $module {$(
                #[tokio::test]
                async fn $case() {
                    let clock = countersign::clock::Clock::default();
                    let Some(fixture) = crate::store::fixture::$name(&clock).await else { return };
                    crate::store::$module::$case(fixture.store(), &clock).await;
                }
            )*}
        )*}
    };
}

/// One after the other: a cluster takes seconds to form.
macro_rules! run_in_one_cluster {
    ($($module:ident: $($case:ident)*;)*) => {
        #[tokio::test]
        async fn in_a_cluster() {
            let cluster = crate::cluster_server::start();
            $($({
                let clock = countersign::clock::Clock::default();
                let store = fixture::in_a_cluster(&cluster, &clock).await;
                $module::$case(&store, &clock).await;
            })*)*
            assert_eq!(cluster.errors("CROSSSLOT"), 0);
        }
    };
}

macro_rules! contract {
    ($($cases:tt)*) => {
        run! { in_a_directory, $($cases)* }
        run! { in_redis, $($cases)* }
        run_in_one_cluster! { $($cases)* }
    };
}

contract! {
    records:
        a_record_is_found_by_its_id_and_by_its_locator
        a_change_raises_the_version
        a_version_is_the_time_of_its_write
        a_stale_change_conflicts
        a_missing_record_conflicts
        creating_twice_conflicts
        a_record_with_the_same_locator_collides
        a_comparison_alone_keeps_the_version
        of_many_changes_at_once_one_is_applied
        several_records_are_written_together_or_not_at_all
        a_change_is_late_from_its_first_invalid_moment_on
        a_message_is_answered_once
        a_message_is_answered_once_while_its_digest_changes
        the_first_reason_for_rejection_is_reported
        a_rejected_change_leaves_nothing
        a_removed_record_frees_its_locator;
    timers:
        a_timer_is_due_at_its_time_and_names_its_record
        a_timer_that_is_not_settled_is_due_again
        resetting_a_timer_discards_its_lease
        a_record_is_removed_with_its_timer_and_its_lists;
    jobs:
        a_committed_job_is_leased_in_the_same_step
        a_leased_job_is_not_leased_again_until_the_lease_expires
        an_expired_lease_cannot_be_settled
        a_done_job_is_never_leased_again
        a_retry_counts_as_an_attempt
        postponing_does_not_count_as_an_attempt
        a_job_given_up_is_kept_and_can_be_replayed
        only_a_dead_job_of_the_instance_is_replayed
        dead_jobs_are_listed_newest_first;
    queue:
        due_names_the_lanes_with_due_work
        the_oldest_job_comes_first
        many_workers_share_no_job
        a_held_lane_grants_no_lease
        a_commit_under_a_hold_leases_nothing
        a_job_is_queued_once
        partitions_do_not_share_job_ids
        of_a_group_one_job_is_leased_at_a_time
        several_lanes_are_leased_at_once
        consecutive_expired_leases_are_counted
        a_hold_can_be_ended;
    lists:
        a_list_is_newest_first
        pages_have_no_gap_and_no_overlap
        pages_have_no_gap_if_all_records_are_in_one_partition
        two_lists_are_read_as_one
        a_record_can_be_added_to_a_list_later
        an_unknown_list_is_empty;
    archive:
        a_delivered_callback_is_kept_for_its_retention_and_can_be_replayed
        the_number_of_kept_delivered_callbacks_is_bounded
        waiting_callbacks_are_listed_without_a_lease
        every_job_is_listed_once_in_pages
        a_job_is_visible_only_to_its_instance
        log_entries_are_newest_first_bounded_and_kept_for_a_day
        a_removed_record_is_gone_from_every_list
        removed_jobs_are_never_leased;
    changes:
        a_change_wakes_the_waiters_of_its_record
        a_commit_without_a_change_wakes_no_waiter;
    limits:
        a_bucket_allows_a_burst_and_then_one_per_interval
        parallel_requests_get_exactly_the_available_tokens
        canceled_requests_do_not_block_others
        an_exhausted_bucket_prevents_taking_from_the_others
        peeking_takes_no_token
        a_drawn_block_is_limited_by_the_smallest_bucket
        a_unit_given_back_can_be_taken_again
        found_records_are_in_the_order_of_the_query
        an_idempotency_key_belongs_to_its_first_request
        an_idempotency_key_keeps_its_owner_while_its_digest_changes
        metadata_is_stored
        a_claim_is_replaced_only_by_a_request_that_names_it
        a_probe_writes
        time_never_goes_backwards;
    counters:
        counts_of_an_hour_add_up
        two_replicas_add_at_once
        hours_are_read_in_order_and_by_instance
        counters_are_kept_for_eight_days;
    operations:
        the_backlog_is_reported_by_kind
        done_and_dead_jobs_are_not_part_of_the_backlog
        held_jobs_are_not_overdue
        heartbeats_are_kept_for_a_day
        a_store_describes_itself;
    retention:
        a_message_is_remembered_for_eight_days
        an_idempotency_key_is_held_for_a_day
        a_dead_job_is_kept_for_a_week;
}

pub(crate) fn digest() -> countersign::domain::keys::Digest {
    fixture::digest()
}

/// A change that queues a job, which is due at once.
pub(crate) fn one_job(partition: Partition) -> countersign::store::Change {
    countersign::store::Change { jobs: vec![fixture::job("one")], ..fixture::empty_change(partition) }
}

/// A change that answers a message and nothing else.
pub(crate) fn one_message() -> countersign::store::Change {
    countersign::store::Change { answers: Some(fixture::digest().into()), ..fixture::empty_change(fixture::HERE) }
}

/// A record, and the change that makes it.
pub(crate) fn one_record(
    store: &dyn countersign::store::Store,
) -> (countersign::store::RecordId, countersign::store::Change) {
    let key = fixture::id();
    (key, fixture::write(store, key, 0, b"1"))
}

/// As [`one_record`], with a job of this name that is leased at once.
pub(crate) fn one_record_with_a_job(
    store: &dyn countersign::store::Store,
    name: &str,
) -> (countersign::store::RecordId, countersign::store::Change) {
    let (key, change) = one_record(store);
    (key, change.job(leased(name)))
}

/// A change that answers a message with a job of this name, which is leased at once.
pub(crate) fn one_job_of_a_message(name: &str) -> countersign::store::Change {
    one_message().job(leased(name))
}

/// Queues jobs of these names in one lane, due at once.
pub(crate) async fn queue(store: &dyn countersign::store::Store, names: &[&str]) {
    fixture::queue(store, names.iter().map(|name| fixture::job(name)).collect()).await;
}

/// Sets a timer that is due now.
pub(crate) async fn set_due_timer(store: &dyn countersign::store::Store) {
    fixture::set_timer(store, fixture::id().within(fixture::HERE), 0, 0).await;
}

/// A request for the jobs of [`queue`], or for timers.
pub(crate) fn lease_request(timers: bool) -> countersign::store::LeaseRequest {
    let lane = if timers { countersign::store::Lane::timer() } else { fixture::lane() };
    countersign::store::LeaseRequest { partition: fixture::HERE, lane, limit: 100, busy_groups: [].into() }
}

fn leased(name: &str) -> countersign::store::Job {
    countersign::store::Job { lease: true, ..fixture::job(name) }
}

/// Writes over what is there.
pub(crate) async fn overwrite(store: &dyn countersign::store::Store, key: countersign::store::RecordId, bytes: &[u8]) {
    let version = fixture::version(store, key).await;
    fixture::applied(store.commit(&fixture::write(store, key, version, bytes)).await.unwrap());
}

/// Waits until a write through `here` in a partition notifies waiters of `there`.
pub(crate) async fn wait_until_notified(
    here: &dyn countersign::store::Store,
    there: &dyn countersign::store::Store,
    partition: Partition,
) {
    until(&format!("{partition:?} is notified"), async || {
        let key = fixture::id().within(partition);
        fixture::create(here, key, b"1").await;
        let mut watch = there.changes().watch(key).unwrap();
        let version = fixture::version(here, key).await;
        fixture::applied(here.commit(&fixture::write(here, key, version, b"2")).await.unwrap());
        tokio::time::timeout(Duration::from_secs(1), watch.changed()).await.is_ok()
    })
    .await;
}
