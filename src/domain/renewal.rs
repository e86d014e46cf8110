//! Renewal of a request that expired, or that was not finished in time, by a tap on its page. `expires` is a limit that
//! the app set, so a tap extends it only as far as the app allows.

use jiff::{SignedDuration, Timestamp};

use super::{
    Request, Status, Verification,
    digest::Digest,
    link::{Completion, Link},
};

/// How long after its `expires_at` a request can be renewed.
pub const RENEWAL_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// Whether the request ended because its time or the attempts at its reply code were used up.
fn ran_out(record: &Verification<Link>, now: Timestamp) -> bool {
    match record.details.completion() {
        None => record.status(now) == Status::Expired,
        Some(Completion::Lapsed { .. }) => true,
        Some(Completion::Offered { until, reply_code, .. }) => {
            let is_code_spent = reply_code.is_some_and(|reply_code| !reply_code.is_live(now));
            now >= *until || (record.needs_reply_code() && is_code_spent)
        }
        Some(
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Disputed { .. }
            | Completion::NotOffered,
        ) => false,
    }
}

/// Returns the request that renews one that ran out. Only the browser that waited for it may renew it, at most `most`
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
    let renewable = ran_out(record, now) && waited && fresh && asked;
    renewable.then(|| Request { renews: Some(record.id), renewals: request.renewals + 1, ..request.clone() })
}
