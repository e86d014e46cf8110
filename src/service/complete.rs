//! The link in the reply, and what the app's server gets for it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use url::Url;

use super::{Browser, Idempotency, Instance, Service, ServiceError};
use crate::{
    domain::{
        Command, Mode, State, Verdict, Verification, VerificationId,
        binding::ReplyCode,
        keys::{Digest, sha256},
        token::{Kind, RedeemToken, Token},
        verification::{Completion, Reached},
    },
    metrics::label::{ByPage, InstanceLabel},
    random,
    store::StoredRecord,
};

/// A link that was looked at; looking changes nothing.
pub struct Opened {
    pub instance: Arc<Instance>,
    pub record: Verification,
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

/// What a redeem token was worth.
pub struct Redeemed {
    pub record: Verification,
}

impl Service {
    /// Finds the record of a hosted link. A token that was not made here is not found.
    pub(super) async fn recognise(
        &self,
        token: &Token,
        kind: Kind,
    ) -> Result<(StoredRecord, Verification, Arc<Instance>), ServiceError> {
        if !self.keys.admits(token, kind) {
            // What somebody made up costs no look at the store, unless keys are being changed.
            if self.metrics.keys_missing.get() > 0 && !self.keys.ids().contains(&token.key()) {
                self.all_keys_known().await?;
            }
            return Err(ServiceError::NotFound);
        }
        let (stored, record) = self.load(token.id()).await?;
        if !self.keys.recognises(token, kind, &record.nonce) {
            return Err(ServiceError::NotFound);
        }
        let instance = self.instances.get(record.instance).ok_or(ServiceError::NotFound)?;
        Ok((stored, record, instance))
    }

