//! Wawp: WAHA's payload; webhooks are authenticated by a secret in the URL, or by an HMAC in an undocumented header.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    Gateway, Malformed, SampleMessage, SendResult, Webhook, WebhookAuth, WebhookEvent, WebhookRequest,
    answers::{self, Answer, CLIENT_ANSWERS, GATEWAY_ERROR, UNAUTHORIZED},
    auth_scheme::{AuthScheme, Encoding, Hash},
    config_reader::ConfigReader,
    jid,
    json::{self, text_at},
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
    waha,
};
use crate::domain::Subject;

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "wawp",
    build,
    preset: None,
    group: KindGroup::Unofficial,
    proof: "the URL (weak), or HMAC-SHA256 of the body",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "event `message.ack`",
    compared: "`instance_id`, the own number in `me` or `to`",
    several_numbers: "a webhook per instance",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Session → Webhook* (paid plans): `<webhook URL>?secret=<webhook_secret>`, event `message`. Wawp's own library checks
an HMAC, but its header is not documented: if your webhooks have one, record a request, set `webhook_auth = "hmac"` and
`webhook_header`, and test it with `inspect-webhook` first.

```toml
[instance.gateway]
kind = "wawp"
instance_id = "the-instance-id"
access_token = "the-access-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
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

/// docs.wawp.net, "Errors": the word is in `code` or in `error`.
const ANSWERS: &[Answer] = &[
    Answer::value("/code", REFUSALS, UNAUTHORIZED),
    Answer::value("/error", REFUSALS, UNAUTHORIZED),
    Answer::value("/code", &["wawp_upstream_error"], GATEWAY_ERROR),
    Answer::value("/error", &["wawp_upstream_error"], GATEWAY_ERROR),
];
const REFUSALS: &[&str] = &["invalid_instance", "invalid_access_token", "subscription_required"];

struct Wawp {
    scheme: AuthScheme,
    secrets: Vec<SecretString>,
    url: String,
    access_token: SecretString,
    instance_id: String,
}

impl Gateway for Wawp {
    fn kind(&self) -> &'static str {
        KIND.name
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        let body = json::parse(webhook.body)?;
        let addressee = waha::addressee(&body).check_id(body.get("session"), &self.instance_id);
        Ok(vec![waha::read_event(text_at(&body, "/event"), &body["payload"])?.addressed_to(&addressee)])
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

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        // Wawp names its instances sessions.
        Some(waha::compose_body(sample, &self.instance_id))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, &["/id", "/key/id"], &[ANSWERS, CLIENT_ANSWERS])
    }
}
