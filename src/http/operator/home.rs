//! The page at `/`, which says what this listener has. It contains nothing that needs a password.

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use askama::Template;

use super::{
    OperatorState,
    layout::{CSS, render_plain as render},
};

#[derive(Template)]
#[template(path = "operator/home.html")]
struct HomePage {
    css: &'static str,
    version: &'static str,
    found: bool,
    /// An operator is configured.
    has_requests: bool,
}

impl HomePage {
    fn new(state: &OperatorState, found: bool) -> Self {
        let has_requests = !state.access.load().operators.is_empty();
        Self { css: CSS, version: env!("CARGO_PKG_VERSION"), found, has_requests }
    }
}

/// `GET /`
pub(super) async fn home(state: Data<OperatorState>) -> HttpResponse {
    render(StatusCode::OK, &HomePage::new(&state, true))
}

/// Any other path.
pub(super) async fn not_found(state: Data<OperatorState>) -> HttpResponse {
    render(StatusCode::NOT_FOUND, &HomePage::new(&state, false))
}
