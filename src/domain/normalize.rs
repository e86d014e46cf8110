//! Normalizes text that people type or paste: removes what keyboards, messengers and right-to-left texts add. All kinds
//! of codes share this normalization.
//!
//! Letters of other scripts are not converted: a Cyrillic К does not become a Latin K.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

/// Maximum length in characters: more than any code with a directional mark around each of its characters.
pub const MAX_INPUT_LENGTH: usize = 200;

/// Characters that are not displayed: format characters (category Cf) and all others that Unicode declares ignorable,
/// such as variation selectors.
static INVISIBLE: LazyLock<Regex> = LazyLock::new(|| class(r"\p{Cf}\p{Default_Ignorable_Code_Point}"));
/// Spaces and dashes, which people and messengers insert into codes.
static SEPARATORS: LazyLock<Regex> = LazyLock::new(|| class(r"\p{White_Space}\p{Z}\p{Cc}\p{Pd}\u{2043}\u{2212}"));

fn class(of: &str) -> Regex {
    Regex::new(&format!("[{of}]+")).expect("a constant that the tests compile")
}

/// The digit zero of each set of decimal digits (category Nd), in ascending order.
const ZEROS: &[u32] = &[
    0x30, 0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0,
    0xf20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620,
    0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x10d40, 0x11066, 0x110f0, 0x11136,
    0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x116d0, 0x116da, 0x11730, 0x118e0, 0x11950, 0x11bf0,
    0x11c50, 0x11d50, 0x11da0, 0x11f50, 0x16130, 0x16a60, 0x16ac0, 0x16b50, 0x16d70, 0x1ccf0, 0x1d7ce, 0x1d7d8,
    0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e5f1, 0x1e950, 0x1fbf0,
];

/// Removes invisible characters, then applies NFKC, which folds compatibility forms such as full-width brackets.
pub fn remove_invisible(text: &str) -> String {
    // ASCII contains no invisible characters and is already in NFKC.
    if text.is_ascii() {
        return text.to_owned();
    }
    INVISIBLE.replace_all(text, "").nfkc().collect()
}

/// The code without spaces and dashes, with the digits of all scripts as 0 to 9 and ASCII letters in upper case.
pub fn code(typed: &str) -> String {
    let typed: String = typed.chars().take(MAX_INPUT_LENGTH).collect();
    SEPARATORS
        .replace_all(&remove_invisible(&typed), "")
        .chars()
        .map(|c| digit(c).unwrap_or(c.to_ascii_uppercase()))
        .collect()
}

fn digit(c: char) -> Option<char> {
    let zero = ZEROS[..ZEROS.partition_point(|zero| *zero <= u32::from(c))].last()?;
    char::from_digit(u32::from(c) - zero, 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(of: &str) -> Vec<char> {
        let one = Regex::new(&format!("^{of}$")).unwrap();
        ('\0'..=char::MAX).filter(|c| one.is_match(c.encode_utf8(&mut [0; 4]))).collect()
    }

    #[test]
    fn every_decimal_digit_is_read() {
        let digits = all(r"\p{Nd}");
        assert_eq!(digits.len(), ZEROS.len() * 10);
        for (index, c) in digits.into_iter().enumerate() {
            assert_eq!(code(&c.to_string()), (index % 10).to_string(), "{c:?}");
        }
    }

    #[test]
    fn every_mark_space_and_dash_is_dropped() {
        for of in [r"\p{Cf}", r"\p{Pd}", r"\p{Z}", r"\p{White_Space}", r"\p{Default_Ignorable_Code_Point}", r"\p{Cc}"] {
            let found = all(of);
            assert!(!found.is_empty());
            for c in found {
                assert_eq!(code(&format!("4{c}2")), "42", "{c:?}");
            }
        }
        assert_eq!(code("4\u{2212}2"), "42");
    }

    #[test]
    fn other_letters_stay_what_they_are() {
        assert_eq!(code("К7x\u{ff18}_*²"), "К7X8_*2");
        assert_eq!(code(&"\u{200b}".repeat(1_000_000)), "");
    }

    fn noise() -> impl Strategy<Value = String> {
        r"[\p{Cf}\p{Z}\p{Pd}\u{fe0f}\u{2212}\t\n]{0,8}"
    }

    proptest! {
        #[test]
        fn noise_and_scripts_change_nothing(
            letters in prop::collection::vec((0u32..36, noise(), any::<prop::sample::Index>(), any::<bool>()), 1..17),
        ) {
            let (mut typed, mut meant) = (String::new(), String::new());
            for (value, noise, script, upper) in letters {
                let plain = char::from_digit(value, 36).unwrap();
                let shown = match char::from_digit(value, 10) {
                    Some(_) => char::from_u32(ZEROS[script.index(ZEROS.len())] + value).unwrap(),
                    None if upper => plain.to_ascii_uppercase(),
                    None => plain,
                };
                typed.extend([noise.as_str(), shown.encode_utf8(&mut [0; 4])]);
                meant.push(plain.to_ascii_uppercase());
            }
            prop_assert_eq!(code(&typed), meant);
        }
    }
}
