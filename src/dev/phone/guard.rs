//! Protects the fake phone from other sites: any page in the developer's browser can send requests to this port, and
//! DNS rebinding makes another name look like the same site.

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
    web::Data,
};

use super::FakePhone;

pub(super) async fn refuse_foreign_requests(
    phone: Data<FakePhone>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let header = |name: header::HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let port = phone.identity.origin.rsplit_once(':').map_or("", |(_, port)| port);
    let site = header(header::HeaderName::from_static("sec-fetch-site"));
    let claims = RequestOrigin { host: header(header::HOST), origin: header(header::ORIGIN), site };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if let Err(why) = claims.check(port, changes) {
        tracing::warn!(why, "the fake phone refused a request");
        let refusal = HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(why);
        return Ok(request.into_response(refusal).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// The headers that name the origin of a request. Programs send fewer of them than browsers.
struct RequestOrigin<'a> {
    host: Option<&'a str>,
    origin: Option<&'a str>,
    site: Option<&'a str>,
}

impl RequestOrigin<'_> {
    fn check(&self, port: &str, changes: bool) -> Result<(), &'static str> {
        let ours = |host: &str| {
            let name = host.strip_suffix(port).and_then(|host| host.strip_suffix(':'));
            matches!(name, Some("127.0.0.1" | "localhost"))
        };
        if !self.host.is_some_and(ours) {
            return Err("open the fake phone as http://127.0.0.1:PORT; other names are refused");
        }
        if !changes {
            return Ok(());
        }
        let same_origin = |origin: &str| origin.strip_prefix("http://").is_some_and(|host| Some(host) == self.host);
        let foreign_site = self.site.is_some_and(|site| site != "same-origin");
        if foreign_site || !self.origin.is_none_or(same_origin) {
            return Err("the request comes from another site");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(host: &str, origin: Option<&str>, site: Option<&str>) -> bool {
        RequestOrigin { host: Some(host), origin, site }.check("8081", true).is_ok()
    }

    #[test]
    fn programs_and_the_own_page_are_accepted() {
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
        assert!(RequestOrigin { host: None, origin: None, site: None }.check("8081", false).is_err());
    }
}
