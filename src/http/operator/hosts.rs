//! Protects the operator's listener against DNS rebinding: another site could let its name resolve to this listener,
//! and the browser would then treat the two as one origin. Only known host names are served.

use std::net::IpAddr;

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{header, uri::Authority},
    middleware::Next,
    web::Data,
};

use super::OperatorState;

/// Suffixes below which no name can be registered in public DNS.
const NON_PUBLIC_SUFFIXES: &[&str] = &[".local", ".internal", ".svc", ".localhost", ".test", ".home.arpa"];

/// Answers 421 to requests for a host name that could belong to a foreign page.
pub(super) async fn check_host(
    state: Data<OperatorState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let mut named = request.headers().get_all(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    let (host, second) = (named.next(), named.next());
    // An authority in the request target takes precedence over the header (RFC 9112, 3.2.2); only proxies send one.
    let host = request.uri().authority().map(Authority::as_str).or(host);
    // Browsers always send a host; without one there is no rebinding.
    let allowed = second.is_none() && host.is_none_or(|host| is_allowed(host, &state.access.load().hosts));
    if allowed {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    tracing::warn!("refused a request to the operator listener: its host name is not in operator_hosts");
    let why =
        "This listener does not answer under that host name. Use its IP address, or add the name to operator_hosts.\n";
    let refusal = HttpResponse::MisdirectedRequest().content_type("text/plain; charset=utf-8").body(why);
    Ok(request.into_response(refusal).map_into_right_body())
}

fn is_allowed(host: &str, configured: &[String]) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let private = NON_PUBLIC_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    name.parse::<IpAddr>().is_ok() || !name.contains('.') || private || configured.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_outside_public_dns_are_allowed() {
        let configured = ["ops.example.org".to_owned()];
        for ours in [
            "127.0.0.1:9090",
            "10.1.2.3",
            "[::1]:9090",
            "[fd00::1]",
            "localhost:9090",
            "countersign:9090",
            "countersign-operator.shop.svc:9090",
            "countersign.shop.svc.cluster.local",
            "OPS.example.org",
            "ops.example.org.:443",
        ] {
            assert!(is_allowed(ours, &configured), "{ours}");
        }
        for strange in [
            "evil.example:9090",
            "ops.example.org.evil.example",
            "127.0.0.1.nip.io:9090",
            "a.ops.example.org",
            "local.evil.example",
            "evil.example:9090:1",
            "?.?",
        ] {
            assert!(!is_allowed(strange, &configured), "{strange}");
        }
    }
}
