//! The headers that report rate limits: `RateLimit-Policy`, `RateLimit` (draft-ietf-httpapi-ratelimit-headers) and
//! `Retry-After`.

use std::{fmt::Write as _, time::Duration};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{domain::quota::Allowance, service::LimitStatus};

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds both headers, with one item per limit, before the items that are already there.
pub(super) fn add_headers(headers: &mut HeaderMap, limit_statuses: &[LimitStatus]) {
    if limit_statuses.is_empty() {
        return;
    }
    let (mut policies, mut limits) = (String::new(), String::new());
    for LimitStatus { name, quota, allowance } in limit_statuses {
        let comma = if policies.is_empty() { "" } else { ", " };
        let name = name.as_str();
        let window = quota.window().as_secs_f64().round().max(1.0);
        let (remaining, reset) = match *allowance {
            Allowance::Allowed { remaining } => (remaining, whole_seconds(quota.reset(remaining))),
            Allowance::Exhausted { retry_after } => (0, whole_seconds(retry_after)),
        };
        let _ = write!(policies, "{comma}\"{name}\";q={};w={window}", quota.burst());
        let _ = write!(limits, "{comma}\"{name}\";r={remaining};t={reset}");
    }
    for (name, mut value) in [(RATELIMIT_POLICY, policies), (RATELIMIT, limits)] {
        if let Some(existing) = headers.get(&name).and_then(|existing| existing.to_str().ok()) {
            let _ = write!(value, ", {existing}");
        }
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds for `Retry-After`, rounded up, at least 1.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}
