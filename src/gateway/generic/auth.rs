//! Webhook authentication of a generic gateway.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
};

const HASHES: &[(&str, Hash)] = &[("sha1", Hash::Sha1), ("sha256", Hash::Sha256), ("sha512", Hash::Sha512)];
const ENCODINGS: &[(&str, Encoding)] = &[("hex", Encoding::Hex), ("base64", Encoding::Base64)];
const SIGNED_CONTENT: &[(&str, bool)] = &[("body", false), ("timestamp.body", true)];

/// The authentication scheme of a table, with its secrets.
pub(super) struct GenericAuth {
    pub(super) scheme: AuthScheme,
    pub(super) secrets: Vec<SecretString>,
}

/// The values of `webhook_auth`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AuthMethod {
    Hmac,
    StandardWebhooks,
    StaticHeader,
    UrlSecret,
    Basic,
}

const AUTH_METHODS: &[(&str, AuthMethod)] = &[
    ("hmac", AuthMethod::Hmac),
    ("standard-webhooks", AuthMethod::StandardWebhooks),
    ("static-header", AuthMethod::StaticHeader),
    ("url-secret", AuthMethod::UrlSecret),
    ("basic", AuthMethod::Basic),
];

impl GenericAuth {
    pub(super) fn read(reader: &mut ConfigReader<'_>) -> Self {
        let method = reader.section.choice("webhook_auth", AUTH_METHODS, reader.faults);
        if !reader.section.has("webhook_auth") {
            let words: Vec<&str> = AUTH_METHODS.iter().map(|(word, _)| *word).collect();
            let problem = format!("is missing: how webhooks are authenticated, one of {}", words.join(", "));
            reader.faults.add(reader.section.key("webhook_auth"), problem);
        }
        let hash = reader.section.choice("webhook_algorithm", HASHES, reader.faults).unwrap_or(Hash::Sha256);
        let encoding = reader.section.choice("webhook_encoding", ENCODINGS, reader.faults).unwrap_or(Encoding::Hex);
        let timed = reader.section.choice("webhook_signed", SIGNED_CONTENT, reader.faults).unwrap_or_default();
        let prefix = reader.text("webhook_prefix").unwrap_or_default();
        let param = reader.text("webhook_param").unwrap_or_else(|| "token".to_owned());
        let needs_header = matches!(method, Some(AuthMethod::Hmac | AuthMethod::StaticHeader));
        let header = header(reader, "webhook_header", needs_header, "the header with the signature or secret");
        let stamps = method == Some(AuthMethod::Hmac) && timed;
        let timestamp_header =
            self::header(reader, "webhook_timestamp_header", stamps, "the header with the signed timestamp");
        let scheme = match method {
            Some(AuthMethod::Hmac) if timed => {
                AuthScheme::TimedHmac { header, timestamp_header, prefix, hash, encoding }
            }
            Some(AuthMethod::Hmac) => AuthScheme::BodyHmac { header, prefix, hash, encoding },
            Some(AuthMethod::StaticHeader) => AuthScheme::StaticHeader { header },
            Some(AuthMethod::UrlSecret) => AuthScheme::UrlSecret { param },
            Some(AuthMethod::Basic) => AuthScheme::StaticHeader { header: "authorization".to_owned() },
            Some(AuthMethod::StandardWebhooks) | None => AuthScheme::StandardWebhooks,
        };
        let mut secrets = reader.webhook_secrets();
        for (index, secret) in secrets.iter().enumerate() {
            let (key, value) = (reader.section.key(&format!("webhook_secret.{index}")), secret.expose_secret());
            if method == Some(AuthMethod::StandardWebhooks) && crate::config::decode_whsec(value).is_none() {
                reader.faults.add(key, "expected whsec_ and base64, which standard-webhooks needs");
            } else if method == Some(AuthMethod::Basic) && !value.contains(':') {
                reader.faults.add(key, "expected user:password, which basic needs");
            }
        }
        if method == Some(AuthMethod::Basic) {
            let encode = |secret: &SecretString| format!("Basic {}", STANDARD.encode(secret.expose_secret()));
            secrets = secrets.iter().map(encode).map(SecretString::from).collect();
        }
        Self { scheme, secrets }
    }
}

/// Reads the name of a header, in lower case.
fn header(reader: &mut ConfigReader<'_>, name: &str, needed: bool, what: &str) -> String {
    let text = reader.text(name);
    let key = reader.section.key(name);
    match &text {
        Some(text) if text.parse::<HeaderName>().is_err() => reader.faults.add(key, "expected the name of a header"),
        None if needed => reader.faults.add(key, format!("is missing: {what}")),
        _ => {}
    }
    text.unwrap_or_default().to_ascii_lowercase()
}
