//! Finds the codes of links in the text of a message.
//!
//! The scanned text is capped and the scan is linear in its length. Homoglyphs are never mapped: a Cyrillic К is not a
//! Latin K.

use std::sync::LazyLock;

use regex::Regex;

use super::{code::LinkCode, normalize};

/// Inbound text can be 64 KiB. Prefilled messages have at most 4096 characters, which fit into this limit.
const SCANNED_BYTES: usize = 4 * 4096;
/// Maximum number of codes taken from one message; a genuine message contains one.
const MAX_CANDIDATES: usize = 3;

/// WhatsApp's formatting marks.
const FORMATTING: &str = "*_~`";

static BRACKETED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[[^\[\]]{1,64}\]").expect("a constant that the tests compile"));
static WORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"[0-9A-Za-z]+").expect("a constant that the tests compile"));
/// Signs that change what is said: of currencies, of mathematics, percent; and what strikes characters through, which is
/// `~` in WhatsApp, among the mathematical ones, and marks that are drawn over a character.
static SIGN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\p{Sc}\p{Sm}%‰\u{334}-\u{338}\u{20d0}-\u{20f0}]").expect("a constant that the tests compile")
});
const ASCII_SIGNS: &str = "$%+<=>|~";
/// Displays a text in another order than it is stored in.
const OVERRIDES: [char; 2] = ['\u{202d}', '\u{202e}'];
static DASH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^\p{Pd}").expect("a constant that the tests compile"));

/// The codes found in a text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FoundCodes {
    /// Distinct codes in order of appearance, at most three.
    pub codes: Vec<LinkCode>,
    /// The brackets were lost: the code is a bare word of the text.
    pub edited: bool,
}

/// Returns the codes in brackets. If there are none, returns the bare word that is a code of exactly `expected_length`
/// characters, provided there is only one.
pub fn find_codes(text: &str, expected_length: usize) -> FoundCodes {
    let plain = normalise(text);
    let mut codes = Vec::new();
    for bracketed in BRACKETED.find_iter(&plain) {
        if let Some(code) = code_in(bracketed.as_str())
            && !codes.contains(&code)
        {
            codes.push(code);
        }
        if codes.len() == MAX_CANDIDATES {
            break;
        }
    }
    if !codes.is_empty() {
        return FoundCodes { codes, edited: false };
    }
    let mut bare = WORD
        .find_iter(&plain)
        .filter(|word| word.len() == expected_length)
        .filter_map(|word| LinkCode::parse_strict(word.as_str()));
    match (bare.next(), bare.next()) {
        (Some(code), None) => FoundCodes { codes: vec![code], edited: true },
        _ => FoundCodes::default(),
    }
}

/// The code in a pair of brackets.
fn code_in(bracketed: &str) -> Option<LinkCode> {
    let inner: String = bracketed.chars().filter(|c| !"[]".contains(*c) && !FORMATTING.contains(*c)).collect();
    LinkCode::parse(&normalize::code(&inner))
}

/// What a text without a code says, in the form of [`text_without_code`].
pub fn text_said(text: &str) -> String {
    words(normalise(text).chars())
}

/// What a text says without its code: letters in lower case, digits, and signs that change what these say. Changes of
/// spaces, punctuation and case by the sender, a phone or a gateway do not affect it, except between two digits: 90.00
/// is not 9,000.
pub fn text_without_code(text: &str, code: &LinkCode) -> String {
    let plain = normalise(text);
    let bracketed = || BRACKETED.find_iter(&plain).find(|found| code_in(found.as_str()).as_ref() == Some(code));
    let bare = || WORD.find_iter(&plain).find(|word| LinkCode::parse_strict(word.as_str()).as_ref() == Some(code));
    let range = bracketed().or_else(bare).map(|found| found.range()).unwrap_or_default();
    let mut words = words(plain[..range.start].chars().chain(plain[range.end..].chars()));
    if text.len() > SCANNED_BYTES || text.contains(OVERRIDES) {
        // The person may have read something else than these words.
        words.push('…');
    }
    words
}

fn words(text: impl Iterator<Item = char>) -> String {
    let (mut words, mut gap) = (String::new(), String::new());
    for c in text {
        if c.is_alphanumeric() || is_sign(c) {
            if c.is_numeric() && words.ends_with(char::is_numeric) {
                words.push_str(&gap);
            }
            gap.clear();
            words.extend(c.to_lowercase());
        } else if c.is_whitespace() {
            // Gateways write line breaks in different ways.
            if !gap.ends_with(' ') {
                gap.push(' ');
            }
        } else if !FORMATTING.contains(c) {
            gap.push(if is_dash(c) { '-' } else { c });
        }
    }
    words
}

/// Whether [`SIGN`] matches. The signs of ASCII are listed, because almost every text has no others.
fn is_sign(c: char) -> bool {
    if c.is_ascii() { ASCII_SIGNS.contains(c) } else { matches(&SIGN, c) }
}

fn is_dash(c: char) -> bool {
    c == '-' || (!c.is_ascii() && matches(&DASH, c))
}

fn matches(class: &Regex, c: char) -> bool {
    class.is_match(c.encode_utf8(&mut [0; 4]))
}

