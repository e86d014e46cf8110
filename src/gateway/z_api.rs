//! Z-API: a configuration of the generic gateway.

use super::{
    generic,
    kind::{BanRisk, CodeDelivery, GatewayKind, KindGroup},
};

pub(super) const KIND: GatewayKind = GatewayKind {
    name: "z-api",
    build: |reader| generic::build(KIND.name, reader),
    preset: Some(PRESET),
    group: KindGroup::Unofficial,
    proof: "the URL (weak)",
    ban_risk: BanRisk::Yes,
    sms: false,
    codes: CodeDelivery::Text,
    delivery_reports: "*On message status*",
    compared: "`account` and `number`",
    several_numbers: "a webhook URL per instance",
    issues_webhook_secret: false,
    shared_secrets: &[],
    setup: r#"*Instance → Webhooks → On receive*: `<webhook URL>?token=<webhook_secret>`. `api_secret` is the account's
Client-Token (*Security*).

```toml
[instance.gateway]
kind = "z-api"
account = "the-instance-id"
api_key = "the-instances-token"
api_secret = "the-Client-Token"
webhook_secret = "0123456789abcdef0123456789abcdef"
```
"#,
};

/// The operator's keys override these.
const PRESET: &str = r#"
# Z-API. account: the instance's id; api_key: its token; api_secret: the account's Client-Token.
# Webhooks are not signed: put the secret into the webhook URL as ?token=…
url = "https://api.z-api.io"
webhook_auth = "url-secret"
webhook_param = "token"

[mapping]
event = { pointer = "/type", accept = ["ReceivedCallback"], status = ["MessageStatusCallback", "DeliveryCallback"] }
message_id = "/messageId"
chat_id = "/phone"
sender = [{ pointer = "/participantPhone", when_pointer = "/isGroup", equals = true }, "/phone"]
lid = [
    { pointer = "/participantLid", when_pointer = "/isGroup", equals = true },
    "/senderLid",
    { pointer = "/chatLid", when_pointer = "/isGroup", equals = false },
]
to = "/connectedPhone"
account = "/instanceId"
# Absent while `waitingMessage` is true; the same id follows with the text.
text = "/text/message"
timestamp = { pointer = "/momment", unit = "ms" }
from_me = { pointer = "/fromMe" }
group = { pointer = "/isGroup" }
edit = { pointer = "/isEdit" }
broadcast = [{ pointer = "/isNewsletter" }, { pointer = "/isStatusReply" }, { pointer = "/broadcast" }]
push_name = "/senderName"
receipt_id = "/ids"
receipt = "/status"

[send]
url = "{url}/instances/{account}/token/{api_key}/send-text"
headers = { Client-Token = "{api_secret}" }
body = '{"phone": "{chat_id}", "message": "{text}"}'
message_id = "/messageId"
"#;
