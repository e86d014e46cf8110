//! Who calls: the bearer token, and for those who guess, their address.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use actix_web::{HttpRequest, http::header};

use super::{
    App,
    problem::{Code, Problem},
};
use crate::{
    domain::{
        InstanceId, Partition,
        keys::sha256,
        quota::{Allowance, Quota},
        token::Token,
    },
    metrics::label::ByLimit,
    service::{Denied, Instance},
    store::Take,
};

/// Wrong tokens from one address before it has to wait.
const FAILURES: (u32, Duration) = (30, Duration::from_mins(1));

/// A caller and the instance it may use.
pub(super) struct Caller {
    pub(super) instance: Arc<Instance>,
    /// Names its quota.
    pub(super) token: String,
}

/// The instance in the path, for the token in the header.
pub(super) async fn caller(app: &App, request: &HttpRequest, instance: &str) -> Result<Caller, Problem> {
    let token = bearer(request).unwrap_or_default();
    let id: Option<InstanceId> = instance.parse().ok();
    match app.service.instances.authorize(id, token) {
        Ok(instance) => Ok(Caller { instance, token: token.to_owned() }),
        Err(Denied::NotFound) => Err(Problem::not_found()),
        Err(Denied::Unauthorized) => Err(refuse(app, request).await),
    }
}

pub(super) fn bearer(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The bearer, when it has the form of a token that reads the state of one verification.
pub(super) fn poll_token(request: &HttpRequest) -> Option<Token> {
    bearer(request)?.parse().ok()
}

pub(super) async fn refuse(app: &App, request: &HttpRequest) -> Problem {
    let address = client_address(request, &app.trusted_proxies.load()).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let name = network_of(address).to_string();
    let partition = Partition::of(sha256(name.as_bytes())[0]);
    let take = Take { partition, bucket: format!("auth:{name}"), quota: Quota::per(FAILURES.0, FAILURES.1) };
    let quota = take.quota;
    match app.service.store.admit(&[take], None).await {
        Ok(admission) => match admission.allowances[..] {
            [Allowance::Exhausted { retry_after }] => {
                app.service.metrics.limited.get_or_create(&ByLimit { limit: "authentication" }).inc();
                Problem {
                    retry_after: Some(retry_after),
                    quota: Some(quota),
                    ..Problem::new(Code::RateLimited, "too many wrong tokens from this address")
                }
            }
            _ => Problem::unauthenticated(),
        },
        Err(_) => Problem::unauthenticated(),
    }
}

/// The rightmost address that no trusted proxy claims for itself. Headers from anybody else are ignored.
pub(super) fn client_address(request: &HttpRequest, trusted: &[ipnet::IpNet]) -> Option<IpAddr> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let peer = request.peer_addr()?.ip().to_canonical();
    if !is_trusted(peer) {
        return Some(peer);
    }
    let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = forwarded.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Ok(ip) = hop.parse::<IpAddr>() else { break };
        client = ip.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    Some(client)
}

/// An IPv6 subscriber owns a /64, so that is what is counted.
pub(super) fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn seen(peer: &str, forwarded: &str) -> String {
        let request = TestRequest::default()
            .peer_addr(format!("{peer}:1").parse().unwrap())
            .insert_header(("x-forwarded-for", forwarded))
            .to_http_request();
        client_address(&request, &["10.0.0.0/8".parse().unwrap()]).unwrap().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_their_last_word() {
        assert_eq!(seen("203.0.113.9", "1.1.1.1"), "203.0.113.9");
        assert_eq!(seen("10.0.0.1", "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(seen("10.0.0.1", "1.1.1.1, 2.2.2.2, 10.0.0.7"), "2.2.2.2");
        assert_eq!(seen("10.0.0.1", "rubbish"), "10.0.0.1");
        assert_eq!(seen("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one() {
        assert_eq!(network_of("2001:db8:1:2:3::4".parse().unwrap()).to_string(), "2001:db8:1:2::");
    }
}
