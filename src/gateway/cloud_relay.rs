//! Providers that relay Meta's webhook format: 360dialog, and Gupshup with v3 callbacks. They differ from the Cloud API
//! in authentication and in the URL for sending.

use std::sync::Arc;

use http::{Request, Response};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ButtonMessage, CodeMessage, Gateway, Malformed, SampleMessage, SendResult, Unauthenticated, Webhook, WebhookAuth,
    WebhookEvent, WebhookRequest,
    answers::{self, Answer, RATE_LIMITED},
    auth_scheme::{AuthScheme, Encoding, Hash},
    cloud_api, cloud_message,
    cloud_template::{self, AuthenticationTemplate, ListFormat},
    config_reader::ConfigReader,
    json,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};
use crate::domain::{Language, Subject};

pub(super) const KIND_360DIALOG: GatewayKind = GatewayKind {
    name: "360dialog",
    build: build_360dialog,
    preset: None,
    group: KindGroup::Official,
    proof: "HMAC-SHA256 of the body, or a header (weak)",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::Template,
    delivery_reports: "yes",
    compared: "the displayed number",
    several_numbers: "a webhook URL per number",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"In the hub, *WhatsApp number → API key* shows `api_key`. Set the webhook with
`POST https://waba-v2.360dialog.io/v1/configs/webhook` and the body
`{"url": "<webhook URL>", "headers": {"Authorization": "<webhook_secret>"}}`. Partners receive `x-360dialog-signature`
instead: omit `webhook_auth` and use the platform secret. `template` is as for `cloud-api`.

```toml
[instance.gateway]
kind = "360dialog"
api_key = "the-D360-API-KEY"
webhook_auth = "static-header"
webhook_secret = "Bearer 0123456789abcdef0123456789abcdef"
```
"#,
};

fn build_360dialog(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let hmac = |header: &str, prefix: &str| AuthScheme::BodyHmac {
        header: header.to_owned(),
        prefix: prefix.to_owned(),
        hash: Hash::Sha256,
        encoding: Encoding::Hex,
    };
    let static_header = AuthScheme::StaticHeader { header: "authorization".to_owned() };
    let scheme = reader.scheme(&[("hmac", hmac("x-360dialog-signature", "")), ("static-header", static_header)]);
    let alternative = match &scheme {
        AuthScheme::BodyHmac { header, .. } => Some(hmac(header, "sha256=")),
        _ => None,
    };
    let url = reader.base_url(Some("https://waba-v2.360dialog.io"));
    Arc::new(CloudRelay {
        kind: KIND_360DIALOG.name,
        scheme,
        alternative,
        secrets: reader.webhook_secrets(),
        endpoint: format!("{url}/messages"),
        template_list: format!("{url}/v1/configs/templates?limit=1000"),
        template_format: ListFormat::Dialog360,
        key_header: "d360-api-key",
        api_key: reader.sending_secret("api_key", "the number's D360-API-KEY, to send replies"),
        template: AuthenticationTemplate::read(reader),
        button: reader.button(),
        request_contact_info: reader.request_contact_info(),
    })
}

