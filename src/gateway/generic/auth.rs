//! How a generic gateway proves its webhooks.

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
        let words: Vec<&str> = WAYS.iter().map(|(word, _)| *word).collect();
        let hint = format!("how a webhook proves that it is genuine, one of {}", words.join(", "));
        let table = &mut reader.table;
        let way = table.required("webhook_auth", &hint, |table| table.choice("webhook_auth", WAYS));
        let hash = table.choice("webhook_algorithm", HASHES).unwrap_or(Hash::Sha256);
        let encoding = table.choice("webhook_encoding", ENCODINGS).unwrap_or(Encoding::Hex);
        let timed = table.choice("webhook_signed", SIGNED).unwrap_or_default();
        let prefix = reader.text("webhook_prefix").unwrap_or_default();
        let param = reader.text("webhook_param").unwrap_or_else(|| "token".to_owned());
        let carries = matches!(way, Some(Way::Hmac | Way::StaticHeader));
        let header = header(reader, "webhook_header", carries, "the header that carries the proof");
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
            let (key, value) = (format!("webhook_secret.{index}"), secret.expose_secret());
            if way == Some(Way::StandardWebhooks) && crate::config::decode_whsec(value).is_none() {
                reader.table.fault(&key, "expected whsec_ and base64, which standard-webhooks needs");
            } else if way == Some(Way::Basic) && !value.contains(':') {
                reader.table.fault(&key, "expected user:password, which basic needs");
            }
        }
        if way == Some(Way::Basic) {
            let encode = |secret: &SecretString| format!("Basic {}", STANDARD.encode(secret.expose_secret()));
            secrets = secrets.iter().map(encode).map(SecretString::from).collect();
        }
        Self { scheme, secrets }
    }
}

/// The lower-case name of a header.
fn header(reader: &mut Reader<'_>, name: &str, needed: bool, what: &str) -> String {
    let text = reader.text(name);
    match &text {
        Some(text) if text.parse::<HeaderName>().is_err() => reader.table.fault(name, "expected the name of a header"),
        None if needed => reader.table.fault(name, format!("is missing: {what}")),
        _ => {}
    }
    text.unwrap_or_default().to_ascii_lowercase()
}
