//! Wawp: WAHA's payload; webhooks are authenticated by a secret in the URL, or by an HMAC in an undocumented header.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Gateway, Malformed, Refusal, SendResult, Webhook, WebhookAuth, WebhookEvent,
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
    jid,
    json::{self, text},
    send_result_with_id, waha,
};
use crate::domain::{DeliveryFailure, Subject};

pub(super) fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let hmac = AuthScheme::BodyHmac {
        header: String::new(),
        prefix: String::new(),
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
    };
    let url_secret = AuthScheme::UrlSecret { param: "secret".to_owned() };
    let scheme = reader.scheme(&[("url-secret", url_secret), ("hmac", hmac)]);
    if matches!(&scheme, AuthScheme::BodyHmac { header, .. } if header.is_empty()) {
        reader.table.fault(
            "webhook_header",
            "is missing: Wawp does not document the header's name; take it from a recorded webhook",
        );
    }
    Arc::new(Wawp {
        scheme,
        secrets: reader.webhook_secrets(),
        url: reader.base_url(Some("https://api.wawp.net")),
        access_token: reader.sending_secret("access_token", "Wawp's access token, to send replies"),
        instance_id: reader.identifier("instance_id", "the id of the instance at Wawp"),
    })
}

struct Wawp {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    access_token: SecretString,
    instance_id: String,
}

impl Gateway for Wawp {
    fn kind(&self) -> &'static str {
        "wawp"
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let addressee = waha::addressee(&body).check_id(body.get("session"), &self.instance_id);
        Ok(vec![waha::read_event(text(&body, "/event"), &body["payload"])?.addressed_to(&addressee)])
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let chat_id = jid::recipient(chat_id, subject, "@c.us");
        let message = json!({
            "instance_id": self.instance_id,
            "access_token": self.access_token.expose_secret(),
            "chatId": chat_id,
            "message": text,
        });
        json::post(&format!("{}/v2/send/text", self.url), &[], &message)
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        match text(&body, "/code").or(text(&body, "/error")) {
            Some("invalid_instance" | "invalid_access_token" | "subscription_required") => {
                SendResult::Refused(Refusal::Unauthorized)
            }
            Some("wawp_upstream_error") => SendResult::Retryable { reason: DeliveryFailure::GatewayError },
            _ => send_result_with_id(response, &body, &["/id/_serialized", "/key/id", "/id"]),
        }
    }
}
