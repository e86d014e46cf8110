//! Phone numbers in E.164. Two numbers are equal if they belong to the same subscriber, as determined by `numbering`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::numbering;

/// An international phone number. It is masked in `Debug`; the full number is available through methods such as
/// [`Phone::digits`].
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(String);

/// Not an international number of 7 to 15 digits that does not start with 0, with or without `+`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected an international phone number: 7 to 15 digits, country code first")]
pub struct InvalidPhone;

impl Phone {
    /// Country code and number, without `+`.
    pub fn digits(&self) -> &str {
        &self.0
    }

    /// The number as given, with `+`.
    pub fn e164(&self) -> String {
        format!("+{}", self.0)
    }

    /// The form shared by all spellings of one subscriber. For keyed digests only, not for display or dialling.
    pub fn canonical(&self) -> String {
        numbering::canonical(&self.0)
    }

    /// The number as the current plan writes it, with `+`. The same person has the same value whichever spelling
    /// WhatsApp uses.
    pub fn current(&self) -> String {
        format!("+{}", numbering::current(&self.0))
    }

    /// Country code and number in every spelling of the subscriber's number, without `+`.
    pub fn spellings(&self) -> Vec<String> {
        numbering::spellings(&self.0)
    }

    /// `+44••••••••23`: enough to recognise one's own number, too little to call it.
    pub fn masked(&self) -> String {
        let (head, tail) = (&self.0[..2], &self.0[self.0.len() - 2..]);
        format!("+{head}{}{tail}", "•".repeat(self.0.len() - 4))
    }
}

impl FromStr for Phone {
    type Err = InvalidPhone;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let shaped = (7..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if shaped && !digits.starts_with('0') { Ok(Self(digits.to_owned())) } else { Err(InvalidPhone) }
    }
}

impl TryFrom<String> for Phone {
    type Error = InvalidPhone;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> Self {
        phone.0
    }
}

impl PartialEq for Phone {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Phone {}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phone(text: &str) -> Phone {
        text.parse().unwrap()
    }

    #[test]
    fn spellings_of_one_subscriber_are_equal() {
        for (a, b) in [
            ("+5511987654321", "551187654321"),
            ("5511961234567", "551161234567"),
            ("5215512345678", "525512345678"),
            ("5491123456789", "541123456789"),
            ("22961123456", "2290161123456"),
            ("447700900123", "+447700900123"),
        ] {
            assert_eq!(phone(a), phone(b), "{a} {b}");
        }
    }

    /// Both numbers of each pair are, or were, valid according to libphonenumber.
    #[test]
    fn neighbours_are_two_subscribers() {
        for (a, b) in [
            ("5511941234567", "551141234567"),
            ("5511921234567", "551121234567"),
            ("5511971234567", "551171234567"),
            ("5511887654321", "551187654321"),
            ("2290161123456", "2290161123457"),
            ("447700900123", "447700900124"),
            ("393331234567", "39333123456"),
        ] {
            assert_ne!(phone(a), phone(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in ["", "+", "123456", "0447700900", "1234567890123456", "44770090012a", "++447700900123", "٤٤٧٧٠٠"]
        {
            assert!(bad.parse::<Phone>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_hides_the_middle() {
        assert_eq!(format!("{:?}", phone("447700900123")), "+44••••••••23");
    }
}
