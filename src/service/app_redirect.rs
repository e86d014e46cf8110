//! The page of the app to which a person's browser is redirected after a login.

use url::Url;

use crate::{
    domain::{Request, Verification, link::Link, token::RedeemToken},
    service::{Instance, Service},
};

/// The redirect target without added query parameters: the client's redirect URI, the request's `redirect_url`, else the
/// instance's first one.
pub fn redirect_target(instance: &Instance, request: &Request) -> Option<Url> {
    if let Some(authorization) = &request.authorization {
        return Url::parse(&authorization.to.redirect_uri).ok();
    }
    let requested = request.redirect_url.as_deref().and_then(|text| Url::parse(text).ok());
    requested.or_else(|| instance.config.redirect_urls.first().cloned())
}

impl Service {
    /// The redirect to the app. The query carries the redeem token and, per RFC 9207, the issuer and the instance, so
    /// that an app with several daemons or instances can tell which one responded.
    pub(in crate::service) fn redirect(
        &self,
        instance: &Instance,
        record: &Verification<Link>,
        redeem: &RedeemToken,
    ) -> Option<Url> {
        if let Some(authorization) = &record.request.authorization {
            return self.code_redirect(instance, authorization, redeem);
        }
        let mut url = redirect_target(instance, &record.request)?;
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("uuid", &record.id.to_string()).append_pair("token", &redeem.reveal());
            if let Some(state) = &record.request.state {
                query.append_pair("state", state);
            }
            query
                .append_pair("iss", self.public_url("").as_str())
                .append_pair("instance", &record.instance.to_string());
        }
        Some(url)
    }
}
