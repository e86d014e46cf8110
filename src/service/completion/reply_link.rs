//! Completion of a login through the link in the reply: opening the link, the tap, and "this wasn't me".

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::browser::ClientBrowser;
use crate::{
    domain::{
        Mode, Verification,
        binding::{Binding, ReplyCode},
        keys::Digest,
        link::{Completion, FinishCommand, FinishVerdict, Link, LinkCommand, LinkVerdict, LoginProgress},
        token::{RedeemToken, Token, TokenKind},
    },
    metrics::label::{ByPage, ByResult, InstanceLabel},
    random,
    service::{
        Instance, LoginCompletion, RequestContext, ServiceError,
        verifications::{CommandOutcome, Loaded, WriteOutcome},
    },
};

/// A link that was opened. Opening changes nothing.
pub struct ReplyLinkPage {
    pub instance: Arc<Instance>,
    pub record: Verification<Link>,
    pub state: ReplyLinkState,
    /// Value of the hidden form field: ties the form to this page, and to the browser if one is bound.
    pub form_field: String,
    /// Whether the page may offer the reply code: the app may have drawn a QR code of its own, so this may not be the
    /// device that started the login.
    pub may_reveal_code: bool,
}

/// What the page of a link shows.
#[derive(Clone, Debug)]
pub enum ReplyLinkState {
    /// The button still has an effect.
    Open,
    /// The person agreed here; another browser waits for this, and continues.
    Confirmed,
    /// A tap has revealed the reply code, to be typed where the login was started.
    CodeRevealed {
        code: ReplyCode,
    },
    /// Only the browser that started the login can continue, and the reply code may not be shown.
    WrongBrowser,
    /// This browser has completed the login.
    Done,
    Used,
    /// `late`: after the app had received the subject.
    Disputed {
        late: bool,
    },
    /// Nobody continued in time.
    Lapsed,
    /// There is no login to continue.
    Closed,
}

/// What the page of an objection shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DisputeState {
    Open,
    /// `late`: after the app had received the subject.
    Disputed {
        late: bool,
    },
    /// There is nothing to object to, or the person's data was erased.
    Closed,
}

/// Result of a tap.
pub enum CompletionResult {
    /// Where the browser is redirected, with the redeem token; `None` if there is no redirect.
    Completed { redirect: Option<Url> },
    /// The login is confirmed; another browser waits for this, and continues.
    Confirmed,
    /// The reply code, to be typed where the login was started.
    CodeRevealed,
    /// Only the browser that started the login can continue, and the reply code may not be shown.
    WrongBrowser,
    /// The login was completed already, by another browser or too long ago for a repeat.
    Used,
}

impl LoginCompletion {
    /// Loads the record of a hosted link. A token that was not issued here is `NotFound`, and so is an approval, which has
    /// no pages: it is answered in the chat.
    pub(in crate::service) async fn load_by_token(
        &self,
        cx: &RequestContext,
        token: &Token,
        kind: TokenKind,
    ) -> Result<Loaded<Link>, ServiceError> {
        let loaded = Loaded::from_any(self.load_any_by_token(cx, token, kind).await?)?;
        if loaded.record.request.approval.is_some() { Err(ServiceError::NotFound) } else { Ok(loaded) }
    }

    async fn load_any_by_token(
        &self,
        cx: &RequestContext,
        token: &Token,
        kind: TokenKind,
    ) -> Result<Loaded, ServiceError> {
        if !self.keys.verify_id_mac(token, kind) {
            // A forged token is refused without reading the store, unless this process lacks a key: another replica may
            // have issued the token with it.
            if self.metrics.keys_missing.get() > 0 && !self.keys.ids().contains(&token.key()) {
                self.key_state.check_complete(cx).await?;
            }
            return Err(ServiceError::NotFound);
        }
        let (version, record) = self.verifications.load(cx, token.id()).await?;
        if !self.keys.verify_token(token, kind, &record.nonce) {
            return Err(ServiceError::NotFound);
        }
        let instance = self.instances.get(record.instance).ok_or(ServiceError::NotFound)?;
        Ok(Loaded { instance, record, version })
    }

