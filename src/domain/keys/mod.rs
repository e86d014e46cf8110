//! Everything derived from the master keys: codes, digests, tokens, event ids and sealed bytes.
//!
//! New values are created with the first key and verified with any key, so a key can be rotated while verifications
//! are pending. A record stores the id of the key that created it. Values that must be found for longer than any record
//! lives use separate keys ([`LookUpKeys`](super::look_up::LookUpKeys)), which do not change on rotation.

mod derive;
mod ring;
mod seal;
mod seal_key;

pub use self::{ring::KeyRing, seal::OpenError};
pub use super::digest::{Digest, KeyId};
