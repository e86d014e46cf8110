//! Message texts with the placeholders `<link>`, `<name>`, `<code>` and `<purpose>`: checked when they are received,
//! filled in a single pass.

use std::{fmt::Write as _, sync::LazyLock};

use regex::{Captures, Regex};

use super::Language;

/// The values of the placeholders.
#[derive(Clone, Copy, Default)]
pub struct Values<'a> {
    pub link: &'a str,
    pub name: &'a str,
    /// One of our own, so it is not sanitized; see [`isolated`].
    pub code: &'a str,
    pub purpose: &'a str,
}

/// Where a text is used, which determines the placeholders that it may contain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TemplateKind {
    Prompt,
    Success,
    Failed,
    Expired,
    /// The message with a code that we send.
    Code,
}

impl TemplateKind {
    /// The name of the member of `message` in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Code => "code",
        }
    }

    const fn forbids(self) -> &'static [&'static str] {
        match self {
            Self::Prompt => &["link", "code"],
            Self::Success => &[],
            Self::Failed | Self::Expired | Self::Code => &["link"],
        }
    }
}

/// Errors and warnings about a text, worded for its author.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lint {
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

const KNOWN: &[&str] = &["link", "name", "code", "purpose"];

enum Piece<'a> {
    Text(&'a str),
    /// The name, whether it is in braces, and its position in characters.
    Placeholder(&'a str, bool, usize),
}

/// Splits a text at everything that has the form of a placeholder; `<3` and the like remain text.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let (mut rest, mut position) = (text, 0);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, length) = match word_at(rest) {
            Some((word, length)) => (Piece::Placeholder(word, rest.starts_with('{'), position + 1), length),
            None => {
                let next = rest.char_indices().skip(1).find(|(at, _)| word_at(&rest[*at..]).is_some());
                let length = next.map_or(rest.len(), |(at, _)| at);
                (Piece::Text(&rest[..length]), length)
            }
        };
        position += rest[..length].chars().count();
        rest = &rest[length..];
        Some(piece)
    })
}

fn word_at(text: &str) -> Option<(&str, usize)> {
    let close = match text.as_bytes().first()? {
        b'<' => '>',
        b'{' => '}',
        _ => return None,
    };
    let inner = &text[1..];
    let length = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')?;
    let shaped = inner.starts_with(|c: char| c.is_ascii_alphabetic()) && inner[length..].starts_with(close);
    (shaped && length <= 32).then(|| (&inner[..length], length + 2))
}

/// Spellings of a placeholder in other template languages, which are not replaced or leave their marks behind.
static MISSPELLED: LazyLock<Regex> = LazyLock::new(|| {
    let words = KNOWN.join("|");
    let pattern = format!(
        r"(?i)\{{\{{\s*({words})\s*\}}\}}|\{{(?:\s+({words})\s*|({words})\s+)\}}|<(?:\s+({words})\s*|({words})\s+)>|##({words})##|%({words})%"
    );
    Regex::new(&pattern).expect("a constant that the tests compile")
});

/// Text or formatting that directly follows the link.
static ATTACHED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?:<link>|\{link\})[\p{L}\p{N}*_~`]").expect("a constant that the tests compile"));

fn misspelled(found: &Captures<'_>) -> String {
    let word = found.iter().skip(1).flatten().next().map_or("", |word| word.as_str()).to_ascii_lowercase();
    format!("{:?} is not a placeholder; write <{word}>", &found[0])
}

/// Returns all errors and warnings about `text` at once.
pub fn lint(text: &str, used_as: TemplateKind) -> Lint {
    let mut lint = Lint::default();
    let mut holds_code = false;
    for piece in pieces(text) {
        let Piece::Placeholder(word, braces, position) = piece else { continue };
        holds_code |= word == "code";
        let shown = if braces { format!("{{{word}}}") } else { format!("<{word}>") };
        if !KNOWN.contains(&word) {
            let mut sentence = format!("unknown placeholder {shown} at character {position}");
            if let Some(near) = nearest(word, KNOWN) {
                let _ = write!(sentence, "; did you mean <{near}>?");
            }
            if braces { lint.warnings.push(sentence) } else { lint.errors.push(sentence) }
        } else if used_as.forbids().contains(&word) {
            let place = format!("{shown} at character {position}");
            let use_name = used_as.as_str();
            // The hosted APIs that this one replaces accept it in any text.
            if braces {
                lint.warnings.push(format!("{place} has no meaning in the {use_name} text and is removed"));
            } else {
                lint.errors.push(format!("{place} has no meaning in the {use_name} text"));
            }
        }
    }
    lint.warnings.extend(MISSPELLED.captures_iter(text).map(|found| misspelled(&found)));
    lint.warnings.extend(ATTACHED.find(text).map(|found| {
        let found = found.as_str();
        format!("{found:?}: WhatsApp takes what directly follows <link> as part of the address; leave a space")
    }));
    if used_as == TemplateKind::Code && !holds_code {
        lint.errors.push("<code> is missing: the message would not contain the code".to_owned());
    }
    lint
}

/// Whether `text` has the placeholder `name`, in either spelling.
pub fn mentions(text: &str, name: &str) -> bool {
    pieces(text).any(|piece| matches!(piece, Piece::Placeholder(word, ..) if word == name))
}

/// The known word closest to `word`, if it is close enough for a typing mistake.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

/// Replaces the placeholders. Values are sanitized and never scanned for placeholders themselves.
pub fn render(text: &str, values: Values<'_>) -> String {
    let mut out = String::with_capacity(text.len() + values.link.len());
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Placeholder("link", ..) => out.push_str(&remove_control(values.link)),
            Piece::Placeholder("name", ..) => out.push_str(&sanitize_value(values.name)),
            Piece::Placeholder("purpose", ..) => out.push_str(&sanitize_value(values.purpose)),
            Piece::Placeholder("code", ..) => out.push_str(values.code),
            Piece::Placeholder(word, true, _) => {
                let _ = write!(out, "{{{word}}}");
            }
            Piece::Placeholder(word, false, _) => {
                let _ = write!(out, "<{word}>");
            }
        }
    }
    out
}

/// The code for a text in `language`. Between words that run from right to left, it is marked as a run from left to right
/// (LRI and PDI of UAX #9), because its digits and letters could be displayed in another order otherwise.
pub fn isolated(code: &str, language: Language) -> String {
    if language.right_to_left() { format!("\u{2066}{code}\u{2069}") } else { code.to_owned() }
}

/// Prepares a value from the app for a message: removes characters that would format it or make it look like a code.
pub fn sanitize_value(value: &str) -> String {
    remove_control(value).replace(['*', '_', '~', '`', '[', ']'], "")
}