    /// Of a browser's cookies the one that counts here: of the browser that waits or has gone on, else the first.
    pub(super) fn own<'a>(&self, record: &Verification, cookies: &'a [String]) -> Option<&'a str> {
        let known = |cookie: &&String| self.browser(record, Some(cookie)).is_some_and(|browser| record.knows(browser));
        cookies.iter().find(known).or(cookies.first()).map(String::as_str)
    }

    /// What recognises a browser again; never its cookie itself.
    pub(super) fn browser(&self, record: &Verification, cookie: Option<&str>) -> Option<Digest> {
        cookie.map(|cookie| self.keys.permanent("browser", record.instance, cookie.as_bytes()))
    }

    /// Counts a look at a page, `start` or `reply`.
    pub fn looked_at(&self, record: &Verification, page: &'static str) {
        self.metrics.links_opened.get_or_create(&ByPage { instance: InstanceLabel(record.instance), page }).inc();
    }

    /// The cookie counts only where a browser is bound.
    fn link_field(&self, token: &Token, record: &Verification, cookie: Option<&str>) -> String {
        self.keys.form_field(token, cookie.filter(|_| record.bound_browser().is_some()))
    }

    /// The record that a token of this kind opens.
    pub async fn by_token(&self, token: &Token, kind: Kind) -> Result<Verification, ServiceError> {
        Ok(self.recognise(token, kind).await?.1)
    }

    pub async fn open(&self, token: &Token, cookies: &[String]) -> Result<Opened, ServiceError> {
        let (_, record, instance) = self.recognise(token, Kind::Link).await?;
        self.looked_at(&record, "reply");
        let now = match &record.state {
            State::Verified { completion, .. } => match completion {
                Completion::Offered { until, .. } if self.now() < *until => OpenedAs::Open,
                Completion::Offered { .. } | Completion::Lapsed { .. } => OpenedAs::Over,
                Completion::Released { .. } | Completion::Redeemed { .. } => OpenedAs::Used,
                Completion::Disputed { after, .. } => OpenedAs::Disputed { late: *after == Reached::Redeemed },
            },
            _ => OpenedAs::Over,
        };
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
        token: &Token,
        browser: Browser<'_>,
        form_field: &str,
        elsewhere: bool,
    ) -> Result<(Arc<Instance>, Verification, Tapped), ServiceError> {
        let (stored, record, instance) = self.recognise(token, Kind::Link).await?;
        let cookie = self.own(&record, browser.cookies);
        check(form_field, &self.link_field(token, &record, cookie))?;
        let risk = self.risk_of_end(&record, browser.side());
        let may_tell = !instance.config.strict_browser;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = if elsewhere && may_tell {
            Command::Tell
        } else {
            let token = self.keys.secret(redeem.secret());
            Command::Complete { token, browser: self.browser(&record, cookie), may_tell, risk }
        };
        let applied = self.apply(&instance, record.id, Some((stored.version, record)), command, None).await?;
        let tapped = match applied.verdict {
            Verdict::Completed | Verdict::CompletedAgain => {
                Tapped::Completed { redirect: self.redirect(&instance, &applied.record, &redeem) }
            }
            Verdict::Agreed => Tapped::Agreed,
            Verdict::Told => Tapped::Told { code: self.reply_code(&applied.record).ok_or(ServiceError::Spent)? },
            Verdict::WrongBrowser => Tapped::WrongBrowser,
            Verdict::Refused => return Err(ServiceError::NotFound),
            _ if is_used(&applied.record) => Tapped::Used,
            _ => return Err(ServiceError::Spent),
        };
        Ok((instance, applied.record, tapped))
    }

    /// What "this wasn't me" would say about, and the hidden field of its form.
    pub async fn disputable(
        &self,
        token: &Token,
    ) -> Result<(Arc<Instance>, Verification, OpenedAs, String), ServiceError> {
        let (_, record, instance) = self.recognise(token, Kind::Dispute).await?;
        let now = match &record.state {
            State::Verified { completion: Completion::Disputed { after, .. }, .. } => {
                OpenedAs::Disputed { late: *after == Reached::Redeemed }
            }
            State::Verified { proof: Some(_), .. } => OpenedAs::Open,
            _ => OpenedAs::Over,
        };
        Ok((instance, record, now, self.keys.form_field(token, None)))
    }

    /// "This wasn't me": revokes what the link was worth, and tells the app. The token does nothing else, so that a
    /// message can hold it for as long as the person is known.
    pub async fn dispute(
        &self,
        token: &Token,
        form_field: &str,
    ) -> Result<(Arc<Instance>, Verification), ServiceError> {
        let (stored, record, instance) = self.recognise(token, Kind::Dispute).await?;
        check(form_field, &self.keys.form_field(token, None))?;
        let applied = self.apply(&instance, record.id, Some((stored.version, record)), Command::Dispute, None).await?;
        match applied.verdict {
            Verdict::Disputed => Ok((instance, applied.record)),
            Verdict::Refused => Err(ServiceError::NotFound),
            _ => Err(ServiceError::Spent),
        }
    }

    /// Exchanges a redeem token for the proven subject, once; a repeat by the same caller gets the same answer.
    pub async fn redeem(
        &self,
        instance: &Instance,
        token: &RedeemToken,
        verifier: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let claim = self.claim(instance, "redeem", idempotency, token.id().partition()).await?;
        let command =
            Command::Redeem { token: self.keys.secret(token.secret()), challenge: challenge(verifier), claim };
        self.exchange(instance, token.id(), |_| command).await
    }

    /// Exchanges the reply's code, typed on a page of the app, for the proven subject, once.
    pub async fn redeem_code(
        &self,
        instance: &Instance,
        id: VerificationId,
        typed: &str,
        verifier: Option<&str>,
        idempotency: Option<Idempotency>,
    ) -> Result<Redeemed, ServiceError> {
        let claim = self.claim(instance, "redeem", idempotency, id.partition()).await?;
        let command = |record: &Verification| {
            let right = self.reply_code(record).is_some_and(|code| code.is(typed));
            Command::RedeemCode { right, challenge: challenge(verifier), claim }
        };
        self.exchange(instance, id, command).await
    }

    async fn exchange(
        &self,
        instance: &Instance,
        id: VerificationId,
        command: impl FnOnce(&Verification) -> Command,
    ) -> Result<Redeemed, ServiceError> {
        let refused = |error| match error {
            ServiceError::NotFound => ServiceError::Refused,
            other => other,
        };
        let (stored, record) = self.load(id).await.map_err(refused)?;
        if record.instance != instance.config.id {
            return Err(ServiceError::Refused);
        }
        let command = command(&record);
        let applied = self.apply(instance, record.id, Some((stored.version, record)), command, None).await?;
        match applied.verdict {
            Verdict::Redeemed | Verdict::Repeated => Ok(Redeemed { record: applied.record }),
            Verdict::Refused | Verdict::WrongCode | Verdict::Unchanged => Err(ServiceError::Refused),
            _ => Err(ServiceError::Spent),
        }
    }
}

/// Whether somebody has gone on from it.
pub(super) fn is_used(record: &Verification) -> bool {
    matches!(
        record.state,
        State::Verified { completion: Completion::Released { .. } | Completion::Redeemed { .. }, .. }
    )
}

/// Whether a form comes from a page that we made for this browser.
pub(super) fn check(presented: &str, genuine: &str) -> Result<(), ServiceError> {
    let same = subtle::ConstantTimeEq::ct_eq(genuine.as_bytes(), presented.as_bytes());
    if same.into() { Ok(()) } else { Err(ServiceError::Refused) }
}

fn challenge(verifier: Option<&str>) -> Option<String> {
    verifier.map(|verifier| URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())))
}

/// Where the person lands, without what is added to it.
pub fn landing(instance: &Instance, record: &Verification) -> Option<Url> {
    let requested = record.request.redirect_url.as_deref().and_then(|text| Url::parse(text).ok());
    requested.or_else(|| instance.config.redirect_urls.first().cloned())
}

impl Service {
    /// To the app, with what it needs to redeem, and with who answers (RFC 9207): an app of several daemons or instances
    /// sees which of them it was.
    pub(super) fn redirect(&self, instance: &Instance, record: &Verification, redeem: &RedeemToken) -> Option<Url> {
        let mut url = landing(instance, record)?;
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
