//! Settings for the codes that an instance sends.

use std::ops::RangeInclusive;

use jiff::SignedDuration;

use super::test_number::TestNumber;
use crate::{
    domain::{Channel, InstanceId, Subject},
    reader::Reader,
};

const CHANNELS: &[(&str, Channel)] = &[("whatsapp", Channel::WhatsApp), ("sms", Channel::Sms)];

/// Allowed lifetime of a code, in seconds.
const LIFE: RangeInclusive<u32> = 10..=86_400;

/// Settings for the codes that an instance sends.
#[derive(Clone, Debug)]
pub struct CodesConfig {
    /// Whether the response to the API caller contains the code.
    pub in_response: bool,
    /// In seconds.
    pub expires: u32,
    pub expires_bounds: (u32, u32),
    /// Number of wrong attempts that ends a code.
    pub attempts: u32,
    /// In order of preference. Empty: the instance's own gateway, then SMS if `sms_instance` is set.
    pub channels: Vec<Channel>,
    /// The instance whose gateway sends SMS.
    pub sms_instance: Option<InstanceId>,
    /// Prefixes of the phone numbers that codes may be sent to, in digits. Empty: no restriction.
    pub countries: Vec<String>,
    /// How long [`crate::domain::chat_state::MAX_CONSECUTIVE_FAILURES`] wrong attempts lock a chat. `None`: they do not.
    pub locked_for: Option<SignedDuration>,
    /// Numbers whose code is fixed and never sent.
    pub test_numbers: Vec<TestNumber>,
}

impl CodesConfig {
    /// The test number that is this subject, whether or not it has ended.
    pub fn test_number(&self, subject: &Subject) -> Option<&TestNumber> {
        self.test_numbers.iter().find(|number| number.is(subject))
    }

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
            test_numbers: test_numbers(s),
            sms_instance: s.parsed("sms_instance", "the id of another [[instance]]"),
        }
    }
}

/// Reads `name`, `name_min` and `name_max`: the default lifetime of a code in seconds, and the bounds for requests.
pub(super) fn life(s: &mut Reader<'_>, name: &str) -> (u32, (u32, u32)) {
    let (name_min, name_max) = (format!("{name}_min"), format!("{name}_max"));
    let (least, most) = (s.setting(&name_min, LIFE), s.setting(&name_max, LIFE));
    let seconds = s.setting(name, LIFE);
    if !(least..=most).contains(&seconds) {
        s.fault(name, format!("must lie between {name_min} {least} and {name_max} {most}"));
    }
    (seconds, (least, most))
}

fn test_numbers(s: &mut Reader<'_>) -> Vec<TestNumber> {
    let numbers: Vec<TestNumber> = s.tables("test_number", TestNumber::read).into_iter().flatten().collect();
    for (index, number) in numbers.iter().enumerate() {
        if numbers[..index].iter().any(|other| other.phone == number.phone) {
            s.fault(&format!("test_number.{index}.number"), "occurs twice");
        }
    }
    numbers
}

/// Parses a calling code and returns its digits.
fn country(text: &str) -> Result<String, &'static str> {
    let digits = text.strip_prefix('+').filter(|digits| {
        (1..=7).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0')
    });
    digits.map(str::to_owned).ok_or("expected a calling code such as +44")
}
