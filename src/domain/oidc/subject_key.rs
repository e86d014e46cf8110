//! The subject of a person as a client knows it.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Client, SubjectType};
use crate::domain::{
    Subject,
    digest::{Digest, MacKey},
};

/// Derives the subjects. Every one of them changes with this key, so it is never rotated.
pub struct SubjectKey(MacKey);

impl SubjectKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self(MacKey::new(key))
    }

    /// The `sub` of a person for a client: the same for all spellings of a number. It reveals nothing about the person.
    pub fn sub(&self, client: &Client, subject: &Subject) -> String {
        let sector = match client.subject {
            SubjectType::Pairwise => ["pairwise", client.sector.as_str()],
            SubjectType::Public => ["public", ""],
        };
        let canonical = subject.canonical();
        let [kind, sector] = sector;
        URL_SAFE_NO_PAD.encode(self.0.mac(&[b"sub", kind.as_bytes(), sector.as_bytes(), canonical.as_bytes()]))
    }

    /// Tells one key from another without revealing it.
    pub fn fingerprint(&self) -> String {
        Digest::truncated(self.0.mac(&[b"fingerprint"])).hex()
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectKey(•)")
    }
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn client(subject: SubjectType, sector: &str) -> Client {
        Client {
            id: "shop".to_owned(),
            name: None,
            secrets: Vec::new(),
            redirect_uris: Vec::new(),
            scopes: ClaimScopes::default(),
            subject,
            sector: sector.to_owned(),
            login_hint: false,
            allow_hidden: false,
            algorithm: Algorithm::Rs256,
            purpose: None,
        }
    }

    #[test]
    fn sectors_cannot_be_joined_and_spellings_are_one_person() {
        let key = SubjectKey::new([7; 32]);
        let (shop, bank) =
            (client(SubjectType::Pairwise, "shop.example"), client(SubjectType::Pairwise, "bank.example"));
        let public = client(SubjectType::Public, "shop.example");
        let phone = |digits: &str| Subject::Phone(digits.parse().unwrap());
        let sub = key.sub(&shop, &phone("5511987654321"));
        assert_eq!(sub, key.sub(&shop, &phone("551187654321")), "the ninth digit of Brazil");
        assert_eq!(sub.len(), 43);
        let others = [
            key.sub(&bank, &phone("5511987654321")),
            key.sub(&public, &phone("5511987654321")),
            key.sub(&shop, &phone("5511987654322")),
            key.sub(&shop, &Subject::Lid("5511987654321".to_owned())),
            SubjectKey::new([8; 32]).sub(&shop, &phone("5511987654321")),
        ];
        assert!(!others.contains(&sub));
        assert_eq!(
            key.sub(&public, &phone("447700900123")),
            key.sub(&client(SubjectType::Public, "other"), &phone("447700900123"))
        );
    }
}
