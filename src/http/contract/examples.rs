//! Example values for the documentation, built from the structs that are sent, so that an example has every member of a
//! real response.

use std::str::FromStr;

use serde_json::{Value, json};

use super::values;
use crate::{
    api::{
        Rfc3339Time,
        callback::{Callback, CallbackData, CallbackEntry, CallbackStatus, Common, LinkEvent},
        verification::{
            CodeView, CompletionView, Details, LinkRequestView, LinkView, RedeemedView, RequestView, SubjectView,
            TimelineEntryView, Validated,
        },
    },
    domain::{OtpType, Status},
};

/// Parses a value of [`values`].
pub(super) fn parsed<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} stands in values.rs and has another form"))
}

pub(super) fn time(text: &str) -> Rfc3339Time {
    Rfc3339Time(parsed(text))
}

pub(super) fn subject() -> SubjectView {
    SubjectView { kind: "phone", value: values::PHONE.to_owned(), reported: values::PHONE.to_owned() }
}

pub(super) fn completion(state: Option<&'static str>) -> CompletionView {
    CompletionView { mode: "same_browser", state }
}

pub(super) fn link() -> LinkView {
    let text = format!("Sign me in to Harbour [{}] - DO NOT CHANGE THIS MESSAGE", values::CODE);
    let encoded = text.replace(' ', "%20").replace('[', "%5B").replace(']', "%5D");
    LinkView {
        uuid: parsed(values::UUID),
        chat_id: None,
        status: Status::Pending,
        otp_type: OtpType::Link,
        expires_at: time(values::EXPIRES),
        created_at: time(values::CREATED),
        code: Some(values::CODE.to_owned()),
        whatsapp_link: Some(format!("https://wa.me/447700900999?text={encoded}")),
        app_url: Some(format!("whatsapp://send?phone=447700900999&text={encoded}")),
        text: Some(text),
        start_url: Some(format!("https://wa.example.org/l/{}", values::HANDLE)),
        qr_url: Some(format!("https://wa.example.org/l/{}/qr.svg", values::HANDLE)),
        poll_token: Some(values::POLL_TOKEN.to_owned()),
        warnings: Vec::new(),
    }
}

pub(super) fn code(status: Status) -> CodeView {
    CodeView {
        uuid: parsed(values::CODE_UUID),
        chat_id: Some(values::CODE_CHAT.to_owned()),
        status,
        otp_type: OtpType::Code,
        expires_at: time(values::EXPIRES),
        created_at: time(values::CREATED),
        code: Some(values::OTP.to_owned()),
        poll_token: Some(values::POLL_TOKEN.to_owned()),
        warnings: Vec::new(),
    }
}

pub(super) fn validated() -> Validated {
    Validated {
        uuid: parsed(values::CODE_UUID),
        chat_id: values::CODE_CHAT.to_owned(),
        status: Status::Validated,
        validated_at: time(values::ENDED),
        test: None,
    }
}

pub(super) fn redeemed() -> RedeemedView {
    RedeemedView {
        uuid: parsed(values::UUID),
        subject: Some(subject()),
        chat_id: Some(values::CHAT.to_owned()),
        push_name: Some("Mara".to_owned()),
        renews: None,
        text_changed: Some(false),
        risk: None,
        purpose: None,
        client_ref: Some("cart 7".to_owned()),
        metadata: Value::Null,
        completion: completion(Some("redeemed")),
    }
}

fn happened(at: &str, event: &str) -> TimelineEntryView {
    TimelineEntryView { at: time(at), event: event.to_owned(), reason: None, by: None }
}

fn pending_details() -> Details {
    Details {
        reason: None,
        ended_at: None,
        subject: None,
        push_name: None,
        attempts: 0,
        max_attempts: 5,
        renews: None,
        purpose: None,
        client_ref: Some("cart 7".to_owned()),
        metadata: Value::Null,
        timeline: vec![happened(values::CREATED, "created")],
    }
}

pub(super) fn pending() -> RequestView {
    let (link, details) = (link(), pending_details());
    RequestView::Link(Box::new(LinkRequestView { link, details, completion: completion(None) }))
}

pub(super) fn canceled() -> RequestView {
    let timeline = vec![happened(values::CREATED, "created"), happened(values::ENDED, "canceled")];
    RequestView::Link(Box::new(LinkRequestView {
        link: LinkView { status: Status::Canceled, ..link() },
        details: Details { ended_at: Some(time(values::ENDED)), timeline, ..pending_details() },
        completion: completion(None),
    }))
}

/// A callback as it is sent.
pub(super) fn callback(event: &'static str) -> Callback {
    let common = Common {
        uuid: parsed(values::UUID),
        reason: None,
        chat_id: Some(values::CHAT.to_owned()),
        subject: Some(subject()),
        push_name: Some("Mara".to_owned()),
        purpose: None,
        client_ref: Some("cart 7".to_owned()),
        metadata: Value::Null,
        created_at: time(values::CREATED),
        expires_at: time(values::EXPIRES),
        ended_at: Some(time(values::ENDED)),
    };
    let data = LinkEvent {
        otp_type: OtpType::Link,
        status: Status::Verified,
        common,
        renews: None,
        text_changed: Some(false),
        risk: None,
        after: None,
        completion: completion(Some("offered")),
    };
    Callback { event, timestamp: time(values::ENDED), data: CallbackData::Link(Box::new(data)) }
}

/// The callback that most receivers wait for.
pub(super) fn callback_json() -> Value {
    json!(callback("link.verified"))
}

/// A callback that was given up.
pub(super) fn callback_entry() -> CallbackEntry {
    CallbackEntry {
        id: values::CALLBACK.to_owned(),
        webhook_id: values::WEBHOOK_ID.to_owned(),
        event: "link.verified",
        uuid: Some(values::UUID.to_owned()),
        url: "https://app.example.org".to_owned(),
        status: CallbackStatus::Dead,
        attempts: 13,
        created_at: time(values::ENDED),
        next_attempt_at: None,
        ended_at: Some(time(values::GIVEN_UP)),
        last_error: Some("app.example.org: status 500".to_owned()),
    }
}
