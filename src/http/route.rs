//! Entries of a route table, and their registration with actix.

use actix_web::{
    HttpResponse, Resource, ResponseError as _, Route, Scope, guard,
    http::header,
    web::{self, resource},
};

use super::problem::{Code, Problem};
use crate::domain::token::TokenKind;

/// Who may call a route. Decides which requests of unauthenticated addresses are counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Public: every request is counted.
    Public,
    /// Answered without the store, such as a script that pages of apps load or the page of an authorization request:
    /// nothing is counted, because one visitor must not use it up for all others behind the same address. It costs
    /// little more than a path that does not exist.
    Static,
    /// Holders of the token in the path, which is part of our links: every request is counted, per link.
    LinkToken(TokenKind),
    /// Holders of an API token: wrong tokens are counted.
    ApiToken,
    /// Gateways, which authenticate their webhooks: nothing is counted, because all messages come from one address.
    GatewayWebhook,
    /// CORS preflight requests: nothing is counted, and the response contains no data.
    Preflight,
}

/// The handler of some methods of one path.
pub struct RouteEntry {
    /// As in an `Allow` header: `GET, HEAD`.
    pub methods: &'static str,
    /// A template with `{parameters}`.
    pub path: &'static str,
    pub access: Access,
    handler: fn() -> Route,
}

pub(super) const fn get(access: Access, path: &'static str, handler: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "GET", path, access, handler }
}

pub(super) const fn post(access: Access, path: &'static str, handler: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "POST", path, access, handler }
}

/// For CORS preflight requests: pages of other origins send one before they send a bearer token.
pub(super) const fn options(path: &'static str, handler: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "OPTIONS", path, access: Access::Preflight, handler }
}

pub(super) const fn delete(access: Access, path: &'static str, handler: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "DELETE", path, access, handler }
}

/// GET and HEAD, for what browsers and crawlers fetch.
pub(super) const fn get_and_head(access: Access, path: &'static str, handler: fn() -> Route) -> RouteEntry {
    RouteEntry { methods: "GET, HEAD", path, access, handler }
}

impl RouteEntry {
    /// Whether the router dispatches `path` to this entry. `path` is decoded and has no query.
    pub(super) fn matches(&self, path: &str) -> bool {
        let before_parameters = self.path.split('{').next().unwrap_or_default();
        // Requests are compared with many entries, and almost all differ here.
        if !path.starts_with(before_parameters) {
            return false;
        }
        let (mut own, mut given) = (self.path.split('/'), path.split('/'));
        loop {
            match (own.next(), given.next()) {
                (None, None) => return true,
                (Some(own), Some(given)) if own == given || own.starts_with('{') && !given.is_empty() => {}
                _ => return false,
            }
        }
    }

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
/// share a nested scope, where `not_found` answers every other path: each pattern costs 20 kB in every worker, and one match for each request that reaches it.
pub(super) fn register(
    mut scope: Scope,
    entries: &[&'static RouteEntry],
    parent: &str,
    not_found: fn() -> Route,
) -> Scope {
    let mut added: Vec<&str> = Vec::new();
    for entry in entries {
        let prefix = shared_prefix(entry, parent);
        if added.contains(&prefix) {
            continue;
        }
        added.push(prefix);
        let siblings: Vec<&'static RouteEntry> =
            entries.iter().filter(|other| self::shared_prefix(other, parent) == prefix).copied().collect();
        scope = if siblings.iter().all(|other| other.path == entry.path) {
            scope.service(resource_with(resource(prefix), &siblings))
        } else {
            let inner = register(web::scope(prefix), &siblings, &format!("{parent}{prefix}"), not_found);
            scope.service(inner.default_service(not_found()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_one_segment() {
        let entry = get(Access::Public, "/l/{handle}/code", || web::to(HttpResponse::NotFound));
        assert!(entry.matches("/l/x/code"));
        for other in ["/l//code", "/l/x", "/l/x/codes", "/l/x/code/", "/l/x/y/code", "l/x/code", ""] {
            assert!(!entry.matches(other), "{other}");
        }
    }
}
