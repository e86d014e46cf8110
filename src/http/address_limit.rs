//! Rate limits per client address for requests that are not authenticated.
//!
//! Counters are in the store, so that all replicas share the limits. Refusals are cached in memory for a few seconds.
//! If the store is unavailable, requests pass uncounted, and the store is not tried again for a moment.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpMessage as _, HttpRequest, ResponseError as _,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web::Data,
};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    PublicState, all_routes, client,
    context::Context,
    pages::Visitor,
    problem::{Code, Problem},
    rate_limit_headers,
    route::Access,
};
use crate::{
    config::EdgeConfig,
    domain::{
        KeyRing, VerificationId,
        quota::{Allowance, LimitName, Quota},
        token::{InvalidToken, Token, TokenKind as Bearer},
    },
    service::{LimitStatus, RequestContext, subscriber_network},
};

/// Maximum number of cached refusals; about a megabyte.
const MAX_CACHED_REFUSALS: usize = 10_000;
/// Maximum time for which a refusal is cached.
const MAX_REFUSAL_AGE: Duration = Duration::from_secs(5);

/// Timeout for counting a request in the store.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long requests are not counted after the store failed or timed out.
const STORE_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What a request is counted as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum RequestKind {
    Read,
    Submit,
    WrongToken,
}

impl RequestKind {
    /// The configured limits.
    fn limits(self, edge: &EdgeConfig) -> Vec<(LimitName, Quota)> {
        let all = match self {
            Self::Read => &[(LimitName::Pages, edge.pages)][..],
            Self::Submit => &[(LimitName::Pages, edge.pages), (LimitName::Taps, edge.taps)],
            Self::WrongToken => &[(LimitName::Authentication, edge.wrong_tokens)],
        };
        all.iter().filter_map(|&(name, quota)| Some((name, quota?))).collect()
    }
}

/// What a request is counted for, in addition to its address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CountScope {
    NotCounted,
    Address,
    Link(VerificationId),
}

/// The result of counting a request.
#[derive(Default)]
pub(super) struct CountResult {
    /// How long the client must wait, if a limit is exceeded.
    pub(super) retry_after: Option<Duration>,
    pub(super) limit_statuses: Vec<LimitStatus>,
}

/// Caches which addresses were refused, so that a flood of requests does not become a flood of the store, and whether
/// the store is unavailable, so that paths that do not need it are served without delay.
#[derive(Default)]
pub(super) struct AddressLimiter {
    refusals: Mutex<HashMap<Key, CachedRefusal>>,
    /// No request is counted before this time, because the store did not respond.
    store_retry_at: Mutex<Option<Instant>>,
}

/// Address, link and kind of a request. Users behind one address are counted separately, by their links; requests
/// without a link are counted together.
type Key = (IpAddr, Option<VerificationId>, RequestKind);

#[derive(Clone, Copy)]
struct CachedRefusal {
    name: LimitName,
    quota: Quota,
    /// No request can be allowed before this time; further requests can only delay it.
    blocked_until: Timestamp,
    expires_at: Timestamp,
}

impl AddressLimiter {
    /// Counts a request and checks its limits. If the store is unavailable, the request passes: handlers that need the
    /// store respond 503 themselves.
    pub(super) async fn count(
        &self,
        state: &PublicState,
        cx: &RequestContext,
        request: &HttpRequest,
        link: Option<VerificationId>,
        kind: RequestKind,
    ) -> CountResult {
        let edge = state.edge.load();
        let limits = kind.limits(&edge);
        if limits.is_empty() {
            return CountResult::default();
        }
        let address = subscriber_network(client::ip_address(request, &edge));
        let (key, now) = ((address, link, kind), state.services.env.store.now());
        if let Some(cached) = self.cached_refusal(key, now, &limits) {
            let retry_after = Duration::try_from(cached.blocked_until.duration_since(now)).unwrap_or_default();
            let allowance = Allowance::Exhausted { retry_after };
            let status = LimitStatus { name: cached.name, quota: cached.quota, allowance };
            return CountResult {
                retry_after: state.services.shared.limits.retry_after(status),
                limit_statuses: vec![status],
            };
        }
        let limit_statuses = self.count_in_store(state, cx, address, link, &limits).await.unwrap_or_default();
        let exceeded = limit_statuses
            .iter()
            .filter_map(|status| Some((*status, state.services.shared.limits.retry_after(*status)?)));
        let longest = self.cache_longest(key, exceeded, now);
        CountResult { retry_after: longest, limit_statuses }
    }

