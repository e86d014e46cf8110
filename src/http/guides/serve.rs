//! Handlers of the guides and the search page.

use std::sync::OnceLock;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{Data, Path, Query},
};
use askama::Template;
use serde::Deserialize;

use super::{
    GUIDES, Guide,
    render::render,
    search::{Hit, MAX_QUERY_LEN, find},
};
use crate::http::{
    PublicState,
    contract::{
        page::{CSS, SAMPLES_JS, policy},
        serve::{Rendering, restricted},
    },
    problem::Problem,
};

/// Rendered guides, by their index in [`GUIDES`]; each is rendered at its first request.
pub(in crate::http) struct Guides([OnceLock<Rendering>; GUIDES.len()]);

impl Default for Guides {
    fn default() -> Self {
        Self([const { OnceLock::new() }; GUIDES.len()])
    }
}

#[derive(Template)]
#[template(path = "docs/guide.html")]
struct DocsPage<'a> {
    css: &'static str,
    /// Empty on the search page.
    js: &'static str,
    title: &'a str,
    guides: &'static [Guide],
    /// Slug of the current guide; empty for the search.
    slug: &'a str,
    /// Anchor and text of each second-level heading.
    contents: Vec<(String, String)>,
    html: String,
    /// Set on the search page.
    query: Option<&'a str>,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
pub(in crate::http) struct SearchQuery {
    #[serde(default)]
    q: String,
}

fn render_page(page: &DocsPage<'_>) -> String {
    page.render().expect("a compiled template of plain values renders")
}

/// `GET /docs/{guide}`
pub(in crate::http) async fn guide(
    state: Data<PublicState>,
    request: HttpRequest,
    slug: Path<String>,
) -> Result<HttpResponse, Problem> {
    let index = GUIDES.iter().position(|guide| guide.slug == *slug).ok_or_else(Problem::not_found)?;
    let rendering = state.guides.0[index].get_or_init(|| Rendering::new(guide_page(&GUIDES[index])));
    Ok(restricted(rendering.serve(&request, "text/html; charset=utf-8"), &policy(Some(SAMPLES_JS), CSS)))
}

fn guide_page(guide: &Guide) -> String {
    let rendered = render(guide.source);
    let headings = rendered.sections.into_iter().filter(|section| section.level == pulldown_cmark::HeadingLevel::H2);
    render_page(&DocsPage {
        css: CSS,
        js: SAMPLES_JS,
        title: guide.title(),
        guides: GUIDES,
        slug: guide.slug,
        contents: headings.map(|section| (section.anchor, section.title)).collect(),
        html: rendered.html,
        query: None,
        hits: Vec::new(),
    })
}

/// `GET /docs/search?q=`
pub(in crate::http) async fn search(query: Option<Query<SearchQuery>>) -> HttpResponse {
    let query = query.map(|query| query.into_inner().q).unwrap_or_default();
    let query: String = query.chars().take(MAX_QUERY_LEN).collect();
    let hits = find(&query);
    let body = render_page(&DocsPage {
        css: CSS,
        js: "",
        title: "Search",
        guides: GUIDES,
        slug: "",
        contents: Vec::new(),
        html: String::new(),
        query: Some(&query),
        hits,
    });
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    restricted(response.content_type("text/html; charset=utf-8").body(body), &policy(None, CSS))
}
