//! Phone numbers in the notations that people use.

use super::{normalize, numbering, phone::Phone};

/// Why a text is not an international phone number, worded for its author.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PhoneInputError {
    #[error("expected an international phone number: 7 to 15 digits, country code first")]
    Length,
    #[error("holds {0:?}; write an international phone number, such as +44 7700 900123")]
    Character(char),
    #[error(
        "has a 0 in brackets, which is only dialled within the country: write +44 7700 900123 for +44 (0)7700 900123"
    )]
    BracketedZero,
    #[error(
        "begins with the 0 that is only dialled within a country: write the country code instead, as in +44 7700 900123"
    )]
    NoCountry,
    #[error(
        "has a 0 after the country code, which is only dialled within the country: leave it out, as in +44 7700 900123"
    )]
    TrunkZero,
}

/// Parses digits of any script with spaces, dots, dashes, slashes and brackets between them, after an optional `+`,
/// `00` or `tel:`.
pub fn parse_phone(text: &str) -> Result<Phone, PhoneInputError> {
    let plain = normalize::code(text);
    let number = plain.strip_prefix("TEL:").unwrap_or(&plain);
    if number.contains("(0)") {
        return Err(PhoneInputError::BracketedZero);
    }
    let (number, signed) = number.strip_prefix('+').map_or((number, false), |number| (number, true));
    let mut digits = String::with_capacity(number.len());
    for c in number.chars() {
        match c {
            '0'..='9' => digits.push(c),
            '.' | '/' | '(' | ')' => {}
            other => return Err(PhoneInputError::Character(other)),
        }
    }
    let abroad = digits.strip_prefix("00").filter(|_| !signed);
    let digits = abroad.unwrap_or(&digits);
    if digits.starts_with('0') {
        return Err(PhoneInputError::NoCountry);
    }
    let phone = digits.parse().map_err(|_| PhoneInputError::Length)?;
    if numbering::has_trunk_zero(digits) { Err(PhoneInputError::TrunkZero) } else { Ok(phone) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decoration_is_dropped() {
        for text in [
            "447700900123",
            "+447700900123",
            "+44 7700 900123",
            "00447700900123",
            "0044 7700.900-123",
            "tel:+44-7700-900123",
            "TEL: +44 7700 900123",
            "+44 (7700) 900/123",
            "\u{202a}+44\u{a0}7700\u{2011}900123\u{202c}",
            "+44\u{2009}7700\u{200b}900123 ",
            "٠٠٤٤ ٧٧٠٠ ٩٠٠١٢٣",
            "＋４４ ７７００ ９００１２３",
        ] {
            assert_eq!(parse_phone(text).map(|phone| phone.e164()).as_deref(), Ok("+447700900123"), "{text:?}");
        }
    }

    #[test]
    fn what_is_dialled_at_home_is_refused_in_words() {
        for (text, reason) in [
            ("+44 (0)7700 900123", PhoneInputError::BracketedZero),
            ("+4407700900123", PhoneInputError::TrunkZero),
            ("07700 900123", PhoneInputError::NoCountry),
            ("(07700) 900123", PhoneInputError::NoCountry),
            ("+0044 7700 900123", PhoneInputError::NoCountry),
            ("+44 7700 900123 ext. 7", PhoneInputError::Character('E')),
            ("++447700900123", PhoneInputError::Character('+')),
            ("tel:+447700900123;ext=7", PhoneInputError::Character(';')),
            ("", PhoneInputError::Length),
            ("+44", PhoneInputError::Length),
        ] {
            assert_eq!(parse_phone(text).map(|phone| phone.e164()), Err(reason), "{text:?}");
        }
        assert_eq!(parse_phone("+39 06 1234 5678").unwrap().e164(), "+390612345678");
        assert_eq!(parse_phone("+229 01 61 12 34 56").unwrap().e164(), "+2290161123456");
    }

    proptest! {
        #[test]
        fn never_panics_and_never_invents(text in "\\PC{0,40}") {
            if let Ok(phone) = parse_phone(&text) {
                let digits: String = normalize::code(&text).chars().filter(char::is_ascii_digit).collect();
                prop_assert!(digits.ends_with(phone.digits()));
            }
        }
    }
}
