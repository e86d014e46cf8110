//! The built-in languages: `templates/languages` has one file for each, with all its texts.

use std::sync::LazyLock;

use serde::{Deserialize, de::IgnoredAny};

macro_rules! languages {
    ($($tag:literal)*) => {
        /// Tags and files. English comes first because it is the fallback.
        const FILES: &[(&str, &str)] =
            &[$(($tag, include_str!(concat!("../../templates/languages/", $tag, ".toml"))),)*];
    };
}

languages! { "en" "ar" "es" "fr" "pt-BR" "id" "hi" "ur" "tr" "de" "ru" "zh" }

/// The file of a language, as far as this layer uses it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LanguageFile {
    name: String,
    direction: Direction,
    whatsapp: String,
    messages: Messages,
    #[serde(rename = "pages")]
    _pages: IgnoredAny,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Direction {
    Ltr,
    Rtl,
}

/// The texts of messages in the chat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Messages {
    prompt: String,
    warning: String,
    button: String,
    success: String,
    failed: String,
    expired: String,
    other_device: String,
    unidentified: String,
    share_number: String,
    unknown: String,
    code: String,
    facts: String,
    prove: String,
    confirm: String,
    proved: String,
    changed: String,
    approved: String,
    rejected: String,
    undecided: String,
}

static ALL: LazyLock<Vec<LanguageFile>> =
    LazyLock::new(|| FILES.iter().map(|(_, text)| toml::from_str(text).expect("a test parses every file")).collect());

/// One of the built-in languages: its position in the list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Language(usize);

impl Language {
    pub const ENGLISH: Self = Self(0);

    pub fn all() -> impl Iterator<Item = Self> {
        (0..FILES.len()).map(Self)
    }

    /// Finds a language by BCP 47 tag. An unknown region or script falls back to its language (`fr-CA` to `fr`).
    pub fn find(tag: &str) -> Option<Self> {
        fn primary(tag: &str) -> &str {
            tag.split(['-', '_']).next().unwrap_or_default()
        }
        let exact = Self::all().find(|language| language.tag().eq_ignore_ascii_case(tag));
        exact.or_else(|| Self::all().find(|language| primary(language.tag()).eq_ignore_ascii_case(primary(tag))))
    }

