//! The words of an explanation.

use jiff::Timestamp;

use super::Question;
use crate::{
    api::callback::CallbackEntry,
    domain::{State, Verification, verification::Completion},
    service::trace::Trace,
};

/// One sentence, or a few short ones, for whoever has to answer a person now.
pub(super) fn of(
    question: &Question,
    traces: &[(Timestamp, Trace)],
    requests: &[(Verification, Vec<CallbackEntry>)],
    now: Timestamp,
) -> String {
    let newest = traces.first().map(|(_, trace)| trace);
    match (question, newest, requests.first()) {
        (Question::Request(_), _, Some((record, callbacks))) => {
            let heard = match traces.len() {
                0 if matches!(record.state, State::Pending) => " No message with its code has arrived.".to_owned(),
                0 => String::new(),
                count => format!(" {count} of the last day's messages held its code."),
            };
            format!("{}{heard}{}", standing(record, now), told(callbacks))
        }
        (Question::Request(_), _, None) => {
            "No request of this instance has this id: it never was, or its retention is over, or it was erased."
                .to_owned()
        }
        (_, Some(trace), found) => {
            let about = found.filter(|(record, _)| Some(record.id) == trace.uuid);
            let ending = about.map(|(record, callbacks)| format!(" {}{}", standing(record, now), told(callbacks)));
            format!("The newest message {}{}", meaning(trace), ending.unwrap_or_default())
        }
        (_, None, Some((record, callbacks))) => {
            let heard = "No message has arrived in the last 24 hours; the newest request:";
            format!("{heard} {}{}", standing(record, now), told(callbacks))
        }
        (_, None, None) => {
            "Nothing of the last 24 hours fits. The message did not reach this instance, or its webhook was refused: look \
             at the gateway's own log, at its webhook URL and secret, and at countersign's log for webhooks answered 401."
                .to_owned()
        }
    }
}

/// What became of a message, after "the message".
pub(super) fn meaning(trace: &Trace) -> String {
    let meaning = match trace.outcome.as_str() {
        "verified" => "held a live code and proved its chat.",
        "repeated" => "held a code that the same chat had proved already; the success reply was repeated.",
        "duplicate" => "was delivered again by the gateway and had been answered before.",
        "code_unknown" => {
            "held a code that is not known here: it was changed, its request was erased, or it belongs to another \
             instance or environment."
        }
        "code_expired" => "held a code that was too old; the person needs a new link.",
        "code_used" => "held a code that had been used already.",
        "code_canceled" => "held a code whose request the app had canceled.",
        "code_not_active" => "held a code whose request had ended as failed.",
        "sender_mismatch" => "held the right code and came from another chat than the request names.",
        "sender_unidentified" => {
            "held the right code, and WhatsApp hid the number that the request asks for; leave chatId out, or let the \
             gateway resolve LIDs."
        }
        "text_changed" => {
            "held the right code in another text than the prefilled one, which require_exact_text does not take."
        }
        "several_codes" => "held several live codes, so that none counts.",
        "rate_limited" => "was not looked at: its sender had sent too many unknown codes.",
        "message_too_old" => "was older than any code can be when the gateway delivered it, or its clock is wrong.",
        "no_code" => "held no code: the text was changed, or something else was written.",
        "non_text" => "was no text, but a picture, a sticker or the like.",
        "edit" => "was an edit of an earlier message, which never counts.",
        "another_number" => {
            "came to another number or account of the gateway than this instance's, and was left to that one."
        }
        "senders_differ" => "named two different senders, so that it proves neither; this is a fault of the gateway.",
        "sms" => "was an SMS, whose sender can be forged; sms_verifies = true in the gateway's table believes it.",
        "incomplete" => "came without an id, a chat or a text.",
        other => return format!("was ignored ({other})."),
    };
    match trace.age {
        Some(age) if age.abs() > 120 => format!("{meaning} It took {age} s to get here, by the gateway's clock."),
        _ => meaning.to_owned(),
    }
}

fn standing(record: &Verification, now: Timestamp) -> String {
    let wrong = match record.attempts {
        0 => String::new(),
        1 => " after one wrong try".to_owned(),
        count => format!(" after {count} wrong tries"),
    };
    let (id, status) = (record.id, record.status(now));
    let more = match &record.state {
        State::Verified { completion, .. } => match completion {
            Completion::Offered { until, told: Some(told), .. } if now < *until && told.is_live(now) => {
                "; the code for the page that waits was told"
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
        },
        _ => "",
    };
    let why = record.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("Request {id} is {status}{why}{wrong}{more}.")
}

fn told(callbacks: &[CallbackEntry]) -> String {
    callbacks.iter().fold(String::new(), |text, callback| {
        let event = callback.event;
        let attempts = callback.attempts;
        let error = callback.last_error.as_deref().unwrap_or("no attempt yet");
        text + &match callback.status {
            "delivered" => format!(" The app took {event}."),
            "dead" => format!(" {event} was given up after {attempts} attempts ({error})."),
            _ => format!(" {event} waits for the app ({attempts} attempts, {error})."),
        }
    })
}
