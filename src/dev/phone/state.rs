//! The state of the page, by long polling.

use std::time::Duration;

use actix_web::{
    HttpResponse,
    web::{Data, Query},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::FakePhone;

/// The maximum time of one poll. Links are created and expire without changing the history, so the daemon is queried at
/// least this often.
const POLL_TIMEOUT: Duration = Duration::from_millis(900);
/// The newest requests, with their timelines.
const REQUESTS_PATH: &str = "/requests?limit=12";

#[derive(Deserialize)]
pub(super) struct StateQuery {
    /// The revision that the page has.
    after: Option<u64>,
}

/// `GET /state.json?after=…`
pub(super) async fn state(phone: Data<FakePhone>, query: Query<StateQuery>) -> HttpResponse {
    let mut watch = phone.subscribe();
    if let Some(after) = query.after {
        // After a timeout the response is sent too: the daemon's requests may have changed.
        let _ = tokio::time::timeout(POLL_TIMEOUT, watch.wait_for(|revision| *revision != after)).await;
    }
    let revision = *watch.borrow();
    let requests = match phone.daemon.get(REQUESTS_PATH).await {
        Ok(response) if response.status == 200 => {
            response.json().pointer("/data/requests").map(brief).unwrap_or_default()
        }
        _ => Value::Null,
    };
    let history = phone.history();
    let (bubbles, callbacks) = (&history.bubbles, &history.callbacks);
    HttpResponse::Ok().insert_header(("cache-control", "no-store")).json(json!({
        "revision": revision,
        "now": phone.clock.wall().as_millisecond(),
        "business": { "name": phone.identity.name, "number": phone.identity.number.e164() },
        "api": phone.daemon.api_url(),
        "sms": phone.identity.sms_api_key.is_some(),
        "inbox_status": phone.inbox_status(),
        "bubbles": bubbles,
        "callbacks": callbacks,
        "requests": requests,
    }))
}

/// The members of each request that the page shows.
fn brief(requests: &Value) -> Value {
    const MEMBERS: [&str; 16] = [
        "uuid",
        "otp_type",
        "chat_id",
        "channel",
        "attempts",
        "max_attempts",
        "status",
        "reason",
        "text",
        "whatsapp_link",
        "start_url",
        "created_at",
        "expires_at",
        "timeline",
        "subject",
        "completion",
    ];
    let brief = |request: &Value| -> Value {
        MEMBERS
            .iter()
            .map(|name| ((*name).to_owned(), request[*name].clone()))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    requests.as_array().into_iter().flatten().map(brief).collect()
}
