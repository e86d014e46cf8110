//! The subkeys of one master key.
//!
//! Each purpose has a subkey of its own (HKDF-SHA-256). Inputs to one subkey start with a label, except bearer tokens,
//! which start with the name of a [`TokenKind`]; no kind is named like one of the labels.

use hkdf::Hkdf;
use sha2::Sha256;

use super::seal_key::SealKey;
use crate::domain::{
    code::LinkCode,
    digest::{Digest, KeyId, MacKey},
    id::{InstanceId, VerificationId},
    token::TokenKind,
};

/// The id and the subkeys of one master key.
pub(super) struct DerivedKeys {
    pub(super) id: KeyId,
    pub(super) code: MacKey,
    digest: MacKey,
    pub(super) token: MacKey,
    pub(super) event: MacKey,
    pub(super) seal: SealKey,
}

pub(super) fn subkey(master: &[u8; 32], label: &str) -> [u8; 32] {
    let mut out = [0; 32];
    let hkdf = Hkdf::<Sha256>::new(Some(b"countersign/1"), master);
    hkdf.expand(label.as_bytes(), &mut out).expect("32 bytes is a valid HKDF output length");
    out
}

impl DerivedKeys {
    pub(super) fn fingerprint(&self) -> String {
        Digest::truncated(self.digest.mac(&[b"fingerprint"])).hex()
    }

    pub(super) fn id_mac(&self, kind: TokenKind, id: VerificationId) -> [u8; 32] {
        self.token.mac(&[b"door", kind.as_str().as_bytes(), id.as_bytes()])
    }

    pub(super) fn derive(master: &[u8; 32]) -> Self {
        let subkey = |label: &str| subkey(master, label);
        let [a, b, c, d, ..] = subkey("id");
        Self {
            id: KeyId([a, b, c, d]),
            code: MacKey::new(subkey("code")),
            digest: MacKey::new(subkey("digest")),
            token: MacKey::new(subkey("token")),
            event: MacKey::new(subkey("event")),
            seal: SealKey::new(subkey("seal")),
        }
    }

    pub(super) fn session_mac(&self, parts: &[&[u8]]) -> Digest {
        let parts: Vec<&[u8]> = [b"session".as_slice()].into_iter().chain(parts.iter().copied()).collect();
        Digest::truncated(self.token.mac(&parts))
    }

    pub(super) fn link_id(&self, instance: InstanceId, code: &LinkCode, millis: u64) -> VerificationId {
        let mac = self.digest.mac(&[b"code", instance.as_bytes(), code.as_str().as_bytes()]);
        let (random, _) = mac.split_first_chunk().expect("a SHA-256 MAC has 32 bytes");
        VerificationId::new(millis, *random).in_partition(code.partition())
    }
}
