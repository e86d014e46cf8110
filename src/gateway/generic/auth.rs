//! Webhook authentication of a generic gateway.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};

use super::super::{
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
};
use crate::domain::standard_webhooks;

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
        let words: Vec<&str> = AUTH_METHODS.iter().map(|(word, _)| *word).collect();
        let hint = format!("how webhooks are authenticated, one of {}", words.join(", "));
        let table = &mut reader.table;
        let method = table.required("webhook_auth", &hint, |table| table.choice("webhook_auth", AUTH_METHODS));
        let hash = reader.table.choice("webhook_algorithm", HASHES).unwrap_or(Hash::Sha256);
        let encoding = reader.table.choice("webhook_encoding", ENCODINGS).unwrap_or(Encoding::Hex);
        let timed = reader.table.choice("webhook_signed", SIGNED_CONTENT).unwrap_or_default();
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
            let (key, value) = (format!("webhook_secret.{index}"), secret.expose_secret());
            if method == Some(AuthMethod::StandardWebhooks) && standard_webhooks::key(value).is_none() {
                reader.table.fault(&key, "expected whsec_ and base64, which standard-webhooks needs");
            } else if method == Some(AuthMethod::Basic) && !value.contains(':') {
                reader.table.fault(&key, "expected user:password, which basic needs");
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
    match &text {
        Some(text) if text.parse::<HeaderName>().is_err() => reader.table.fault(name, "expected the name of a header"),
        None if needed => reader.table.fault(name, format!("is missing: {what}")),
        _ => {}
    }
    text.unwrap_or_default().to_ascii_lowercase()
}
