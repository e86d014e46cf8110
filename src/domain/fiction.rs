//! Phone numbers that are reserved for fiction and are never assigned to a subscriber.

use super::Phone;

/// Blocks of numbers, and the document that reserves them. The digits are those of E.164; a dot stands for any digit.
const RESERVED: &[(&str, &str)] = &[
    ("1...55501..", "ATIS, 555 NXX Assignment Guidelines: 555-0100 to 555-0199 in every geographic area code"),
    ("447700900...", "Ofcom, Telephone numbers for drama use (TV, Radio): 07700 900000 to 900999"),
    ("4917139200..", BUNDESNETZAGENTUR),
    ("49176040690..", BUNDESNETZAGENTUR),
    ("3363998....", "Arcep, décision n° 2018-0881, plan national de numérotation: 06 39 98 for audiovisual works"),
    ("61491570110", ACMA),
    ("61491570156", ACMA),
    ("61491570157", ACMA),
    ("61491570158", ACMA),
    ("61491570159", ACMA),
];

/// `Mittlg148_2021.pdf` on bundesnetzagentur.de, "Rufnummern für Medienproduktionen".
const BUNDESNETZAGENTUR: &str = "Bundesnetzagentur, Mitteilung 148/2021: (0)171 39200 00 to 99, (0)176 040690 00 to 99";
const ACMA: &str = "acma.gov.au/phone-numbers-use-tv-shows-films-and-creative-works: mobile numbers";

/// Of the toll-free numbers only a single one is reserved.
const TOLL_FREE: &[&str] = &["1800", "1833", "1844", "1855", "1866", "1877", "1888"];

/// Whether the number is reserved for fiction.
pub fn is_reserved(phone: &Phone) -> bool {
    let digits = phone.digits();
    !TOLL_FREE.iter().any(|code| digits.starts_with(code)) && RESERVED.iter().any(|(block, _)| matches(block, digits))
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
            "18885550142",
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
