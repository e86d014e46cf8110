//! Look-ups: digests by which stored data is found without the value being readable.
//!
//! Look-up keys are separate from the master keys and do not change when those are rotated. A look-up key is only
//! replaced because it may have leaked. During the change, until no data remains that is stored only under the previous
//! key, every value is written and searched under both digests. A replica that does not know of the change yet shares
//! the previous key with the others; one that has completed it shares the current key.

use std::sync::Arc;

use super::{
    digest::{Digest, MacKey},
    id::InstanceId,
};

/// The digests that a value is stored under and found by: one, or two while the key is being changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LookUp {
    current: Digest,
    previous: Option<Digest>,
}

impl LookUp {
    pub const fn new(current: Digest, previous: Option<Digest>) -> Self {
        Self { current, previous }
    }

    pub const fn current(self) -> Digest {
        self.current
    }

    /// The digest for counters that use only one. During a change it is the previous one, so earlier counts are
    /// included.
    pub fn oldest(self) -> Digest {
        self.previous.unwrap_or(self.current)
    }

    /// All digests, the current one first.
    pub fn all(self) -> impl Iterator<Item = Digest> + Clone {
        std::iter::once(self.current).chain(self.previous)
    }

    pub fn contains(self, digest: Digest) -> bool {
        self.all().any(|one| one == digest)
    }
}

impl From<Digest> for LookUp {
    fn from(current: Digest) -> Self {
        Self { current, previous: None }
    }
}

/// A secret key for digests.
pub struct LookUpKey {
    secret: [u8; 32],
    signer: MacKey,
}

impl LookUpKey {
    pub fn new(secret: [u8; 32]) -> Self {
        Self { signer: MacKey::new(secret), secret }
    }

    /// A public name of the key, which reveals nothing else about it.
    pub fn name(&self) -> String {
        Digest::truncated(self.signer.mac(&[b"name"])).hex()
    }

    pub(super) const fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    pub(super) fn digest(&self, purpose: &str, instance: InstanceId, value: &[u8]) -> Digest {
        Digest::truncated(self.signer.mac(&[purpose.as_bytes(), instance.as_bytes(), value]))
    }

    pub(super) fn secret_digest(&self, secret: &[u8]) -> Digest {
        Digest::truncated(self.signer.mac(&[b"secret", secret]))
    }
}

/// The keys used for look-ups.
#[derive(Clone)]
pub struct LookUpKeys {
    /// Never changes. Used for values that reveal nothing about a person beyond one of 32 partitions, and for digests
    /// that are stored only in sealed form.
    pub permanent: Arc<LookUpKey>,
    pub current: Arc<LookUpKey>,
    /// Set while the key is being changed.
    pub previous: Option<Arc<LookUpKey>>,
}

impl LookUpKeys {
    /// Uses one key for everything.
    pub fn from_single(key: LookUpKey) -> Self {
        let key = Arc::new(key);
        Self { permanent: Arc::clone(&key), current: key, previous: None }
    }

    pub(super) fn look_up(&self, purpose: &str, instance: InstanceId, value: &[u8]) -> LookUp {
        let by = |key: &Arc<LookUpKey>| key.digest(purpose, instance, value);
        LookUp { current: by(&self.current), previous: self.previous.as_ref().map(by) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> Arc<LookUpKey> {
        Arc::new(LookUpKey::new([byte; 32]))
    }

    /// Replicas that may run side by side find each other's data.
    #[test]
    fn neighbours_in_a_change_share_a_digest() {
        let (permanent, old, new) = (key(0), key(1), key(2));
        let keys = |current: &Arc<LookUpKey>, previous: Option<&Arc<LookUpKey>>| LookUpKeys {
            permanent: Arc::clone(&permanent),
            current: Arc::clone(current),
            previous: previous.cloned(),
        };
        let instance = InstanceId::from_random([1; 16]);
        let steps = [keys(&old, None), keys(&new, Some(&old)), keys(&new, None)].map(|keys| {
            let found = keys.look_up("m", instance, b"x");
            assert!(found.contains(found.current()) && found.contains(found.oldest()));
            found
        });
        let shares = |a: LookUp, b: LookUp| a.all().any(|digest| b.contains(digest));
        assert!(shares(steps[0], steps[1]) && shares(steps[1], steps[2]));
        assert!(!shares(steps[0], steps[2]));
        assert_eq!(steps.map(|step| step.all().count()), [1, 2, 1]);
        assert_eq!(steps[1].oldest(), steps[0].current());
        assert_ne!(key(1).name(), key(2).name());
    }
}
