//! The timeline of a verification: what has happened to it, entry by entry.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;

use super::{Channel, DeliveryFailure, Reason, binding::WhatsAppDevice};

/// Something that happened to a verification.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TimelineEntry {
    pub at: Timestamp,
    pub event: TimelineEvent,
    pub reason: Option<Reason>,
    /// The name of the token or operator that caused it, if the configuration gives one: `token:shop`,
    /// `operator:alice`.
    pub by: Option<String>,
}

impl TimelineEntry {
    pub fn new(at: Timestamp, event: TimelineEvent, reason: Option<Reason>) -> Self {
        Self { at, event, reason, by: None }
    }
}

/// What happened. Its text is what the API returns and the store holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TimelineEvent {
    Created,
    /// The start page was used; the place says where WhatsApp is.
    Tapped(WhatsAppDevice),
    /// A message with the code arrived but verified nothing; the reason says why.
    Message,
    Verified {
        /// The brackets around the code were missing.
        edited: bool,
        /// The verification was meant for one browser, but none was bound to it.
        unbound: bool,
    },
    Failed,
    Expired,
    Canceled,
    /// The link in the reply was opened in a different browser than the waiting one.
    LinkTapped,
    /// The person confirmed the login on the page behind the link; another browser continues it.
    Agreed,
    /// The reply code was shown.
    CodeShown,
    /// The reply code was typed; with a reason, it was wrong.
    CodeTyped,
    Completed,
    /// The waiting page finished the login by itself.
    Finished,
    /// The browser that completed the login requested another redeem token.
    TokenReissued,
    Redeemed,
    /// The link in the reply was not used in time.
    Lapsed,
    /// No redeem token was exchanged in time.
    TokenLapsed,
    /// Too many wrong verifiers were presented with a redeem token.
    VerifiersExhausted,
    /// A code of the OpenID provider was presented again: what it gave is revoked.
    Revoked,
    Disputed,
    /// The app presented the correct code.
    Validated,
    /// The app presented a wrong code.
    WrongCode,
    /// Another code for the same chat replaced it.
    Replaced,
    /// The app requested that the code be sent again; holds the number of this send.
    Resend(u16),
    Sent(Channel),
    Delivered(Channel),
    NotDelivered(Channel, DeliveryFailure),
    /// The gateway did not report whether it accepted the message.
    PerhapsSent(Channel, DeliveryFailure),
    /// An event from a later version of this program; kept unchanged.
    Unknown(String),
}

const RESEND: (&str, &str) = ("asked to be sent again (", ")");
const NOT_DELIVERED: &str = "not delivered by ";
const PERHAPS_SENT: &str = "perhaps sent by ";

impl TimelineEvent {
    /// The events whose text is fixed.
    pub const FIXED: &[Self] = &[
        Self::Created,
        Self::Tapped(WhatsAppDevice::Same),
        Self::Tapped(WhatsAppDevice::Other),
        Self::Message,
        Self::Verified { edited: false, unbound: false },
        Self::Verified { edited: true, unbound: false },
        Self::Verified { edited: false, unbound: true },
        Self::Verified { edited: true, unbound: true },
        Self::Failed,
        Self::Expired,
        Self::Canceled,
        Self::LinkTapped,
        Self::Agreed,
        Self::CodeShown,
        Self::CodeTyped,
        Self::Completed,
        Self::Finished,
        Self::TokenReissued,
        Self::Redeemed,
        Self::Lapsed,
        Self::TokenLapsed,
        Self::VerifiersExhausted,
        Self::Revoked,
        Self::Disputed,
        Self::Validated,
        Self::WrongCode,
        Self::Replaced,
        Self::Sent(Channel::WhatsApp),
        Self::Sent(Channel::Sms),
        Self::Delivered(Channel::WhatsApp),
        Self::Delivered(Channel::Sms),
    ];

    /// Regular expressions that match the texts of the other events.
    pub const PATTERNS: &[&str] =
        &[r"^asked to be sent again \([0-9]+\)$", "^(not delivered|perhaps sent) by (whatsapp|sms): [a-z_]+$"];

    /// Parses the text that [`Self::text`] returns.
    pub fn parse(text: &str) -> Self {
        let plain = || Self::FIXED.iter().find(|event| event.text() == text).cloned();
        plain().or_else(|| Self::parse_compound(text)).unwrap_or_else(|| Self::Unknown(text.to_owned()))
    }

