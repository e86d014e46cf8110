//! What a table of routes is made of, and how it becomes one.

use actix_web::{
    HttpRequest, HttpResponse, Resource, ResponseError as _, Route, guard,
    http::header,
    web::{self, resource},
};

use super::problem::{Code, Problem};

/// Some methods of one path, and who answers them.
pub struct Entry {
    /// As in an `Allow` header: `GET, HEAD`.
    pub methods: &'static str,
    /// With `{parameters}`.
    pub path: &'static str,
    answer: fn() -> Route,
}

pub(super) const fn get(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "GET", path, answer }
}

pub(super) const fn post(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "POST", path, answer }
}

/// For pages of other origins, which ask before they send a bearer.
pub(super) const fn options(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "OPTIONS", path, answer }
}

pub(super) const fn delete(path: &'static str, answer: fn() -> Route) -> Entry {
    Entry { methods: "DELETE", path, answer }
}

/// GET and HEAD, for what browsers and robots look at.
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

/// The resources of a table, each once; other methods are 405 with what is allowed. `below` is cut off the paths.
pub(super) fn resources(entries: &[&'static Entry], below: &str) -> Vec<Resource> {
    let mut resources = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let same_path = |other: &&&'static Entry| other.path == entry.path;
        if entries[..index].iter().any(|other| other.path == entry.path) {
            continue;
        }
        let entries: Vec<&'static Entry> = entries.iter().filter(same_path).copied().collect();
        let allowed = entries.iter().map(|entry| entry.methods).collect::<Vec<_>>().join(", ");
        let mut built = resource(entry.path.strip_prefix(below).unwrap_or(entry.path));
        for entry in entries {
            built = built.route(entry.route());
        }
        resources.push(built.default_service(web::to(move || std::future::ready(refuse(&allowed)))));
    }
    resources
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
