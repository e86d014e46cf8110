//! Fields that requests for links, codes and approvals have in common.

use std::net::IpAddr;

use crate::{
    api::limits,
    domain::{Chat, Language, Subject},
    reader::Reader,
    service::Instance,
};

/// The application's name as shown in messages.
pub(super) fn app_name(f: &mut Reader<'_>, default: &str) -> String {
    display_text(f, "name", limits::APP_NAME).unwrap_or_else(|| default.to_owned())
}

/// A text shown in messages; must not contain a link.
pub(super) fn display_text(f: &mut Reader<'_>, name: &str, longest: usize) -> Option<String> {
    let text = f.short_text(name, longest)?;
    if text.contains("://") || text.to_lowercase().contains("www.") {
        f.fault(name, "holds an address; it is shown in messages and must not be a link");
    }
    Some(text)
}

/// A language that is not built in is replaced by the default, with a warning.
pub(super) fn language(f: &mut Reader<'_>, default: Language) -> Language {
    named_language(f, default).unwrap_or(default)
}

/// The language that the app names, if it is built in.
pub(super) fn named_language(f: &mut Reader<'_>, default: Language) -> Option<Language> {
    let asked = f.short_text("lang", limits::LANGUAGE)?;
    let found = Language::find(&asked);
    if found.is_none() {
        let fallback = default.tag();
        f.warn("unknown_language", format!("{asked:?} is not a built-in language; {fallback} is used"));
    }
    found
}

pub(super) fn client_ip(f: &mut Reader<'_>) -> Option<String> {
    f.read_short("client_ip", limits::CLIENT_IP, |text| {
        text.trim().parse::<IpAddr>().map(|ip| ip.to_string()).map_err(|_| "expected an IP address")
    })
}

/// Accepts any spelling of a chat.
pub(super) fn chat(f: &mut Reader<'_>) -> Option<Chat> {
    f.read_short("chatId", limits::CHAT, str::parse::<Chat>)
}

/// Checks that the chat is in a country that the operator allows, if any are configured. A chat without a phone number
/// is in no country; nothing is sent to a test number.
pub(super) fn check_country(f: &mut Reader<'_>, instance: &Instance, chat: Option<&Chat>) {
    let (Some(chat), countries) = (chat, &instance.config.codes.countries) else { return };
    if instance.config.codes.test_number(chat.subject()).is_some() {
        return;
    }
    let allowed = |digits: &str| countries.iter().any(|country| digits.starts_with(country.as_str()));
    let allowed = match chat.subject() {
        Subject::Phone(phone) => allowed(phone.digits()),
        Subject::Lid(_) | Subject::Bsuid(_) => false,
    };
    if !countries.is_empty() && !allowed {
        f.fault("chatId", "is in no country that this instance sends codes to (code_countries)");
    }
}
