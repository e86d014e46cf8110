//! API tokens: their digests, what they may do, and until when.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value;

use super::{faults::Faults, section::Section};
use crate::domain::scope::{Scope, Scopes};

/// Characters of an id.
const LONGEST_ID: usize = 32;

/// What is known of an API token; the token itself stands nowhere.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Names it in the log, in timelines and in the audit stream.
    pub id: String,
    /// The id was given, and is not only the beginning of the digest.
    pub named: bool,
    /// SHA-256.
    pub digest: [u8; 32],
    pub scopes: Scopes,
    /// The first moment at which it opens nothing.
    pub until: Option<Timestamp>,
}

impl ApiToken {
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// The list under `tokens`: digests, or tables with more than the digest.
pub fn read(s: &mut Section, faults: &mut Faults) -> Vec<ApiToken> {
    let mut tokens: Vec<ApiToken> = Vec::new();
    for (key, value) in s.values("tokens") {
        let token = match value {
            Value::String(text) => digest(&text, &key, faults).map(|digest| ApiToken {
                id: beginning(&digest),
                named: false,
                digest,
                scopes: Scopes::EVERYTHING,
                until: None,
            }),
            Value::Object(table) => of_table(Section::new(&key, table), faults),
            _ => {
                faults.add(&key, "expected \"sha256:…\" or a table with a digest");
                None
            }
        };
        let Some(token) = token else { continue };
        if tokens.iter().any(|other| other.digest == token.digest) {
            faults.add(&key, "is the digest of an earlier token");
        } else if tokens.iter().any(|other| other.id == token.id) {
            faults.add(&key, format!("{:?} is the id of an earlier token", token.id));
        }
        tokens.push(token);
    }
    if tokens.is_empty() && !faults.iter().any(|fault| fault.key.starts_with(&s.key("tokens"))) {
        faults.add(s.key("tokens"), "is empty: nobody could call the API; `countersign new-token` makes a token");
    }
    tokens
}

fn of_table(mut s: Section, faults: &mut Faults) -> Option<ApiToken> {
    let key = s.key("digest");
    let text =
        s.required_text("digest", "\"sha256:\" and the token's SHA-256; `countersign new-token` makes both", faults);
    let id = s.text("id", faults);
    let digest = if text.is_empty() { None } else { digest(&text, &key, faults) };
    if id.as_deref().is_some_and(|id| !is_id(id)) {
        let expected = format!("expected 1 to {LONGEST_ID} letters, digits, dots, dashes and underscores");
        faults.add(s.key("id"), expected);
    }
    let words: Vec<&str> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let limited = s.has("scopes");
    let mut scopes = Vec::new();
    for (index, word) in s.texts("scopes", faults).into_iter().enumerate() {
        match Scope::ALL.iter().find(|scope| scope.as_str() == word) {
            Some(scope) => scopes.push(*scope),
            None => faults.add(s.key(&format!("scopes.{index}")), super::section::not_one_of(&word, &words)),
        }
    }
    if limited && scopes.is_empty() {
        faults.add(s.key("scopes"), "is empty: leave it out for everything, or name what the token may do");
    }
    if scopes.contains(&Scope::ReadSecrets) && !scopes.contains(&Scope::Read) {
        faults.add(s.key("scopes"), "read_secrets says what read shows: name read, too");
    }
    let until = s.text("until", faults).and_then(|text| {
        let until = moment(&text);
        if until.is_none() {
            faults
                .add(s.key("until"), "expected a day such as 2027-01-31 (UTC), or a time such as 2027-01-31T12:00:00Z");
        }
        until
    });
    s.finish(faults);
    let digest = digest?;
    let scopes = if limited { scopes.into_iter().collect() } else { Scopes::EVERYTHING };
    Some(ApiToken { named: id.is_some(), id: id.unwrap_or_else(|| beginning(&digest)), digest, scopes, until })
}

/// A moment, or the end of a day.
fn moment(text: &str) -> Option<Timestamp> {
    let end = |day: Date| day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
    text.parse::<Timestamp>().ok().or_else(|| end(text.parse().ok()?))
}

/// Whether it can stand in a log line or in a timeline as it is.
pub fn is_id(text: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(harmless)
}

/// Enough to tell a few tokens apart, and nothing to guess one by.
fn beginning(digest: &[u8; 32]) -> String {
    digest[..4].iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"))
}

fn digest(text: &str, key: &str, faults: &mut Faults) -> Option<[u8; 32]> {
    let digest = text.strip_prefix("sha256:").and_then(decode_hex);
    if digest.is_none() {
        faults.add(
            key,
            "expected \"sha256:\" and 64 hex digits of the token's SHA-256; the token itself never stands here",
        );
    }
    digest
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}
