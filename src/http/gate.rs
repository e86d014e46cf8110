//! What one address may do before it has said who it is.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpRequest, ResponseError as _,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web::Data,
};
use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    PublicState, client,
    pages::Visitor,
    problem::{Code, Problem},
};
use crate::{
    config::Edge,
    domain::{
        KeyRing, VerificationId,
        quota::{Allowance, Name, Quota},
        token::{InvalidToken, Kind, Token},
    },
    service::{Standing, subscriber_network},
};

/// Addresses that are remembered to be refused; about a megabyte.
const REMEMBERED: usize = 10_000;
/// So long nobody asks the store about them again.
const REMEMBER: Duration = Duration::from_secs(5);

/// So long somebody waits for the store to count him.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long nobody asks a store again that did not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// What somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Knock {
    Look,
    Tap,
    WrongToken,
}

impl Knock {
    /// The limits that are on.
    fn limits(self, edge: &Edge) -> Vec<(Name, Quota)> {
        let all = match self {
            Self::Look => &[(Name::Pages, edge.pages)][..],
            Self::Tap => &[(Name::Pages, edge.pages), (Name::Taps, edge.taps)],
            Self::WrongToken => &[(Name::Authentication, edge.wrong_tokens)],
        };
        all.iter().filter_map(|&(name, quota)| Some((name, quota?))).collect()
    }
}

/// Remembers who was refused, so that a flood does not become a flood of the store, and that the store is away, so
/// that what needs no store is served as fast as ever.
#[derive(Default)]
pub(super) struct Gate {
    shut: Mutex<HashMap<Door, Shut>>,
    /// Nobody asks the store before.
    ask_again: Mutex<Option<Instant>>,
}

/// Who knocks, which link for, and what for. A crowd behind one address is as many as its links; everything that is
/// about no link is counted together.
type Door = (IpAddr, Option<VerificationId>, Knock);

#[derive(Clone, Copy)]
struct Shut {
    name: Name,
    quota: Quota,
    /// The first moment at which there can be a unit again. Others only take, so it is never earlier.
    until: Timestamp,
    forget: Timestamp,
}

impl Gate {
    /// Counts somebody. How long to wait, if it was too much. Where the store is away everybody passes: what
    /// stands behind needs it too, and says so.
    pub(super) async fn knock(
        &self,
        app: &PublicState,
        request: &HttpRequest,
        link: Option<VerificationId>,
        knock: Knock,
    ) -> Option<Duration> {
        let edge = app.edge.load();
        let limits = knock.limits(&edge);
        if limits.is_empty() {
            return None;
        }
        let address = subscriber_network(client::ip_address(request, &edge));
        let (door, now) = ((address, link, knock), app.service.now());
        if let Some(shut) = self.shut(door, now, &limits) {
            let retry_after = Duration::try_from(shut.until.duration_since(now)).unwrap_or_default();
            let allowance = Allowance::Exhausted { retry_after };
            return app.service.note(Standing { name: shut.name, quota: shut.quota, allowance });
        }
        let standings = self.ask(app, address, link, &limits).await?;
        let mut longest = None;
        for standing in standings {
            if let Some(wait) = app.service.note(standing) {
                longest = longest.max(Some(wait));
                self.remember(door, standing, now, wait);
            }
        }
        longest
    }

    async fn ask(
        &self,
        app: &PublicState,
        address: IpAddr,
        link: Option<VerificationId>,
        limits: &[(Name, Quota)],
    ) -> Option<Vec<Standing>> {
        let ask_again = || self.ask_again.lock().unwrap_or_else(PoisonError::into_inner);
        if ask_again().is_some_and(|again| Instant::now() < again) {
            return None;
        }
        let answer =
            timeout(PATIENCE, app.service.admit_address(address, link, limits)).await.ok().and_then(Result::ok);
        *ask_again() = answer.is_none().then(|| Instant::now() + PAUSE);
        answer
    }

    fn shut(&self, key: Door, now: Timestamp, limits: &[(Name, Quota)]) -> Option<Shut> {
        let shut = *self.shut.lock().unwrap_or_else(PoisonError::into_inner).get(&key)?;
        let as_configured = limits.contains(&(shut.name, shut.quota));
        (now < shut.until.min(shut.forget) && as_configured).then_some(shut)
    }

    fn remember(&self, key: Door, standing: Standing, now: Timestamp, wait: Duration) {
        let mut known = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, shut| now < shut.until.min(shut.forget));
            // Or the next ones would look through all of them again.
            if known.len() > REMEMBERED / 2 {
                known.clear();
            }
        }
        let shut = Shut { name: standing.name, quota: standing.quota, until: now + wait, forget: now + REMEMBER };
        known.insert(key, shut);
    }
}

