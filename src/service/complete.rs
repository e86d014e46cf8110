//! The link in the reply: who opens it, the tap, and "this wasn't me".

use std::sync::Arc;

use url::Url;

use super::{
    Browser, Instance, RequestContext, Service, ServiceError,
    commit::{Applied, Written},
    loaded::Loaded,
};
use crate::{
    domain::{
        Mode, Verification,
        binding::ReplyCode,
        keys::Digest,
        link::{Completion, FinishCommand, FinishVerdict, Link, LinkCommand, LinkVerdict, Reached},
        token::{Kind, RedeemToken, Token},
    },
    metrics::label::{ByPage, ByResult, InstanceLabel},
    random,
};

/// A link that was looked at; looking changes nothing.
pub struct Opened {
    pub instance: Arc<Instance>,
    pub record: Verification<Link>,
    pub now: OpenedAs,
    /// Ties the form to this page, and to this browser where one is asked for.
    pub form_field: String,
    /// Whether the app may have drawn a QR code of its own, so that this can be the wrong device.
    pub may_tell: bool,
}

/// What its page says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenedAs {
    /// The button still does something.
    Open,
    Used,
    /// `late`: after the app had got the subject.
    Disputed {
        late: bool,
    },
    Over,
}

/// A link that was tapped.
pub enum Tapped {
    /// Where the person goes, with the redeem token; `None` when there is nowhere.
    Completed { redirect: Option<Url> },
    /// Another browser waits, and goes on now.
    Agreed,
    /// To be typed in the browser that waits.
    Told { code: ReplyCode },
    /// Only the browser that waits can go on, and no code is told.
    WrongBrowser,
    /// Somebody has gone on from here, and it was another browser or too long ago.
    Used,
}

impl Service {
    /// Finds the record of a hosted link. A token that was not made here is not found.
    pub(super) async fn recognise(
        &self,
        cx: &RequestContext,
        token: &Token,
        kind: Kind,
    ) -> Result<Loaded<Link>, ServiceError> {
        Loaded::from_any(self.recognise_any(cx, token, kind).await?)
    }

    async fn recognise_any(&self, cx: &RequestContext, token: &Token, kind: Kind) -> Result<Loaded, ServiceError> {
        if !self.keys.admits(token, kind) {
            // What somebody made up costs no look at the store, unless keys are being changed.
            if self.metrics.keys_missing.get() > 0 && !self.keys.ids().contains(&token.key()) {
                self.all_keys_known(cx).await?;
            }
            return Err(ServiceError::NotFound);
        }
        let (version, record) = self.load(cx, token.id()).await?;
        if !self.keys.recognises(token, kind, &record.nonce) {
            return Err(ServiceError::NotFound);
        }
        let instance = self.instances.get(record.instance).ok_or(ServiceError::NotFound)?;
        Ok(Loaded { instance, record, version })
    }