    async fn count_in_store(
        &self,
        state: &PublicState,
        cx: &RequestContext,
        address: IpAddr,
        link: Option<VerificationId>,
        limits: &[(LimitName, Quota)],
    ) -> Option<Vec<LimitStatus>> {
        let retry_at = || self.store_retry_at.lock().unwrap_or_else(PoisonError::into_inner);
        if retry_at().is_some_and(|again| Instant::now() < again) {
            return None;
        }
        let asked = state.services.shared.limits.take_for_address(cx, address, link, limits);
        let answer = timeout(STORE_TIMEOUT, asked).await.ok().and_then(Result::ok);
        *retry_at() = answer.is_none().then(|| Instant::now() + STORE_RETRY_DELAY);
        answer
    }

    fn cached_refusal(&self, key: Key, now: Timestamp, limits: &[(LimitName, Quota)]) -> Option<CachedRefusal> {
        let refusal = *self.refusals.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?;
        let as_configured = limits.contains(&(refusal.name, refusal.quota));
        (now < refusal.blocked_until.min(refusal.expires_at) && as_configured).then_some(refusal)
    }

    /// Caches the refusal by the limit that blocks longest, and returns its wait. `None` if no limit is exceeded.
    fn cache_longest(
        &self,
        key: Key,
        exceeded: impl Iterator<Item = (LimitStatus, Duration)>,
        now: Timestamp,
    ) -> Option<Duration> {
        let (status, wait) = exceeded.max_by_key(|(_, wait)| *wait)?;
        self.cache_refusal(key, status, now, wait);
        Some(wait)
    }

    fn cache_refusal(&self, key: Key, status: LimitStatus, now: Timestamp, wait: Duration) {
        let mut cache = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= MAX_CACHED_REFUSALS {
            cache.retain(|_, shut| now < shut.blocked_until.min(shut.expires_at));
            // If most entries are current, drop all: otherwise each further insertion would scan the full map.
            if cache.len() > MAX_CACHED_REFUSALS / 2 {
                cache.clear();
            }
        }
        let shut = CachedRefusal {
            name: status.name,
            quota: status.quota,
            blocked_until: now + wait,
            expires_at: now + MAX_REFUSAL_AGE,
        };
        cache.insert(key, shut);
    }
}

/// The link whose token the path contains.
///
/// # Errors
/// The token was not created with one of our keys.
fn link_of_path(keys: &KeyRing, path: &str, kind: Bearer) -> Result<VerificationId, InvalidToken> {
    let token: Token = path.split('/').nth(2).unwrap_or_default().parse()?;
    if keys.verify_id_mac(&token, kind) { Ok(token.id()) } else { Err(InvalidToken) }
}

/// What a request for `path`, decoded as by the router, is counted for.
fn count_scope(keys: &KeyRing, path: &str) -> CountScope {
    match all_routes().find(|entry| entry.matches(path)).map(|entry| entry.access) {
        Some(Access::Public) => CountScope::Address,
        // Handlers reject tokens that we did not issue without accessing the store, so they need not be counted.
        Some(Access::LinkToken(kind)) => {
            link_of_path(keys, path, kind).map_or(CountScope::NotCounted, CountScope::Link)
        }
        Some(Access::Static | Access::ApiToken | Access::GatewayWebhook | Access::Preflight) | None => {
            CountScope::NotCounted
        }
    }
}

/// Middleware that counts requests to public paths and refuses those above a limit.
pub(super) async fn limit_by_address(
    state: Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let link = match count_scope(&state.services.env.keys, request.match_info().as_str()) {
        CountScope::NotCounted => return Ok(next.call(request).await?.map_into_left_body()),
        CountScope::Address => None,
        CountScope::Link(link) => Some(link),
    };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let kind = if reads { RequestKind::Read } else { RequestKind::Submit };
    let cx = request.extensions().get::<Context>().cloned();
    let cx = cx.unwrap_or_else(|| RequestContext::new(&state.services.env.store).into());
    let CountResult { retry_after: wait, limit_statuses } =
        state.address_limiter.count(&state, &cx, request.request(), link, kind).await;
    let mut response = match wait {
        Some(wait) => {
            let refusal = refusal(&state, request.request(), wait);
            request.into_response(refusal).map_into_right_body()
        }
        None => next.call(request).await?.map_into_left_body(),
    };
    rate_limit_headers::add_headers(response.headers_mut(), &limit_statuses);
    Ok(response)
}

