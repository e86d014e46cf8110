//! Due jobs that this replica knows of and has not leased.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{
    domain::Partition,
    store::{DueLane, Lane},
};

/// Jobs to lease per partition when many are requested: the cost of a lease depends more on the number of partitions
/// than on the number of jobs.
const JOBS_PER_PARTITION: usize = 4;
/// Minimum number of partitions to lease from at once, so that every partition of a lane is served soon.
const MIN_PARTITIONS: usize = 16;

/// Due work by lane and partition.
#[derive(Default)]
pub(super) struct DueWork {
    lanes: HashMap<Lane, BTreeMap<Partition, DuePartition>>,
    /// Incremented by every addition. What is added during a poll is missing from its result and must be kept.
    version: u64,
}

struct DuePartition {
    since: Timestamp,
    version: u64,
    /// Lower bound of the number of due jobs.
    min_due: usize,
    /// All due jobs belong to groups of which this process has claimed a job.
    blocked: bool,
}

impl DueWork {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Replaces everything known at `version` by the result of a poll that began then.
    pub(super) fn replace(&mut self, version: u64, due: Vec<DueLane>) {
        self.lanes.retain(|_, partitions| {
            partitions.retain(|_, entry| entry.version > version);
            !partitions.is_empty()
        });
        for DueLane { partition, lane, since } in due {
            self.version += 1;
            let entry = DuePartition { since, version: self.version, min_due: 1, blocked: false };
            self.lanes.entry(lane).or_default().entry(partition).or_insert(entry);
        }
    }

    /// Records another due job.
    pub(super) fn add(&mut self, lane: &Lane, partition: Partition, since: Timestamp) {
        self.version += 1;
        let new = DuePartition { since, version: self.version, min_due: 0, blocked: false };
        if !self.lanes.contains_key(lane) {
            self.lanes.insert(lane.clone(), BTreeMap::new());
        }
        let Some(partitions) = self.lanes.get_mut(lane) else { return };
        partitions.entry(partition).or_insert(new).min_due += 1;
    }

    /// Records the result of a lease: the number of jobs granted, the due time of the first one left, if any, and
    /// whether all jobs that are left wait for claimed jobs of their groups.
    pub(super) fn record_grant(
        &mut self,
        lane: &Lane,
        partition: Partition,
        granted: usize,
        more: Option<Timestamp>,
        blocked: bool,
    ) {
        let Some(partitions) = self.lanes.get_mut(lane) else { return };
        match (more, partitions.get_mut(&partition)) {
            (Some(since), Some(entry)) => {
                (entry.since, entry.blocked) = (since, blocked);
                entry.min_due = entry.min_due.saturating_sub(granted).max(1);
            }
            (None, Some(_)) => {
                partitions.remove(&partition);
            }
            (_, None) => {}
        }
        if partitions.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// Records that a claimed job of the lane has ended, so that blocked partitions can be tried again.
    pub(super) fn unblock(&mut self, lane: &Lane) {
        let Some(partitions) = self.lanes.get_mut(lane) else { return };
        for entry in partitions.values_mut() {
            entry.blocked = false;
        }
    }

    /// Due time of the oldest job of this lane that can be leased.
    pub(super) fn oldest_due(&self, lane: &Lane) -> Option<Timestamp> {
        self.unblocked(lane).map(|(_, entry)| entry.since).min()
    }

    /// Lanes with due jobs, longest waiting first.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<(Timestamp, &Lane)> =
            self.lanes.keys().filter_map(|lane| Some((self.oldest_due(lane)?, lane))).collect();
        lanes.sort();
        lanes.into_iter().map(|(_, lane)| lane.clone()).collect()
    }

    /// Number of partitions in which a lane has due jobs that are not blocked.
    pub(super) fn partitions(&self, lane: &Lane) -> usize {
        self.unblocked(lane).count()
    }

    /// Lower bound of the number of due jobs of a lane.
    pub(super) fn min_due(&self, lane: &Lane) -> usize {
        self.unblocked(lane).map(|(_, entry)| entry.min_due).sum()
    }

