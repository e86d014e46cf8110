//! `UltraMsg`: a configuration of the generic gateway.

use super::{
    generic,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "ultramsg",
    build: |reader| generic::build(KIND.name, reader),
    preset: Some(PRESET),
    group: KindGroup::Unofficial,
    proof: "the URL (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "*Webhook on ACK*",
    compared: "`number`",
    several_numbers: "a webhook URL per instance",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Instance → Settings*: webhook URL = `<webhook URL>?token=<webhook_secret>`, *Webhook on received* on; *Webhook on ACK*
for delivery reports.

```toml
[instance.gateway]
kind = "ultramsg"
account = "instance777"
api_key = "the-instances-token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

/// The operator's keys override these.
const PRESET: &str = r#"
# UltraMsg. account: the instance, such as instance777; api_key: its token.
# Webhooks are not signed: put the secret into the webhook URL as ?token=…
url = "https://api.ultramsg.com"
webhook_auth = "url-secret"
webhook_param = "token"

[mapping]
event = { pointer = "/event_type", accept = ["message_received", "message_create"], status = ["message_ack"] }
message_id = "/data/id"
dedupe = "last_component"
# In sent messages, `from` is the own number.
chat_id = [{ pointer = "/data/to", when_pointer = "/data/fromMe", equals = true }, "/data/from"]
sender = [{ pointer = "/data/author", when_pointer = "/data/from", when_suffix = "@g.us" }, "/data/from"]
to = "/data/to"
text = { pointer = "/data/body", when_pointer = "/data/type", equals = "chat" }
timestamp = { pointer = "/data/time", unit = "s" }
from_me = { pointer = "/data/fromMe" }
group = { pointer = "/data/from", when_suffix = "@g.us" }
broadcast = { pointer = "/data/from", when_suffix = ["@broadcast", "@newsletter"] }
push_name = "/data/pushname"
# pending, server, device, read or played (blog.ultramsg.com, "Check WhatsApp Message Delivery & Read Status"). The
# id of the sent message is outside `data` (github.com/ultramsg/whatsapp-php-sdk, issue 4).
receipt_id = ["/id", "/data/id"]
receipt = "/data/ack"

[send]
url = "{url}/{account}/messages/chat"
body = { token = "{api_key}", to = "{chat_id}", body = "{text}" }
message_id = "/id"
address = "{digits}@c.us"
# Some errors have status 200.
permanent = [{ pointer = "/error" }]
# Messages wait in a queue while the phone is offline. docs.ultramsg.com/api/get/instance/status.
ready = { url = "{url}/{account}/instance/status?token={api_key}", pointer = "/status/accountStatus/status", equals = "authenticated" }
"#;