/// The first 16 KiB of the text, without invisible characters and in compatibility form.
fn normalise(text: &str) -> String {
    let mut end = text.len().min(SCANNED_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    normalize::remove_invisible(&text[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<String> {
        find_codes(text, 14).codes.iter().map(|code| code.as_str().to_owned()).collect()
    }

    #[test]
    fn listed_signs_are_those_of_ascii() {
        for c in (0..128u8).map(char::from) {
            assert_eq!((is_sign(c), is_dash(c)), (matches(&SIGN, c), matches(&DASH, c)), "{c:?}");
        }
    }

    #[test]
    fn brackets_in_every_dress() {
        for text in [
            "Sign me in [K7QXM2PD] - DO NOT CHANGE THIS MESSAGE",
            "sign me in [k7qxm2pd]",
            "[ K7QX M2PD ]",
            "*[K7QXM2PD]* _x_",
            "[*K7QXM2PD*] [`K7QXM2PD`]",
            "\u{200f}\u{2066}[K7QX\u{200d}M2PD]\u{2069}",
            "［Ｋ７ＱＸＭ２ＰＤ］",
            "[not a code, really] [K7QXM2PD]",
            "[[K7QXM2PD]]",
            "مرحبا [K7QXM2PD] - لا تغير",
            "[K7QX–M2PD] [K٧QXM۲PD]",
        ] {
            assert_eq!(found(text), ["K7QXM2PD"], "{text}");
        }
    }

    #[test]
    fn nothing_is_invented() {
        for text in ["", "[]", "[short]", "K7QXM2PD", "[К7QXM2PD]", "[K7QXM2PD", "K7QXM2PD]", "[K7QXM2PD!]", "[a][b"] {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_bare_code_of_the_exact_length_counts_as_edited() {
        let text = "hello K7QXM2PDK7QXM2 thanks";
        assert_eq!(
            find_codes(text, 14),
            FoundCodes { codes: vec![LinkCode::parse("K7QXM2PDK7QXM2").unwrap()], edited: true }
        );
        assert_eq!(found("K7QXM2PDK7QXM2 K7QXM2PDK7QXM3"), Vec::<String>::new());
        assert_eq!(found("authentication"), Vec::<String>::new());
    }

    #[test]
    fn the_text_around_a_code_is_what_its_words_say() {
        let code = LinkCode::parse("K7QXM2PD").unwrap();
        let of = |text: &str| text_without_code(text, &code);
        let minted = of("Sign me in to Harbour: Pay 9,000 € [K7QXM2PD] - DO NOT CHANGE");
        for same in [
            "sign me in to  harbour — pay 9,000 €\n[ k7qx m2pd ] do not change",
            "\u{200f}*Sign me in to Harbour: Pay 9,000 €* [K7QXM2PD] – DO NOT CHANGE.",
            "Sign me in to Harbour: Pay 9,000 € K7QXM2PD - DO NOT CHANGE",
            "Sign me in to Harbour: Pay *9*,_000_ € [K7QXM2PD] - DO NOT CHANGE",
            "\u{2068}Sign me in to Harbour: Pay 9,000 €\u{2069} [K7QXM2PD] - DO NOT CHANGE",
        ] {
            assert_eq!(of(same), minted, "{same}");
        }
        for other in [
            "[K7QXM2PD]",
            "Sign me in to Harbour: Pay 9 € [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 90.00 € [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 9 000 € [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 9,000 ₹ [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 9,000 % [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: ~Pay 9,000 €~ [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 9,0\u{336}0\u{336}0\u{336} € [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay \u{202e}9,000 €\u{202c} [K7QXM2PD] - DO NOT CHANGE",
            &format!("Sign me in to Harbour: Pay 9,000 € [K7QXM2PD] - DO NOT CHANGE{}no", " ".repeat(SCANNED_BYTES)),
            "Free voucher! Sign me in to Harbour: Pay 9,000 € [K7QXM2PD] - DO NOT CHANGE",
            "Sign me in to Harbour: Pay 9,000 € [K7QXM2PD] [K7QXM2PE] - DO NOT CHANGE",
        ] {
            assert_ne!(of(other), minted, "{other}");
        }
        assert_eq!(of("مرحبا [K7QXM2PD] بك"), "مرحبابك");
        assert_eq!(of("5\r\n-\u{2013} 6 [K7QXM2PD] 7"), of("5 -- 6\u{a0}[K7QXM2PD] 7"));
    }

    #[test]
    fn at_most_three_and_no_repeats() {
        assert_eq!(found("[AAAAAAAA] [aaaaaaaa] [BBBBBBBB] [CCCCCCCC] [DDDDDDDD]").len(), 3);
    }

    #[test]
    fn hostile_sizes_stay_linear() {
        for unit in ["[", "[A", "[AAAA ", "[\u{200b}", "]["] {
            assert_eq!(found(&unit.repeat(200_000)), Vec::<String>::new());
        }
        let late = format!("{}[K7QXM2PD]", " ".repeat(SCANNED_BYTES));
        assert_eq!(found(&late), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn what_was_minted_is_found(secret in any::<[u8; 32]>(), length in 8u8..=16,
                                    before in "[^\\[\\]]{0,40}", after in "[^\\[\\]]{0,40}") {
            let code = LinkCode::from_bits(&secret, length);
            let text = format!("{before} [{}] {after}", code.as_str());
            prop_assert_eq!(find_codes(&text, usize::from(length)).codes, vec![code]);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,400}") {
            let _ = find_codes(&text, 14);
        }
    }
}
