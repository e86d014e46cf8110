//! The hash function of this program.

use sha2::{Digest as _, Sha256};

/// SHA-256, for content fingerprints and for tokens, whose entropy makes a slow hash unnecessary.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
