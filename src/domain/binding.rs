//! The browser that is bound to a link, and the reply code with which a login is finished from another device.
//!
//! At most one browser is bound at a time. The reply code is derived from the record; only its deadline and the number
//! of wrong attempts are stored.

use std::fmt;

use jiff::{SignedDuration, Timestamp, fmt::serde::timestamp::millisecond::required as millis};
use serde::{Deserialize, Serialize};

use super::{code, digest::Digest, normalize, wire::wire_enum};

/// How long the reply code is valid after it is first shown or sent.
pub const REPLY_CODE_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// Number of wrong attempts after which the reply code is invalid.
pub const MAX_REPLY_CODE_ATTEMPTS: u8 = 5;

wire_enum! {
    /// The device that WhatsApp is used on, relative to the browser that shows the start page.
    WhatsAppDevice {
        /// WhatsApp is on the same device: the link in the reply opens in this browser.
        Same = "here",
        /// WhatsApp is on another device, which scans a QR code: the reply contains a code to type.
        Other = "qr",
    }
}

/// The browser that used the start page last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Binding {
    /// Digest of the browser's cookie.
    pub browser: Digest,
    #[serde(rename = "place")]
    pub whatsapp_device: WhatsAppDevice,
    /// Client address of the browser, shown to the person who confirms the login. Erased with the other personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The page bound the browser by script, without user action, which a crawler can do as well. Such a binding never
    /// replaces an existing one, and the page does not proceed automatically because of it.
    #[serde(rename = "gently", default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
}

/// State of a reply code that was shown or sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ReplyCodeState {
    #[serde(with = "millis")]
    pub until: Timestamp,
    #[serde(rename = "misses")]
    pub wrong_attempts: u8,
}

impl ReplyCodeState {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { until: now + REPLY_CODE_LIFETIME, wrong_attempts: 0 }
    }

    /// Whether the code is still accepted at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.until && self.wrong_attempts < MAX_REPLY_CODE_ATTEMPTS
    }
}

/// Six Crockford base32 characters, derived from the record and never stored. Redacted in `Debug`.
#[derive(Clone)]
pub struct ReplyCode(String);

impl ReplyCode {
    pub(super) fn from_bits(secret: &[u8; 32]) -> Self {
        Self(code::letters(secret, 6))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in constant time. The input is normalised by [`normalize::code`]; O counts as 0, I and L as 1.
    pub fn matches(&self, typed: &str) -> bool {
        let canonical: String = normalize::code(typed).chars().map(code::unalias).collect();
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
            assert!(code.matches(good), "{good}");
        }
        for bad in ["", "70KQ1", "70KQ1ZZ", "70KQ1Y", "70КQ1Z"] {
            assert!(!code.matches(bad), "{bad}");
        }
    }
}
