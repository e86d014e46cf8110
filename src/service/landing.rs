//! Where a person lands after a login.

use url::Url;

use super::{Instance, Service};
use crate::domain::{Request, Verification, link::Link, token::RedeemToken};

/// Where the person lands, without what is added to it.
pub fn landing(instance: &Instance, request: &Request) -> Option<Url> {
    let requested = request.redirect_url.as_deref().and_then(|text| Url::parse(text).ok());
    requested.or_else(|| instance.config.redirect_urls.first().cloned())
}

impl Service {
    /// To the app, with what it needs to redeem, and with who answers (RFC 9207): an app of several daemons or instances
    /// sees which of them it was.
    pub(super) fn redirect(
        &self,
        instance: &Instance,
        record: &Verification<Link>,
        redeem: &RedeemToken,
    ) -> Option<Url> {
        let mut url = landing(instance, &record.request)?;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("uuid", &record.id.to_string()).append_pair("token", &redeem.reveal());
            if let Some(state) = &record.request.state {
                query.append_pair("state", state);
            }
            query.append_pair("iss", self.public("").as_str()).append_pair("instance", &record.instance.to_string());
        }
        Some(url)
    }
}
