//! The prefilled message, and the links that open WhatsApp, or the phone's own messages, with it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{code::LinkCode, phone::Phone};

/// Maximum length of a WhatsApp text message, in characters.
pub const MAX_TEXT_LENGTH: usize = 4096;

/// `<prompt> [<CODE>] - <warning>`.
pub fn prefilled(prompt: &str, code: &LinkCode, warning: &str) -> String {
    format!("{prompt} [{}] - {warning}", code.as_str())
}

/// A link that opens WhatsApp, in the app or on the web, with `text` prefilled.
pub fn wa_me(number: &Phone, text: &str) -> String {
    format!("https://wa.me/{}?text={}", number.digits(), percent_encode(text))
}

/// A link that opens only the installed app, with `text` prefilled.
pub fn app_url(number: &Phone, text: &str) -> String {
    format!("whatsapp://send?phone={}&text={}", number.digits(), percent_encode(text))
}

/// A link that opens the phone's messages, with `text` prefilled. `?&` is understood by Android, which expects a query
/// (RFC 5724), and by iOS, which skips to the first `&`.
pub fn sms_url(number: &Phone, text: &str) -> String {
    format!("sms:{}?&body={}", number.e164(), percent_encode(text))
}

/// All characters that RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Encodes everything except unreserved characters. A space becomes `%20`, because some phones display a `+` literally.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    out.extend(utf8_percent_encode(text, RESERVED));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_shape() {
        let code = LinkCode::parse("K7QXM2PD").unwrap();
        let text = prefilled("Sign me in to Harbour", &code, "DO NOT CHANGE THIS MESSAGE");
        assert_eq!(text, "Sign me in to Harbour [K7QXM2PD] - DO NOT CHANGE THIS MESSAGE");
        assert_eq!(
            wa_me(&"+447700900999".parse().unwrap(), &text),
            "https://wa.me/447700900999?text=Sign%20me%20in%20to%20Harbour%20%5BK7QXM2PD%5D%20-%20DO%20NOT%20CHANGE%20THIS%20MESSAGE"
        );
    }

    proptest! {
        #[test]
        fn any_text_survives_the_url(text in "\\PC{0,100}") {
            let url = url::Url::parse(&wa_me(&"447700900999".parse().unwrap(), &text)).unwrap();
            prop_assert!(!url.as_str().contains('+'));
            let decoded = url.query_pairs().find(|(key, _)| key == "text").unwrap().1.into_owned();
            prop_assert_eq!(decoded, text);
        }
    }
}
