//! Infobip: a configuration of the generic gateway.

use super::{
    generic,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "infobip",
    build: |reader| generic::build(KIND.name, reader),
    preset: Some(PRESET),
    group: KindGroup::Official,
    proof: "user and password in a header (weak)",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::DayWindow,
    delivery_reports: "delivery and seen reports",
    compared: "`number`",
    several_numbers: "a forwarding per sender",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Channels and Numbers → WhatsApp → the sender → Keywords → default → Forward to HTTP*, or a subscription: URL = the webhook
URL, with a **notification profile** of type *Basic*; its user and password are `webhook_secret`. `url` is the base URL of
your account. Delivery and seen reports go to one URL per account: ask Infobip's support to set it to the webhook URL,
with the same profile.

```toml
[instance.gateway]
kind = "infobip"
url = "https://xxxxx.api.infobip.com"
from = "12025550142"
api_key = "the-API-key"
webhook_secret = "countersign:0123456789abcdef0123456789abcdef"
```
"#,
};

/// The operator's keys override these.
const PRESET: &str = r#"
# Infobip. url: the account's own, such as https://xxxxx.api.infobip.com; api_key: the API key; from: the
# sending number. webhook_secret: `user:password` of the notification profile.
webhook_auth = "basic"
webhook_header = "authorization"

[mapping]
select = "/results"
event = { pointer = "/integrationType", accept = ["WHATSAPP"] }
message_id = "/messageId"
chat_id = "/from"
sender = "/from"
to = "/to"
text = { pointer = "/message/text", when_pointer = "/message/type", equals = ["TEXT", "text"] }
timestamp = { pointer = "/receivedAt", unit = "rfc3339" }
# Sent messages are reported to another URL.
from_me = "never"
push_name = "/contact/name"
# Reports have no integrationType: delivery reports name a group (PENDING, DELIVERED, UNDELIVERABLE, EXPIRED, REJECTED),
# seen reports only a time. infobip.com/docs/api, WhatsApp, "Receive delivery reports", "Receive seen reports".
receipt_id = "/messageId"
receipt = "/status/groupName"
delivered = { pointer = "/seenAt" }

[send]
url = "{url}/whatsapp/1/message/text"
headers = { Authorization = "App {api_key}" }
body = '{"from": "{from}", "to": "{chat_id}", "content": {"text": "{text}"}}'
# Bulk requests and single ones are answered in different forms.
message_id = ["/messageId", "/messages/0/messageId"]
permanent = [
    { pointer = "/status/groupName", equals = ["REJECTED", "UNDELIVERABLE"] },
    { pointer = "/messages/0/status/groupName", equals = ["REJECTED", "UNDELIVERABLE"] },
]
"#;
