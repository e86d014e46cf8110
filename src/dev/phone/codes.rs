//! One-time codes on the fake phone's page: the app requests a code, and validates the one that the person typed.

use std::sync::atomic::Ordering;

use actix_web::{
    HttpResponse,
    web::{Data, Json},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{FakePhone, wrap_response};
use crate::{dev::client::DaemonResponse, egress::EgressError};

/// A request for a code.
#[derive(Deserialize)]
pub(in crate::dev) struct CodeForm {
    /// Whether the gateway responds that the recipient is not on WhatsApp.
    #[serde(default)]
    pub(in crate::dev) no_whatsapp: bool,
    /// The fields of `request-code`.
    #[serde(flatten)]
    pub(in crate::dev) fields: serde_json::Map<String, Value>,
}

impl FakePhone {
    pub(in crate::dev) async fn request_code(&self, form: CodeForm) -> Result<DaemonResponse, EgressError> {
        self.no_whatsapp.store(form.no_whatsapp, Ordering::Relaxed);
        self.record(|history, at| history.code_requested_at = Some(at));
        self.daemon.post("/request-code", &Value::Object(form.fields)).await
    }

    pub(in crate::dev) async fn type_code(&self, chat: &str, code: &str) -> Result<DaemonResponse, EgressError> {
        self.daemon.post("/validate-code", &json!({ "chatId": chat, "code": code })).await
    }
}

/// `POST /code`
pub(super) async fn request(phone: Data<FakePhone>, wanted: Json<CodeForm>) -> HttpResponse {
    wrap_response(phone.request_code(wanted.into_inner()).await)
}

/// The code that the person typed into the app.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TypedCode {
    chat_id: String,
    code: String,
}

/// `POST /code/check`
pub(super) async fn check(phone: Data<FakePhone>, typed: Json<TypedCode>) -> HttpResponse {
    wrap_response(phone.type_code(&typed.chat_id, &typed.code).await)
}
