//! Bodies of callbacks. A body is built once, when the decision is committed, and every attempt sends the same bytes.

use jiff::Timestamp;

use crate::{
    api::{
        callback::{Callback, CallbackData, CodeEvent, Common, LinkEvent},
        verification::{CompletionView, RiskView},
    },
    domain::{
        Event, Kind, KindRef, OtpType, Verification,
        link::{self, Link, LoginProgress},
    },
};

/// The body of `event` about a record, as of `at`. Never contains the code or a token.
pub fn body<K: Kind>(event: Event, record: &Verification<K>, at: Timestamp) -> String {
    let (status, common, request) = (record.status(at), Common::of(record), &record.request);
    let data = match record.details.by_ref() {
        KindRef::Code(code) => CallbackData::Code(Box::new(CodeEvent {
            otp_type: OtpType::Code,
            status,
            common,
            send: code.delivery.send(),
            channel: code.delivery.channel(),
            test: request.test.then_some(true),
        })),
        KindRef::Link(link) => CallbackData::Link(Box::new(LinkEvent {
            otp_type: OtpType::Link,
            status,
            common,
            renews: request.renews.map(|id| id.to_string()),
            text_changed: record.proof().map(|_| link.text_changed),
            risk: link.risk.as_ref().map(RiskView::from),
            after: progress_at_dispute(link),
            completion: CompletionView::of(link, request),
        })),
    };
    envelope(event, at, data)
}

/// Adds the members that every callback has.
pub(in crate::service) fn envelope(event: Event, at: Timestamp, data: CallbackData) -> String {
    let callback = Callback { event: event.as_str(), timestamp: at.into(), data };
    // Serialized by way of a `Value`, which sorts the members. Most JSON libraries print a parsed body in the same
    // order, so `verify-signature` can detect a receiver that verified such a copy instead of the raw bytes.
    serde_json::to_value(&callback).expect("types of the wire have only string keys").to_string()
}

/// How far the login had progressed when it was disputed; `None` if it was not disputed.
fn progress_at_dispute(link: &Link) -> Option<LoginProgress> {
    match link.completion()? {
        link::Completion::Disputed { after, .. } => Some(*after),
        link::Completion::Offered { .. }
        | link::Completion::Released { .. }
        | link::Completion::Redeemed { .. }
        | link::Completion::Lapsed { .. }
        | link::Completion::NotOffered => None,
    }
}
