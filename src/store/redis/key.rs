//! The keys in Redis. Keys of one partition share a hash tag, and so a slot.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    domain::{InstanceId, Partition, keys::Digest},
    random,
};

use super::super::{
    Index, Lane, Locator,
    archive::LogStream,
    counters::{Hour, HourlyCounts},
};

/// Hash tags of the partitions. Their slots are spread evenly over 3 and over 6 masters, which a test checks. Changing
/// a tag requires a migration.
const TAGS: [&str; 32] = [
    "10", "07", "25", "7", "0b", "0s", "b", "s", "11", "06", "24", "6", "0c", "0r", "c", "r", "12", "05", "27", "5",
    "0l", "0q", "l", "q", "13", "04", "26", "4", "0a", "0p", "a", "p",
];

/// Format and key fingerprints; never expires.
pub(super) const META: &str = "cs:meta";

/// Heartbeats of replicas; expires when all have stopped.
pub(super) const REPLICAS: &str = "cs:replicas";

fn key(partition: Partition, kind: &str, rest: &str) -> String {
    ["cs:{", TAGS[usize::from(partition.index())], "}:", kind, rest].concat()
}

pub(super) fn record(locator: Locator) -> String {
    key(locator.partition(), "r:", &URL_SAFE_NO_PAD.encode(locator.as_bytes()))
}

/// Locators of records by the due time of their timer, unless it is leased; never expires.
pub(super) fn timers(partition: Partition) -> String {
    key(partition, "w", "")
}

pub(super) fn message(partition: Partition, digest: Digest) -> String {
    key(partition, "m:", &digest.hex())
}

/// Lanes by the due time of their next job; never expires.
pub(super) fn lanes(partition: Partition) -> String {
    key(partition, "d", "")
}

/// Head, state and body of each job; never expires.
pub(super) fn jobs(partition: Partition) -> String {
    key(partition, "j", "")
}

/// Leased jobs and timers by the end of their lease; never expires.
pub(super) fn leases(partition: Partition) -> String {
    key(partition, "l", "")
}

/// What a new lease call has leased; expires with its leases. Lies beside the leases of `partition`.
pub(super) fn new_grant(partition: Partition) -> String {
    key(partition, "g:", &URL_SAFE_NO_PAD.encode(random::bytes::<12>()))
}

/// Jobs of one lane that are not leased, by due time; never expires.
pub(super) fn queue(partition: Partition, lane: &Lane) -> String {
    key(partition, "q:", &lane.0)
}

pub(super) fn hold(partition: Partition, lane: &Lane) -> String {
    key(partition, "h:", &lane.0)
}

/// Dead jobs of one instance by time of death; never expires.
pub(super) fn dead(partition: Partition, instance: InstanceId) -> String {
    key(partition, "x:", &instance.simple())
}

/// Delivered jobs of one instance by time of delivery; never expires.
pub(super) fn delivered(partition: Partition, instance: InstanceId) -> String {
    key(partition, "y:", &instance.simple())
}

/// Counters of one hour by name; expires.
pub(super) fn counters(instance: InstanceId, hour: Hour) -> String {
    key(HourlyCounts::partition(instance, hour), "c:", &format!("{}:{hour}", instance.simple()))
}

/// Log entries by time.
pub(super) fn journal(partition: Partition, journal: &LogStream) -> String {
    key(partition, "t:", &journal.0)
}

pub(super) fn index(partition: Partition, index: &Index) -> String {
    key(partition, "n:", &index.0)
}

pub(super) fn bucket(partition: Partition, bucket: &str) -> String {
    key(partition, "b:", bucket)
}

pub(super) fn reservation(partition: Partition, digest: Digest) -> String {
    key(partition, "k:", &digest.hex())
}

/// The pub/sub channel for changes of the partition's records.
pub(super) fn channel(partition: Partition) -> String {
    key(partition, "changes", "")
}

/// Written by the readiness probe.
pub(super) fn canary(partition: Partition) -> String {
    key(partition, "b:canary", "")
}

/// Written like new work, to check whether Redis accepts it.
pub(super) fn trial(partition: Partition) -> String {
    key(partition, "b:trial", "")
}

#[cfg(test)]
mod tests {
    use super::{super::slot, *};

    #[test]
    fn partitions_lie_evenly_over_three_and_six_masters() {
        for masters in [3u16, 6] {
            let mut load = vec![0; usize::from(masters)];
            for tag in TAGS {
                load[usize::from(slot::of(tag.as_bytes())) * usize::from(masters) / 16_384] += 1;
            }
            let (least, most) = (load.iter().min().unwrap(), load.iter().max().unwrap());
            assert!(most - least <= 1, "{masters}: {load:?}");
        }
    }
}
