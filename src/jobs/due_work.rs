//! What this replica knows to be due in the store and has not leased.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::{
    domain::Partition,
    store::{DueLane, Lane},
};

/// Due work by lane and partition.
#[derive(Default)]
pub(super) struct DueWork {
    lanes: HashMap<Lane, BTreeMap<Partition, DuePartition>>,
    /// Counts what was noted: what comes while the store is looked at is not in its answer.
    version: u64,
}

struct DuePartition {
    since: Timestamp,
    version: u64,
    /// All that is due belongs to groups with a job in hand here.
    blocked: bool,
}

impl DueWork {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Replaces what was known at `mark`.
    pub(super) fn replace(&mut self, mark: u64, due: Vec<DueLane>) {
        self.lanes.retain(|_, partitions| {
            partitions.retain(|_, entry| entry.version > mark);
            !partitions.is_empty()
        });
        for DueLane { partition, lane, since } in due {
            self.add(&lane, partition, since);
        }
    }

    pub(super) fn add(&mut self, lane: &Lane, partition: Partition, since: Timestamp) {
        self.version += 1;
        let entry = DuePartition { since, version: self.version, blocked: false };
        self.lanes.entry(lane.clone()).or_default().entry(partition).or_insert(entry);
    }

    /// Of a partition that was asked: whether there is more, and whether all of it waits for jobs in hand.
    pub(super) fn record_grant(&mut self, lane: &Lane, partition: Partition, more: Option<Timestamp>, blocked: bool) {
        let Some(partitions) = self.lanes.get_mut(lane) else { return };
        match (more, partitions.get_mut(&partition)) {
            (Some(since), Some(entry)) => (entry.since, entry.blocked) = (since, blocked),
            (None, Some(_)) => {
                partitions.remove(&partition);
            }
            (_, None) => {}
        }
        if partitions.is_empty() {
            self.lanes.remove(lane);
        }
    }

    /// A job of the lane is no longer in hand.
    pub(super) fn unblock(&mut self, lane: &Lane) {
        let Some(partitions) = self.lanes.get_mut(lane) else { return };
        for entry in partitions.values_mut() {
            entry.blocked = false;
        }
    }

    /// Since when work of this lane could have been leased, if there is any.
    pub(super) fn oldest(&self, lane: &Lane) -> Option<Timestamp> {
        self.open(lane).map(|(_, entry)| entry.since).min()
    }

    /// Lanes with work, that which waits longest first.
    pub(super) fn lanes(&self) -> Vec<Lane> {
        let mut lanes: Vec<(Timestamp, &Lane)> =
            self.lanes.keys().filter_map(|lane| Some((self.oldest(lane)?, lane))).collect();
        lanes.sort();
        lanes.into_iter().map(|(_, lane)| lane.clone()).collect()
    }

    /// In how many partitions a lane has work: as many jobs at least are due.
    pub(super) fn partitions(&self, lane: &Lane) -> usize {
        self.open(lane).count()
    }

    /// Spreads `count` over the partitions of a lane: evenly, beginning where the oldest work is.
    pub(super) fn spread(&self, lane: &Lane, count: usize) -> Vec<(Partition, usize)> {
        let mut open: Vec<(Timestamp, Partition)> =
            self.open(lane).map(|(partition, entry)| (entry.since, *partition)).collect();
        open.sort();
        let partitions = open.len().max(1);
        let share = |place: usize| count / partitions + usize::from(place < count % partitions);
        let shares = open.into_iter().enumerate().map(|(place, (_, partition))| (partition, share(place)));
        shares.filter(|(_, share)| *share > 0).collect()
    }

    fn open(&self, lane: &Lane) -> impl Iterator<Item = (&Partition, &DuePartition)> {
        self.lanes.get(lane).into_iter().flatten().filter(|(_, entry)| !entry.blocked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::from_millis;

    fn due(partition: u8, second: i64) -> DueLane {
        let lane = Lane("a".to_owned());
        DueLane { partition: Partition::of(partition), lane, since: from_millis(second * 1000) }
    }

    #[test]
    fn permits_go_to_the_partitions_with_the_oldest_work() {
        let mut backlog = DueWork::default();
        backlog.replace(backlog.version(), vec![due(3, 30), due(1, 10), due(2, 20)]);
        let lane = Lane("a".to_owned());
        let spread = |count| {
            let spread = backlog.spread(&lane, count);
            spread.into_iter().map(|(partition, count)| (partition.index(), count)).collect::<Vec<_>>()
        };
        assert_eq!(spread(0), []);
        assert_eq!(spread(2), [(1, 1), (2, 1)]);
        assert_eq!(spread(7), [(1, 3), (2, 2), (3, 2)]);
        assert_eq!(backlog.oldest(&lane), Some(from_millis(10_000)));
    }

    #[test]
    fn what_came_while_the_store_was_looked_at_is_kept() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        backlog.add(&lane, Partition::of(1), from_millis(1));
        let mark = backlog.version();
        backlog.add(&lane, Partition::of(2), from_millis(2));
        backlog.replace(mark, Vec::new());
        assert_eq!(backlog.spread(&lane, 9), [(Partition::of(2), 9)]);
        backlog.record_grant(&lane, Partition::of(2), None, false);
        assert_eq!(backlog.lanes(), []);
    }

    #[test]
    fn what_waits_for_a_job_in_hand_is_not_asked_for() {
        let mut backlog = DueWork::default();
        let lane = Lane("a".to_owned());
        backlog.add(&lane, Partition::of(1), from_millis(1));
        backlog.record_grant(&lane, Partition::of(1), Some(from_millis(1)), true);
        assert_eq!(backlog.lanes(), []);
        backlog.unblock(&lane);
        assert_eq!(backlog.lanes(), [lane]);
    }
}
