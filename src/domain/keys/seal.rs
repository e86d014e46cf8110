//! Authenticated encryption of what is stored, bound to a context.

use super::{KeyId, KeyRing, derive::DerivedKeys};
use crate::domain::look_up::LookUpKey;

/// Bytes of the id of the key, the nonce and the tag.
const OVERHEAD: usize = 4 + 24 + 16;

/// The bytes cannot be decrypted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("value could not be decrypted: unknown key, wrong context or corrupt data")]
pub struct OpenError;

impl KeyRing {
    /// Encrypts `plain` with `context` as associated data; it can only be opened with the same context.
    pub fn seal(&self, context: &str, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        self.first().seal(context, plain, nonce)
    }

    /// Inverse of [`KeyRing::seal`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (id, rest) = sealed.split_first_chunk::<4>().ok_or(OpenError)?;
        let (nonce, body) = rest.split_first_chunk::<24>().ok_or(OpenError)?;
        let key = self.get(KeyId(*id)).ok_or(OpenError)?;
        key.seal.open(context.as_bytes(), body, nonce).ok_or(OpenError)
    }

    /// Encrypts a look-up key with the first key. The other keys may have leaked and be configured only to verify what
    /// they created, so they never encrypt it.
    pub fn seal_key(&self, context: &str, key: &LookUpKey, nonce: [u8; 24]) -> Vec<u8> {
        self.first().seal(context, key.secret(), nonce)
    }

    /// Inverse of [`KeyRing::seal_key`].
    pub fn open_key(&self, context: &str, sealed: &[u8]) -> Option<LookUpKey> {
        self.open(context, sealed).ok()?.try_into().ok().map(LookUpKey::new)
    }
}

impl DerivedKeys {
    fn seal(&self, context: &str, plain: &[u8], nonce: [u8; 24]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(OVERHEAD + plain.len());
        sealed.extend_from_slice(self.id.as_bytes());
        sealed.extend_from_slice(&nonce);
        self.seal.seal_into(&mut sealed, context.as_bytes(), plain, &nonce);
        sealed
    }
}
