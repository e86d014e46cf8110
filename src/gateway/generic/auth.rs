//! Webhook authentication of a generic gateway.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{
    credentials::Reader,
    scheme::{Encoding, Hash, Scheme},
};

const HASHES: &[(&str, Hash)] = &[("sha1", Hash::Sha1), ("sha256", Hash::Sha256), ("sha512", Hash::Sha512)];
const ENCODINGS: &[(&str, Encoding)] = &[("hex", Encoding::Hex), ("base64", Encoding::Base64)];
const SIGNED: &[(&str, bool)] = &[("body", false), ("timestamp.body", true)];

pub(super) struct Auth {
    pub(super) scheme: Scheme,
    pub(super) secrets: Vec<SecretString>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Hmac,
    StandardWebhooks,
    StaticHeader,
    UrlSecret,
    Basic,
}

const WAYS: &[(&str, Way)] = &[
    ("hmac", Way::Hmac),
    ("standard-webhooks", Way::StandardWebhooks),
    ("static-header", Way::StaticHeader),
    ("url-secret", Way::UrlSecret),
    ("basic", Way::Basic),
];

impl Auth {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let way = reader.section.choice("webhook_auth", WAYS, reader.faults);
        if !reader.section.has("webhook_auth") {
            let words: Vec<&str> = WAYS.iter().map(|(word, _)| *word).collect();
            let problem = format!("is missing: how webhooks are authenticated, one of {}", words.join(", "));
            reader.faults.add(reader.section.key("webhook_auth"), problem);
        }
        let hash = reader.section.choice("webhook_algorithm", HASHES, reader.faults).unwrap_or(Hash::Sha256);
        let encoding = reader.section.choice("webhook_encoding", ENCODINGS, reader.faults).unwrap_or(Encoding::Hex);
        let timed = reader.section.choice("webhook_signed", SIGNED, reader.faults).unwrap_or_default();
        let prefix = reader.text("webhook_prefix").unwrap_or_default();
        let param = reader.text("webhook_param").unwrap_or_else(|| "token".to_owned());
        let carries = matches!(way, Some(Way::Hmac | Way::StaticHeader));
        let header = header(reader, "webhook_header", carries, "the header with the signature or secret");
        let stamps = way == Some(Way::Hmac) && timed;
        let timestamp_header = self::header(reader, "webhook_timestamp_header", stamps, "the header that is signed");
        let scheme = match way {
            Some(Way::Hmac) if timed => Scheme::TimedHmac { header, timestamp_header, prefix, hash, encoding },
            Some(Way::Hmac) => Scheme::BodyHmac { header, prefix, hash, encoding },
            Some(Way::StaticHeader) => Scheme::StaticHeader { header },
            Some(Way::UrlSecret) => Scheme::UrlSecret { param },
            Some(Way::Basic) => Scheme::StaticHeader { header: "authorization".to_owned() },
            Some(Way::StandardWebhooks) | None => Scheme::StandardWebhooks,
        };
        let mut secrets = reader.webhook_secrets();
        for (index, secret) in secrets.iter().enumerate() {
            let (key, value) = (reader.section.key(&format!("webhook_secret.{index}")), secret.expose_secret());
            if way == Some(Way::StandardWebhooks) && crate::config::decode_whsec(value).is_none() {
                reader.faults.add(key, "expected whsec_ and base64, which standard-webhooks needs");
            } else if way == Some(Way::Basic) && !value.contains(':') {
                reader.faults.add(key, "expected user:password, which basic needs");
            }
        }
        if way == Some(Way::Basic) {
            let encode = |secret: &SecretString| format!("Basic {}", STANDARD.encode(secret.expose_secret()));
            secrets = secrets.iter().map(encode).map(SecretString::from).collect();
        }
        Self { scheme, secrets }
    }
}

/// Reads the name of a header, in lower case.
fn header(reader: &mut Reader<'_>, name: &str, needed: bool, what: &str) -> String {
    let text = reader.text(name);
    let key = reader.section.key(name);
    match &text {
        Some(text) if text.parse::<HeaderName>().is_err() => reader.faults.add(key, "expected the name of a header"),
        None if needed => reader.faults.add(key, format!("is missing: {what}")),
        _ => {}
    }
    text.unwrap_or_default().to_ascii_lowercase()
}
