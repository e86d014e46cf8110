//! Which browser waits, and the short code that lets another device finish in it.

use std::fmt;

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use super::{code, keys::Digest, typed, wire::wire_enum};

/// How long a reply code can be typed.
pub const CODE_WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// Wrong reply codes that spend it.
pub const CODE_TRIES: u8 = 5;

wire_enum! {
    /// Where WhatsApp is, seen from the browser that waits.
    Place {
        /// On the same device: the link in the reply comes back to this browser.
        Here = "here",
        /// On another one, which scans: the reply holds a code.
        Qr = "qr",
    }
}

/// The browser that used the start page last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// Of its cookie.
    pub browser: Digest,
    pub place: Place,
    /// Shown to whoever is asked to go on; forgotten with the rest of the person's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// Nobody pressed anything, and a robot that runs scripts does as much: it takes no other browser's place, and
    /// nothing goes on by itself because of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gently: bool,
}

/// The reply code is out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    #[serde(with = "millis")]
    pub until: Timestamp,
    pub misses: u8,
}

impl Told {
    pub(super) fn at(now: Timestamp) -> Self {
        Self { until: now + CODE_WINDOW, misses: 0 }
    }

    /// Whether the code still opens something.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.until && self.misses < CODE_TRIES
    }
}

/// Six letters of the codes' alphabet. Derived from the record like every code, so it is stored nowhere.
#[derive(Clone)]
pub struct ReplyCode(String);

impl ReplyCode {
    pub(super) fn from_bits(secret: &[u8; 32]) -> Self {
        Self(code::letters(secret, 6))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Constant-time; cleaned by [`typed::code`], O for 0 and I or L for 1.
    pub fn is(&self, typed: &str) -> bool {
        let canonical: String = typed::code(typed).chars().map(code::unalias).collect();
        subtle::ConstantTimeEq::ct_eq(canonical.as_bytes(), self.0.as_bytes()).into()
    }
}

impl fmt::Debug for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReplyCode(•)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_may_type_it_as_they_like() {
        let code = ReplyCode("70KQ1Z".to_owned());
        for good in ["70KQ1Z", "70kq1z", " 70k q1z ", "7O-kq-lz", "7okqiZ", "７０KQ1Z", "\u{202a}70K‑Q1Z\u{202c}"] {
            assert!(code.is(good), "{good}");
        }
        for bad in ["", "70KQ1", "70KQ1ZZ", "70KQ1Y", "70КQ1Z"] {
            assert!(!code.is(bad), "{bad}");
        }
    }
}
