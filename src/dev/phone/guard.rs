//! Protects the fake phone from other sites: any page in the developer's browser can send requests to this port, and
//! DNS rebinding makes another name look like the same site.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{self, HeaderMap},
    },
    middleware::Next,
    web::Data,
};

use super::FakePhone;
use crate::http::origin::is_same_origin;

pub(super) async fn refuse_foreign_requests(
    phone: Data<FakePhone>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let port = phone.identity.origin.rsplit_once(':').map_or("", |(_, port)| port);
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if let Err(why) = check(request.headers(), port, changes) {
        tracing::warn!(why, "the fake phone refused a request");
        let refusal = HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(why);
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Requires one of the phone's own host names and, for changes, the same origin. Clients other than browsers send no
/// origin, which is accepted.
fn check(headers: &HeaderMap, port: &str, changes: bool) -> Result<(), &'static str> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let ours = |host: &str| {
        let name = host.strip_suffix(port).and_then(|host| host.strip_suffix(':'));
        matches!(name, Some("127.0.0.1" | "localhost"))
    };
    if !host.is_some_and(ours) {
        return Err("open the fake phone as http://127.0.0.1:PORT; other names are refused");
    }
    let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(|own| Some(own) == host);
    if changes && !is_same_origin(headers, false, is_own) {
        return Err("the request comes from another site");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(host: &str, origin: Option<&str>, site: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in [("host", Some(host)), ("origin", origin), ("sec-fetch-site", site)] {
            if let Some(value) = value {
                headers.insert(name.parse().unwrap(), value.parse().unwrap());
            }
        }
        check(&headers, "8081", true).is_ok()
    }

    #[test]
    fn other_clients_and_the_same_origin_are_accepted() {
        assert!(ok("127.0.0.1:8081", None, None));
        assert!(ok("localhost:8081", Some("http://localhost:8081"), Some("same-origin")));
    }

    #[test]
    fn other_sites_and_rebound_names_are_refused() {
        for host in ["evil.example:8081", "127.0.0.1", "127.0.0.1:80", "127.0.0.1.evil.example:8081", "", "x8081"] {
            assert!(!ok(host, None, None), "{host}");
        }
        for origin in ["https://evil.example", "null", "http://localhost:8081", "https://127.0.0.1:8081", ""] {
            assert!(!ok("127.0.0.1:8081", Some(origin), None), "{origin}");
        }
        for site in ["cross-site", "same-site", "none"] {
            assert!(!ok("127.0.0.1:8081", None, Some(site)), "{site}");
        }
        assert!(check(&HeaderMap::new(), "8081", false).is_err());
    }
}
