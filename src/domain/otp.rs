//! One-time codes that we send and the person types back: alphabet, derivation and comparison.

use std::fmt;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::normalize;

/// Number of characters that a caller may request.
pub const LENGTHS: std::ops::RangeInclusive<u32> = 4..=10;

const DIGITS: &[u8] = b"0123456789";
const LOWER: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Length and alphabet of a code.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CodeFormat {
    pub length: u8,
    pub letters: bool,
    pub digits: bool,
    /// Upper-case letters instead of lower-case ones. Only relevant with `letters`.
    #[serde(rename = "capitals")]
    pub upper_case: bool,
}

impl CodeFormat {
    /// Six digits.
    pub const SIX_DIGITS: Self = Self { length: 6, letters: false, digits: true, upper_case: false };

    /// Digits first, then letters. Digits alone if neither was requested, which the API rejects.
    fn alphabet(self) -> Vec<u8> {
        let letters = match (self.letters, self.upper_case) {
            (true, true) => UPPER,
            (true, false) => LOWER,
            (false, _) => &[],
        };
        let digits = if self.digits || letters.is_empty() { DIGITS } else { &[] };
        [digits, letters].concat()
    }
}

/// A code that the person types. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct OtpCode(String);

impl OtpCode {
    /// Draws characters from the bytes of `block(0)`, `block(1)`, … and skips bytes that would favour the first
    /// characters of the alphabet.
    pub fn derive(shape: CodeFormat, block: impl Fn(u32) -> [u8; 32]) -> Self {
        let alphabet = shape.alphabet();
        let fair = 256 - 256 % alphabet.len();
        let bytes = (0..).flat_map(block).map(usize::from).filter(|byte| *byte < fair);
        Self(bytes.map(|byte| char::from(alphabet[byte % alphabet.len()])).take(usize::from(shape.length)).collect())
    }

    /// A code from the configuration: 4 to 10 letters or digits of ASCII.
    pub fn fixed(text: &str) -> Option<Self> {
        let length = u32::try_from(text.len()).is_ok_and(|length| LENGTHS.contains(&length));
        (length && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the text is this code, regardless of case, script of digits, spaces and marks ([`normalize::code`]). Runs in
    /// constant time for inputs of equal length.
    pub fn matches(&self, typed: &str) -> bool {
        normalize::code(typed).as_bytes().ct_eq(normalize::code(&self.0).as_bytes()).into()
    }
}

impl fmt::Debug for OtpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OtpCode(•)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::domain::{InstanceId, KeyRing, VerificationId};

    fn shape(length: u8, letters: bool, digits: bool, capitals: bool) -> CodeFormat {
        CodeFormat { length, letters, digits, upper_case: capitals }
    }

    fn codes(shape: CodeFormat) -> impl Iterator<Item = OtpCode> {
        let ring = KeyRing::new(&[[1; 32]]).unwrap();
        let (key, instance) = (ring.current_id(), InstanceId::from_random([1; 16]));
        (0u64..).map(move |number| {
            let mut nonce = [0; 16];
            nonce[..8].copy_from_slice(&number.to_be_bytes());
            ring.otp_code(key, instance, VerificationId::new(1, [2; 10]), &nonce, shape).unwrap()
        })
    }

    #[test]
    fn the_alphabet_is_what_was_asked_for() {
        for (shape, alphabet) in [
            (shape(4, false, true, false), "0123456789"),
            (shape(10, true, false, false), "abcdefghijklmnopqrstuvwxyz"),
            (shape(6, true, false, true), "ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            (shape(7, true, true, false), "0123456789abcdefghijklmnopqrstuvwxyz"),
            (shape(8, true, true, true), "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
            (shape(6, false, true, true), "0123456789"),
        ] {
            let mut seen: Vec<char> = Vec::new();
            for code in codes(shape).take(2_000) {
                assert_eq!(code.as_str().len(), usize::from(shape.length));
                seen.extend(code.as_str().chars());
            }
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, alphabet.chars().collect::<Vec<_>>(), "{shape:?}");
        }
    }

    /// Upper bound of the chi-square statistic that a fair draw exceeds in one of 10⁵ cases (Wilson and Hilferty).
    fn bound(freedom: f64) -> f64 {
        let spread = 2.0 / (9.0 * freedom);
        freedom * (1.0 - spread + 4.265 * spread.sqrt()).powi(3)
    }

    #[test]
    fn codes_favour_nothing() {
        fair(25_000);
    }

    #[test]
    #[ignore = "long: a million codes"]
    fn a_million_codes_favour_nothing() {
        fair(500_000);
    }

    /// All characters, and all pairs of adjacent characters, are equally likely.
    fn fair(count: usize) {
        for shape in [CodeFormat::SIX_DIGITS, shape(5, true, true, true)] {
            let size = if shape.letters { 36_usize } else { 10 };
            let length = usize::from(shape.length);
            let rank = |letter: u8| if letter.is_ascii_digit() { letter - b'0' } else { letter - b'A' + 10 };
            let mut single = vec![vec![0_u32; size]; length];
            let mut pairs = vec![vec![0_u32; size * size]; length - 1];
            for code in codes(shape).take(count) {
                let ranks: Vec<usize> = code.as_str().bytes().map(|letter| usize::from(rank(letter))).collect();
                for (position, &rank) in ranks.iter().enumerate() {
                    single[position][rank] += 1;
                }
                for (position, pair) in ranks.windows(2).enumerate() {
                    pairs[position][pair[0] * size + pair[1]] += 1;
                }
            }
            for counts in single.iter().chain(&pairs) {
                #[expect(clippy::cast_precision_loss, reason = "counts are small")]
                let (cells, expected) = (counts.len() as f64, count as f64 / counts.len() as f64);
                let chi: f64 = counts.iter().map(|&seen| (f64::from(seen) - expected).powi(2) / expected).sum();
                assert!(chi < bound(cells - 1.0), "{shape:?}: {chi} of {}", bound(cells - 1.0));
            }
        }
    }

    #[test]
    fn another_nonce_is_another_code_and_the_same_is_the_same() {
        let twice = || codes(shape(10, true, true, true)).take(1_000).map(|code| code.0).collect::<Vec<_>>();
        assert_eq!(twice(), twice());
        let mut seen = HashSet::new();
        assert!(twice().into_iter().all(|code| seen.insert(code)));
    }

    #[test]
    fn people_type_in_their_own_way() {
        let code = OtpCode("508214".to_owned());
        for typed in [
            "508214",
            " 508 214 ",
            "508-214",
            "٥٠٨٢١٤",
            "۵۰۸۲۱۴",
            "५०८२१४",
            "５０８２１４",
            "\u{2068}508\u{200b}–214\u{2069}",
            "৫০৮২১৪",
        ] {
            assert!(code.matches(typed), "{typed}");
        }
        assert!(OtpCode("ab1".to_owned()).matches("AB1") && OtpCode("AB1".to_owned()).matches("ab1"));
        for typed in ["", "508215", "50821", "5082144", "O08214", "٥٠٨٢١٥"] {
            assert!(!code.matches(typed), "{typed}");
        }
        assert_eq!(format!("{code:?}"), "OtpCode(•)");
    }
}
