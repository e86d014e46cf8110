//! Authenticated encryption of what is stored: XChaCha20-Poly1305, bound to a context.

use chacha20poly1305::{
    XNonce,
    aead::{Aead as _, Payload},
};

use super::{KeyId, KeyRing, derive::DerivedKeys};
use crate::domain::look_up::LookUpKey;

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
        let payload = Payload { msg: body, aad: context.as_bytes() };
        key.seal.decrypt(&XNonce::from(*nonce), payload).map_err(|_| OpenError)
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
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let sealed = self
            .seal
            .encrypt(&XNonce::from(nonce), payload)
            .expect("the plaintext is below the length limit of 256 GiB");
        [self.id.as_bytes().as_slice(), &nonce, &sealed].concat()
    }
}
