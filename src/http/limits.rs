//! How limits are told: `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers) and `Retry-After`.

use std::{fmt::Write as _, time::Duration};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{domain::quota::Allowance, service::Standing};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds both headers, one item for each limit.
pub(super) fn headers(headers: &mut HeaderMap, told: &[Standing]) {
    if told.is_empty() {
        return;
    }
    let (mut policy, mut left) = (String::new(), String::new());
    for Standing { name, quota, allowance } in told {
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
    for (name, value) in [(POLICY, policy), (LEFT, left)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// As `Retry-After` says it: whole, not too early, and never none.
pub(super) fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}
