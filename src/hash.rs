//! The one hash function of this program.

use sha2::{Digest as _, Sha256};

/// SHA-256. For tokens, which have more entropy than anybody can guess, and for fingerprints of contents.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
