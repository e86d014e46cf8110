//! Making an expired request anew, by a tap on its page. `expires` is a bound that the app has set, so a tap prolongs it
//! only as far as the app lets it.

use jiff::{SignedDuration, Timestamp};

use super::{Request, Status, Verification, keys::Digest, link::Link};

/// An expired request can be made anew this long after its end.
pub const RENEWABLE: SignedDuration = SignedDuration::from_hours(1);

/// The request that follows upon an expired one: for the browser that waited, `most` times in a row, and never where the
/// app said no or the link was for one purpose.
pub fn renewed(record: &Verification<Link>, browser: Option<Digest>, most: u32, now: Timestamp) -> Option<Request> {
    let request = &record.request;
    let waited = record.kind.binding.as_ref().zip(browser).is_some_and(|(held, browser)| held.browser.matches(browser));
    let fresh = now < record.expires_at + RENEWABLE;
    let asked = !request.final_expiry && request.purpose.is_none() && u32::from(request.renewals) < most;
    let renewable = record.status(now) == Status::Expired && waited && fresh && asked;
    renewable.then(|| Request { renews: Some(record.id), renewals: request.renewals + 1, ..request.clone() })
}