    pub fn tag(self) -> &'static str {
        FILES[self.0].0
    }

    /// The position in [`Language::all`].
    pub fn index(self) -> usize {
        self.0
    }

    /// The file in TOML, for the layer that reads the texts of the pages.
    pub fn file(self) -> &'static str {
        FILES[self.0].1
    }

    /// What its speakers call the language.
    pub fn name(self) -> &'static str {
        &ALL[self.0].name
    }

    /// How the texts name the app.
    pub fn whatsapp(self) -> &'static str {
        &ALL[self.0].whatsapp
    }

    /// The direction of its script, as HTML's attribute `dir` says it.
    pub fn direction(self) -> &'static str {
        if self.right_to_left() { "rtl" } else { "ltr" }
    }

    /// Whether the script runs from right to left.
    pub fn right_to_left(self) -> bool {
        ALL[self.0].direction == Direction::Rtl
    }

    fn messages(self) -> &'static Messages {
        &ALL[self.0].messages
    }

    pub fn prompt(self) -> &'static str {
        &self.messages().prompt
    }

    /// The text after the code in the prefilled message.
    pub fn warning(self) -> &'static str {
        &self.messages().warning
    }

    /// The words on the button of a reply, which opens its link.
    pub fn button(self) -> &'static str {
        &self.messages().button
    }

    pub fn success(self) -> &'static str {
        &self.messages().success
    }

    pub fn failed(self) -> &'static str {
        &self.messages().failed
    }

    pub fn expired(self) -> &'static str {
        &self.messages().expired
    }

    /// The reply with a code to type in the browser where the login was started.
    pub fn with_code(self) -> &'static str {
        &self.messages().other_device
    }

    /// The reply sent when WhatsApp did not disclose the number that the verification needs.
    pub fn unidentified(self) -> &'static str {
        &self.messages().unidentified
    }

    /// The same, with a button that shares the number.
    pub fn share_number(self) -> &'static str {
        &self.messages().share_number
    }

    /// The optional reply to an unknown code.
    pub fn unknown(self) -> &'static str {
        &self.messages().unknown
    }

    /// The message that carries a one-time code.
    pub fn code(self) -> &'static str {
        &self.messages().code
    }

    /// One line for each of [`super::login_details::LoginDetails`].
    pub fn login_details(self) -> &'static str {
        &self.messages().facts
    }

    /// The prefilled text of a person who proves a number.
    pub fn prove_phone_prompt(self) -> &'static str {
        &self.messages().prove
    }

    /// The reply to a person who proves a number, with a link to tap.
    pub fn prove_phone_success(self) -> &'static str {
        &self.messages().confirm
    }

    /// The reply to a person who proves a number, if the waiting page proceeds automatically.
    pub fn no_action_needed(self) -> &'static str {
        &self.messages().proved
    }

    /// The reply to a changed message, with a link to the prefilled text.
    pub fn text_changed(self) -> &'static str {
        &self.messages().changed
    }

    /// The reply to a person who has approved what was asked.
    pub fn approved(self) -> &'static str {
        &self.messages().approved
    }

    /// The reply to a person who has rejected what was asked.
    pub fn rejected(self) -> &'static str {
        &self.messages().rejected
    }

    /// The reply to a message that is neither of the two answers.
    pub fn undecided(self) -> &'static str {
        &self.messages().undecided
    }
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::template::{TemplateKind, lint};

    #[test]
    fn every_language_has_every_text_and_each_is_clean() {
        for language in Language::all() {
            let texts = [
                (language.prompt(), TemplateKind::Prompt, "<name>"),
                (language.success(), TemplateKind::Success, "<link>"),
                (language.failed(), TemplateKind::Failed, "<name>"),
                (language.expired(), TemplateKind::Expired, "<name>"),
                (language.with_code(), TemplateKind::Success, "<code>"),
                (language.unidentified(), TemplateKind::Failed, "<name>"),
                (language.share_number(), TemplateKind::Failed, "<name>"),
                (language.unknown(), TemplateKind::Failed, ""),
                (language.code(), TemplateKind::Code, "<name>"),
                (language.prove_phone_prompt(), TemplateKind::Prompt, "<name>"),
                (language.prove_phone_success(), TemplateKind::Success, "<link>"),
                (language.no_action_needed(), TemplateKind::Success, "<name>"),
                (language.text_changed(), TemplateKind::Success, "<link>"),
                (language.approved(), TemplateKind::Failed, "<name>"),
                (language.rejected(), TemplateKind::Failed, "<name>"),
                (language.undecided(), TemplateKind::Failed, "<name>"),
            ];
            for (text, used_as, needed) in texts {
                assert!(!text.is_empty() && text.contains(needed), "{language:?} {used_as:?}");
                assert_eq!(lint(text, used_as), crate::domain::template::Lint::default(), "{language:?}");
                assert!(!text.contains(['[', ']']), "{language:?}: a bracket would be read as a code");
            }
            assert!(!language.warning().contains(['[', ']', '\n']), "{language:?}");
            assert!((1..=20).contains(&language.button().chars().count()), "{language:?}: WhatsApp's limit");
            assert!(!language.prompt().contains('\n') && !language.prove_phone_prompt().contains('\n'), "{language:?}");
            let facts: Vec<&str> = language.login_details().lines().collect();
            for (line, fact) in facts.iter().zip(["<name>", "<purpose>", "<device>", "<place>", "<dispute>"]) {
                assert!(line.ends_with(fact) && line.matches('<').count() == 1, "{language:?}: {line}");
            }
            assert_eq!(facts.len(), 5, "{language:?}");
        }
        assert_eq!(Language::ENGLISH.warning(), "DO NOT CHANGE THIS MESSAGE");
    }

    #[test]
    fn every_file_is_listed() {
        let mut files: Vec<String> = std::fs::read_dir("templates/languages")
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut listed: Vec<&str> = Language::all().map(Language::tag).collect();
        files.sort();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }

    #[test]
    fn tags_fall_back_to_their_language() {
        for (asked, got) in [("fr-CA", "fr"), ("pt", "pt-BR"), ("PT-br", "pt-BR"), ("zh_Hant", "zh")] {
            assert_eq!(Language::find(asked).unwrap().tag(), got);
        }
        assert!(Language::find("tlh").is_none());
    }
}
