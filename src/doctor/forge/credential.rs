//! Forgeries with another signature, secret or token, or with the genuine one in another place.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{ForgeryBuilder, hex, with_changed_char};
use crate::{
    domain::keys::sha256,
    gateway::{CredentialLocation, WebhookRequest},
};

/// The maximum number of other instances' secrets to try.
const MAX_OTHER_SECRETS: usize = 8;

impl ForgeryBuilder<'_> {
    /// Altered credentials.
    pub(super) fn altered_credentials(&mut self) {
        let value = self.credential();
        let prefix = self.auth.credential_prefix().to_owned();
        let bare = value.strip_prefix(&prefix).unwrap_or(&value).to_owned();
        let wrong = format!("{prefix}{}", with_changed_char(&bare, 0));
        self.add("no credential", self.with_credentials(&[]));
        if matches!(self.auth.credential_location(), CredentialLocation::Header(_)) {
            self.add("the credential twice", self.with_credentials(&[&value, &value]));
            self.add("the credential, then a wrong one", self.with_credentials(&[&value, &wrong]));
        }
        self.add("a wrong credential, then the credential", self.with_credentials(&[&wrong, &value]));
        let mut values: Vec<(String, String)> = Vec::new();
        let mut push = |name: &str, value: String| values.push((name.to_owned(), value));
        push("an empty credential", String::new());
        push("only the prefix", prefix.clone());
        let length = bare.chars().count();
        for eighth in 1..8 {
            let cut: String = bare.chars().take(length * eighth / 8).collect();
            push(&format!("the first {eighth}/8 of the credential"), format!("{prefix}{cut}"));
        }
        push(
            "without its last character",
            format!("{prefix}{}", bare.chars().take(length.max(1) - 1).collect::<String>()),
        );
        push("without its first character", format!("{prefix}{}", bare.chars().skip(1).collect::<String>()));
        for place in 0..8 {
            let changed = with_changed_char(&bare, length * place / 8);
            push(&format!("one character changed, at {place}/8"), format!("{prefix}{changed}"));
        }
        push("one character more", format!("{value}0"));
        push("one character before", format!("0{value}"));
        push("twice in a row", format!("{value}{value}"));
        push("twice, with a comma", format!("{value},{value}"));
        push("in upper case", value.to_uppercase());
        push("in lower case", value.to_lowercase());
        push("with letters of the other case", swapped_case(&value));
        push("backwards", format!("{prefix}{}", bare.chars().rev().collect::<String>()));
        push("a space within", format!("{prefix}{}", with_space(&bare)));
        push("in quotes", format!("\"{value}\""));
        push("all zeros", format!("{prefix}{}", "0".repeat(length)));
        push("base64 of it", STANDARD.encode(&value));
        push("hash of it", hex(&sha256(value.as_bytes())));
        if !self.auth.has_signature_list() {
            push("two schemes in one", format!("Bearer Bearer {value}"));
        }
        for word in ["null", "undefined", "true", "*", "[object Object]", "{}", "' OR '1'='1", "none", "%00", "$secret"]
        {
            push(&format!("the word {word}"), word.to_owned());
        }
        if !prefix.is_empty() {
            push("without its prefix", bare.clone());
            push("with the prefix twice", format!("{prefix}{value}"));
            push("with another prefix", format!("md5={bare}"));
        }
        for (name, value) in values {
            let webhook = self.with_credentials(&[&value]);
            self.add(name, webhook);
        }
    }

    /// The genuine credential in other places.
    pub(super) fn misplaced_credentials(&mut self) {
        let (value, bare) = (self.credential(), self.with_credentials(&[]));
        let location = self.auth.credential_location();
        let pair = |name: &str| form_urlencoded::Serializer::new(String::new()).append_pair(name, &value).finish();
        for name in ["x-signature", "x-secret", "x-forwarded-authorization", "cookie"] {
            let mut webhook = bare.clone();
            webhook.headers.push((name.to_owned(), value.clone()));
            self.add(format!("the credential in the header {name}"), webhook);
        }
        match &location {
            CredentialLocation::Header(name) => {
                let query = pair(name);
                self.add("the credential in the query", WebhookRequest { query, ..bare });
            }
            CredentialLocation::Query(name) => {
                for other in [name.to_uppercase(), format!("{name}[]"), format!("{name}%20"), format!(" {name}")] {
                    let query = pair(&other);
                    self.add(format!("the parameter named {other:?}"), WebhookRequest { query, ..bare.clone() });
                }
                let mut webhook = bare;
                webhook.headers.push(("authorization".to_owned(), format!("Bearer {value}")));
                self.add("the credential in the header authorization", webhook);
            }
        }
    }

    /// Signed with other secrets.
    pub(super) fn other_secrets(&mut self, others: &[String]) {
        let own = self.auth.secrets().iter().map(|secret| secret.expose_secret().to_owned()).collect::<Vec<_>>();
        let secret = own.first().cloned().unwrap_or_default();
        let length = secret.chars().count();
        let mut tried = vec![
            ("no secret".to_owned(), String::new()),
            ("a random secret".to_owned(), hex(&crate::random::bytes::<32>())),
            ("a shortened secret".to_owned(), secret.chars().take(length.max(1) - 1).collect()),
            ("half of the secret".to_owned(), secret.chars().take(length / 2).collect()),
            ("a longer secret".to_owned(), format!("{secret}0")),
            ("the secret backwards".to_owned(), secret.chars().rev().collect()),
            ("the secret in upper case".to_owned(), secret.to_uppercase()),
            ("the secret with one character changed".to_owned(), with_changed_char(&secret, length / 2)),
            ("base64 of the secret".to_owned(), STANDARD.encode(&secret)),
        ];
        for published in ["secret", "changeme", "password", "admin", "test"] {
            tried.push((format!("the published default {published:?}"), published.to_owned()));
        }
        for (index, other) in others.iter().filter(|other| !own.contains(other)).take(MAX_OTHER_SECRETS).enumerate() {
            tried.push((format!("another instance's secret, {}", index + 1), other.clone()));
        }
        for (name, secret) in tried.into_iter().filter(|(_, secret)| !own.contains(secret)) {
            let mut webhook = self.unsigned.clone();
            self.auth.sign_with(&secret, &mut webhook, self.now);
            self.add(name, webhook);
        }
    }

    /// Tokens with another algorithm or other claims.
    pub(super) fn altered_tokens(&mut self) {
        let value = self.credential();
        let Some(token) = value.strip_prefix("Bearer ") else { return };
        let parts: Vec<&str> = token.split('.').collect();
        let [head, claims, mac] = parts[..] else { return };
        let encode = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let mut more: Value =
            URL_SAFE_NO_PAD.decode(claims).ok().and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        more["exp"] = json!(4_102_444_800_i64);
        let more = encode(&more);
        let none = encode(&json!({ "alg": "none", "typ": "JWT" }));
        for (name, token) in [
            ("a token without an algorithm", format!("{none}.{claims}.")),
            ("a token without an algorithm, signed", format!("{none}.{claims}.{mac}")),
            ("a token with other claims", format!("{head}.{more}.{mac}")),
            ("a token without a signature", format!("{head}.{claims}.")),
            ("a token in two parts", format!("{head}.{claims}")),
            ("a token in four parts", format!("{token}.{mac}")),
            ("a token of another kind", format!("{}.{claims}.{mac}", encode(&json!({ "alg": "RS256" })))),
            ("a token within a token", format!("{token}.{token}")),
        ] {
            let webhook = self.with_credentials(&[&format!("Bearer {token}")]);
            self.add(name, webhook);
        }
        let webhook = self.with_credentials(&[token]);
        self.add("a token without Bearer", webhook);
    }
}

fn swapped_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

fn with_space(text: &str) -> String {
    let half = text.chars().count() / 2;
    let (before, after): (String, String) = (text.chars().take(half).collect(), text.chars().skip(half).collect());
    format!("{before} {after}")
}
