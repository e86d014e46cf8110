//! The renderings, served as files.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{markdown, openapi, page, postman};
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

/// `GET /docs`
pub(in crate::http) async fn docs(request: HttpRequest) -> HttpResponse {
    let (html, policy) = page::page();
    let mut response = file(&request, "text/html; charset=utf-8", html);
    for (name, value) in [("content-security-policy", policy.as_str()), ("referrer-policy", "no-referrer")] {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(header::HeaderName::from_static(name), value);
        }
    }
    response
}

/// `GET /docs.md`
pub(in crate::http) async fn docs_markdown(request: HttpRequest) -> HttpResponse {
    file(&request, "text/markdown; charset=utf-8", markdown::document())
}

/// `GET /postman.json`
pub(in crate::http) async fn postman(app: Data<App>, request: HttpRequest) -> HttpResponse {
    file(&request, "application/json", postman::collection(&url(&app)).to_string())
}

/// `GET /llms.txt`
pub(in crate::http) async fn llms(app: Data<App>, request: HttpRequest) -> HttpResponse {
    file(&request, "text/plain; charset=utf-8", markdown::index(&url(&app)))
}
