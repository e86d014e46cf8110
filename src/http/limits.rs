//! How a quota is told: `RateLimit` and `RateLimit-Policy`.

use std::time::Duration;

use actix_web::HttpResponseBuilder;

use crate::domain::quota::Quota;

/// Adds both headers; `retry_after` is the time until one unit is back.
pub(super) fn headers(response: &mut HttpResponseBuilder, quota: Quota, remaining: u32, retry_after: Option<Duration>) {
    let window = i64::from(quota.burst()).saturating_mul(quota.interval_micros()) / 1_000_000;
    let reset = retry_after.map_or(0, |wait| wait.as_secs() + 1);
    response.insert_header(("ratelimit-policy", format!("\"mint\";q={};w={}", quota.burst(), window.max(1))));
    response.insert_header(("ratelimit", format!("\"mint\";r={remaining};t={reset}")));
}
