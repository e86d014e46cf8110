//! Codes on the fake phone's page: the app requests one, and checks what the person typed.

use std::sync::atomic::Ordering;

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Phone, routes::pass_on};
use crate::{dev::daemon::Answer, egress::EgressError};

/// A request for a code.
#[derive(Deserialize)]
pub(in crate::dev) struct Wanted {
    /// Whether the person is not on WhatsApp.
    #[serde(default)]
    pub(in crate::dev) no_whatsapp: bool,
    /// The fields of `request-code`.
    #[serde(flatten)]
    pub(in crate::dev) fields: serde_json::Map<String, Value>,
}

impl Phone {
    pub(in crate::dev) async fn ask_for_a_code(&self, wanted: Wanted) -> Result<Answer, EgressError> {
        self.no_whatsapp.store(wanted.no_whatsapp, Ordering::Relaxed);
        self.note(|journal, at| journal.asked = Some(at));
        self.daemon.post("/request-code", &Value::Object(wanted.fields)).await
    }

    pub(in crate::dev) async fn type_code(&self, chat: &str, code: &str) -> Result<Answer, EgressError> {
        self.daemon.post("/validate-code", &json!({ "chatId": chat, "code": code })).await
    }
}

/// `POST /code`
pub(super) async fn request(phone: Data<Phone>, wanted: Json<Wanted>) -> HttpResponse {
    pass_on(phone.ask_for_a_code(wanted.into_inner()).await)
}

/// The code that the person typed into the app.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Typed {
    chat_id: String,
    code: String,
}

/// `POST /code/check`
pub(super) async fn check(phone: Data<Phone>, typed: Json<Typed>) -> HttpResponse {
    pass_on(phone.type_code(&typed.chat_id, &typed.code).await)
}
