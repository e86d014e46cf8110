//! The pages of the provider.

use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use url::Url;

use crate::{
    domain::oidc::{ClaimScopes, ProtocolError, ResponseMode},
    http::{
        PublicState,
        pages::{PageResponse, PageStyle, PageTexts, Visitor, see_other},
    },
    service::Response,
};

const POST_SCRIPT: &str = include_str!("../../../templates/oidc/form_post.js");

/// What a person agrees to, with the sealed request.
#[derive(Template)]
#[template(path = "oidc/consent.html")]
pub(super) struct ConsentPage<'a> {
    pub(super) style: &'a PageStyle<'a>,
    pub(super) title: String,
    pub(super) purpose: &'a str,
    pub(super) claims: Vec<&'a str>,
    pub(super) action: String,
    pub(super) request: String,
}

#[derive(Template)]
#[template(path = "oidc/error.html")]
struct ErrorPage<'a> {
    style: &'a PageStyle<'a>,
    error: ProtocolError,
}

#[derive(Template)]
#[template(path = "oidc/form_post.html")]
struct FormPostPage<'a> {
    style: &'a PageStyle<'a>,
    script: &'static str,
    action: &'a str,
    fields: &'a [(&'static str, String)],
}

/// The claims of these scopes, in the words of the person's language.
pub(super) fn claims(scopes: ClaimScopes, texts: &PageTexts) -> Vec<&str> {
    let claims = [(scopes.phone, &texts.number), (scopes.profile, &texts.consent_name)];
    let claims: Vec<&str> = claims.into_iter().filter_map(|(granted, text)| granted.then_some(text.as_str())).collect();
    if claims.is_empty() { vec![&texts.consent_identity] } else { claims }
}

/// For requests that must not be reported to a client.
pub(super) fn error_page(state: &PublicState, visitor: &Visitor, error: ProtocolError) -> HttpResponse {
    let style = PageStyle::unbranded(state, visitor);
    PageResponse::new(&style).render(StatusCode::BAD_REQUEST, &ErrorPage { style: &style, error })
}

/// Sends the response through the browser.
pub(super) fn send(state: &PublicState, visitor: &Visitor, response: &Response) -> HttpResponse {
    match response.to.mode {
        // Redirect URIs are checked when the configuration is read.
        ResponseMode::Query => see_other(response.url().as_ref().map_or("/", Url::as_str)),
        ResponseMode::FormPost => {
            let style = PageStyle::unbranded(state, visitor);
            let (action, fields) = (&response.to.redirect_uri, &response.parameters);
            let mut builder = PageResponse::new(&style);
            builder.redirects_to = Url::parse(action).ok();
            builder.script = Some(POST_SCRIPT);
            builder.render(StatusCode::OK, &FormPostPage { style: &style, script: POST_SCRIPT, action, fields })
        }
    }
}
