//! The code in the prefilled message of a link: Crockford base32.
//!
//! The first character encodes the partition of the record, so a received code is routed without a look-up. All other
//! characters are secret.

use std::fmt;

use super::id::Partition;

/// Upper-case Crockford base32: no I, L, O, U. One character encodes exactly five bits, so there is no modulo bias.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Code lengths recognised in a message, independent of the configured length.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 8..=16;

/// The code of a link, sent by the person in a message. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LinkCode(String);

impl LinkCode {
    /// Encodes five bits of `secret` per character; the first five bits are the partition. `length` is clamped to
    /// 8..=16.
    pub fn from_bits(secret: &[u8; 32], length: u8) -> Self {
        Self(letters(secret, usize::from(length.clamp(8, 16))))
    }

    /// Parses a code in any case, with Crockford's aliases O=0 and I=L=1.
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text, unalias)
    }

    /// Like [`LinkCode::parse`], but without aliases: used for words without brackets, where aliases cause false
    /// matches.
    pub fn parse_strict(text: &str) -> Option<Self> {
        Self::read(text, std::convert::identity)
    }

    fn read(text: &str, alias: fn(char) -> char) -> Option<Self> {
        if !LENGTHS.contains(&text.len()) {
            return None;
        }
        let code: Option<String> = text
            .chars()
            .map(|c| alias(c.to_ascii_uppercase()))
            .map(|c| u8::try_from(c).is_ok_and(|byte| ALPHABET.contains(&byte)).then_some(c))
            .collect();
        code.map(Self)
    }

    /// The partition that holds the verification with this code.
    pub fn partition(&self) -> Partition {
        let first = self.0.as_bytes()[0];
        let index = ALPHABET.iter().position(|&letter| letter == first).expect("parsed against the alphabet");
        Partition::from_byte(u8::try_from(index).expect("the alphabet has 32 letters"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(•)")
    }
}

/// Encodes five bits of `secret` for each of `count` characters. `count` must be at most 50.
pub(super) fn letters(secret: &[u8; 32], count: usize) -> String {
    (0..count).map(|index| char::from(ALPHABET[usize::from(five_bits(secret, index * 5))])).collect()
}

/// Maps the letters that are commonly misread to the digits of the alphabet.
pub(super) fn unalias(upper: char) -> char {
    match upper {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    }
}

fn five_bits(bytes: &[u8; 32], offset: usize) -> u8 {
    let pair = u16::from_be_bytes([bytes[offset / 8], bytes[offset / 8 + 1]]);
    u8::try_from(pair >> (11 - offset % 8) & 31).expect("five bits fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_character_routes() {
        for partition in Partition::all() {
            let mut secret = [0xa5; 32];
            secret[0] = partition.index() << 3;
            let code = LinkCode::from_bits(&secret, 14);
            assert_eq!(code.as_str().len(), 14);
            assert_eq!(code.partition(), partition);
            assert_eq!(LinkCode::parse(code.as_str()), Some(code));
        }
    }

    #[test]
    fn bits_are_taken_in_order() {
        let mut secret = [0; 32];
        secret[0] = 0b0000_1000;
        secret[1] = 0b1000_0110;
        assert_eq!(LinkCode::from_bits(&secret, 8).as_str(), "12300000");
    }

    #[test]
    fn people_mistype_in_known_ways() {
        assert_eq!(LinkCode::parse("k7qxm2po"), LinkCode::parse("K7QXM2P0"));
        assert_eq!(LinkCode::parse("ilILilIL").unwrap().as_str(), "11111111");
        for bad in ["K7QXM2P", "K7QXM2PU", "K7QXM2P0K7QXM2P0K", "К7QXM2PD", "K7QX M2PD", ""] {
            assert_eq!(LinkCode::parse(bad), None, "{bad}");
        }
        assert_eq!(LinkCode::parse_strict("authorship"), None);
    }
}
