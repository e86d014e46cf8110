//! The sending side of a scheme: signs webhooks as the gateway would, for `doctor` and tests.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use url::form_urlencoded;

use super::{AuthScheme, CLOCK_TOLERANCE, RETRY_PERIOD, encode, hex, hmac, jwt, twilio};
use crate::{domain::standard_webhooks, gateway::auth_scheme::Hash, hash::sha256};

/// A webhook request to sign and send.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebhookRequest {
    /// The raw query, without `?`.
    pub query: String,
    /// Lower-case names and values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl WebhookRequest {
    /// Sets a header, replacing earlier values.
    fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.into()));
    }
}

/// Where a request carries the signature, secret or token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CredentialLocation {
    /// A header, by its lower-case name.
    Header(String),
    /// A query parameter, by name.
    Query(String),
}

impl AuthScheme {
    /// Signs a request as a gateway with `secret` would at `at`; replaces an earlier signature.
    pub(in crate::gateway) fn sign(&self, secret: &str, request: &mut WebhookRequest, at: Timestamp) {
        let key = secret.as_bytes();
        let stamp = at.as_second().to_string();
        match self {
            Self::BodyHmac { header, prefix, hash, encoding } => {
                let mac = encode(*encoding, &hmac(*hash, key, &[&request.body]));
                request.set_header(header, format!("{prefix}{mac}"));
            }
            Self::TimedHmac { header, timestamp_header, prefix, hash, encoding } => {
                let mac = encode(*encoding, &hmac(*hash, key, &[stamp.as_bytes(), b".", &request.body]));
                request.set_header(header, format!("{prefix}{mac}"));
                request.set_header(timestamp_header, stamp);
            }
            Self::StandardWebhooks => {
                let id = format!("msg_{}", &hex(&sha256(&request.body))[..16]);
                let key = standard_webhooks::key(secret).unwrap_or_default();
                let signature = standard_webhooks::signature(&key, &id, &stamp, &request.body);
                request.set_header("webhook-id", id);
                request.set_header("webhook-timestamp", stamp);
                request.set_header("webhook-signature", signature);
            }
            Self::StaticHeader { header } => request.set_header(header, secret),
            Self::UrlSecret { param } => {
                request.query = form_urlencoded::Serializer::new(String::new()).append_pair(param, secret).finish();
            }
            Self::ExpiringJwt => {
                let claims = json!({
                    "iat": at.as_second(), "exp": at.as_second() + 600, "app": "evolution", "action": "webhook",
                });
                request.set_header("authorization", format!("Bearer {}", jwt::sign_token(key, &claims)));
            }
            Self::BodyJwt => {
                let claims = json!({
                    "iat": at.as_second(), "jti": hex(&sha256(stamp.as_bytes())), "iss": "Vonage",
                    "payload_hash": hex(&sha256(&request.body)),
                });
                request.set_header("authorization", format!("Bearer {}", jwt::sign_token(key, &claims)));
            }
            Self::Twilio { url } => {
                if let Some((_, query)) = url.split_once('?') {
                    query.clone_into(&mut request.query);
                }
                let signature = twilio::signature(key, url, &request.query, &request.body);
                request.set_header("x-twilio-signature", signature);
            }
            Self::Bird { url } => {
                let hash = sha256(&request.body);
                let parts = [stamp.as_bytes(), b"\n", url.as_bytes(), b"\n", &hash];
                let signature = STANDARD.encode(hmac(Hash::Sha256, key, &parts));
                request.set_header("messagebird-signature", signature);
                request.set_header("messagebird-request-timestamp", stamp);
            }
        }
    }

    pub(in crate::gateway) fn credential_location(&self) -> CredentialLocation {
        let header = match self {
            Self::BodyHmac { header, .. } | Self::TimedHmac { header, .. } | Self::StaticHeader { header } => header,
            Self::UrlSecret { param } => return CredentialLocation::Query(param.clone()),
            Self::StandardWebhooks => "webhook-signature",
            Self::ExpiringJwt | Self::BodyJwt => "authorization",
            Self::Twilio { .. } => "x-twilio-signature",
            Self::Bird { .. } => "messagebird-signature",
        };
        CredentialLocation::Header(header.to_owned())
    }

