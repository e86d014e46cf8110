//! Records between the domain and the store: JSON, so that versions of this program read one another's, then
//! sealed, so that a stolen store tells nothing.

use crate::{
    domain::{KeyRing, Verification, VerificationId},
    entropy,
};

use super::{StoreError, Stored};

/// Raised when an older program could no longer read what a newer one writes.
const FORMAT: u8 = 1;

pub fn encode(keys: &KeyRing, verification: &Verification) -> Vec<u8> {
    let json = serde_json::to_vec(verification).expect("a record has only string keys");
    let mut bytes = vec![FORMAT];
    bytes.extend(keys.seal(&context(verification.id), &json, entropy::bytes()));
    bytes
}

pub fn decode(keys: &KeyRing, stored: &Stored) -> Result<Verification, StoreError> {
    let broken = |what: &str| StoreError::Broken(format!("record {}: {what}", stored.id));
    let sealed = match stored.bytes.split_first() {
        Some((&FORMAT, sealed)) => sealed,
        Some((other, _)) => return Err(broken(&format!("format {other} is not known to this version"))),
        None => return Err(broken("empty")),
    };
    let json = keys.open(&context(stored.id.into()), sealed).map_err(|_| broken("no configured key opens it"))?;
    serde_json::from_slice(&json).map_err(|error| broken(&error.to_string()))
}

fn context(id: VerificationId) -> String {
    format!("record:{id}")
}
