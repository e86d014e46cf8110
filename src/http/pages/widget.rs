//! `/widget.js`: the custom element `<countersign-login>`, which an app embeds into its own page.

use actix_web::HttpResponse;

const WIDGET: &str = include_str!("../../../templates/pages/widget.js");

/// `GET /widget.js`
pub(crate) async fn widget() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/javascript; charset=utf-8")
        .insert_header(("cache-control", "public, max-age=3600"))
        .insert_header(("access-control-allow-origin", "*"))
        .insert_header(("cross-origin-resource-policy", "cross-origin"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(WIDGET)
}
