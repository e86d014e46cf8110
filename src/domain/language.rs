//! The built-in message texts, one folder per language under `templates/messages`.

macro_rules! texts {
    ($tag:literal) => {
        BuiltInTexts {
            tag: $tag,
            prompt: include_str!(concat!("../../templates/messages/", $tag, "/prompt.txt")),
            warning: include_str!(concat!("../../templates/messages/", $tag, "/warning.txt")),
            button: include_str!(concat!("../../templates/messages/", $tag, "/button.txt")),
            success: include_str!(concat!("../../templates/messages/", $tag, "/success.txt")),
            failed: include_str!(concat!("../../templates/messages/", $tag, "/failed.txt")),
            expired: include_str!(concat!("../../templates/messages/", $tag, "/expired.txt")),
            other_device: include_str!(concat!("../../templates/messages/", $tag, "/other_device.txt")),
            unidentified: include_str!(concat!("../../templates/messages/", $tag, "/unidentified.txt")),
            share_number: include_str!(concat!("../../templates/messages/", $tag, "/share_number.txt")),
            unknown: include_str!(concat!("../../templates/messages/", $tag, "/unknown.txt")),
            code: include_str!(concat!("../../templates/messages/", $tag, "/code.txt")),
            facts: include_str!(concat!("../../templates/messages/", $tag, "/facts.txt")),
            prove: include_str!(concat!("../../templates/messages/", $tag, "/prove.txt")),
            confirm: include_str!(concat!("../../templates/messages/", $tag, "/confirm.txt")),
            proved: include_str!(concat!("../../templates/messages/", $tag, "/proved.txt")),
            changed: include_str!(concat!("../../templates/messages/", $tag, "/changed.txt")),
        }
    };
}

struct BuiltInTexts {
    tag: &'static str,
    prompt: &'static str,
    warning: &'static str,
    button: &'static str,
    success: &'static str,
    failed: &'static str,
    expired: &'static str,
    other_device: &'static str,
    unidentified: &'static str,
    share_number: &'static str,
    unknown: &'static str,
    code: &'static str,
    facts: &'static str,
    prove: &'static str,
    confirm: &'static str,
    proved: &'static str,
    changed: &'static str,
}

/// English comes first because it is the fallback.
const ALL: &[BuiltInTexts] = &[
    texts!("en"),
    texts!("ar"),
    texts!("es"),
    texts!("fr"),
    texts!("pt-BR"),
    texts!("id"),
    texts!("hi"),
    texts!("ur"),
    texts!("tr"),
    texts!("de"),
    texts!("ru"),
    texts!("zh"),
];

/// One of the built-in languages.
#[derive(Clone, Copy)]
pub struct Language(&'static BuiltInTexts);

impl Language {
    pub const ENGLISH: Self = Self(&ALL[0]);

    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(Self)
    }

    /// Finds a language by BCP 47 tag. An unknown region or script falls back to its language (`fr-CA` to `fr`).
    pub fn find(tag: &str) -> Option<Self> {
        let primary = |text: &str| text.split(['-', '_']).next().unwrap_or_default().to_ascii_lowercase();
        let exact = ALL.iter().find(|texts| texts.tag.eq_ignore_ascii_case(tag));
        exact.or_else(|| ALL.iter().find(|texts| primary(texts.tag) == primary(tag))).map(Self)
    }

    pub fn tag(self) -> &'static str {
        self.0.tag
    }

    /// Whether the script runs from right to left.
    pub fn right_to_left(self) -> bool {
        matches!(self.0.tag, "ar" | "ur")
    }

    pub fn prompt(self) -> &'static str {
        self.0.prompt.trim_end()
    }

    /// The text after the code in the prefilled message.
    pub fn warning(self) -> &'static str {
        self.0.warning.trim_end()
    }

    /// The words on the button of a reply, which opens its link.
    pub fn button(self) -> &'static str {
        self.0.button.trim_end()
    }

    pub fn success(self) -> &'static str {
        self.0.success.trim_end()
    }

    pub fn failed(self) -> &'static str {
        self.0.failed.trim_end()
    }

    pub fn expired(self) -> &'static str {
        self.0.expired.trim_end()
    }

    /// The reply with a code to type in the browser where the login was started.
    pub fn with_code(self) -> &'static str {
        self.0.other_device.trim_end()
    }

    /// The reply sent when WhatsApp did not disclose the number that the verification needs.
    pub fn unidentified(self) -> &'static str {
        self.0.unidentified.trim_end()
    }

    /// The same, with a button that shares the number.
    pub fn share_number(self) -> &'static str {
        self.0.share_number.trim_end()
    }

    /// The optional reply to an unknown code.
    pub fn unknown(self) -> &'static str {
        self.0.unknown.trim_end()
    }

    /// The message that carries a one-time code.
    pub fn code(self) -> &'static str {
        self.0.code.trim_end()
    }

    /// One line for each of [`super::login_details::LoginDetails`].
    pub fn login_details(self) -> &'static str {
        self.0.facts.trim_end()
    }

    /// The prefilled text of a person who proves a number.
    pub fn prove_phone_prompt(self) -> &'static str {
        self.0.prove.trim_end()
    }

    /// The reply to a person who proves a number, with a link to tap.
    pub fn prove_phone_success(self) -> &'static str {
        self.0.confirm.trim_end()
    }

    /// The reply to a person who proves a number, if the waiting page proceeds automatically.
    pub fn no_action_needed(self) -> &'static str {
        self.0.proved.trim_end()
    }

    /// The reply to a changed message, with a link to the prefilled text.
    pub fn text_changed(self) -> &'static str {
        self.0.changed.trim_end()
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
    fn tags_fall_back_to_their_language() {
        for (asked, got) in [("fr-CA", "fr"), ("pt", "pt-BR"), ("PT-br", "pt-BR"), ("zh_Hant", "zh")] {
            assert_eq!(Language::find(asked).unwrap().tag(), got);
        }
        assert!(Language::find("tlh").is_none());
    }
}
