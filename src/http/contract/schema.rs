//! The shapes that several operations share, by name.

use serde_json::{Map, Value, json};

use crate::{
    domain::{Event, Reason, TimelineEvent},
    http::problem::Code,
};

/// A reference to one of [`components`].
pub(super) fn named(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

pub(super) fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

pub(super) fn time(about: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": about })
}

/// The same, or `null`.
pub(super) fn nullable(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

/// An answer's object: every property is always there.
pub(super) fn object(properties: &Value) -> Value {
    let names: Vec<&String> = properties.as_object().map(|map| map.keys().collect()).unwrap_or_default();
    json!({ "type": "object", "required": names, "properties": properties })
}

/// One event of a stream named `event`.
pub(super) fn streamed(event: &str, data: &str) -> Value {
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": text("Counts the events of this stream."),
            "event": { "const": event },
            "data": text(data),
            "retry": { "type": "integer", "description": "Milliseconds to wait before asking again." },
        },
    })
}

/// Both, with what each requires.
pub(super) fn extended(base: &Value, properties: &Value) -> Value {
    let mut schema = object(properties);
    let mut all = base["properties"].as_object().cloned().unwrap_or_default();
    all.extend(properties.as_object().cloned().unwrap_or_default());
    let required = [base["required"].as_array(), schema["required"].as_array()];
    schema["required"] = required.into_iter().flatten().flatten().cloned().collect();
    schema["properties"] = Value::Object(all);
    schema
}

/// Every named shape, as `components.schemas` holds them.
pub(super) fn components() -> Map<String, Value> {
    let mut all = Map::new();
    for (name, schema) in [
        ("Problem", problem()),
        ("Warning", warning()),
        ("Subject", subject()),
        ("Completion", completion()),
        ("Risk", risk()),
        ("Link", link()),
        ("Code", code()),
        ("LinkRequest", link_request()),
        ("CodeRequest", code_request()),
        ("Request", json!({ "anyOf": [named("LinkRequest"), named("CodeRequest")] })),
        ("CallbackEntry", callback_entry()),
        ("Event", event()),
    ] {
        all.insert(name.to_owned(), schema);
    }
    all
}

fn words<T>(all: &[T], word: impl Fn(&T) -> &'static str) -> Value {
    all.iter().map(word).collect()
}

fn problem() -> Value {
    let fault = object(&json!({
        "field": text("Its name, dotted: `message.success`."),
        "detail": text("What is wrong with it and how to mend it."),
    }));
    let mut problem = object(&json!({
        "success": { "const": false },
        "message": text("The same as `title`, where clients of the old API look."),
        "type": { "type": "string", "pattern": "^/docs#" },
        "title": text("What the code means."),
        "status": { "type": "integer" },
        "detail": text("This occurrence, for people."),
        "code": { "enum": words(Code::ALL, |code| code.as_str()) },
        "errors": { "type": "array", "items": fault, "description": "Every faulty field at once." },
    }));
    problem["properties"]["attempts_remaining"] = json!({ "type": "integer", "minimum": 1, "description": "Beside `code_wrong`: wrong tries until the code ends." });
    problem
}

fn warning() -> Value {
    object(&json!({
        "code": text("`unknown_field`, `unknown_placeholder`, `unknown_language`, `unbound_completion`, …"),
        "detail": text("What was accepted and may surprise."),
    }))
}

fn subject() -> Value {
    let mut schema = object(&json!({
        "kind": { "enum": ["phone", "lid", "bsuid"], "description": "WhatsApp can hide a number." },
        "value": text(
            "E.164 for a phone, as its numbering plan is today; the digits of a LID are no phone number.",
        ),
        "reported": text("The same as the gateway spelled it: WhatsApp keeps some old forms of numbers."),
    }));
    schema["type"] = json!(["object", "null"]);
    schema["description"] = json!("Who proved the chat; `null` until somebody has.");
    schema
}

fn completion() -> Value {
    object(&json!({
        "mode": { "enum": ["same_browser", "prove_phone", "anywhere"], "description": "Where the login ends." },
        "state": {
            "enum": ["offered", "released", "redeemed", "lapsed", "disputed", null],
            "description": "What became of the link in the reply.",
        },
    }))
}

