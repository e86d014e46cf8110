//! The text of an explanation.

use jiff::Timestamp;

use super::Question;
use crate::{
    api::callback::{CallbackEntry, CallbackStatus},
    domain::{
        Kind as _, KindRef, Reason, Verification,
        link::{Completion, Link, LinkState},
        sent_code::CodeState,
    },
    gateway::IgnoreReason,
    service::{Outcome, Unmatched, messages::LoggedMessage},
};

/// One sentence or a few short ones, for support staff who have to answer a person now.
pub(super) fn summary(
    question: &Question,
    logged: &[(Timestamp, LoggedMessage)],
    requests: &[(Verification, Vec<CallbackEntry>)],
    now: Timestamp,
) -> String {
    let newest = logged.first().map(|(_, message)| message);
    match (question, newest, requests.first()) {
        (Question::Request(_), _, Some((record, callbacks))) => {
            let heard = match logged.len() {
                0 if is_pending(record) => " No message with its code has arrived.".to_owned(),
                0 => String::new(),
                1 => " One message of the last 24 hours held its code.".to_owned(),
                count => format!(" {count} messages of the last 24 hours held its code."),
            };
            format!("{}{heard}{}", request_status(record, now), callbacks_status(callbacks))
        }
        (Question::Request(_), _, None) => {
            "No request of this instance has this id: it never existed, its retention is over, or it was erased."
                .to_owned()
        }
        (_, Some(message), found) => {
            let about = found.filter(|(record, _)| Some(record.id) == message.uuid);
            let ending = about.map(|(record, callbacks)| format!(" {}{}", request_status(record, now), callbacks_status(callbacks)));
            format!("The newest message {}{}", meaning(message), ending.unwrap_or_default())
        }
        (_, None, Some((record, callbacks))) => {
            let heard = "No message has arrived in the last 24 hours; the newest request:";
            format!("{heard} {}{}", request_status(record, now), callbacks_status(callbacks))
        }
        (_, None, None) => {
            "Nothing in the last 24 hours matches. The message did not reach this instance, or its webhook was refused: look \
             at the gateway's own log, at its webhook URL and secret, and at countersign's log for webhooks answered 401. \
             Ask for `malformed` to see the webhooks that could not be parsed. Not kept are receipts, and messages \
             without a code that were written in a group or from this number itself."
                .to_owned()
        }
    }
}

/// About webhooks that could not be parsed.
pub(super) fn of_malformed(count: usize) -> String {
    match count {
        0 => "All webhooks of the last 24 hours could be parsed.".to_owned(),
        1 => "One webhook of the last 24 hours could not be parsed. Its readable messages were handled.".to_owned(),
        count => {
            format!("{count} webhooks of the last 24 hours could not be parsed. Their readable messages were handled.")
        }
    }
}

/// What became of a message, as a continuation of "the message".
pub(super) fn meaning(message: &LoggedMessage) -> String {
    let meaning = match message.outcome {
        Outcome::Verified => "held a live code and proved its chat.",
        Outcome::Repeated => "held a code that the same chat had proved already; the success reply was repeated.",
        Outcome::Duplicate => "was delivered again by the gateway and had been answered before.",
        Outcome::Unchanged => return ignored(message.outcome),
        Outcome::Unmatched(Unmatched::CodeUnknown) => {
            "held a code that is not known here: it was changed, its request was erased, or it belongs to another \
             instance or environment."
        }
        Outcome::Unmatched(Unmatched::NoCode) => "held no code: the text was changed, or something else was written.",
        Outcome::Failed(reason) => match failed(reason) {
            Some(meaning) => meaning,
            None => return ignored(message.outcome),
        },
        Outcome::Ignored(reason) => match unread(reason) {
            Some(meaning) => meaning,
            None => return ignored(message.outcome),
        },
    };
    match message.age {
        Some(age) if age.abs() > 120 => format!("{meaning} It took {age} s to get here, by the gateway's clock."),
        Some(_) | None => meaning.to_owned(),
    }
}

fn ignored(outcome: Outcome) -> String {
    format!("was ignored ({outcome}).")
}