    /// The cookie that counts for this record: of the browser that waits or has completed the login, else the first
    /// one.
    pub(super) fn relevant_cookie<'a>(&self, record: &Verification<Link>, cookies: &'a [String]) -> Option<&'a str> {
        let known = |cookie: &&String| {
            self.browser_digest(record, Some(cookie)).is_some_and(|browser| record.details.is_known_browser(browser))
        };
        cookies.iter().find(known).or(cookies.first()).map(String::as_str)
    }

    /// Digest that identifies a browser. The cookie itself is never stored.
    pub(in crate::service) fn browser_digest(
        &self,
        record: &Verification<Link>,
        cookie: Option<&str>,
    ) -> Option<Digest> {
        cookie.map(|cookie| self.keys.permanent_digest("browser", record.instance, cookie.as_bytes()))
    }

    /// Counts a view of a page, `start` or `reply`.
    pub fn count_page_view(&self, record: &Verification<Link>, page: &'static str) {
        self.metrics.links_opened.get_or_create(&ByPage { instance: InstanceLabel(record.instance), page }).inc();
    }

    /// The form field of a link's page. The cookie is part of it only if a browser is bound.
    fn reply_link_form_field(&self, token: &Token, record: &Verification<Link>, cookie: Option<&str>) -> String {
        self.keys.csrf_token(token, cookie.filter(|_| record.bound_browser().is_some()))
    }

    /// The record that a token of this kind belongs to.
    pub async fn record_by_token(
        &self,
        cx: &RequestContext,
        token: &Token,
        kind: TokenKind,
    ) -> Result<Verification, ServiceError> {
        Ok(self.load_any_by_token(cx, token, kind).await?.record)
    }

    /// `tapped`: show what came of a tap, the reply code or that another browser waits.
    pub async fn open_reply_link(
        &self,
        cx: &RequestContext,
        token: &Token,
        cookies: &[String],
        tapped: bool,
    ) -> Result<ReplyLinkPage, ServiceError> {
        let Loaded { instance, record, .. } = self.load_by_token(cx, token, TokenKind::Link).await?;
        self.count_page_view(&record, "reply");
        let cookie = self.relevant_cookie(&record, cookies);
        let is_app_bound = record.request.challenge.is_some() && record.mode() == Mode::SameBrowser;
        Ok(ReplyLinkPage {
            state: self.reply_link_state(&instance, &record, self.browser_digest(&record, cookie), tapped, cx.now()),
            form_field: self.reply_link_form_field(token, &record, cookie),
            may_reveal_code: is_app_bound && !instance.config.strict_browser,
            instance,
            record,
        })
    }

    fn reply_link_state(
        &self,
        instance: &Instance,
        record: &Verification<Link>,
        browser: Option<Digest>,
        tapped: bool,
        now: Timestamp,
    ) -> ReplyLinkState {
        let is = |bound: Digest| browser.is_some_and(|browser| bound.matches(browser));
        let is_another = |binding: &Binding| !is(binding.browser);
        let Some(completion) = record.details.completion() else { return ReplyLinkState::Closed };
        match completion {
            Completion::NotOffered => ReplyLinkState::Closed,
            Completion::Offered { until, reply_code, agreed } if now < *until => {
                let is_shown = tapped && reply_code.is_some_and(|reply_code| reply_code.is_live(now));
                let is_elsewhere = record.details.binding.as_ref().is_some_and(is_another);
                let is_refused = instance.config.strict_browser && record.bound_browser().is_some_and(is_another);
                match record.reply_code(&self.keys).filter(|_| is_shown && !instance.config.strict_browser) {
                    Some(code) => ReplyLinkState::CodeRevealed { code },
                    None if *agreed && is_elsewhere => ReplyLinkState::Confirmed,
                    None if tapped && is_refused => ReplyLinkState::WrongBrowser,
                    None => ReplyLinkState::Open,
                }
            }
            Completion::Offered { .. } | Completion::Lapsed { .. } => ReplyLinkState::Lapsed,
            Completion::Released { by: Some(by), .. } if is(*by) => ReplyLinkState::Done,
            Completion::Released { .. } | Completion::Redeemed { .. } => ReplyLinkState::Used,
            Completion::Disputed { after, .. } => ReplyLinkState::Disputed { late: *after == LoginProgress::Redeemed },
        }
    }

    /// Handles the tap, which completes a login once. `csrf_token` must be the one of the page. `elsewhere`: the person
    /// says that the login was started on another device, and requests the reply code for it.
    pub async fn complete(
        &self,
        cx: &RequestContext,
        token: &Token,
        browser: ClientBrowser<'_>,
        form_field: &str,
        elsewhere: bool,
    ) -> Result<CompletionResult, ServiceError> {
        let loaded = self.load_by_token(cx, token, TokenKind::Link).await?;
        let (instance, record) = (Arc::clone(&loaded.instance), &loaded.record);
        let cookie = self.relevant_cookie(record, browser.cookies);
        check_form_field(form_field, &self.reply_link_form_field(token, record, cookie))?;
        let risk = self.login_facts.risk_at_end(record, browser.login_side());
        let may_reveal_code = !instance.config.strict_browser;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = if elsewhere && may_reveal_code {
            FinishCommand::RevealCode
        } else {
            let token = self.keys.secret_digest(redeem.secret());
            FinishCommand::Complete { token, browser: self.browser_digest(record, cookie), may_reveal_code, risk }
        };
        let (verdict, record) = self.apply_finish(cx, loaded, command).await?;
        let tapped = match verdict {
            FinishVerdict::Completed | FinishVerdict::CompletedAgain => {
                CompletionResult::Completed { redirect: self.public_url.redirect(&instance, &record, &redeem) }
            }
            FinishVerdict::Agreed => CompletionResult::Confirmed,
            FinishVerdict::CodeRevealed => CompletionResult::CodeRevealed,
            FinishVerdict::WrongBrowser => CompletionResult::WrongBrowser,
            FinishVerdict::Refused => return Err(ServiceError::NotFound),
            FinishVerdict::WrongCode
            | FinishVerdict::Redeemed
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Revoked
            | FinishVerdict::Disputed
            | FinishVerdict::Gone => {
                if !is_completed(&record) {
                    return Err(ServiceError::TokenSpent);
                }
                CompletionResult::Used
            }
        };
        Ok(tapped)
    }

    /// The login that "this wasn't me" would dispute, its state, and the hidden field of the form.
    pub async fn open_dispute(
        &self,
        cx: &RequestContext,
        token: &Token,
    ) -> Result<(Arc<Instance>, Verification<Link>, DisputeState, String), ServiceError> {
        let Loaded { instance, record, .. } = self.load_by_token(cx, token, TokenKind::Dispute).await?;
        let now = match record.details.verified() {
            Some((_, Completion::Disputed { after, .. })) => {
                DisputeState::Disputed { late: *after == LoginProgress::Redeemed }
            }
            Some((Some(_), _)) => DisputeState::Open,
            Some((None, _)) | None => DisputeState::Closed,
        };
        Ok((instance, record, now, self.keys.csrf_token(token, None)))
    }

    /// "This wasn't me": revokes what the link granted, and notifies the app. The token permits nothing else, so a
    /// message can contain it for as long as the proof is kept.
    pub async fn dispute(&self, cx: &RequestContext, token: &Token, form_field: &str) -> Result<(), ServiceError> {
        let loaded = self.load_by_token(cx, token, TokenKind::Dispute).await?;
        check_form_field(form_field, &self.keys.csrf_token(token, None))?;
        let (verdict, _) = self.apply_finish(cx, loaded, LinkCommand::Dispute).await?;
        if verdict == FinishVerdict::Disputed {
            return Ok(());
        }
        Err(if verdict == FinishVerdict::Refused { ServiceError::NotFound } else { ServiceError::TokenSpent })
    }

    /// As [`Verifications::apply`], for commands after the match. Counts links that are completed, redeemed or disputed.
    pub(in crate::service) async fn apply_finish(
        &self,
        cx: &RequestContext,
        loaded: Loaded<Link>,
        command: impl Into<LinkCommand>,
    ) -> Result<(FinishVerdict, Verification<Link>), ServiceError> {
        let CommandOutcome { verdict, record, write: written } =
            self.verifications.apply(cx, loaded, command.into(), None).await?;
        // Callers pass only commands whose answer is `LinkVerdict::Finish`.
        let LinkVerdict::Finish(verdict) = verdict else { return Err(ServiceError::Refused) };
        let result = match verdict {
            FinishVerdict::Completed => Some("completed"),
            FinishVerdict::Redeemed => Some("redeemed"),
            FinishVerdict::Disputed => Some("disputed"),
            FinishVerdict::CompletedAgain
            | FinishVerdict::Agreed
            | FinishVerdict::CodeRevealed
            | FinishVerdict::WrongBrowser
            | FinishVerdict::WrongCode
            | FinishVerdict::RedeemedAgain
            | FinishVerdict::Revoked
            | FinishVerdict::Gone
            | FinishVerdict::Refused => None,
        };
        if let Some(result) = result.filter(|_| written == WriteOutcome::Committed) {
            let completed = ByResult { instance: InstanceLabel(record.instance), result };
            self.metrics.completions.get_or_create(&completed).inc();
        }
        Ok((verdict, record))
    }
}

/// Whether the login has been completed.
pub(super) fn is_completed(record: &Verification<Link>) -> bool {
    matches!(record.details.completion(), Some(Completion::Released { .. } | Completion::Redeemed { .. }))
}

/// Checks in constant time that a form comes from the page issued to this browser.
pub(super) fn check_form_field(presented: &str, genuine: &str) -> Result<(), ServiceError> {
    let same = subtle::ConstantTimeEq::ct_eq(genuine.as_bytes(), presented.as_bytes());
    if same.into() { Ok(()) } else { Err(ServiceError::Refused) }
}
