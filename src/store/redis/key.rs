//! The names of everything in Redis, and which slot they share.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::domain::{InstanceId, Partition, keys::Digest};

use super::super::{Index, Lane, Locator, archive::LogStream};

/// Hash tags of the partitions: slot numbers spread evenly, so that 3 or 6 masters carry alike. A test
/// computes it. Changing a tag is a migration.
const TAGS: [&str; 32] = [
    "10", "07", "25", "7", "0b", "0s", "b", "s", "11", "06", "24", "6", "0c", "0r", "c", "r", "12", "05", "27", "5",
    "0l", "0q", "l", "q", "13", "04", "26", "4", "0a", "0p", "a", "p",
];

/// Format and key fingerprints; permanent.
pub(super) const META: &str = "cs:meta";

/// What each replica said of itself; forgotten when nobody says anything.
pub(super) const REPLICAS: &str = "cs:replicas";

fn key(partition: Partition, rest: &str) -> String {
    format!("cs:{{{}}}:{rest}", TAGS[usize::from(partition.index())])
}

pub(super) fn record(locator: Locator) -> String {
    key(locator.partition(), &format!("r:{}", URL_SAFE_NO_PAD.encode(locator.as_bytes())))
}

/// Locators of records by the time their timer is due, unless it is in the hands of a worker; permanent.
pub(super) fn timers(partition: Partition) -> String {
    key(partition, "w")
}

pub(super) fn message(partition: Partition, digest: Option<Digest>) -> String {
    key(partition, &format!("m:{}", digest.map(Digest::hex).unwrap_or_default()))
}

/// Lanes by the time of their next due job; permanent.
pub(super) fn lanes(partition: Partition) -> String {
    key(partition, "d")
}

/// Jobs: head, state and body of each; permanent.
pub(super) fn jobs(partition: Partition) -> String {
    key(partition, "j")
}

/// Jobs and timers in the hands of workers, by the end of their leases; permanent.
pub(super) fn leases(partition: Partition) -> String {
    key(partition, "l")
}

/// Jobs of one lane that nobody works on, by due time; permanent.
pub(super) fn queue(partition: Partition, lane: &Lane) -> String {
    key(partition, &format!("q:{lane}"))
}

pub(super) fn hold(partition: Partition, lane: &Lane) -> String {
    key(partition, &format!("h:{lane}"))
}

/// Dead jobs of one instance by time of death; permanent.
pub(super) fn dead(partition: Partition, instance: InstanceId) -> String {
    key(partition, &format!("x:{}", instance.simple()))
}

/// Jobs of one instance that were delivered lately, by their end; permanent.
pub(super) fn delivered(partition: Partition, instance: InstanceId) -> String {
    key(partition, &format!("y:{}", instance.simple()))
}

/// Notes by their time.
pub(super) fn journal(partition: Partition, journal: &LogStream) -> String {
    key(partition, &format!("t:{}", journal.0))
}

pub(super) fn index(partition: Partition, index: &Index) -> String {
    key(partition, &format!("n:{}", index.0))
}

pub(super) fn bucket(partition: Partition, bucket: &str) -> String {
    key(partition, &format!("b:{bucket}"))
}

pub(super) fn reservation(partition: Partition, digest: Digest) -> String {
    key(partition, &format!("k:{}", digest.hex()))
}

/// Where changes of the partition's records are told.
pub(super) fn channel(partition: Partition) -> String {
    key(partition, "changes")
}

/// What readiness writes.
pub(super) fn canary(partition: Partition) -> String {
    key(partition, "b:canary")
}

/// What is written in the manner of new work, to see whether it is taken.
pub(super) fn trial(partition: Partition) -> String {
    key(partition, "b:trial")
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
