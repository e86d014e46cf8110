//! Leased jobs whose attempt has not started.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    jobs::permits::{Permits, StartResult, StartableJob},
    store::Lane,
};

/// A job that has waited this long is returned to the store: its attempt could outlast its lease.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(4);

/// Waiting jobs by lane, oldest first.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<Lane, VecDeque<StartableJob>>>);

/// Jobs taken out of a lane.
#[derive(Default)]
pub(super) struct TakenJobs {
    /// Jobs that can start now.
    pub(super) startable: Vec<StartableJob>,
    /// Overdue jobs, to be returned to the store.
    pub(super) overdue: Vec<StartableJob>,
}

impl Waiting {
    /// Adds jobs of one lane, in the order of their age.
    pub(super) fn add(&self, lane: &Lane, jobs: Vec<StartableJob>) {
        let mut lanes = self.lock();
        let waiting = lanes.entry(lane.clone()).or_default();
        let last = waiting.back().map(since);
        let sorted = jobs.is_sorted_by_key(since) && jobs.first().map(since) >= last;
        waiting.extend(jobs);
        if !sorted {
            waiting.make_contiguous().sort_by_key(since);
        }
    }

    /// Takes out the jobs of a lane that can start now, and those that are overdue.
    pub(super) fn take_startable(&self, lane: &Lane, permits: &Permits) -> TakenJobs {
        let mut taken = TakenJobs::default();
        let mut lanes = self.lock();
        let Some(waiting) = lanes.get_mut(lane) else { return taken };
        let mut index = 0;
        while let Some(job) = waiting.get_mut(index) {
            let overdue = job.permit.claim_age() > MAX_WAIT;
            let begin = if overdue { StartResult::GroupBusy } else { permits.try_start(&mut job.permit) };
            let list = match begin {
                StartResult::AtLimit => break,
                StartResult::Started => &mut taken.startable,
                StartResult::GroupBusy if overdue => &mut taken.overdue,
                StartResult::GroupBusy => {
                    index += 1;
                    continue;
                }
            };
            list.extend(waiting.remove(index));
        }
        if waiting.is_empty() {
            lanes.remove(lane);
        }
        taken
    }

    /// Takes out all jobs of a lane.
    pub(super) fn take(&self, lane: &Lane) -> Vec<StartableJob> {
        self.lock().remove(lane).map(Vec::from).unwrap_or_default()
    }

    /// Takes out the jobs that were leased longer ago than `time`.
    pub(super) fn take_older_than(&self, time: Duration) -> Vec<StartableJob> {
        let mut late = Vec::new();
        self.lock().retain(|_, waiting| {
            let (over, rest) = std::mem::take(waiting).into_iter().partition(|job| job.permit.claim_age() > time);
            *waiting = rest;
            late.extend::<VecDeque<_>>(over);
            !waiting.is_empty()
        });
        late
    }

    pub(super) fn lanes(&self) -> Vec<Lane> {
        self.lock().keys().cloned().collect()
    }

    /// Every change is complete before anything can panic, so a poisoned lock still guards consistent data.
    fn lock(&self) -> MutexGuard<'_, HashMap<Lane, VecDeque<StartableJob>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since(job: &StartableJob) -> jiff::Timestamp {
    job.leased.since
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        domain::{InstanceId, Partition, time::from_millis},
        store::{JobId, LeasedJob},
    };

    fn lane() -> Lane {
        Lane::replies(InstanceId::from_random([1; 16]))
    }

    /// Jobs whose permits have not started, as a lease returns them.
    fn leased(permits: &Arc<Permits>, jobs: &[(&str, i64)]) -> Vec<StartableJob> {
        permits.record_due(&lane(), Partition::from_byte(1), from_millis(0));
        let (request, held) = permits.prepare_leases(&lane(), false).remove(0);
        let jobs = jobs.iter().map(|(id, since)| LeasedJob {
            partition: Partition::from_byte(1),
            id: JobId((*id).to_owned()),
            instance: InstanceId::from_random([1; 16]),
            lane: lane(),
            fence: 1,
            attempts: 0,
            expired_leases: 0,
            since: from_millis(*since),
            body: Vec::new(),
        });
        let granted = crate::store::LeaseGrant { jobs: jobs.collect(), oldest_left: None };
        permits.record_grant(&request, granted, held).into_iter().map(StartableJob::from).collect()
    }

    fn ids(jobs: &[StartableJob]) -> Vec<&str> {
        jobs.iter().map(|job| job.leased.id.0.as_str()).collect()
    }

    #[test]
    fn the_oldest_begin_first_and_one_of_a_group_at_a_time() {
        let (permits, waiting) = (Permits::new(), Waiting::default());
        waiting.add(&lane(), leased(&permits, &[("a/2", 20), ("b/1", 30)]));
        waiting.add(&lane(), leased(&permits, &[("a/1", 10)]));
        let mut first = waiting.take_startable(&lane(), &permits).startable;
        assert_eq!(ids(&first), ["a/1", "b/1"]);
        assert!(waiting.take_startable(&lane(), &permits).startable.is_empty());
        first.remove(0).permit.end();
        assert_eq!(ids(&waiting.take_startable(&lane(), &permits).startable), ["a/2"]);
        assert!(waiting.lanes().is_empty());
    }

    #[test]
    fn what_waits_is_taken_out_by_its_time_or_by_its_lane() {
        let (permits, waiting) = (Permits::new(), Waiting::default());
        waiting.add(&lane(), leased(&permits, &[("a", 10), ("b", 20)]));
        assert!(waiting.take_older_than(Duration::from_secs(60)).is_empty());
        assert_eq!(waiting.lanes(), [lane()]);
        assert_eq!(ids(&waiting.take_older_than(Duration::ZERO)), ["a", "b"]);
        assert!(waiting.lanes().is_empty());
        waiting.add(&lane(), leased(&permits, &[("c", 10)]));
        assert_eq!(ids(&waiting.take(&lane())), ["c"]);
        assert_eq!(permits.claimed_jobs(), 0, "all were given back");
    }
}
