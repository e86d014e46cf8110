//! Phone numbers that are reserved for fiction and are never assigned to a subscriber.

use super::Phone;

/// Blocks of numbers and who reserved them. The digits are those of E.164; a dot stands for any digit.
const RESERVED: &[(&str, &str)] = &[
    ("1...55501..", "NANPA, 555 line numbers: 555-0100 to 555-0199 in every area code but 800"),
    ("447700900...", "Ofcom, telephone numbers for drama use: mobile"),
    ("4917139200..", "Bundesnetzagentur, Mitteilung 148/2021: 0171 39200 00 to 99"),
    ("49176040690..", "Bundesnetzagentur, Mitteilung 148/2021: 0176 040690 00 to 99"),
    ("3363998....", "Arcep, plan national de numérotation: numbers for audiovisual works, 06 39 98"),
    ("61491570110", "ACMA, phone numbers for use in creative works: mobile"),
    ("61491570156", "ACMA, phone numbers for use in creative works: mobile"),
    ("61491570157", "ACMA, phone numbers for use in creative works: mobile"),
    ("61491570158", "ACMA, phone numbers for use in creative works: mobile"),
    ("61491570159", "ACMA, phone numbers for use in creative works: mobile"),
];

/// Whether the number is reserved for fiction.
pub fn is_reserved(phone: &Phone) -> bool {
    let digits = phone.digits();
    !digits.starts_with("1800") && RESERVED.iter().any(|(block, _)| matches(block, digits))
}

fn matches(block: &str, digits: &str) -> bool {
    let fits = |(pattern, digit): (u8, u8)| pattern == b'.' || pattern == digit;
    block.len() == digits.len() && block.bytes().zip(digits.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_ends_where_its_reservation_does() {
        let is_reserved = |digits: &str| is_reserved(&digits.parse().unwrap());
        for number in [
            "12025550100",
            "19175550199",
            "447700900000",
            "447700900999",
            "491713920000",
            "4917604069099",
            "33639980000",
            "33639989999",
            "61491570110",
            "61491570156",
            "61491570159",
        ] {
            assert!(is_reserved(number), "{number}");
        }
        for number in [
            "12025550200",
            "18005550100",
            "12025551212",
            "12025540100",
            "120255501000",
            "447700901000",
            "447700899999",
            "491713920100",
            "4917604069100",
            "33639990000",
            "61491570155",
            "61491570160",
            "5511987654321",
        ] {
            assert!(!is_reserved(number), "{number}");
        }
    }

    /// No block may be so wide that it takes in numbers of people.
    #[test]
    fn every_block_is_small_and_names_its_source() {
        for (block, source) in RESERVED {
            assert!(block.matches('.').count() <= 5 && !source.is_empty(), "{block}");
            assert!(block.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit()), "{block}");
        }
    }
}