    fn parse_compound(text: &str) -> Option<Self> {
        if let Some(send) = text.strip_prefix(RESEND.0).and_then(|rest| rest.strip_suffix(RESEND.1)) {
            return send.parse().ok().map(Self::Resend);
        }
        let of_channel = |prefix| {
            let (channel, failure) = text.strip_prefix(prefix)?.split_once(": ")?;
            Some((Channel::parse(channel)?, DeliveryFailure::parse(failure)?))
        };
        let not_delivered = of_channel(NOT_DELIVERED).map(|(channel, failure)| Self::NotDelivered(channel, failure));
        not_delivered.or_else(|| of_channel(PERHAPS_SENT).map(|(channel, failure)| Self::PerhapsSent(channel, failure)))
    }

    /// The text that the API returns and the store holds.
    pub fn text(&self) -> Cow<'static, str> {
        let text = match self {
            Self::Created => "created",
            Self::Tapped(WhatsAppDevice::Same) => "tapped (here)",
            Self::Tapped(WhatsAppDevice::Other) => "tapped (qr)",
            Self::Message => "message",
            Self::Verified { edited: false, unbound: false } => "verified",
            Self::Verified { edited: true, unbound: false } => "verified (edited text)",
            Self::Verified { edited: false, unbound: true } => "verified (unbound)",
            Self::Verified { edited: true, unbound: true } => "verified (edited text, unbound)",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
            Self::LinkTapped => "link tapped",
            Self::Agreed => "agreed",
            Self::CodeShown => "code shown",
            Self::CodeTyped => "code typed",
            Self::Completed => "completed",
            Self::Finished => "finished by the waiting page",
            Self::TokenReissued => "asked for again",
            Self::Redeemed => "redeemed",
            Self::Lapsed => "lapsed",
            Self::TokenLapsed => "redeem token lapsed",
            Self::VerifiersExhausted => "redeem token spent by wrong verifiers",
            Self::Revoked => "revoked: code used twice",
            Self::Disputed => "disputed",
            Self::Validated => "validated",
            Self::WrongCode => "wrong code",
            Self::Replaced => "replaced by another code",
            Self::Sent(Channel::WhatsApp) => "sent by whatsapp",
            Self::Sent(Channel::Sms) => "sent by sms",
            Self::Delivered(Channel::WhatsApp) => "delivered by whatsapp",
            Self::Delivered(Channel::Sms) => "delivered by sms",
            Self::Resend(send) => return format!("{}{send}{}", RESEND.0, RESEND.1).into(),
            Self::NotDelivered(channel, failure) => return format!("{NOT_DELIVERED}{channel}: {failure}").into(),
            Self::PerhapsSent(channel, failure) => return format!("{PERHAPS_SENT}{channel}: {failure}").into(),
            Self::Unknown(text) => return text.clone().into(),
        };
        text.into()
    }
}

impl fmt::Display for TimelineEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compound() -> impl Iterator<Item = TimelineEvent> {
        let resend = [1, 2, 20].map(TimelineEvent::Resend).into_iter();
        let failures = Channel::ALL.iter().flat_map(|&channel| {
            DeliveryFailure::ALL.iter().flat_map(move |&failure| {
                [TimelineEvent::NotDelivered(channel, failure), TimelineEvent::PerhapsSent(channel, failure)]
            })
        });
        resend.chain(failures)
    }

    #[test]
    fn a_text_leads_back_to_its_event() {
        for event in TimelineEvent::FIXED.iter().cloned().chain(compound()) {
            assert_eq!(TimelineEvent::parse(&event.to_string()), event);
        }
    }

    #[test]
    fn what_a_later_version_wrote_is_kept() {
        for text in ["", "moved to the moon", "sent by pigeon", "not delivered by sms: eclipse"] {
            assert_eq!(TimelineEvent::parse(text), TimelineEvent::Unknown(text.to_owned()));
            assert_eq!(TimelineEvent::parse(text).to_string(), text);
        }
    }

    #[test]
    fn each_text_is_plain_or_of_one_pattern() {
        let patterns: Vec<_> = TimelineEvent::PATTERNS.iter().map(|one| regex::Regex::new(one).unwrap()).collect();
        let fits = |event: &TimelineEvent| patterns.iter().filter(|one| one.is_match(&event.to_string())).count();
        assert!(TimelineEvent::FIXED.iter().all(|event| fits(event) == 0));
        assert!(compound().all(|event| fits(&event) == 1));
    }
}
