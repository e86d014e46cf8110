//! Numbers with a fixed code, for the tests of apps and for the reviewers of app stores.

use jiff::{SignedDuration, Timestamp};

use super::token::moment;
use crate::{
    clock::Clock,
    domain::{Phone, Subject, fiction, otp::OtpCode, phone_input},
    reader::Reader,
};

/// How far ahead the end may lie: what is forgotten stops working.
const LONGEST: SignedDuration = SignedDuration::from_hours(90 * 24);

/// A number whose codes are always this one, and are never sent.
#[derive(Clone, Debug)]
pub struct TestNumber {
    pub phone: Phone,
    pub code: OtpCode,
    /// The first moment at which the number is like every other again.
    pub until: Timestamp,
}

impl TestNumber {
    /// Whether this is the number of `subject`.
    pub fn is(&self, subject: &Subject) -> bool {
        Subject::Phone(self.phone.clone()).canonical() == subject.canonical()
    }

    pub(super) fn read(s: &mut Reader<'_>) -> Option<Self> {
        let phone = s.required("number", "one that is reserved for fiction", |s| s.read("number", phone));
        let code = s.required("code", "4 to 10 letters or digits, which always count as the code", |s| {
            s.read("code", |text| OtpCode::fixed(text).ok_or("expected 4 to 10 letters or digits"))
        });
        let until = s.required("until", "the last day, at most 90 days ahead", |s| s.read("until", until));
        Some(Self { phone: phone?, code: code?, until: until? })
    }
}

fn phone(text: &str) -> Result<Phone, String> {
    let phone = phone_input::parse_phone(text).map_err(|error| error.to_string())?;
    if !fiction::is_reserved(&phone) {
        return Err("may belong to a person: use a number that is reserved for fiction, such as +12025550123, \
                    +447700900123 or +33639980123"
            .to_owned());
    }
    Ok(phone)
}

fn until(text: &str) -> Result<Timestamp, &'static str> {
    let until =
        moment(text).ok_or("expected a day such as 2027-01-31 (UTC), or a time such as 2027-01-31T12:00:00Z")?;
    if until.duration_since(Clock::default().wall()) > LONGEST {
        return Err("is more than 90 days ahead");
    }
    Ok(until)
}