    /// Of a browser's cookies the one that counts here: of the browser that waits or has gone on, else the first.
    pub(super) fn own<'a>(&self, record: &Verification<Link>, cookies: &'a [String]) -> Option<&'a str> {
        let known =
            |cookie: &&String| self.browser(record, Some(cookie)).is_some_and(|browser| record.kind.knows(browser));
        cookies.iter().find(known).or(cookies.first()).map(String::as_str)
    }

    /// What recognises a browser again; never its cookie itself.
    pub(super) fn browser(&self, record: &Verification<Link>, cookie: Option<&str>) -> Option<Digest> {
        cookie.map(|cookie| self.keys.permanent("browser", record.instance, cookie.as_bytes()))
    }

    /// Counts a look at a page, `start` or `reply`.
    pub fn looked_at(&self, record: &Verification<Link>, page: &'static str) {
        self.metrics.links_opened.get_or_create(&ByPage { instance: InstanceLabel(record.instance), page }).inc();
    }

    /// The cookie counts only where a browser is bound.
    fn link_field(&self, token: &Token, record: &Verification<Link>, cookie: Option<&str>) -> String {
        self.keys.form_field(token, cookie.filter(|_| record.bound_browser().is_some()))
    }

    /// The record that a token of this kind opens.
    pub async fn by_token(&self, cx: &RequestContext, token: &Token, kind: Kind) -> Result<Verification, ServiceError> {
        Ok(self.recognise_any(cx, token, kind).await?.record)
    }

    pub async fn open(&self, cx: &RequestContext, token: &Token, cookies: &[String]) -> Result<Opened, ServiceError> {
        let Loaded { instance, record, .. } = self.recognise(cx, token, Kind::Link).await?;
        self.looked_at(&record, "reply");
        let now = record.kind.completion().map_or(OpenedAs::Over, |completion| match completion {
            Completion::Offered { until, .. } if self.now() < *until => OpenedAs::Open,
            Completion::Offered { .. } | Completion::Lapsed { .. } => OpenedAs::Over,
            Completion::Released { .. } | Completion::Redeemed { .. } => OpenedAs::Used,
            Completion::Disputed { after, .. } => OpenedAs::Disputed { late: *after == Reached::Redeemed },
        });
        let app_binds = record.request.challenge.is_some() && record.mode() == Mode::SameBrowser;
        Ok(Opened {
            now,
            form_field: self.link_field(token, &record, self.own(&record, cookies)),
            may_tell: app_binds && !instance.config.strict_browser,
            instance,
            record,
        })
    }

    /// The tap. Completes once; `form_field` must be the page's. `elsewhere`: the person says that the login was
    /// started on another device, and wants the code for it.
    pub async fn complete(
        &self,
        cx: &RequestContext,
        token: &Token,
        browser: Browser<'_>,
        form_field: &str,
        elsewhere: bool,
    ) -> Result<(Arc<Instance>, Verification<Link>, Tapped), ServiceError> {
        let loaded = self.recognise(cx, token, Kind::Link).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.own(record, browser.cookies);
        check(form_field, &self.link_field(token, record, cookie))?;
        let risk = self.risk_of_end(record, browser.side());
        let may_tell = !instance.config.strict_browser;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = if elsewhere && may_tell {
            FinishCommand::Tell
        } else {
            let token = self.keys.secret(redeem.secret());
            FinishCommand::Complete { token, browser: self.browser(record, cookie), may_tell, risk }
        };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        let tapped = match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => {
                Tapped::Completed { redirect: self.redirect(&instance, &record, &redeem) }
            }
            FinishVerdict::Agreed => Tapped::Agreed,
            FinishVerdict::Told => Tapped::Told { code: self.reply_code(&record).ok_or(ServiceError::Spent)? },
            FinishVerdict::WrongBrowser => Tapped::WrongBrowser,
            FinishVerdict::Refused => return Err(ServiceError::NotFound),
            FinishVerdict::WrongCode
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if !is_used(&record) {
                    return Err(ServiceError::Spent);
                }
                Tapped::Used
            }
        };
        Ok((instance, record, tapped))
    }

    /// What "this wasn't me" would say about, and the hidden field of its form.
    pub async fn disputable(
        &self,
        cx: &RequestContext,
        token: &Token,
    ) -> Result<(Arc<Instance>, Verification<Link>, OpenedAs, String), ServiceError> {
        let Loaded { instance, record, .. } = self.recognise(cx, token, Kind::Dispute).await?;
        let now = match record.kind.verified() {
            Some((_, Completion::Disputed { after, .. })) => OpenedAs::Disputed { late: *after == Reached::Redeemed },
            Some((Some(_), _)) => OpenedAs::Open,
            Some((None, _)) | None => OpenedAs::Over,
        };
        Ok((instance, record, now, self.keys.form_field(token, None)))
    }

    /// "This wasn't me": revokes what the link was worth, and tells the app. The token does nothing else, so that a
    /// message can hold it for as long as the person is known.
    pub async fn dispute(
        &self,
        cx: &RequestContext,
        token: &Token,
        form_field: &str,
    ) -> Result<(Arc<Instance>, Verification<Link>), ServiceError> {
        let loaded = self.recognise(cx, token, Kind::Dispute).await?;
        check(form_field, &self.keys.form_field(token, None))?;
        let instance = Arc::clone(&loaded.instance);
        let (verdict, record) = self.apply_finish(cx, loaded, LinkCommand::Dispute).await?;
        if verdict == FinishVerdict::Disputed {
            return Ok((instance, record));
        }
        Err(if verdict == FinishVerdict::Refused { ServiceError::NotFound } else { ServiceError::Spent })
    }

    /// As [`Service::apply`], for what follows upon the match. Counts what became of the link in the reply.
    pub(super) async fn apply_finish(
        &self,
        cx: &RequestContext,
        loaded: Loaded<Link>,
        command: impl Into<LinkCommand>,
    ) -> Result<(FinishVerdict, Verification<Link>), ServiceError> {
        let Applied { verdict, record, written } = self.apply(cx, loaded, command.into(), None).await?;
        // Only these commands are given here, and nothing else answers them.
        let LinkVerdict::Finish(verdict) = verdict else { return Err(ServiceError::Refused) };
        let result = match verdict {
            FinishVerdict::Completed => Some("completed"),
            FinishVerdict::Redeemed => Some("redeemed"),
            FinishVerdict::Disputed => Some("disputed"),
            FinishVerdict::CompletedAgain
            | FinishVerdict::Agreed
            | FinishVerdict::Told
            | FinishVerdict::WrongBrowser
            | FinishVerdict::WrongCode
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Gone
            | FinishVerdict::Refused => None,
        };
        if let Some(result) = result.filter(|_| written == Written::Done) {
            let completed = ByResult { instance: InstanceLabel(record.instance), result };
            self.metrics.completions.get_or_create(&completed).inc();
        }
        Ok((verdict, record))
    }
}

/// Whether somebody has gone on from it.
pub(super) fn is_used(record: &Verification<Link>) -> bool {
    matches!(record.kind.completion(), Some(Completion::Released { .. } | Completion::Redeemed { .. }))
}

/// Whether a form comes from a page that we made for this browser.
pub(super) fn check(presented: &str, genuine: &str) -> Result<(), ServiceError> {
    let same = subtle::ConstantTimeEq::ct_eq(genuine.as_bytes(), presented.as_bytes());
    if same.into() { Ok(()) } else { Err(ServiceError::Refused) }
}
