//! The authorization response: how the code, or an error, returns to the client.

use url::Url;

use crate::{
    domain::{
        Verification,
        link::{Completion, Link},
        oidc::{Authorization, ProtocolError, ResponseMode, ReturnAddress},
        token::RedeemToken,
    },
    service::{Instance, RequestContext, Service, ServiceError, records::Loaded},
};

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

impl Service {
    /// The response with an error.
    pub fn error_response(&self, instance: &Instance, to: ReturnAddress, error: ProtocolError) -> Response {
        let parameters =
            vec![("error", error.code.as_str().to_owned()), ("error_description", error.description.to_owned())];
        self.response(instance, to, parameters)
    }

    /// The response with a code. Each response names its issuer, so that a client with several providers notices when
    /// one answers in place of another (RFC 9207).
    fn response(
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
    pub(in crate::service) fn code_redirect(
        &self,
        instance: &Instance,
        authorization: &Authorization,
        code: &RedeemToken,
    ) -> Option<Url> {
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

    /// The response that a page of ours posts to the client. Only the browser that got the code can load it.
    pub async fn form_response(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        code: &RedeemToken,
        cookies: &[String],
    ) -> Result<Response, ServiceError> {
        let (version, record) = self.load(cx, code.id()).await?;
        let instance_of_record = self.instances.get(record.instance).filter(|own| own.config.id == instance.config.id);
        let loaded = Loaded { instance: instance_of_record.ok_or(ServiceError::NotFound)?, record, version };
        let Loaded { record, .. } = Loaded::<Link>::from_any(loaded)?;
        let authorization = record.request.authorization.as_ref().ok_or(ServiceError::NotFound)?;
        if !self.holds_code(&record, code, cookies) {
            return Err(ServiceError::NotFound);
        }
        Ok(self.response(instance, authorization.to.clone(), vec![("code", code.reveal())]))
    }

    fn holds_code(&self, record: &Verification<Link>, code: &RedeemToken, cookies: &[String]) -> bool {
        let Some(Completion::Released { tokens, by: Some(by), .. }) = record.details.completion() else { return false };
        let digest = self.keys.secret_digest(code.secret());
        let is_issued = tokens.iter().any(|issued| issued.digest.matches(digest) && self.now() < issued.until);
        is_issued
            && cookies.iter().any(|cookie| self.browser_digest(record, Some(cookie)).is_some_and(|own| by.matches(own)))
    }
}
