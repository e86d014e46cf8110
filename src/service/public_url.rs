//! The URL under which people and apps reach the daemon, and where a person's browser is redirected after a login: to a
//! page of the app, or of a client of the OpenID provider.

use url::Url;

use crate::{
    domain::{
        Request, Verification,
        link::Link,
        oidc::{Authorization, ProtocolError, ResponseMode, ReturnAddress},
        token::RedeemToken,
    },
    service::Instance,
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

/// An authorization response, ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    pub to: ReturnAddress,
    /// With `state` and `iss`.
    pub parameters: Vec<(&'static str, String)>,
}

impl Response {
    /// The redirect URI with the parameters in its query.
    pub fn url(&self) -> Option<Url> {
        let mut url = Url::parse(&self.to.redirect_uri).ok()?;
        url.query_pairs_mut().extend_pairs(&self.parameters);
        Some(url)
    }
}

/// The configured public URL.
#[derive(Clone, Debug)]
pub struct PublicUrl(Url);

impl PublicUrl {
    pub const fn new(url: Url) -> Self {
        Self(url)
    }

    pub const fn as_url(&self) -> &Url {
        &self.0
    }

    /// The absolute URL of `path`, below the public URL.
    pub fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }

    /// The path of `path` for browsers: below the path of the public URL, if it has one.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.0.path().trim_end_matches('/'))
    }

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
            query.append_pair("iss", self.absolute("").as_str()).append_pair("instance", &record.instance.to_string());
        }
        Some(url)
    }

    /// The issuer that an instance is.
    pub fn issuer(&self, instance: &Instance) -> String {
        self.absolute(&format!("/oidc/{}", instance.config.id))
    }

    /// The response with an error.
    pub fn error_response(&self, instance: &Instance, to: ReturnAddress, error: ProtocolError) -> Response {
        let parameters =
            vec![("error", error.code.as_str().to_owned()), ("error_description", error.description.to_owned())];
        self.response(instance, to, parameters)
    }

    /// The response with a code. Each response names its issuer, so that a client with several providers notices when
    /// one answers in place of another (RFC 9207).
    pub(in crate::service) fn response(
        &self,
        instance: &Instance,
        to: ReturnAddress,
        mut parameters: Vec<(&'static str, String)>,
    ) -> Response {
        parameters.extend(to.state.clone().map(|state| ("state", state)));
        parameters.push(("iss", self.issuer(instance)));
        Response { to, parameters }
    }

    /// Where the browser goes with the code: to the client, or to our page that posts it there.
    fn code_redirect(&self, instance: &Instance, authorization: &Authorization, code: &RedeemToken) -> Option<Url> {
        match authorization.to.mode {
            ResponseMode::Query => {
                self.response(instance, authorization.to.clone(), vec![("code", code.reveal())]).url()
            }
            ResponseMode::FormPost => {
                let mut url = Url::parse(&format!("{}/response", self.issuer(instance))).ok()?;
                url.query_pairs_mut().append_pair("code", &code.reveal());
                Some(url)
            }
        }
    }
}
