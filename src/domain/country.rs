//! Country calling codes (ITU-T E.164, Annex). They are prefix-free: no code is a prefix of another.

const ONE: &[u8] = b"17";
const TWO: &[&str] = &[
    "20", "27", "30", "31", "32", "33", "34", "36", "39", "40", "41", "43", "44", "45", "46", "47", "48", "49", "51",
    "52", "53", "54", "55", "56", "57", "58", "60", "61", "62", "63", "64", "65", "66", "81", "82", "84", "86", "90",
    "91", "92", "93", "94", "95", "98",
];

/// The calling code of an international number. Codes that are not listed above have three digits.
pub fn calling_code(digits: &str) -> &str {
    let length = match digits.as_bytes() {
        [first, ..] if ONE.contains(first) => 1,
        [_, _, ..] if TWO.contains(&&digits[..2]) => 2,
        _ => 3,
    };
    &digits[..length.min(digits.len())]
}

/// Number of trailing digits that [`prefix`] removes, so a prefix covers 1000 consecutive numbers.
const PREFIX_OMITS: usize = 3;

pub fn prefix(digits: &str) -> &str {
    &digits[..digits.len().saturating_sub(PREFIX_OMITS)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_has_one() {
        for (digits, code) in [
            ("12025550142", "1"),
            ("79161234567", "7"),
            ("447700900123", "44"),
            ("5511941234567", "55"),
            ("22997123456", "229"),
            ("2348012345678", "234"),
            ("8801712345678", "880"),
            ("35812345678", "358"),
            ("9", "9"),
            ("", ""),
        ] {
            assert_eq!(calling_code(digits), code, "{digits}");
        }
        assert_eq!(prefix("447700900123"), "447700900");
    }
}