    /// The constant text before the credential.
    pub(in crate::gateway) fn credential_prefix(&self) -> &str {
        match self {
            Self::BodyHmac { prefix, .. } | Self::TimedHmac { prefix, .. } => prefix,
            Self::StandardWebhooks => "v1,",
            Self::ExpiringJwt | Self::BodyJwt => "Bearer ",
            _ => "",
        }
    }

    /// The header that holds the signed timestamp.
    pub(in crate::gateway) fn timestamp_header(&self) -> Option<&str> {
        match self {
            Self::TimedHmac { timestamp_header, .. } => Some(timestamp_header),
            Self::StandardWebhooks => Some("webhook-timestamp"),
            Self::Bird { .. } => Some("messagebird-request-timestamp"),
            _ => None,
        }
    }

    /// The maximum age of a signature, and how far in the future its timestamp may be. `None`: it never expires.
    pub(in crate::gateway) fn validity(&self) -> Option<(SignedDuration, Option<SignedDuration>)> {
        match self {
            Self::TimedHmac { .. } | Self::StandardWebhooks | Self::Bird { .. } => {
                Some((CLOCK_TOLERANCE, Some(CLOCK_TOLERANCE)))
            }
            Self::BodyJwt => Some((CLOCK_TOLERANCE + RETRY_PERIOD, Some(CLOCK_TOLERANCE))),
            Self::ExpiringJwt => Some((SignedDuration::from_secs(600), None)),
            _ => None,
        }
    }

    /// Whether the URL is signed.
    pub(in crate::gateway) fn signs_url(&self) -> bool {
        matches!(self, Self::Twilio { .. })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, Method};
    use secrecy::SecretString;

    use super::{super::Encoding, *};
    use crate::gateway::Webhook;

    const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn all_schemes() -> Vec<AuthScheme> {
        let (header, prefix) = ("x-mac".to_owned(), "sha1=".to_owned());
        let timed = AuthScheme::TimedHmac {
            header: header.clone(),
            timestamp_header: "x-at".to_owned(),
            prefix,
            hash: Hash::Sha1,
            encoding: Encoding::Base64,
        };
        vec![
            AuthScheme::hub_sha256(),
            timed,
            AuthScheme::StandardWebhooks,
            AuthScheme::StaticHeader { header },
            AuthScheme::UrlSecret { param: "token".to_owned() },
            AuthScheme::ExpiringJwt,
            AuthScheme::BodyJwt,
            AuthScheme::Twilio { url: "https://wa.example.org/hook".to_owned() },
            AuthScheme::Twilio { url: "https://wa.example.org/hook?a=b".to_owned() },
            AuthScheme::Bird { url: "https://wa.example.org/hook".to_owned() },
        ]
    }

    fn accepted(scheme: &AuthScheme, request: &WebhookRequest, now: Timestamp) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let (method, query, body) = (&Method::POST, request.query.as_str(), request.body.as_slice());
        let webhook = Webhook { method, path_suffix: None, query, headers: &headers, body, now };
        scheme.verify(&webhook, &[SecretString::from(SECRET.to_owned())]).is_ok()
    }

    #[test]
    fn signatures_are_accepted_within_their_lifetime_only() {
        let at = Timestamp::from_second(1_788_256_800).unwrap();
        for scheme in all_schemes() {
            let mut request = WebhookRequest { body: b"a=1&b=2".to_vec(), ..WebhookRequest::default() };
            scheme.sign(SECRET, &mut request, at);
            assert!(accepted(&scheme, &request, at), "{scheme:?}");
            match scheme.credential_location() {
                CredentialLocation::Header(name) => {
                    let value = &request.headers.iter().find(|(known, _)| *known == name).unwrap().1;
                    assert!(value.starts_with(scheme.credential_prefix()), "{scheme:?}");
                }
                CredentialLocation::Query(name) => assert!(request.query.starts_with(&name)),
            }
            let second = SignedDuration::from_secs(1);
            let Some((old, young)) = scheme.validity() else {
                assert!(accepted(&scheme, &request, at + SignedDuration::from_hours(1000)));
                continue;
            };
            assert!(accepted(&scheme, &request, at + old - second), "{scheme:?}");
            assert!(!accepted(&scheme, &request, at + old + second), "{scheme:?}");
            if let Some(young) = young {
                assert!(accepted(&scheme, &request, at - young), "{scheme:?}");
                assert!(!accepted(&scheme, &request, at - young - second), "{scheme:?}");
            }
        }
    }
}