    /// Spreads `count` evenly over the partitions of a lane that have waited longest. If `count` is large, several jobs
    /// come from each partition.
    pub(super) fn split_by_partition(&self, lane: &Lane, count: usize) -> Vec<(Partition, usize)> {
        let mut open: Vec<(Timestamp, Partition)> =
            self.unblocked(lane).map(|(partition, entry)| (entry.since, *partition)).collect();
        open.sort();
        open.truncate((count / JOBS_PER_PARTITION).max(MIN_PARTITIONS));
        let partitions = open.len().max(1);
        let share = |place: usize| count / partitions + usize::from(place < count % partitions);
        let shares = open.into_iter().enumerate().map(|(place, (_, partition))| (partition, share(place)));
        shares.filter(|(_, share)| *share > 0).collect()
    }

    fn unblocked(&self, lane: &Lane) -> impl Iterator<Item = (&Partition, &DuePartition)> {
        self.lanes.get(lane).into_iter().flatten().filter(|(_, entry)| !entry.blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    fn due(partition: u8, second: i64) -> DueLane {
        let lane = Lane("a".to_owned());
        DueLane { partition: Partition::from_byte(partition), lane, since: from_millis(second * 1000) }
    }

    #[test]
    fn permits_go_to_the_partitions_with_the_oldest_work() {
        let mut backlog = DueWork::default();
        backlog.replace(backlog.version(), vec![due(3, 30), due(1, 10), due(2, 20)]);
        let lane = Lane("a".to_owned());
        let spread = |count| {
            let spread = backlog.split_by_partition(&lane, count);
            spread.into_iter().map(|(partition, count)| (partition.index(), count)).collect::<Vec<_>>()
        };
        assert_eq!(spread(0), []);
        assert_eq!(spread(2), [(1, 1), (2, 1)]);
        assert_eq!(spread(7), [(1, 3), (2, 2), (3, 2)]);
        assert_eq!(backlog.oldest_due(&lane), Some(from_millis(10_000)));
    }

    #[test]
    fn many_jobs_come_from_few_partitions() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        for partition in 0..32 {
            backlog.add(&lane, Partition::from_byte(partition), from_millis(i64::from(partition)));
        }
        for (count, partitions) in [(1, 1), (10, 10), (16, 16), (32, 16), (64, 16), (100, 25), (500, 32)] {
            let spread = backlog.split_by_partition(&lane, count);
            assert_eq!(spread.len(), partitions, "{count}");
            assert_eq!(spread[0].0, Partition::from_byte(0), "the oldest first");
            assert_eq!(spread.iter().map(|(_, count)| count).sum::<usize>(), count);
        }
    }

    #[test]
    fn jobs_added_during_a_poll_are_kept() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        backlog.add(&lane, Partition::from_byte(1), from_millis(1));
        let version = backlog.version();
        backlog.add(&lane, Partition::from_byte(2), from_millis(2));
        backlog.replace(version, Vec::new());
        assert_eq!(backlog.split_by_partition(&lane, 9), [(Partition::from_byte(2), 9)]);
        backlog.record_grant(&lane, Partition::from_byte(2), 1, None, false);
        assert_eq!(backlog.lanes(), []);
    }

    #[test]
    fn jobs_committed_by_this_process_are_counted() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        for _ in 0..5 {
            backlog.add(&lane, Partition::from_byte(1), from_millis(1));
        }
        backlog.add(&lane, Partition::from_byte(2), from_millis(1));
        assert_eq!(backlog.min_due(&lane), 6);
        backlog.record_grant(&lane, Partition::from_byte(1), 3, Some(from_millis(2)), false);
        backlog.record_grant(&lane, Partition::from_byte(2), 1, Some(from_millis(2)), false);
        assert_eq!(backlog.min_due(&lane), 3, "both partitions have jobs left");
    }

    #[test]
    fn blocked_partitions_are_not_leased_from() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        backlog.add(&lane, Partition::from_byte(1), from_millis(1));
        backlog.record_grant(&lane, Partition::from_byte(1), 0, Some(from_millis(1)), true);
        assert_eq!(backlog.lanes(), []);
        backlog.unblock(&lane);
        assert_eq!(backlog.lanes(), [lane]);
    }
}
