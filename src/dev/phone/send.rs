//! The person taps Send, and the gateway tells the daemon.

use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::{Bubble, Phone, Side};
use crate::{dev::daemon::Answer, domain::Chat, egress::EgressError, gateway::SimulatedMessage, random};

/// Longer than the longest life of a code and the daemon's patience with slow gateways.
const LATE: i64 = 3 * 60 * 60;
/// Well-formed, and nobody's.
const WRONG_SECRET: &str = "whsec_bm90IHRoZSBzZWNyZXQgb2YgdGhpcyBnYXRld2F5";
const GROUP: &str = "120363000000000017@g.us";

/// What the person has written.
#[derive(Deserialize)]
pub(in crate::dev) struct Draft {
    pub(in crate::dev) from: Chat,
    #[serde(default)]
    pub(in crate::dev) push_name: Option<String>,
    pub(in crate::dev) text: String,
    #[serde(default)]
    pub(in crate::dev) how: How,
}

/// What becomes of it on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::dev) enum How {
    #[default]
    Plain,
    /// The gateway delivers the last message a second time; the draft is not looked at.
    Again,
    Late,
    /// As a later change of a message that was sent before.
    Edit,
    Group,
    /// Somebody who does not know the secret pretends to be the gateway.
    Forged,
}

impl How {
    fn note(self) -> Option<&'static str> {
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

/// A webhook as it went over the wire.
pub(in crate::dev) struct Posted {
    pub(in crate::dev) body: Vec<u8>,
    pub(in crate::dev) headers: [(&'static str, String); 3],
    pub(in crate::dev) answer: Result<Answer, EgressError>,
}

impl Phone {
    /// `None`: there is no last message to send again.
    pub(in crate::dev) async fn send(&self, draft: Draft) -> Option<Posted> {
        let how = draft.how;
        let now = self.clock.wall();
        let message = match how {
            How::Again => self.journal().last.clone()?,
            _ => message(draft, now.as_second()),
        };
        let secret = if how == How::Forged { WRONG_SECRET } else { self.identity.webhook_secret.expose_secret() };
        let (body, headers) = message.sign(secret, now);
        let mut id = 0;
        self.note(|journal, at| {
            id = journal.said(|id| Bubble {
                id,
                at,
                side: Side::Person,
                chat: message.from.clone(),
                text: message.text.clone(),
                note: how.note(),
                status: None,
                millis: None,
                sms: false,
                code: false,
            });
            if how != How::Forged {
                journal.last = Some(message);
            }
        });
        let answer = self.daemon.webhook(&body, &headers).await;
        let status = answer.as_ref().ok().map(|answer| answer.status);
        let elapsed = answer.as_ref().map(|answer| answer.elapsed).unwrap_or_default();
        self.note(|journal, _| journal.delivered(id, status, u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)));
        Some(Posted { body, headers, answer })
    }
}

fn message(draft: Draft, now: i64) -> SimulatedMessage {
    let how = draft.how;
    SimulatedMessage {
        id: format!("SIM{:016X}", u64::from_be_bytes(random::bytes())),
        from: draft.from.as_given().to_owned(),
        text: draft.text,
        timestamp: if how == How::Late { now - LATE } else { now },
        push_name: draft.push_name.filter(|name| !name.is_empty()),
        group: (how == How::Group).then(|| GROUP.to_owned()),
        from_me: false,
        edited: how == How::Edit,
    }
}
