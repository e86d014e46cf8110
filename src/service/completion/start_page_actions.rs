//! The actions of the start page: binding the browser with a tap, typing the reply's code, finishing, and renewing an
//! expired request.

use std::sync::Arc;

use url::Url;

use super::{
    browser::ClientBrowser,
    reply_link::{check_form_field, is_completed},
};
use crate::{
    domain::{
        binding::{Binding, WhatsAppDevice},
        link::{FinishCommand, FinishVerdict, LinkCommand, LinkVerdict},
        token::{RedeemToken, Token, TokenKind},
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
    service::{
        Idempotency, Instance, Limited, LinkRequest, LoginCompletion, RequestContext, ServiceError, StartPage,
        verifications::Loaded,
    },
};

/// The result of a typed code.
pub enum EnteredCode {
    /// `redirect` is `None` if there is no redirect URL or the login was already used.
    Correct {
        redirect: Option<Url>,
    },
    Wrong,
}

impl LoginCompletion {
    /// The tap on the start page. `automatic`: a script of the page sent it, so it does not replace another browser.
    pub async fn bind_browser(
        &self,
        cx: &RequestContext,
        handle: &Token,
        browser: ClientBrowser<'_>,
        form_field: &str,
        device: WhatsAppDevice,
        automatic: bool,
    ) -> Result<StartPage, ServiceError> {
        let loaded = self.load_by_token(cx, handle, TokenKind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.relevant_cookie(record, browser.cookies);
        let digest = self.browser_digest(record, cookie).ok_or(ServiceError::Refused)?;
        check_form_field(form_field, &self.keys.csrf_token(handle, cookie))?;
        let device = if instance.config.strict_browser { WhatsAppDevice::Same } else { device };
        let binding = Binding { automatic, ..browser.binding(digest, device) };
        let first = record.details.binding.is_none();
        let applied = self.verifications.apply(cx, loaded, LinkCommand::BindBrowser { binding }, None).await?;
        if first && applied.verdict == LinkVerdict::Bound {
            self.metrics
                .links_clicked
                .get_or_create(&ByInstance { instance: InstanceLabel(applied.record.instance) })
                .inc();
        }
        Ok(self.start_page(cx, handle, applied.record, instance, browser.cookies))
    }

    /// Checks the reply's code, typed on the start page.
    pub async fn enter_code(
        &self,
        cx: &RequestContext,
        handle: &Token,
        browser: ClientBrowser<'_>,
        form_field: &str,
        typed: &str,
    ) -> Result<EnteredCode, ServiceError> {
        let loaded = self.load_by_token(cx, handle, TokenKind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.relevant_cookie(record, browser.cookies);
        check_form_field(form_field, &self.keys.csrf_token(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = FinishCommand::EnterCode {
            token: self.keys.secret_digest(redeem.secret()),
            browser: self.browser_digest(record, cookie),
            correct: record.reply_code(&self.keys).is_some_and(|code| code.matches(typed)),
            risk: self.login_facts.risk_at_end(record, browser.login_side()),
        };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => {
                Ok(EnteredCode::Correct { redirect: self.public_url.redirect(&instance, &record, &redeem) })
            }
            FinishVerdict::WrongCode => Ok(EnteredCode::Wrong),
            FinishVerdict::WrongBrowser | FinishVerdict::Refused => Err(ServiceError::Refused),
            FinishVerdict::Agreed
            | FinishVerdict::CodeRevealed
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Revoked
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if is_completed(&record) {
                    Ok(EnteredCode::Correct { redirect: None })
                } else {
                    Err(ServiceError::TokenSpent)
                }
            }
        }
    }

    /// Completes the login from the waiting page when no tap or code is needed. Returns `None` if there is no redirect
    /// URL or the login was already used.
    pub async fn finish(
        &self,
        cx: &RequestContext,
        handle: &Token,
        browser: ClientBrowser<'_>,
        form_field: &str,
    ) -> Result<Option<Url>, ServiceError> {
        let loaded = self.load_by_token(cx, handle, TokenKind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.relevant_cookie(record, browser.cookies);
        check_form_field(form_field, &self.keys.csrf_token(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let token = self.keys.secret_digest(redeem.secret());
        let risk = self.login_facts.risk_at_end(record, browser.login_side());
        let command = FinishCommand::Continue { token, browser: self.browser_digest(record, cookie), risk };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => {
                Ok(self.public_url.redirect(&instance, &record, &redeem))
            }
            FinishVerdict::Refused => Err(ServiceError::Refused),
            FinishVerdict::Agreed
            | FinishVerdict::CodeRevealed
            | FinishVerdict::WrongBrowser
            | FinishVerdict::WrongCode
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Revoked
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if is_completed(&record) {
                    Ok(None)
                } else {
                    Err(ServiceError::TokenSpent)
                }
            }
        }
    }

    /// Replaces a request that ran out with a new one, and returns the handle of the new one. Idempotent: repeated taps
    /// yield the same request.
    pub async fn renew(
        &self,
        cx: &RequestContext,
        handle: &Token,
        cookies: &[String],
        form_field: &str,
    ) -> Limited<Token> {
        match self.renewal(cx, handle, cookies, form_field).await {
            Ok((instance, mint, idempotency)) => {
                let minted = self.links.create(cx, &instance, "renewals", mint, Some(idempotency)).await;
                minted.and_then(|minted| minted.token(&self.keys, TokenKind::Handle).ok_or(ServiceError::TokenSpent))
            }
            Err(error) => error.into(),
        }
    }

    async fn renewal(
        &self,
        cx: &RequestContext,
        handle: &Token,
        cookies: &[String],
        form_field: &str,
    ) -> Result<(Arc<Instance>, LinkRequest, Idempotency), ServiceError> {
        let Loaded { instance, record, .. } = self.load_by_token(cx, handle, TokenKind::Handle).await?;
        let cookie = self.relevant_cookie(&record, cookies);
        check_form_field(form_field, &self.keys.csrf_token(handle, cookie))?;
        let request = self.renewed_request(&instance, &record, cookies, cx.now()).ok_or(ServiceError::TokenSpent)?;
        let life = record.expires_at.duration_since(record.created_at).as_secs();
        let (least, most) = instance.config.expires_bounds;
        let mint = LinkRequest {
            request,
            expires: u32::try_from(life).unwrap_or(most).clamp(least, most),
            max_attempts: record.max_attempts,
            // `renewed` has recognised the browser.
            binding: record.details.binding.clone().filter(|_| record.request.authorization.is_some()),
            warnings: Vec::new(),
        };
        let idempotency = Idempotency { key: format!("renewal of {}", record.id), body: String::new() };
        Ok((instance, mint, idempotency))
    }
}
