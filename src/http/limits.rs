//! Reports rate limits to the caller: `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers) and
//! `Retry-After`.

use std::{fmt::Write as _, time::Duration};

use actix_web::{
    HttpResponse,
    http::header::{HeaderMap, HeaderName, HeaderValue},
};

use super::problem::Problem;
use crate::{
    domain::quota::Allowance,
    service::{LimitStatus, Limited},
};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// The response of a use case that takes from limits, with both headers, whether it succeeded or failed.
pub(super) fn answer<T>(limited: Limited<T>, answer: impl FnOnce(T) -> HttpResponse) -> Result<HttpResponse, Problem> {
    let Limited { outcome, limit_statuses } = limited;
    match outcome {
        Ok(value) => {
            let mut response = answer(value);
            headers(response.headers_mut(), &limit_statuses);
            Ok(response)
        }
        Err(error) => Err(Problem { limit_statuses, ..error.into() }),
    }
}

/// Adds both headers, with one item per limit, before the items that are already there.
pub(super) fn headers(headers: &mut HeaderMap, limit_statuses: &[LimitStatus]) {
    if limit_statuses.is_empty() {
        return;
    }
    let (mut policy, mut left) = (String::new(), String::new());
    for LimitStatus { name, quota, allowance } in limit_statuses {
        let comma = if policy.is_empty() { "" } else { ", " };
        let name = name.as_str();
        let window = quota.window().as_secs_f64().round().max(1.0);
        let (remaining, reset) = match *allowance {
            Allowance::Allowed { remaining } => (remaining, seconds(quota.reset(remaining))),
            Allowance::Exhausted { retry_after } => (0, seconds(retry_after)),
        };
        let _ = write!(policy, "{comma}\"{name}\";q={};w={window}", quota.burst());
        let _ = write!(left, "{comma}\"{name}\";r={remaining};t={reset}");
    }
    for (name, mut value) in [(POLICY, policy), (LEFT, left)] {
        if let Some(more) = headers.get(&name).and_then(|more| more.to_str().ok()) {
            let _ = write!(value, ", {more}");
        }
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds for `Retry-After`, rounded up, at least 1.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}
