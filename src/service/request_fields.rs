//! Fields that requests for links and for codes have in common.

use std::net::IpAddr;

use crate::{
    api::limits,
    domain::{Chat, Language},
    reader::Reader,
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
