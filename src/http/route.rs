//! Entries of a route table, and their registration with actix.

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError as _, Route, Scope, guard,
    http::header,
    web::{self, resource},
};

use super::problem::{Code, Problem};

/// The handler of some methods of one path.
pub struct Entry {
    /// As in an `Allow` header: `GET, HEAD`.
    pub methods: &'static str,
    /// A template with `{parameters}`.
    pub path: &'static str,
    answer: fn() -> Route,
}

pub(super) const fn get(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "GET", path, answer }
}

pub(super) const fn post(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "POST", path, answer }
}

/// For CORS preflight requests: pages of other origins send one before they send a bearer token.
pub(super) const fn options(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "OPTIONS", path, answer }
}

pub(super) const fn delete(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "DELETE", path, answer }
}

/// GET and HEAD, for what browsers and crawlers fetch.
pub(super) const fn look(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "GET, HEAD", path, answer }
}

impl Entry {
    fn route(&self) -> Route {
        let methods = self.methods.split(", ").map(|name| name.parse().expect("a method of the table"));
        let mut any = guard::Any(guard::fn_guard(|_| false));
        for method in methods {
            any = any.or(guard::Method(method));
        }
        (self.answer)().guard(any)
    }
}

/// Adds `entries` to `scope`, whose own path is `below`. Paths that are equal up to the end of their next parameter
/// share a nested scope: each pattern costs 20 kB in every worker, and one match for each request that reaches it.
pub(super) fn add(mut scope: Scope, entries: &[&'static Entry], below: &str) -> Scope {
    let mut added: Vec<&str> = Vec::new();
    for entry in entries {
        let stem = stem(entry, below);
        if added.contains(&stem) {
            continue;
        }
        added.push(stem);
        let alike: Vec<&'static Entry> =
            entries.iter().filter(|other| self::stem(other, below) == stem).copied().collect();
        scope = if alike.iter().all(|other| other.path == entry.path) {
            scope.service(answering(resource(stem), &alike))
        } else {
            let inner = add(web::scope(stem), &alike, &format!("{below}{stem}"));
            scope.service(inner.default_service(web::to(nothing)))
        };
    }
    scope
}

/// The part of the path after `below`, to the end of its first parameter.
fn stem(entry: &'static Entry, below: &str) -> &'static str {
    let rest = entry.path.strip_prefix(below).expect("the scope holds its own paths only");
    rest.find('}').map_or(rest, |end| &rest[..=end])
}

/// A resource with these handlers; other methods are answered with 405 and `Allow`.
fn answering(resource: Resource, entries: &[&'static Entry]) -> Resource {
    let allowed = entries.iter().map(|entry| entry.methods).collect::<Vec<_>>().join(", ");
    let resource = entries.iter().fold(resource, |resource, entry| resource.route(entry.route()));
    resource.default_service(web::to(move || std::future::ready(refuse(&allowed))))
}

fn refuse(allowed: &str) -> HttpResponse {
    let mut response = Problem::new(Code::MethodNotAllowed, format!("use {allowed}")).error_response();
    if let Ok(value) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

pub(super) async fn nothing(_request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
