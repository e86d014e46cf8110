//! Serves the renderings of the contract as files.

use std::sync::OnceLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{Bytes, Data},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::Compression;

use super::{markdown, openapi, page, postman};
use crate::{
    hash::sha256,
    http::{
        PublicState,
        content_coding::{accepts_gzip, gzip},
    },
};

/// Renderings are built on first use and cached, since anyone may request them at any rate.
#[derive(Default)]
pub(in crate::http) struct Renderings {
    openapi: OnceLock<Rendering>,
    docs: OnceLock<(Rendering, String)>,
    docs_markdown: OnceLock<Rendering>,
    postman: OnceLock<Rendering>,
    llms: OnceLock<Rendering>,
}

/// A rendered document, as it is and compressed.
pub(in crate::http) struct Rendering {
    plain: Representation,
    gzip: Representation,
}

/// The bytes of a response and their entity tag.
struct Representation {
    body: Bytes,
    tag: String,
}

impl Rendering {
    pub(in crate::http) fn new(body: String) -> Self {
        let gzip = gzip(&body, Compression::best());
        Self { plain: Representation::new(body.into_bytes()), gzip: Representation::new(gzip) }
    }

    pub(in crate::http) fn serve(&self, request: &HttpRequest, media: &'static str) -> HttpResponse {
        let gzip = accepts_gzip(request);
        let Representation { body, tag } = if gzip { &self.gzip } else { &self.plain };
        let mut response = HttpResponse::Ok();
        let seen = request.headers().get(header::IF_NONE_MATCH);
        let seen = seen.is_some_and(|seen| seen.as_bytes() == tag.as_bytes());
        if seen {
            response.status(StatusCode::NOT_MODIFIED);
        }
        response
            .insert_header((header::ETAG, tag.as_str()))
            .insert_header((header::CACHE_CONTROL, "no-cache"))
            .insert_header((header::VARY, "accept-encoding"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        if seen {
            return response.finish();
        }
        if gzip {
            response.insert_header((header::CONTENT_ENCODING, "gzip"));
        }
        response.content_type(media).body(body.clone())
    }
}

impl Representation {
    fn new(body: Vec<u8>) -> Self {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&sha256(&body)[..12]));
        Self { body: body.into(), tag }
    }
}

fn url(state: &PublicState) -> String {
    state.services.env.public_url.absolute("")
}

/// `GET /`: leads to the documentation.
pub(in crate::http) async fn root(state: Data<PublicState>) -> HttpResponse {
    let mut response = HttpResponse::SeeOther();
    response.insert_header((header::LOCATION, state.services.env.public_url.absolute("/docs")));
    response.finish()
}

/// `GET /openapi.json`
pub(in crate::http) async fn openapi_json(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let made = state.renderings.openapi.get_or_init(|| Rendering::new(openapi(&url(&state)).to_string()));
    made.serve(&request, "application/json")
}

/// `GET /docs`
pub(in crate::http) async fn docs(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let (made, policy) = state.renderings.docs.get_or_init(|| {
        let (html, policy) = page::page();
        (Rendering::new(html), policy)
    });
    restricted(made.serve(&request, "text/html; charset=utf-8"), policy)
}

/// Restricts a page to loading only what `policy` allows.
pub(in crate::http) fn restricted(mut response: HttpResponse, policy: &str) -> HttpResponse {
    for (name, value) in [("content-security-policy", policy), ("referrer-policy", "no-referrer")] {
        if let Ok(value) = header::HeaderValue::from_str(value) {
            response.headers_mut().insert(header::HeaderName::from_static(name), value);
        }
    }
    response
}

/// `GET /docs.md`
pub(in crate::http) async fn docs_markdown(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let made = state.renderings.docs_markdown.get_or_init(|| Rendering::new(markdown::document()));
    made.serve(&request, "text/markdown; charset=utf-8")
}

/// `GET /postman.json`
pub(in crate::http) async fn postman(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let made = state.renderings.postman.get_or_init(|| Rendering::new(postman::collection(&url(&state)).to_string()));
    made.serve(&request, "application/json")
}

/// `GET /llms.txt`
pub(in crate::http) async fn llms(state: Data<PublicState>, request: HttpRequest) -> HttpResponse {
    let made = state.renderings.llms.get_or_init(|| Rendering::new(markdown::index(&url(&state))));
    made.serve(&request, "text/plain; charset=utf-8")
}
