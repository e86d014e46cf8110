//! The operator's own message texts, by language.

use crate::{
    domain::{
        Language,
        request::Texts,
        template::{self, TemplateKind},
    },
    reader::Reader,
};

static NONE: Texts = Texts { prompt: None, success: None, failed: None, expired: None, code: None };

/// An instance's own texts. Those that stand in no table of a language are in the instance's own one, so that a user of
/// another language gets the built-in text instead of one that they cannot read.
#[derive(Clone, Debug, Default)]
pub struct OwnTexts(Vec<(Language, Texts)>);

impl OwnTexts {
    /// The texts in `language`.
    pub fn of(&self, language: Language) -> &Texts {
        self.0.iter().find(|(known, _)| known.tag() == language.tag()).map_or(&NONE, |(_, texts)| texts)
    }

    /// All languages that have texts of the operator.
    pub fn by_language(&self) -> impl Iterator<Item = (Language, &Texts)> {
        self.0.iter().map(|(language, texts)| (*language, texts))
    }

    /// Reads `[instance.texts]`, which is in `own`, and a table such as `[instance.texts.ar]` for each other language.
    pub(super) fn read(s: &mut Reader<'_>, own: Language) -> Self {
        let plain = texts(s);
        let by_language = Language::all().map(|language| {
            let mut found = if s.has(language.tag()) { s.nested(language.tag(), texts) } else { NONE.clone() };
            if language.tag() == own.tag() {
                found = found.or(&plain);
            }
            (language, found)
        });
        Self(by_language.filter(|(_, texts)| *texts != NONE).collect())
    }
}

fn texts(s: &mut Reader<'_>) -> Texts {
    let mut text = |used_as: TemplateKind| {
        let text = s.text(used_as.as_str())?;
        for error in template::lint(&text, used_as).errors {
            s.fault(used_as.as_str(), error);
        }
        Some(text)
    };
    Texts {
        prompt: text(TemplateKind::Prompt),
        success: text(TemplateKind::Success),
        failed: text(TemplateKind::Failed),
        expired: text(TemplateKind::Expired),
        code: text(TemplateKind::Code),
    }
}
