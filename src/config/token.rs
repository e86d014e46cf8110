//! API tokens: their digests, their scopes and their expiry.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde_json::Value;

use crate::{
    domain::scope::{Scope, Scopes},
    reader::Reader,
};

/// In characters.
const LONGEST_ID: usize = 32;

/// The configuration of an API token. The token itself is not stored.
#[derive(Clone, Debug)]
pub struct ApiToken {
    /// Identifies the token in the log, in timelines and in the audit stream.
    pub id: String,
    /// Whether the id was configured, as opposed to being derived from the digest.
    pub named: bool,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    pub scopes: Scopes,
    /// The first moment at which the token is no longer valid.
    pub until: Option<Timestamp>,
}

impl ApiToken {
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// Reads the list under `tokens`. Each entry is a digest or a table with a digest and restrictions.
pub fn read(s: &mut Reader<'_>) -> Vec<ApiToken> {
    let mut tokens: Vec<ApiToken> = Vec::new();
    let before = s.faults().iter().count();
    for (key, value) in s.values("tokens") {
        let token = match value {
            Value::String(text) => match digest(text) {
                Ok(digest) => {
                    Some(ApiToken { id: beginning(&digest), named: false, digest, scopes: Scopes::EVERY, until: None })
                }
                Err(expected) => {
                    s.fault_at(&key, expected);
                    None
                }
            },
            Value::Object(table) => s.read_table(key.clone(), table, of_table),
            _ => {
                s.fault_at(&key, "expected \"sha256:…\" or a table with a digest");
                None
            }
        };
        let Some(token) = token else { continue };
        if tokens.iter().any(|other| other.digest == token.digest) {
            s.fault_at(&key, "is the digest of an earlier token");
        } else if tokens.iter().any(|other| other.id == token.id) {
            s.fault_at(&key, format!("{:?} is the id of an earlier token", token.id));
        }
        tokens.push(token);
    }
    if tokens.is_empty() && s.faults().iter().count() == before {
        s.fault("tokens", "is empty, so the API could not be called; `countersign new-token` makes a token");
    }
    tokens
}

fn of_table(s: &mut Reader<'_>) -> Option<ApiToken> {
    let hint = "\"sha256:\" and the token's SHA-256; `countersign new-token` makes both";
    let digest = s.required("digest", hint, |s| s.read("digest", digest));
    let id = s.text("id");
    if id.as_deref().is_some_and(|id| !is_id(id)) {
        s.fault("id", format!("expected 1 to {LONGEST_ID} letters, digits, dots, dashes and underscores"));
    }
    let words: Vec<(&str, Scope)> = Scope::ALL.iter().map(|scope| (scope.as_str(), *scope)).collect();
    let limited = s.has("scopes");
    let scopes = s.choices("scopes", &words);
    if limited && scopes.is_empty() {
        s.fault("scopes", "is empty: leave it out for everything, or name what the token may do");
    }
    if scopes.contains(&Scope::ReadSecrets) && !scopes.contains(&Scope::Read) {
        s.fault("scopes", "read_secrets says what read shows: name read, too");
    }
    let until = s.read("until", |text| {
        moment(text).ok_or("expected a day such as 2027-01-31 (UTC), or a time such as 2027-01-31T12:00:00Z")
    });
    let digest = digest?;
    let scopes = if limited { scopes.into_iter().collect() } else { Scopes::EVERY };
    Some(ApiToken { named: id.is_some(), id: id.unwrap_or_else(|| beginning(&digest)), digest, scopes, until })
}

/// Parses a timestamp, or a date, which stands for the end of that day in UTC.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    let end = |day: Date| day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok().map(|start| start.timestamp());
    text.parse::<Timestamp>().ok().or_else(|| end(text.parse().ok()?))
}

/// Whether the text may appear unescaped in log lines and timelines.
pub fn is_id(text: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(harmless)
}

/// The first four bytes in hexadecimal: enough to distinguish a few tokens, too little to guess one.
fn beginning(digest: &[u8; 32]) -> String {
    digest[..4].iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"))
}

/// Parses the digest of a token or a client's secret.
pub(super) fn digest(text: &str) -> Result<[u8; 32], &'static str> {
    let digest = text.strip_prefix("sha256:").and_then(decode_hex);
    digest.ok_or("expected \"sha256:\" and 64 hex digits of the token's SHA-256; the token itself never stands here")
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
