//! Entries of a route table, and their registration with actix.

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError as _, Route, Scope, guard,
    http::header,
    web::{self, resource},
};

use super::problem::{Code, Problem};

/// The handler of some methods of one path.
pub struct RouteEntry {
    /// As in an `Allow` header: `GET, HEAD`.
    pub methods: &'static str,
    /// A template with `{parameters}`.
    pub path: &'static str,
    handler: fn() -> Route,
}

pub(super) const fn get(path: &'static str, answer: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "GET", path, handler: answer }
}

pub(super) const fn post(path: &'static str, answer: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "POST", path, handler: answer }
}

/// For CORS preflight requests: pages of other origins send one before they send a bearer token.
pub(super) const fn options(path: &'static str, answer: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "OPTIONS", path, handler: answer }
}

pub(super) const fn delete(path: &'static str, answer: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "DELETE", path, handler: answer }
}

/// GET and HEAD, for what browsers and crawlers fetch.
pub(super) const fn get_and_head(path: &'static str, answer: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "GET, HEAD", path, handler: answer }
}

impl RouteEntry {
    fn route(&self) -> Route {
        let methods = self.methods.split(", ").map(|name| name.parse().expect("a method of the table"));
        let mut any = guard::Any(guard::fn_guard(|_| false));
        for method in methods {
            any = any.or(guard::Method(method));
        }
        (self.handler)().guard(any)
    }
}

/// Adds `entries` to `scope`, whose own path is `below`. Paths that are equal up to the end of their next parameter
/// share a nested scope: each pattern costs 20 kB in every worker, and one match for each request that reaches it.
pub(super) fn register(mut scope: Scope, entries: &[&'static RouteEntry], below: &str) -> Scope {
    let mut added: Vec<&str> = Vec::new();
    for entry in entries {
        let stem = shared_prefix(entry, below);
        if added.contains(&stem) {
            continue;
        }
        added.push(stem);
        let alike: Vec<&'static RouteEntry> =
            entries.iter().filter(|other| self::shared_prefix(other, below) == stem).copied().collect();
        scope = if alike.iter().all(|other| other.path == entry.path) {
            scope.service(resource_with(resource(stem), &alike))
        } else {
            let inner = register(web::scope(stem), &alike, &format!("{below}{stem}"));
            scope.service(inner.default_service(web::to(not_found)))
        };
    }
    scope
}

/// The part of the path after `below`, to the end of its first parameter.
fn shared_prefix(entry: &'static RouteEntry, below: &str) -> &'static str {
    let rest = entry.path.strip_prefix(below).expect("the scope holds its own paths only");
    rest.find('}').map_or(rest, |end| &rest[..=end])
}

/// A resource with these handlers; other methods are answered with 405 and `Allow`.
fn resource_with(resource: Resource, entries: &[&'static RouteEntry]) -> Resource {
    let allowed = entries.iter().map(|entry| entry.methods).collect::<Vec<_>>().join(", ");
    let resource = entries.iter().fold(resource, |resource, entry| resource.route(entry.route()));
    resource.default_service(web::to(move || std::future::ready(method_not_allowed(&allowed))))
}

fn method_not_allowed(allowed: &str) -> HttpResponse {
    let mut response = Problem::new(Code::MethodNotAllowed, format!("use {allowed}")).error_response();
    if let Ok(value) = header::HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

pub(super) async fn not_found(_request: HttpRequest) -> Result<HttpResponse, Problem> {
    Err(Problem::not_found())
}