/// `null` while nobody has written.
pub(super) fn text_changed() -> Value {
    let about = "Other words than the prefilled ones surrounded the code: the person may have read something else.";
    json!({ "type": ["boolean", "null"], "description": about })
}

fn risk() -> Value {
    let verdict = |about: &str| json!({ "type": ["boolean", "null"], "description": about });
    let country = |about: &str| json!({ "type": ["string", "null"], "pattern": "^[A-Z]{2}$", "description": about });
    let mut schema = object(&json!({
        "same_network": verdict("The same /24 of IPv4, or /48 of IPv6."),
        "same_country": verdict("By the operator's `geoip_file`."),
        "same_device": verdict("The same kind of device, as browsers say."),
        "started_country": country("ISO 3166."),
        "finished_country": country("ISO 3166."),
    }));
    schema["type"] = json!(["object", "null"]);
    schema["description"] = json!(
        "How the browser that began (`client_ip` and `user_agent`, else the start page's) compares \
        with the one that went on; a signal, not a decision. `null` while only one was seen."
    );
    schema
}

fn link() -> Value {
    let mut schema = object(&json!({
        "uuid": { "type": "string", "format": "uuid", "description": "Names the request; it opens nothing." },
        "chat_id": nullable(text("The chat as the caller gave it, later the one that proved itself.")),
        "status": { "enum": ["pending", "verified", "failed", "expired", "canceled"] },
        "otp_type": { "const": "link" },
        "expires_at": time("After this the code counts as expired."),
        "created_at": time("By the store's clock."),
        "code": text("What stands in brackets in the person's message. Kept nowhere: made again when it is asked for."),
        "whatsapp_link": text("Opens WhatsApp with the message typed in."),
        "app_url": text("The same for the installed app: `whatsapp://send?…`."),
        "text": text("The message itself."),
        "start_url": text("A hosted page with button, QR code and live state."),
        "qr_url": text("The QR code alone, as SVG."),
        "poll_token": nullable(text("A bearer that shows the state of this request and nothing else.")),
        "warnings": { "type": "array", "items": named("Warning") },
    }));
    // Made with a key that was removed since, or seen by a token without read_secrets, it can be shown and not be used.
    let lost = ["code", "whatsapp_link", "app_url", "text", "start_url", "qr_url"];
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| !lost.iter().any(|lost| name == lost));
    }
    schema
}

fn code() -> Value {
    let mut schema = object(&json!({
        "uuid": { "type": "string", "format": "uuid", "description": "Names the request." },
        "chat_id": nullable(text("The chat as the caller gave it, until it is erased.")),
        "status": { "enum": ["pending", "sent", "validated", "failed", "expired", "canceled"] },
        "otp_type": { "const": "code" },
        "expires_at": time("After this the code counts as expired."),
        "created_at": time("By the store's clock."),
        "code": text("Kept nowhere: made again when it is asked for. Absent where `code_in_response = false`."),
        "poll_token": nullable(text("A bearer that shows the state of this request and nothing else.")),
        "warnings": { "type": "array", "items": named("Warning") },
    }));
    if let Some(required) = schema["required"].as_array_mut() {
        required.retain(|name| name != "code");
    }
    schema
}

fn code_request() -> Value {
    let mut more = of_a_request();
    more["send"] = json!({ "type": "integer", "minimum": 1, "description": "How often it was asked to be sent." });
    more["channel"] = json!({ "enum": ["whatsapp", "sms", null], "description": "Over which the last message went." });
    extended(&code(), &more)
}

fn link_request() -> Value {
    let mut more = of_a_request();
    more["completion"] = named("Completion");
    extended(&link(), &more)
}