/// Removes control and bidirectional characters, which could make a value read as something else.
pub fn remove_control(value: &str) -> String {
    value.chars().filter(|c| !c.is_control() && !is_bidi(*c)).collect()
}

/// Maximum length of a person's name, in characters.
pub const MAX_NAME_LENGTH: usize = 128;

/// Sanitizes a name that a person chose, for display to others. `None` if nothing remains.
pub fn sanitize_name(name: &str) -> Option<String> {
    let visible = name.chars().filter(|c| !c.is_control() && !is_bidi(*c));
    let name: String = visible.skip_while(|c| c.is_whitespace()).take(MAX_NAME_LENGTH).collect();
    let name = name.trim_end();
    (!name.is_empty()).then(|| name.to_owned())
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_cut() {
        assert_eq!(sanitize_name(" \u{202e}Mara\u{2069} \n👩\u{200d}🚀\0 ").as_deref(), Some("Mara 👩\u{200d}🚀"));
        assert_eq!(sanitize_name(&"é".repeat(100_000)), Some("é".repeat(MAX_NAME_LENGTH)));
        for nothing in ["", " ", "\u{202e}", "\n\t"] {
            assert_eq!(sanitize_name(nothing), None);
        }
    }

    #[test]
    fn both_spellings_are_filled_once() {
        let values = Values {
            link: "https://a.example/{code}",
            name: "<code> *Har\u{202e}bour*\n",
            code: "X",
            purpose: "[Pay] 9",
        };
        assert_eq!(
            render("{name}: <link> <code> {code} <purpose> <3 {x} <b", values),
            "<code> Harbour: https://a.example/{code} X X Pay 9 <3 {x} <b"
        );
    }

    #[test]
    fn a_typo_is_named_with_its_place_and_cure() {
        let found = lint("Hi <nmae>, tap <link>", TemplateKind::Success);
        assert_eq!(found.errors, ["unknown placeholder <nmae> at character 4; did you mean <name>?"]);
        assert_eq!(lint("Hi {nmae}", TemplateKind::Success).warnings.len(), 1);
        assert_eq!(lint("I <3 you, a < b > c, {}, <>, <1x>", TemplateKind::Success), Lint::default());
        assert_eq!(lint("é <zzzzzz>", TemplateKind::Failed).errors, ["unknown placeholder <zzzzzz> at character 3"]);
    }

    #[test]
    fn placeholders_without_meaning_are_refused() {
        assert_eq!(lint("<link> <code> <name>", TemplateKind::Prompt).errors.len(), 2);
        assert_eq!(lint("<link> <code>", TemplateKind::Failed).errors.len(), 1);
        assert_eq!(lint("<link> <code>", TemplateKind::Success), Lint::default());
        assert_eq!(lint("<name> <link>", TemplateKind::Code).errors.len(), 2);
        assert_eq!(lint("{code}", TemplateKind::Code), Lint::default());
    }

    #[test]
    fn placeholders_of_the_old_apis_are_accepted_with_a_warning() {
        let found = lint("Retry at {link}", TemplateKind::Failed);
        assert_eq!(found.warnings, ["{link} at character 10 has no meaning in the failed text and is removed"]);
        assert!(found.errors.is_empty());
        assert_eq!(render("Retry at {link}.", Values::default()), "Retry at .");
    }

    #[test]
    fn other_spellings_of_a_placeholder_are_warned_of() {
        for (text, meant) in [
            ("Hi {{link}}", "{{link}}"),
            ("Hi {{ Name }}", "{{ Name }}"),
            ("Hi { link }", "{ link }"),
            ("Hi <link >", "<link >"),
            ("Hi ##code##", "##code##"),
            ("Hi %name%", "%name%"),
        ] {
            let found = lint(text, TemplateKind::Success);
            assert!(found.errors.is_empty(), "{text}: {found:?}");
            let [warning] = &found.warnings[..] else { panic!("{text}: {found:?}") };
            assert!(warning.starts_with(&format!("{meant:?} is not a placeholder; write <")), "{warning}");
        }
        for attached in ["*<link>*", "<link>now", "{link}_", "<link>é"] {
            assert_eq!(lint(attached, TemplateKind::Success).warnings.len(), 1, "{attached}");
        }
        for plain in ["<link>", "<link>.", "(<link>)", "<link>\nnow", "50% name", "{a link}"] {
            assert_eq!(lint(plain, TemplateKind::Success), Lint::default(), "{plain}");
        }
    }
}
