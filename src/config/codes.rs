//! How an instance sends codes.

use jiff::SignedDuration;

use super::instance::life;
use crate::{
    domain::{Channel, InstanceId},
    reader::Reader,
};

const CHANNELS: &[(&str, Channel)] = &[("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];

/// Codes that we send.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Whether the API's caller learns them.
    pub in_response: bool,
    /// Seconds.
    pub expires: u32,
    pub expires_bounds: (u32, u32),
    /// Wrong tries that end one.
    pub attempts: u32,
    /// Empty: whatever there is.
    pub channels: Vec<Channel>,
    /// Whose gateway sends by SMS.
    pub sms_instance: Option<InstanceId>,
    /// Beginnings of the numbers that codes are sent to, in digits. Empty: everywhere.
    pub countries: Vec<String>,
    /// How long [`crate::domain::target::FAILURES`] lock a chat.
    pub locked_for: Option<SignedDuration>,
}

impl Codes {
    pub(super) fn read(s: &mut Reader<'_>) -> Self {
        let (expires, expires_bounds) = life(s, "code_expires");
        let channels = s.choices("channels", CHANNELS);
        for index in 1..channels.len() {
            if channels[..index].contains(&channels[index]) {
                s.fault(&format!("channels.{index}"), "stands there twice");
            }
        }
        let locked_for = SignedDuration::try_from(s.duration("locked_for")).unwrap_or(SignedDuration::MAX);
        Self {
            countries: s.list("code_countries", country),
            locked_for: Some(locked_for).filter(|locked_for| !locked_for.is_zero()),
            in_response: s.flag("code_in_response", false),
            expires,
            expires_bounds,
            attempts: s.setting("code_attempts", 1..=20),
            channels,
            sms_instance: s.parsed("sms_instance", "the id of another [[instance]]"),
        }
    }
}

/// The digits of a calling code.
fn country(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix('+').filter(|digits| {
        (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    });
    digits.map(str::to_owned).ok_or("expected a calling code such as +44")
}
