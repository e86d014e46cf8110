//! The authorization response that a page of ours posts to the client.

use jiff::Timestamp;

use crate::{
    domain::{
        Verification,
        link::{Completion, Link},
        token::RedeemToken,
    },
    service::{Instance, Oidc, RequestContext, Response, ServiceError, verifications::Loaded},
};

impl Oidc {
    /// The response that a page of ours posts to the client. Only the browser that got the code can load it.
    pub async fn form_response(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        code: &RedeemToken,
        cookies: &[String],
    ) -> Result<Response, ServiceError> {
        let (version, record) = self.verifications.load(cx, code.id()).await?;
        let instance_of_record = self.instances.get(record.instance).filter(|own| own.config.id == instance.config.id);
        let loaded = Loaded { instance: instance_of_record.ok_or(ServiceError::NotFound)?, record, version };
        let Loaded { record, .. } = Loaded::<Link>::from_any(loaded)?;
        let authorization = record.request.authorization.as_ref().ok_or(ServiceError::NotFound)?;
        if !self.holds_code(&record, code, cookies, cx.now()) {
            return Err(ServiceError::NotFound);
        }
        Ok(self.public_url.response(instance, authorization.to.clone(), vec![("code", code.reveal())]))
    }

    fn holds_code(&self, record: &Verification<Link>, code: &RedeemToken, cookies: &[String], now: Timestamp) -> bool {
        let Some(Completion::Released { tokens, by: Some(by), .. }) = record.details.completion() else { return false };
        let digest = self.keys.secret_digest(code.secret());
        let is_issued = tokens.iter().any(|issued| issued.digest.matches(digest) && now < issued.until);
        is_issued
            && cookies
                .iter()
                .any(|cookie| self.completion.browser_digest(record, Some(cookie)).is_some_and(|own| by.matches(own)))
    }
}
