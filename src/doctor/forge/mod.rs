//! Forgeries: changes to a genuine webhook that an attacker without the secret can make. The daemon must refuse all of
//! them.

mod content;
mod credential;

use std::collections::HashSet;

use jiff::Timestamp;
use url::form_urlencoded;

use crate::gateway::{Carrier, Draft, Proof};

/// One forged request.
pub(super) struct Forgery {
    pub(super) name: String,
    pub(super) draft: Draft,
}

/// All forgeries that apply to this authentication scheme, without duplicates. `sender` is the phone in the genuine
/// request, `others` are other instances' secrets.
pub(super) fn forgeries(
    proof: &Proof<'_>,
    unsigned: &Draft,
    sender: &str,
    others: &[String],
    now: Timestamp,
) -> Vec<Forgery> {
    let mut genuine = unsigned.clone();
    proof.sign(&mut genuine, now);
    let mut forge = Forge { proof, unsigned, sender, genuine, now, made: Vec::new() };
    forge.proofs();
    forge.places();
    forge.secrets(others);
    if !proof.is_weak() {
        forge.bodies();
    }
    forge.times();
    if proof.signs_query() {
        forge.urls();
    }
    forge.tokens();
    let mut seen = HashSet::from([key(&forge.genuine)]);
    forge.made.retain(|forgery| seen.insert(key(&forgery.draft)));
    forge.made
}

/// Equal for equal requests: headers of different names have no order.
fn key(draft: &Draft) -> (String, Vec<(String, String)>, Vec<u8>) {
    let mut headers = draft.headers.clone();
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    (draft.query.clone(), headers, draft.body.clone())
}

struct Forge<'a> {
    proof: &'a Proof<'a>,
    unsigned: &'a Draft,
    sender: &'a str,
    genuine: Draft,
    now: Timestamp,
    made: Vec<Forgery>,
}

impl Forge<'_> {
    fn add(&mut self, name: impl Into<String>, draft: Draft) {
        self.made.push(Forgery { name: name.into(), draft });
    }

    /// The genuine credential, with its prefix.
    fn value(&self) -> String {
        match self.proof.carrier() {
            Carrier::Header(name) => header(&self.genuine, &name).unwrap_or_default(),
            Carrier::Query(name) => {
                let mut pairs = form_urlencoded::parse(self.genuine.query.as_bytes());
                pairs.find(|(key, _)| *key == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
            }
        }
    }

    /// The genuine request with other credentials.
    fn carrying(&self, values: &[&str]) -> Draft {
        let mut draft = self.genuine.clone();
        match self.proof.carrier() {
            Carrier::Header(name) => {
                draft.headers.retain(|(known, _)| *known != name);
                draft.headers.extend(values.iter().map(|value| (name.clone(), (*value).to_owned())));
            }
            Carrier::Query(name) => {
                let pairs = values.iter().map(|value| (name.as_str(), *value));
                draft.query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            }
        }
        draft
    }
}

fn header(draft: &Draft, name: &str) -> Option<String> {
    draft.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

/// Replaces the character at `place` by another of the same class.
fn flipped(text: &str, place: usize) -> String {
    let other = |c: char| match c {
        '0' => '1',
        'a' => 'b',
        'A' => 'B',
        c if c.is_ascii_digit() => '0',
        c if c.is_ascii_uppercase() => 'A',
        _ => 'a',
    };
    text.chars().enumerate().map(|(index, c)| if index == place { other(c) } else { c }).collect()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
