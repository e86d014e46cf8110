//! What a callback says. Built once, when the decision is committed, and sent byte for byte in every attempt.

use jiff::Timestamp;

use crate::{
    api::{
        callback::{Callback, CallbackData, CodeEvent, Common, LinkEvent},
        verification::{Completion, Risk},
    },
    domain::{Event, State, Verification, sending::Channel, verification},
};

/// The body of `event` about a record, at the time of the verdict. Never holds the code or a token.
pub fn body(event: Event, record: &Verification, at: Timestamp) -> String {
    let status = record.status(at);
    let common = Common::of(record);
    let data = match &record.otp {
        Some(otp) => CallbackData::Code(Box::new(CodeEvent {
            otp_type: "code",
            status,
            common,
            send: otp.send(),
            channel: otp.channel().map(Channel::as_str),
        })),
        None => CallbackData::Link(Box::new(LinkEvent {
            otp_type: "link",
            status,
            common,
            renews: record.request.renews.map(|id| id.to_string()),
            text_changed: record.proof().map(|_| record.text_changed),
            risk: record.risk.as_ref().map(Risk::from),
            after: reached(record),
            completion: Completion::of(record),
        })),
    };
    envelope(event, at, data)
}

/// The three members every callback has.
pub fn envelope(event: Event, at: Timestamp, data: CallbackData) -> String {
    let callback = Callback { event: event.as_str(), timestamp: at.into(), data };
    // With its members in alphabetical order: `verify-signature` recognises a body that a receiver has written anew.
    serde_json::to_value(&callback).expect("types of the wire have only string keys").to_string()
}

/// How far the login had come when it was disputed.
fn reached(record: &Verification) -> Option<&'static str> {
    match &record.state {
        State::Verified { completion: verification::Completion::Disputed { after, .. }, .. } => Some(after.as_str()),
        _ => None,
    }
}
