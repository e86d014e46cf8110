//! Sends the person's messages to the daemon as webhooks.

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{Bubble, ChatSide, FakePhone};
use crate::{dev::client::DaemonResponse, domain::Chat, egress::EgressError, gateway::SimulatedMessage, random};

/// The delay of a late message, in seconds: longer than a code's lifetime plus the tolerance for slow gateways.
const LATE_SECONDS: i64 = 3 * 60 * 60;
/// A valid secret that no instance has.
const WRONG_SECRET: &str = "whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBnYXRld2F5";
const GROUP: &str = "120363000000000017@g.us";

/// A message to send.
#[derive(Deserialize)]
pub(in crate::dev) struct MessageForm {
    pub(in crate::dev) from: Chat,
    #[serde(default)]
    pub(in crate::dev) push_name: Option<String>,
    pub(in crate::dev) text: String,
    #[serde(default)]
    pub(in crate::dev) how: DeliveryMode,
}

/// How the gateway delivers a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::dev) enum DeliveryMode {
    #[default]
    Plain,
    /// The last message again; the new one is not used.
    Again,
    /// With a time three hours ago.
    Late,
    /// As an edit of an earlier message.
    Edit,
    /// As a message in a group.
    Group,
    /// Signed with another secret.
    Forged,
}

impl DeliveryMode {
    fn description(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Again => Some("same message, delivered again"),
            Self::Late => Some("arrived 3 h late"),
            Self::Edit => Some("edit of an earlier message"),
            Self::Group => Some("written in a group"),
            Self::Forged => Some("forged: wrong signature"),
        }
    }
}

/// A webhook that was posted, and the response.
pub(in crate::dev) struct PostedWebhook {
    pub(in crate::dev) body: Vec<u8>,
    pub(in crate::dev) headers: [(&'static str, String); 3],
    pub(in crate::dev) response: Result<DaemonResponse, EgressError>,
}

impl FakePhone {
    /// Posts the webhook of a message. `None`: there is no last message to send again.
    pub(in crate::dev) async fn send(&self, form: MessageForm) -> Option<PostedWebhook> {
        let how = form.how;
        let now = self.clock.wall();
        let message = match how {
            DeliveryMode::Again => self.history().last_message.clone()?,
            _ => message(form, now.as_second()),
        };
        let secret =
            if how == DeliveryMode::Forged { WRONG_SECRET } else { self.identity.webhook_secret.expose_secret() };
        let (body, headers) = message.sign(secret, now);
        let mut id = 0;
        self.record(|history, at| {
            id = history.add_bubble(|id| Bubble {
                id,
                at,
                side: ChatSide::Person,
                chat: message.from.clone(),
                text: message.text.clone(),
                note: how.description(),
                status: None,
                millis: None,
                sms: false,
                code: false,
            });
            if how != DeliveryMode::Forged {
                history.last_message = Some(message);
            }
        });
        let response = self.daemon.post_webhook(&body, &headers).await;
        let status = response.as_ref().ok().map(|response| response.status);
        let elapsed = response.as_ref().map(|response| response.elapsed).unwrap_or_default();
        self.record(|history, _| history.delivered(id, status, u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
        Some(PostedWebhook { body, headers, response })
    }
}

fn message(form: MessageForm, now: i64) -> SimulatedMessage {
    let how = form.how;
    SimulatedMessage {
        id: format!("SIM{:016X}", u64::from_be_bytes(random::bytes())),
        from: form.from.as_given().to_owned(),
        text: form.text,
        timestamp: if how == DeliveryMode::Late { now - LATE_SECONDS } else { now },
        push_name: form.push_name.filter(|name| !name.is_empty()),
        group: (how == DeliveryMode::Group).then(|| GROUP.to_owned()),
        from_me: false,
        edited: how == DeliveryMode::Edit,
    }
}
