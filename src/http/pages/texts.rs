//! The texts of the pages, from the file of each language.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::domain::{Channel, Language};

macro_rules! page_texts {
    ($($key:ident)*) => {
        /// The texts of one language. A file with a missing or an unknown key is refused.
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(in crate::http) struct PageTexts { $(pub(in crate::http) $key: String,)* }

        #[cfg(test)]
        impl PageTexts {
            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($key), self.$key.as_str()),)*]
            }
        }
    };
}

page_texts! {
    pending_title open_lead open_whatsapp show_qr qr_lead qr_label manual_title manual_lead copy copied waiting
    time_left waiting_hint refresh link_title link_lead delay_notice code_title code_lead code_label code_wrong
    r#continue finish_title finish_lead done_title done_lead expired_title expired_lead new_link invalid_title
    invalid_lead disputed_title disputed_lead used_title used_lead confirm_title number account device location
    confirm_lead not_me other_device purpose dispute_lead late_dispute_title late_dispute_lead show_code_title
    show_code_lead code_warning wrong_browser_title wrong_browser_lead retry_title retry_lead rate_limited_title
    rate_limited_lead consent_claims consent_identity consent_name cancel request_invalid_title
    language steps step_send step_confirm open_here sent_title sent_lead open_again copy_number copy_code one_moment offline slow back_home other_way other_number wrong_sender_title wrong_sender_lead canceled_title canceled_lead code_spent_title code_spent_lead lapsed_title lapsed_lead expired_final_lead preview code_retry
}

fn texts(channel: Channel) -> Vec<PageTexts> {
    let parse = |language: Language| {
        let text = match channel {
            Channel::WhatsApp => language.file().to_owned(),
            Channel::Sms => language.file().replace(language.whatsapp(), "SMS"),
        };
        let mut file: toml::Table = text.parse().expect("a test parses every file");
        let pages = file.remove("pages").expect("every file has the table");
        pages.try_into().expect("a test compares the keys")
    };
    Language::all().map(parse).collect()
}

static ALL: LazyLock<Vec<PageTexts>> = LazyLock::new(|| texts(Channel::WhatsApp));

/// The texts for instances that receive SMS.
static SMS: LazyLock<Vec<PageTexts>> = LazyLock::new(|| texts(Channel::Sms));

impl PageTexts {
    /// The texts of pages about an instance that receives messages over `channel`.
    pub(super) fn for_channel(channel: Channel, language: Language) -> &'static Self {
        match channel {
            Channel::WhatsApp => Self::for_language(language),
            Channel::Sms => &SMS[language.index()],
        }
    }

    pub(in crate::http) fn for_language(language: Language) -> &'static Self {
        &ALL[language.index()]
    }
}

/// The supported language that the browser's `Accept-Language` prefers.
pub(super) fn preferred_language(accept: &str) -> Option<Language> {
    let mut ranges: Vec<(f32, &str)> = accept
        .split(',')
        .take(20)
        .filter_map(|range| {
            let (tag, rest) = range.split_once(';').unwrap_or((range, ""));
            let quality = rest.trim().strip_prefix("q=").map_or(Some(1.0), |text| text.trim().parse().ok())?;
            (quality > 0.0).then_some((quality, tag.trim()))
        })
        .collect();
    ranges.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranges.into_iter().find_map(|(_, tag)| Language::find(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_text_with_its_placeholders() {
        let placeholders = |text: &str| {
            let mut found: Vec<String> =
                text.split('<').skip(1).filter_map(|rest| Some(rest.split_once('>')?.0.to_owned())).collect();
            found.sort();
            found
        };
        let english = PageTexts::for_language(Language::ENGLISH).all();
        for language in Language::all() {
            let translated = PageTexts::for_language(language).all();
            for ((key, text), (_, original)) in translated.iter().zip(&english) {
                assert!(!text.trim().is_empty() && !text.contains('\n'), "{language:?} {key}");
                assert_eq!(placeholders(text), placeholders(original), "{language:?} {key}");
                let same = language.tag() != "en" && text == original;
                assert!(!same, "{language:?} {key} is not translated");
            }
        }
    }

    #[test]
    fn pages_of_an_sms_instance_do_not_mention_whatsapp() {
        for language in Language::all() {
            let texts = PageTexts::for_channel(Channel::Sms, language).all();
            let unchanged =
                texts.iter().find(|(_, text)| text.contains(language.whatsapp()) || text.contains("WhatsApp"));
            assert_eq!(unchanged, None, "{language:?}");
            assert!(texts.iter().filter(|(_, text)| text.contains("SMS")).count() >= 8, "{language:?}");
        }
    }

    #[test]
    fn accept_language_is_read_by_quality() {
        for (accept, tag) in
            [("fr-CA,fr;q=0.9,en;q=0.5", Some("fr")), ("tlh, ar;q=0.1", Some("ar")), ("de;q=0, *", None), ("", None)]
        {
            assert_eq!(preferred_language(accept).map(Language::tag), tag, "{accept}");
        }
    }
}