fn refusal(state: &PublicState, request: &HttpRequest, wait: Duration) -> actix_web::HttpResponse {
    let problem = Problem::new(
        Code::RateLimited,
        "too many requests from this address; retry after the time given in Retry-After",
    );
    let problem = Problem { retry_after: Some(wait), ..problem };
    let page_path: String = request.path().split_inclusive('/').take(3).collect();
    let answer = Visitor::new(state, request).error_response(state, problem, page_path.trim_end_matches('/'));
    answer.unwrap_or_else(|problem| problem.error_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ROUTES, contract};

    #[test]
    fn the_cache_is_bounded_and_its_entries_expire() {
        let gate = AddressLimiter::default();
        let quota = Quota::per(1, Duration::from_mins(1));
        let status = LimitStatus {
            name: LimitName::Pages,
            quota,
            allowance: Allowance::Exhausted { retry_after: Duration::ZERO },
        };
        let key = |number: u32| (IpAddr::V4(number.into()), None, RequestKind::Read);
        let (now, wait, limits) = (Timestamp::UNIX_EPOCH, Duration::from_mins(1), [(LimitName::Pages, quota)]);
        for number in 0..50_000 {
            gate.cache_refusal(key(number), status, now, wait);
            assert!(gate.cached_refusal(key(number), now, &limits).is_some(), "the newest refusal is always cached");
            assert!(gate.refusals.lock().unwrap().len() <= MAX_CACHED_REFUSALS);
        }
        let last = key(49_999);
        assert!(gate.cached_refusal(last, now + MAX_REFUSAL_AGE - Duration::from_millis(1), &limits).is_some());
        assert!(gate.cached_refusal(last, now + MAX_REFUSAL_AGE, &limits).is_none(), "an expired refusal is not used");
        assert!(gate.cached_refusal((last.0, None, RequestKind::Submit), now, &limits).is_none());
        let raised = [(LimitName::Pages, Quota::per(2, Duration::from_mins(1)))];
        assert!(gate.cached_refusal(last, now, &raised).is_none(), "a refusal under other limits is not used");
        gate.cache_refusal(last, status, now, Duration::from_secs(1));
        assert!(
            gate.cached_refusal(last, now + Duration::from_secs(1), &limits).is_none(),
            "the quota may have recovered"
        );
    }

    #[test]
    fn of_several_exceeded_limits_the_one_that_blocks_longest_is_cached() {
        let limiter = AddressLimiter::default();
        let quota = Quota::per(1, Duration::from_mins(1));
        let status =
            |name| LimitStatus { name, quota, allowance: Allowance::Exhausted { retry_after: Duration::ZERO } };
        let exceeded =
            [(status(LimitName::Pages), Duration::from_secs(4)), (status(LimitName::Taps), Duration::from_secs(1))];
        let key = (IpAddr::V4(1.into()), None, RequestKind::Submit);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(limiter.cache_longest(key, exceeded.into_iter(), now), Some(Duration::from_secs(4)));
        let limits = [(LimitName::Pages, quota), (LimitName::Taps, quota)];
        let cached = limiter.cached_refusal(key, now + Duration::from_secs(2), &limits).unwrap();
        assert_eq!((cached.name, cached.blocked_until), (LimitName::Pages, now + Duration::from_secs(4)));
        assert_eq!(limiter.cache_longest(key, std::iter::empty(), now), None);
    }

    /// Each route declares who may call it, and the contract declares what its callers are shown: the two must agree.
    #[test]
    fn every_route_is_counted_as_its_operation_declares() {
        let keys = KeyRing::new(&[[7; 32]]).unwrap();
        for entry in ROUTES {
            let bearer = ["/{handle}", "/{token}"].iter().any(|parameter| entry.path.contains(parameter));
            assert_eq!(matches!(entry.access, Access::LinkToken(_)), bearer, "{}", entry.path);
            let found = ROUTES.iter().find(|other| other.matches(entry.path)).unwrap();
            assert!(found.access == entry.access || entry.access == Access::Preflight, "{}", entry.path);
            if entry.access == Access::Preflight {
                continue;
            }
            let method = entry.methods.split(',').next().unwrap();
            let of_contract = contract::operations().iter().find(|one| one.method == method && one.path == entry.path);
            let Some(operation) = of_contract else { panic!("{method} {} is in no contract", entry.path) };
            let public = matches!(operation.area, contract::Area::Pages | contract::Area::Contract);
            let counted = matches!(entry.access, Access::Public | Access::LinkToken(_));
            assert_eq!(counted || entry.access == Access::Static, public, "{}", entry.path);
            assert!(!public || operation.problems.contains(&Code::RateLimited) == counted, "{}", entry.path);
            let path = entry.path.replace(['{', '}'], "x");
            let found = count_scope(&keys, &path);
            let expected = if entry.access == Access::Public { CountScope::Address } else { CountScope::NotCounted };
            assert_eq!(found, expected, "{path}: the token was not issued by us");
        }
        let id = VerificationId::new(1, [3; 10]);
        let handle = keys.token(keys.current_id(), Bearer::Handle, id, &[2; 16]).unwrap();
        assert_eq!(count_scope(&keys, &format!("/l/{handle}/code")), CountScope::Link(id));
        for other in [format!("/o/{handle}"), format!("/l/{handle}/nothing"), "/nothing".to_owned()] {
            assert_eq!(count_scope(&keys, &other), CountScope::NotCounted, "{other}");
        }
    }
}
