//! The tap on the page of an authorization request: it creates the link.

use std::sync::Arc;

use super::sealed::{PageRequest, client_of};
use crate::{
    domain::{
        Mode, Request,
        binding::{Binding, WhatsAppDevice},
        token::{Token, TokenKind},
    },
    service::{ClientBrowser, Idempotency, Instance, Limited, LinkRequest, Oidc, RequestContext, ServiceError},
};

impl Oidc {
    /// Creates the link of a request, bound to the browser of its page, and returns the handle of its start page. A
    /// second tap on the same page yields the same link.
    pub async fn begin(
        &self,
        cx: &RequestContext,
        instance: &Arc<Instance>,
        sealed: &str,
        browser: ClientBrowser<'_>,
    ) -> Limited<Token> {
        let (request, binding) = match self.opened(cx, instance, sealed, browser) {
            Ok(opened) => opened,
            Err(error) => return error.into(),
        };
        let limited_as = format!("client:{}", request.authorization.client);
        let mint = match Self::login(instance, request, binding) {
            Ok(mint) => mint,
            Err(error) => return error.into(),
        };
        let idempotency = Idempotency { key: format!("page {sealed}"), body: String::new() };
        let minted = self.links.create(cx, instance, &limited_as, mint, Some(idempotency)).await;
        minted.and_then(|minted| minted.token(&self.keys, TokenKind::Handle).ok_or(ServiceError::TokenSpent))
    }

    fn opened(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        sealed: &str,
        browser: ClientBrowser<'_>,
    ) -> Result<(PageRequest, Binding), ServiceError> {
        let (request, cookie) = self.open_page(cx, instance, sealed, browser.cookies)?;
        Ok((request, browser.binding(self.page_browser(instance, cookie), WhatsAppDevice::Same)))
    }

    fn login(instance: &Instance, request: PageRequest, binding: Binding) -> Result<LinkRequest, ServiceError> {
        let PageRequest { authorization, chat, lang, .. } = request;
        let config = &instance.config;
        let client = client_of(instance, &authorization).ok_or(ServiceError::NotFound)?;
        let request = Request {
            name: client.name.as_ref().unwrap_or(&config.name).clone(),
            purpose: client.purpose.clone(),
            lang,
            chat,
            completion: Some(Mode::SameBrowser),
            exact: config.exact_text.applies_to(Mode::SameBrowser),
            authorization: Some(authorization),
            ..Request::default()
        };
        Ok(LinkRequest {
            request,
            expires: config.expires,
            max_attempts: config.max_attempts,
            binding: Some(binding),
            warnings: Vec::new(),
        })
    }
}