/// Paths that hold a bearer, and of which kind.
const BEARERS: &[(&str, Kind)] = &[("/l/", Kind::Handle), ("/o/", Kind::Link), ("/d/", Kind::Dispute)];

/// Whether a path, as the router reads it, is open to everybody.
fn is_public(path: &str) -> bool {
    const FILES: &[&str] = &["/widget.js", "/openapi.json", "/docs", "/docs.md", "/postman.json", "/llms.txt"];
    let bearer = BEARERS.iter().any(|(below, _)| path.starts_with(below));
    bearer || path.starts_with("/docs/") || FILES.contains(&path)
}

/// The link that a path names, as far as its bearer tells: `Err` where we have not made it, `None` on other paths.
fn link(keys: &KeyRing, path: &str) -> Result<Option<VerificationId>, InvalidToken> {
    let found = BEARERS.iter().find_map(|(below, kind)| Some((*kind, path.strip_prefix(below)?)));
    let Some((kind, rest)) = found else { return Ok(None) };
    let token: Token = rest.split('/').next().unwrap_or_default().parse()?;
    if keys.admits(&token, kind) { Ok(Some(token.id())) } else { Err(InvalidToken) }
}

/// Stands before the public pages.
pub(super) async fn guard(
    app: Data<PublicState>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
    let path = request.match_info().as_str();
    // Behind this a link that we have not made is refused without a look at the store: there is nothing to count.
    if is_public(path)
        && let Ok(link) = link(&app.service.keys, path)
    {
        let looks = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let knock = if looks { Knock::Look } else { Knock::Tap };
        if let Some(wait) = app.gate.knock(&app, request.request(), link, knock).await {
            let refusal = refusal(&app, request.request(), wait);
            return Ok(request.into_response(refusal).map_into_right_body());
        }
    }
    Ok(next.call(request).await?.map_into_left_body())
}

fn refusal(app: &PublicState, request: &HttpRequest, wait: Duration) -> actix_web::HttpResponse {
    let problem =
        Problem::new(Code::RateLimited, "too many requests from this address; wait as long as Retry-After says");
    let problem = Problem { retry_after: Some(wait), ..problem };
    let back: String = request.path().split_inclusive('/').take(3).collect();
    let answer = Visitor::new(app, request).error_response(app, problem, back.trim_end_matches('/'));
    answer.unwrap_or_else(|problem| problem.error_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{ROUTES, contract};

    #[test]
    fn what_is_remembered_is_bounded_and_only_for_a_while() {
        let gate = Gate::default();
        let quota = Quota::per(1, Duration::from_mins(1));
        let standing =
            Standing { name: Name::Pages, quota, allowance: Allowance::Exhausted { retry_after: Duration::ZERO } };
        let key = |number: u32| (IpAddr::V4(number.into()), None, Knock::Look);
        let (now, wait, limits) = (Timestamp::UNIX_EPOCH, Duration::from_mins(1), [(Name::Pages, quota)]);
        for number in 0..50_000 {
            gate.remember(key(number), standing, now, wait);
            assert!(gate.shut(key(number), now, &limits).is_some(), "the last one always is");
            assert!(gate.shut.lock().unwrap().len() <= REMEMBERED);
        }
        let last = key(49_999);
        assert!(gate.shut(last, now + REMEMBER - Duration::from_millis(1), &limits).is_some());
        assert!(gate.shut(last, now + REMEMBER, &limits).is_none(), "then the store is asked again");
        assert!(gate.shut((last.0, None, Knock::Tap), now, &limits).is_none());
        let raised = [(Name::Pages, Quota::per(2, Duration::from_mins(1)))];
        assert!(gate.shut(last, now, &raised).is_none(), "a reload has changed the limit");
        gate.remember(last, standing, now, Duration::from_secs(1));
        assert!(gate.shut(last, now + Duration::from_secs(1), &limits).is_none(), "a unit may be back");
    }

    #[test]
    fn the_public_pages_are_those_of_the_contract() {
        for operation in contract::operations() {
            let open = matches!(operation.area, contract::Area::Pages | contract::Area::Contract);
            assert_eq!(is_public(&operation.example_path()), open, "{}", operation.path);
            assert!(!open || operation.problems.contains(&Code::RateLimited), "{}", operation.path);
        }
        assert!(ROUTES.iter().any(|entry| is_public(entry.path)));
    }
}