pub(super) const KIND_GUPSHUP_V3: GatewayKind = GatewayKind {
    name: "gupshup-v3",
    build: build_gupshup,
    preset: None,
    group: KindGroup::Official,
    proof: "a header (weak)",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::Template,
    delivery_reports: "yes",
    compared: "the displayed number",
    several_numbers: "a webhook URL per number",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"Meta's format through Gupshup's partner API: add a **v3 subscription** with the webhook URL and, under *meta →
headers*, `Authorization: <webhook_secret>`.

```toml
[instance.gateway]
kind = "gupshup-v3"
app_id = "the-id-of-the-app"
api_key = "the-apps-access-token"
# template = "login_code"                                 # as for `cloud-api`
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

fn build_gupshup(reader: &mut ConfigReader<'_>) -> Arc<dyn Gateway> {
    let scheme = reader.scheme(&[
        ("static-header", AuthScheme::StaticHeader { header: "authorization".to_owned() }),
        ("url-secret", AuthScheme::UrlSecret { param: "secret".to_owned() }),
    ]);
    let app_id = reader.identifier("app_id", "the id of the Gupshup app");
    let url = reader.base_url(Some("https://partner.gupshup.io"));
    Arc::new(CloudRelay {
        kind: KIND_GUPSHUP_V3.name,
        scheme,
        alternative: None,
        secrets: reader.webhook_secrets(),
        endpoint: format!("{url}/partner/app/{app_id}/v3/message"),
        template_list: format!("{url}/partner/app/{app_id}/templates"),
        template_format: ListFormat::Gupshup,
        key_header: "authorization",
        api_key: reader.sending_secret("api_key", "the app's access token, to send replies"),
        template: AuthenticationTemplate::read(reader),
        button: reader.button(),
        request_contact_info: reader.request_contact_info(),
    })
}

/// docs.360dialog.com, "Rate limits": a 400 like that for unpaid bills; only the text distinguishes them. Meta's errors are
/// passed on.
const ANSWERS: &[Answer] = &[Answer::contains("endpoint rate limit", RATE_LIMITED).at(400)];

struct CloudRelay {
    kind: &'static str,
    scheme: AuthScheme,
    /// Also accepted: 360dialog does not document whether its signature has Meta's `sha256=` prefix.
    alternative: Option<AuthScheme>,
    secrets: Vec<SecretString>,
    endpoint: String,
    /// Where the templates are listed.
    template_list: String,
    template_format: ListFormat,
    key_header: &'static str,
    api_key: SecretString,
    template: Option<AuthenticationTemplate>,
    button: bool,
    request_contact_info: bool,
}

impl Gateway for CloudRelay {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn webhook_auth(&self) -> WebhookAuth<'_> {
        WebhookAuth { scheme: &self.scheme, secrets: &self.secrets }
    }

    fn authenticate(&self, webhook: &Webhook<'_>) -> Result<(), Unauthenticated> {
        let outcome = self.scheme.verify(webhook, &self.secrets);
        match &self.alternative {
            Some(other) => outcome.or_else(|why| other.verify(webhook, &self.secrets).map_err(|_| why)),
            None => outcome,
        }
    }

    fn auth_covers_body(&self) -> bool {
        std::iter::once(&self.scheme).chain(&self.alternative).any(AuthScheme::covers_body)
    }

    fn parse(&self, webhook: &Webhook<'_>) -> Result<Vec<WebhookEvent>, Malformed> {
        cloud_api::parse_body(webhook.body)
    }

    fn recipient(&self, subject: &Subject) -> String {
        cloud_message::recipient_of(subject)
    }

    fn code_message(&self, message: &CodeMessage<'_>) -> Option<Request<Vec<u8>>> {
        let body = match &self.template {
            Some(template) => template.message(message),
            None => cloud_message::text_body(
                &cloud_message::recipient_of(message.subject),
                Some(message.subject),
                message.text,
            ),
        };
        Some(json::post(&self.endpoint, &[(self.key_header, self.api_key.expose_secret())], &body))
    }

    fn text_message(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Request<Vec<u8>> {
        let key = (self.key_header, self.api_key.expose_secret());
        json::post(&self.endpoint, &[key], &cloud_message::text_body(chat_id, subject, text))
    }

    fn button_message(
        &self,
        chat_id: &str,
        subject: Option<&Subject>,
        message: &ButtonMessage<'_>,
    ) -> Option<Request<Vec<u8>>> {
        let body = cloud_message::button_body(chat_id, subject, message).filter(|_| self.button)?;
        Some(json::post(&self.endpoint, &[(self.key_header, self.api_key.expose_secret())], &body))
    }

    fn template_list(&self) -> Option<Request<Vec<u8>>> {
        self.template.as_ref()?;
        Request::get(&self.template_list).header(self.key_header, self.api_key.expose_secret()).body(Vec::new()).ok()
    }

    fn check_template(&self, response: &Response<Vec<u8>>, languages: &[Language]) -> Result<String, String> {
        let Some(template) = &self.template else { return Ok(String::new()) };
        template.find_in(&cloud_template::list(response, self.template_format)?, languages)
    }

    fn contact_request(&self, chat_id: &str, subject: Option<&Subject>, text: &str) -> Option<Request<Vec<u8>>> {
        let body = cloud_message::contact_request_body(chat_id, subject, text).filter(|_| self.request_contact_info)?;
        Some(json::post(&self.endpoint, &[(self.key_header, self.api_key.expose_secret())], &body))
    }

    fn compose(&self, sample: &SampleMessage) -> Option<WebhookRequest> {
        Some(cloud_api::compose_body(sample, ""))
    }

    fn parse_send_response(&self, response: &Response<Vec<u8>>) -> SendResult {
        answers::read(response, cloud_api::IDS, &[ANSWERS, cloud_api::ANSWERS])
    }
}
