//! The renderings, served as files.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::openapi;
use crate::{domain::keys::sha256, http::App};

fn file(request: &HttpRequest, media: &'static str, body: String) -> HttpResponse {
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(body.as_bytes())[..12]));
    let mut response = HttpResponse::Ok();
    let seen = request.headers().get(header::IF_NONE_MATCH).is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
    if seen {
        response.status(actix_web::http::StatusCode::NOT_MODIFIED);
    }
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if seen { response.finish() } else { response.content_type(media).body(body) }
}

fn url(app: &App) -> String {
    app.service.public("")
}

/// `GET /openapi.json`
pub(in crate::http) async fn openapi_json(app: Data<App>, request: HttpRequest) -> HttpResponse {
    file(&request, "application/json", openapi(&url(&app)).to_string())
}