/// What a request of either type has when it is looked at.
fn of_a_request() -> Value {
    let entry = object(&json!({
        "at": time("By the store's clock."),
        "event": timeline_event(),
        "reason": nullable_reason("Why, where there is a reason."),
        "by": nullable(text("`token:` or `operator:` and the name of who did it, where the configuration names him.")),
    }));
    json!({
            "reason": nullable_reason("Why it did not succeed."),
            "ended_at": nullable(time("When the state became final.")),
            "subject": named("Subject"),
            "push_name": nullable(text("The sender's display name, chosen by the sender: without control and direction marks, at most 128 characters.")),
            "attempts": { "type": "integer", "minimum": 0, "description": "Wrong senders, or wrong codes, so far." },
            "max_attempts": { "type": "integer", "minimum": 1 },
            "renews": nullable(text("The expired request that a tap on its page made anew, if there was one.")),
            "purpose": nullable(text("As given.")),
            "client_ref": nullable(text("As given.")),
            "metadata": { "description": "As given." },
            "timeline": { "type": "array", "items": entry, "description": "What happened, oldest first." },
    })
}

/// What an entry of a timeline says.
pub(super) fn timeline_event() -> Value {
    let patterns = TimelineEvent::PATTERNS.iter().map(|pattern| json!({ "pattern": pattern }));
    let plain = json!({ "enum": TimelineEvent::PLAIN.iter().map(ToString::to_string).collect::<Vec<String>>() });
    json!({
        "type": "string",
        "anyOf": std::iter::once(plain).chain(patterns).collect::<Vec<Value>>(),
        "description": "What happened, in a closed list of words. Of a code, some name the channel and the cause.",
    })
}

fn nullable_reason(about: &str) -> Value {
    let mut reasons: Vec<Value> = Reason::ALL.iter().map(|reason| json!(reason.as_str())).collect();
    reasons.push(Value::Null);
    json!({ "enum": reasons, "description": about })
}

fn callback_entry() -> Value {
    object(&json!({
        "id": text("Names it in `…/callbacks/{id}`."),
        "webhook_id": text("The `webhook-id` header of every attempt."),
        "type": { "enum": words(Event::ALL, |event| event.as_str()) },
        "uuid": nullable(text("The request it is about.")),
        "url": text("Where it is sent, without path and query."),
        "status": { "enum": ["pending", "delivered", "dead"] },
        "attempts": { "type": "integer", "minimum": 0 },
        "created_at": time("When it was decided."),
        "next_attempt_at": nullable(time("While it is pending.")),
        "ended_at": nullable(time("When it was delivered or given up.")),
        "last_error": nullable(text("Of the last attempt that failed: host, class and cause.")),
    }))
}

/// The body of a callback.
fn event() -> Value {
    let data = |otp_type: &str, states: &[&str], more: &Value| {
        let base = object(&json!({
          "uuid": { "type": "string", "format": "uuid" },
          "otp_type": { "const": otp_type },
          "status": { "enum": states },
          "reason": nullable_reason("Why it did not succeed."),
          "chat_id": nullable(text("As the caller gave it, else the chat that wrote.")),
          "subject": named("Subject"),
          "push_name": nullable(text("The sender's display name, chosen by the sender: without control and direction marks, at most 128 characters.")),
          "purpose": nullable(text("As given.")),
          "client_ref": nullable(text("As given.")),
          "metadata": { "description": "As given." },
          "created_at": time("When it was minted."),
          "expires_at": time("When it would have expired."),
          "ended_at": nullable(time("When the state became final.")),
        }));
        extended(&base, more)
    };
    let link = data(
        "link",
        &["pending", "verified", "failed", "expired", "canceled"],
        &json!({
            "renews": nullable(text("The expired request that a tap on its page made anew, if there was one.")),
            "text_changed": text_changed(),
            "risk": named("Risk"),
            "after": {
                "enum": ["offered", "released", "redeemed", "lapsed", null],
                "description": "Of `link.disputed`: how far it had come. After `redeemed` end the session that you began.",
            },
            "completion": named("Completion"),
        }),
    );
    let code = data(
        "code",
        &["pending", "sent", "validated", "failed", "expired", "canceled"],
        &json!({
            "send": { "type": "integer", "minimum": 1, "description": "Which send it was, where it was sent again." },
            "channel": { "enum": ["whatsapp", "sms", null], "description": "Over which the last message went." },
        }),
    );
    let data = json!({ "anyOf": [link, code] });
    object(&json!({
        "type": { "enum": words(Event::ALL, |event| event.as_str()) },
        "timestamp": time("When it happened."),
        "data": data,
    }))
}
