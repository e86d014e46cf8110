//! Gupshup with webhooks in format v2: a configuration of the generic gateway.

use super::{
    generic,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "gupshup",
    build: |reader| generic::build(KIND.name, reader),
    preset: Some(PRESET),
    group: KindGroup::Official,
    proof: "a header (weak)",
    ban_risk: BanRisk::None,
    sms: false,
    codes: CodeDelivery::DayWindow,
    delivery_reports: "*message-event*",
    compared: "`account`",
    several_numbers: "a webhook URL per app",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"The older format v2: *App → Webhooks → Add webhook*, URL = the webhook URL, format **v2**, events *message* and
*message-event*, custom header `Authorization: <webhook_secret>`.

```toml
[instance.gateway]
kind = "gupshup"
account = "the-apps-name"
from = "12025550142"
api_key = "the-API-key"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

/// The operator's keys override these.
const PRESET: &str = r#"
# Gupshup, webhook format v2. account: the app's name; from: the sending number; api_key: the API key.
# Webhooks are not signed: set the secret as the custom Authorization header of the webhook.
url = "https://api.gupshup.io"
webhook_auth = "static-header"
webhook_header = "authorization"

[mapping]
event = { pointer = "/type", accept = ["message"], status = ["message-event"] }
message_id = "/payload/id"
chat_id = "/payload/source"
sender = "/payload/source"
bsuid = "/payload/sender/userId"
account = "/app"
text = { pointer = "/payload/payload/text", when_pointer = "/payload/type", equals = "text" }
timestamp = { pointer = "/timestamp", unit = "ms" }
# Sent messages are reported as message-event.
from_me = "never"
push_name = "/payload/sender/name"
receipt_id = ["/payload/gsId", "/payload/id"]
receipt = "/payload/type"
# docs.gupshup.io/docs/error-codes; 470 is Meta's.
receipt_not_on_whatsapp = { pointer = "/payload/payload/code", equals = [1002] }
receipt_window_closed = { pointer = "/payload/payload/code", equals = [470, 1004, 1005, 1008] }
receipt_quota = { pointer = "/payload/payload/code", equals = [1003] }

[send]
url = "{url}/wa/api/v1/msg"
headers = { apikey = "{api_key}" }
message_id = "/messageId"

[send.body]
channel = "whatsapp"
source = "{from}"
destination = "{chat_id}"
"src.name" = "{account}"
message = { type = "text", text = "{text}" }
"#;
