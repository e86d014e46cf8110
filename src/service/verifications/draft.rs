//! The values that a verification is created from. An idempotency key holds them from its first request on, before the
//! verification exists.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    domain::{InstanceId, NewVerification, VerificationId, keys::KeyId},
    store::StoreError,
};

/// Creating a verification from the same draft again yields the same verification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) struct VerificationDraft {
    pub(in crate::service) key: KeyId,
    pub(in crate::service) nonce: [u8; 16],
    /// Only for links; 0 for other verifications.
    pub(in crate::service) code_length: u8,
    pub(in crate::service) id: VerificationId,
}

impl VerificationDraft {
    /// The random and fixed properties of a new record. `expires` is its lifetime in seconds.
    pub(in crate::service) fn verification(
        self,
        instance: InstanceId,
        now: Timestamp,
        expires: u32,
        max_attempts: u32,
    ) -> NewVerification {
        let Self { id, key, nonce, .. } = self;
        let expires_at = now + Duration::from_secs(u64::from(expires));
        NewVerification { id, instance, key, nonce, created_at: now, expires_at, max_attempts }
    }

    pub(in crate::service) fn write(&self) -> Vec<u8> {
        [self.key.as_bytes().as_slice(), &self.nonce, &[self.code_length], self.id.as_bytes()].concat()
    }

    /// Inverse of [`VerificationDraft::write`].
    pub(in crate::service) fn read(claim: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let (key, rest) = claim.split_first_chunk()?;
            let (nonce, rest) = rest.split_first_chunk()?;
            let (&code_length, id) = rest.split_first()?;
            let id = VerificationId::from_bytes(id.try_into().ok()?);
            Some(Self { key: KeyId::from_bytes(*key), nonce: *nonce, code_length, id })
        };
        read().ok_or_else(|| StoreError::Corrupt("an idempotency key that stands for nothing".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_read_as_it_was_written() {
        let (key, id) = (KeyId::from_bytes([1; 4]), VerificationId::from_bytes([3; 16]));
        let draft = VerificationDraft { key, nonce: [2; 16], code_length: 14, id };
        assert_eq!(VerificationDraft::read(&draft.write()).unwrap(), draft);
        assert!(VerificationDraft::read(&draft.write()[1..]).is_err());
    }
}
