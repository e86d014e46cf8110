//! The routes of the fake phone: its pages, their API, and the endpoints for the daemon.

use actix_web::{
    HttpResponse,
    web::{Data, Json, ServiceConfig, get, post, resource},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FakePhone, codes, inbox, pages, send::MessageForm, state, wrap_response};

/// Statuses for responses to callbacks: success, "stop sending", and a failure that is retried.
const INBOX_STATUSES: [u16; 3] = [200, 410, 500];

pub(super) fn all(config: &mut ServiceConfig) {
    config
        .service(resource("/").route(get().to(pages::phone)))
        .service(resource("/landed").route(get().to(pages::landed)))
        .service(resource("/oidc").route(get().to(pages::openid)))
        .service(resource("/state.json").route(get().to(state::state)))
        .service(resource("/mint").route(post().to(create_link)))
        .service(resource("/code").route(post().to(codes::request)))
        .service(resource("/code/check").route(post().to(codes::check)))
        .service(resource("/send").route(post().to(send)))
        .service(resource("/redeem").route(post().to(redeem)))
        .service(resource("/inbox/status").route(post().to(inbox_status)))
        .service(resource("/inbox").route(post().to(inbox::callback)))
        .service(resource("/messages").route(post().to(inbox::message)));
}

/// `POST /mint` (creates a link): passes the page's fields to the daemon, as an app's server does.
async fn create_link(phone: Data<FakePhone>, fields: Json<Value>) -> HttpResponse {
    wrap_response(phone.daemon.post("/generate-link", &fields).await)
}

async fn redeem(phone: Data<FakePhone>, fields: Json<Value>) -> HttpResponse {
    wrap_response(phone.daemon.post("/redeem", &fields).await)
}

async fn send(phone: Data<FakePhone>, form: Json<MessageForm>) -> HttpResponse {
    match phone.send(form.into_inner()).await {
        Some(posted) => wrap_response(posted.response),
        None => HttpResponse::Conflict().json(json!({ "message": "no message was sent yet" })),
    }
}

#[derive(Deserialize)]
struct InboxStatus {
    status: u16,
}

async fn inbox_status(phone: Data<FakePhone>, wanted: Json<InboxStatus>) -> HttpResponse {
    if !INBOX_STATUSES.contains(&wanted.status) {
        return HttpResponse::UnprocessableEntity().json(json!({ "message": "expected 200, 410 or 500" }));
    }
    phone.set_inbox_status(wanted.status);
    HttpResponse::NoContent().finish()
}
