//! The actions of the start page: binding the browser with a tap, typing the reply's code, finishing, and renewing an
//! expired request.

use std::sync::Arc;

use url::Url;

use super::{
    Idempotency, Instance, Limited, Mint, RequestContext, Service, ServiceError, Start,
    complete::{check, is_used},
    facts::Side,
    loaded::Loaded,
};
use crate::{
    domain::{
        binding::{Binding, CODE_TRIES, Place},
        link::{Completion, FinishCommand, FinishVerdict, LinkCommand, LinkVerdict},
        token::{Kind, RedeemToken, Token},
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
};

/// The result of a typed code.
pub enum Typed {
    /// `redirect` is `None` if there is no redirect URL or the login was already used.
    Right {
        redirect: Option<Url>,
    },
    Wrong {
        tries_left: u8,
    },
}

/// The browser that sends the request.
#[derive(Clone, Copy)]
pub struct Browser<'a> {
    /// The values of its cookies of our name.
    pub cookies: &'a [String],
    pub ip: Option<std::net::IpAddr>,
    pub user_agent: Option<&'a str>,
}

impl Browser<'_> {
    pub(super) fn side(&self) -> Side<'_> {
        Side { ip: self.ip, user_agent: self.user_agent }
    }
}

impl Service {
    /// The tap on the start page. `gently`: a script of the page sent it, so it does not replace another browser.
    pub async fn tap(
        &self,
        cx: &RequestContext,
        handle: &Token,
        browser: Browser<'_>,
        form_field: &str,
        place: Place,
        gently: bool,
    ) -> Result<Start, ServiceError> {
        let loaded = self.recognise(cx, handle, Kind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.own(record, browser.cookies);
        let digest = self.browser(record, cookie).ok_or(ServiceError::Refused)?;
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let place = if instance.config.strict_browser { Place::Here } else { place };
        let binding = Binding {
            browser: digest,
            place,
            ip: browser.ip.map(|ip| ip.to_string()),
            user_agent: browser.user_agent.map(|agent| agent.chars().take(300).collect()),
            gently,
        };
        let first = record.kind.binding.is_none();
        let applied = self.apply(cx, loaded, LinkCommand::Bind { binding }, None).await?;
        if first && applied.verdict == LinkVerdict::Bound {
            self.metrics
                .links_clicked
                .get_or_create(&ByInstance { instance: InstanceLabel(applied.record.instance) })
                .inc();
        }
        Ok(self.started(handle, applied.record, instance, browser.cookies))
    }

    /// Checks the reply's code, typed on the start page.
    pub async fn type_code(
        &self,
        cx: &RequestContext,
        handle: &Token,
        browser: Browser<'_>,
        form_field: &str,
        typed: &str,
    ) -> Result<Typed, ServiceError> {
        let loaded = self.recognise(cx, handle, Kind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.own(record, browser.cookies);
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = FinishCommand::Type {
            token: self.keys.secret(redeem.secret()),
            browser: self.browser(record, cookie),
            right: self.reply_code(record).is_some_and(|code| code.is(typed)),
            risk: self.risk_of_end(record, browser.side()),
        };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => {
                Ok(Typed::Right { redirect: self.redirect(&instance, &record, &redeem) })
            }
            FinishVerdict::WrongCode => {
                let misses = match record.kind.completion() {
                    Some(Completion::Offered { told: Some(told), .. }) => told.misses,
                    _ => CODE_TRIES,
                };
                Ok(Typed::Wrong { tries_left: CODE_TRIES - misses })
            }
            FinishVerdict::WrongBrowser | FinishVerdict::Refused => Err(ServiceError::Refused),
            FinishVerdict::Agreed
            | FinishVerdict::Told
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if is_used(&record) {
                    Ok(Typed::Right { redirect: None })
                } else {
                    Err(ServiceError::Spent)
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
        browser: Browser<'_>,
        form_field: &str,
    ) -> Result<Option<Url>, ServiceError> {
        let loaded = self.recognise(cx, handle, Kind::Handle).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.own(record, browser.cookies);
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let token = self.keys.secret(redeem.secret());
        let risk = self.risk_of_end(record, browser.side());
        let command = FinishCommand::Continue { token, browser: self.browser(record, cookie), risk };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => Ok(self.redirect(&instance, &record, &redeem)),
            FinishVerdict::Refused => Err(ServiceError::Refused),
            FinishVerdict::Agreed
            | FinishVerdict::Told
            | FinishVerdict::WrongBrowser
            | FinishVerdict::WrongCode
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if is_used(&record) {
                    Ok(None)
                } else {
                    Err(ServiceError::Spent)
                }
            }
        }
    }

    /// Replaces an expired request with a new one, and returns the handle of the new one. Idempotent: repeated taps
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
                let minted = self.mint(cx, &instance, "renewals", mint, Some(idempotency)).await;
                minted.and_then(|minted| self.token(&minted, Kind::Handle).ok_or(ServiceError::Spent))
            }
            Err(error) => Limited { outcome: Err(error), standings: Vec::new() },
        }
    }

    async fn renewal(
        &self,
        cx: &RequestContext,
        handle: &Token,
        cookies: &[String],
        form_field: &str,
    ) -> Result<(Arc<Instance>, Mint, Idempotency), ServiceError> {
        let Loaded { instance, record, .. } = self.recognise(cx, handle, Kind::Handle).await?;
        let cookie = self.own(&record, cookies);
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let request = self.renewed(&instance, &record, cookies, self.now()).ok_or(ServiceError::Spent)?;
        let life = record.expires_at.duration_since(record.created_at).as_secs();
        let (least, most) = instance.config.expires_bounds;
        let mint = Mint {
            request,
            expires: u32::try_from(life).unwrap_or(most).clamp(least, most),
            max_attempts: record.max_attempts,
            warnings: Vec::new(),
        };
        let idempotency = Idempotency { key: format!("renewal of {}", record.id), body: String::new() };
        Ok((instance, mint, idempotency))
    }
}
