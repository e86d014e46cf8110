//! Renewal of an expired request by a tap on its page. `expires` is a limit that the app set, so a tap extends it only
//! as far as the app allows.

use jiff::{SignedDuration, Timestamp};

use super::{Request, Status, Verification, digest::Digest, link::Link};

/// How long after its expiry a request can be renewed.
pub const RENEWAL_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Returns the request that renews an expired one. Only the browser that waited for it may renew it, at most `most`
/// times in a row, and only if the app permits renewal and the link has no purpose.
pub fn renewed_request(
    record: &Verification<Link>,
    browser: Option<Digest>,
    most: u32,
    now: Timestamp,
) -> Option<Request> {
    let request = &record.request;
    let waited =
        record.details.binding.as_ref().zip(browser).is_some_and(|(binding, browser)| binding.browser.matches(browser));
    let fresh = now < record.expires_at + RENEWAL_WINDOW;
    let asked = !request.final_expiry && request.purpose.is_none() && u32::from(request.renewals) < most;
    let renewable = record.status(now) == Status::Expired && waited && fresh && asked;
    renewable.then(|| Request { renews: Some(record.id), renewals: request.renewals + 1, ..request.clone() })
}