/// For a message with a code.
fn failed(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::CodeExpired => "held a code that was too old; the person needs a new link.",
        Reason::CodeUsed => "held a code that had been used already.",
        Reason::CodeCanceled => "held a code whose request the app had canceled.",
        Reason::CodeNotActive => "held a code whose request had ended as failed.",
        Reason::SenderMismatch => "held the right code and came from a different chat than the request names.",
        Reason::SenderUnidentified => {
            "held the right code, and WhatsApp hid the number that the request asks for; leave chatId out, or let the \
             gateway resolve LIDs."
        }
        Reason::TextChanged => {
            "held the right code in another text than the prefilled one, which require_exact_text and approvals do not \
             accept."
        }
        Reason::Rejected => "held the right code and the answer that rejects the request.",
        Reason::SeveralCodes => "held several live codes, so none counts.",
        Reason::RateLimited => "was not looked at: its sender had sent too many unknown codes.",
        Reason::MessageTooOld => "was older than any code can be when the gateway delivered it, or its clock is wrong.",
        Reason::CodeUnknown
        | Reason::CodeWrong
        | Reason::NotDirectText
        | Reason::AttemptsExhausted
        | Reason::CodeLocked
        | Reason::WrongBrowser
        | Reason::RedeemExpired
        | Reason::ReplyUndeliverable
        | Reason::WebhookUnauthenticated
        | Reason::InstanceRemoved => return None,
    })
}

/// For a message that was not searched for a code.
fn unread(reason: IgnoreReason) -> Option<&'static str> {
    Some(match reason {
        IgnoreReason::NonText => "was not text but a picture, a sticker or the like.",
        IgnoreReason::Edit => "was an edit of an earlier message, which never counts.",
        IgnoreReason::AnotherNumber => {
            "came to another number or account of the gateway than this instance's, and was left to that one."
        }
        IgnoreReason::SendersDiffer => {
            "named two different senders, so it proves neither; this is a fault of the gateway."
        }
        IgnoreReason::Sms => {
            "was an SMS, whose sender can be forged; sms_verifies = true in the gateway's table believes it."
        }
        IgnoreReason::Incomplete => "came without an id, a chat or a text.",
        IgnoreReason::FromMe => {
            "was sent from this instance's own number, which proves no identity: send it from another phone."
        }
        IgnoreReason::Group => "was written in a group; only a direct message to the number counts.",
        IgnoreReason::Broadcast => "was in a broadcast list or a channel; only a direct message to the number counts.",
        IgnoreReason::Status | IgnoreReason::Malformed | IgnoreReason::Event => return None,
    })
}

/// Whether the stored state is pending, regardless of the current time.
fn is_pending(record: &Verification) -> bool {
    match record.details.by_ref() {
        KindRef::Link(link) => link.state == LinkState::Pending,
        KindRef::Code(code) => code.state == CodeState::Pending,
    }
}

fn request_status(record: &Verification, now: Timestamp) -> String {
    let wrong = match record.attempts {
        0 => String::new(),
        1 => " after one wrong try".to_owned(),
        count => format!(" after {count} wrong tries"),
    };
    let (id, status) = (record.id, record.status(now));
    let more = record.as_link().and_then(Link::completion).map_or("", |completion| match completion {
        Completion::Offered { until, reply_code: Some(reply_code), .. } if now < *until && reply_code.is_live(now) => {
            "; the code for the waiting page was sent"
        }
        Completion::Offered { until, .. } if now < *until => "; the link in the reply waits to be tapped",
        Completion::Offered { .. } => "; the link in the reply was never tapped",
        Completion::Released { tokens, .. } if tokens.iter().any(|issued| now < issued.until) => {
            "; the app has not redeemed the token yet"
        }
        Completion::Released { .. } => "; the app did not redeem the token in time",
        Completion::Redeemed { .. } => "; the app redeemed the token",
        Completion::Lapsed { .. } => "; the link or its token lapsed",
        Completion::Disputed { .. } => "; the person said that it was not them",
        Completion::NotOffered => "; the person approved it",
    });
    let reason = record.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("Request {id} is {status}{reason}{wrong}{more}.")
}

fn callbacks_status(callbacks: &[CallbackEntry]) -> String {
    callbacks.iter().fold(String::new(), |text, callback| {
        let event = callback.event;
        let attempts = match callback.attempts {
            1 => "1 attempt".to_owned(),
            count => format!("{count} attempts"),
        };
        let error = callback.last_error.as_deref().unwrap_or("no attempt yet");
        text + &match callback.status {
            CallbackStatus::Delivered => format!(" The app accepted {event}."),
            CallbackStatus::Dead => format!(" {event} was given up after {attempts} ({error})."),
            CallbackStatus::Pending => format!(" {event} is waiting to be delivered ({attempts}, {error})."),
        }
    })
}
