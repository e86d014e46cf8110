//! The state of a waiting page, derived from the record and from the browser that shows it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        Request, Verification,
        link::{Completion, Link, LinkState, LoginProgress},
        renewal::renewed_request,
        token::{Token, TokenKind},
    },
    service::{Instance, LoginCompletion, RequestContext, ServiceError, verifications::Loaded},
};

/// The data of a start page. Loading it changes nothing.
pub struct StartPage {
    pub instance: Arc<Instance>,
    pub record: Verification<Link>,
    pub state: StartPageState,
    /// Binds the form to this page and this browser.
    pub form_field: String,
    /// Whether this browser is the one bound to the record.
    pub is_bound_browser: bool,
}

/// The state of a waiting page. Its identifiers are the events of the page's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartPageState {
    /// The message has not arrived yet.
    Pending,
    /// The reply contains a link to tap.
    AwaitingLink,
    /// The reply contains a code to type here, valid until `until`.
    AwaitingCode {
        until: Timestamp,
    },
    /// The person has given consent, so this browser can complete the login without further input.
    AwaitingFinish,
    Done,
    /// Expired. If `renewable`, a tap creates a new request.
    Expired {
        renewable: bool,
    },
    Disputed,
    Closed,
}

impl StartPageState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::AwaitingLink => "link",
            Self::AwaitingCode { .. } => "code",
            Self::AwaitingFinish => "finish",
            Self::Done => "done",
            Self::Expired { .. } => "expired",
            Self::Disputed => "disputed",
            Self::Closed => "over",
        }
    }

    /// Whether no other state follows.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Done | Self::Expired { .. } | Self::Disputed | Self::Closed)
    }
}

impl LoginCompletion {
    pub async fn open_start_page(
        &self,
        cx: &RequestContext,
        handle: &Token,
        cookies: &[String],
    ) -> Result<StartPage, ServiceError> {
        let Loaded { instance, record, .. } = self.load_by_token(cx, handle, TokenKind::Handle).await?;
        Ok(self.start_page(cx, handle, record, instance, cookies))
    }

    pub(super) fn start_page(
        &self,
        cx: &RequestContext,
        handle: &Token,
        record: Verification<Link>,
        instance: Arc<Instance>,
        cookies: &[String],
    ) -> StartPage {
        let form_field = self.keys.csrf_token(handle, self.relevant_cookie(&record, cookies));
        let is_bound = self.is_bound_browser(&record, cookies);
        StartPage {
            state: self.start_page_state(&record, cookies, cx.now()),
            form_field,
            is_bound_browser: is_bound,
            instance,
            record,
        }
    }

    fn is_bound_browser(&self, record: &Verification<Link>, cookies: &[String]) -> bool {
        let browser = self.browser_digest(record, self.relevant_cookie(record, cookies));
        record.details.binding.as_ref().zip(browser).is_some_and(|(binding, browser)| binding.browser.matches(browser))
    }

    /// The current state of the page in a browser with these cookies.
    pub fn start_page_state(&self, record: &Verification<Link>, cookies: &[String], now: Timestamp) -> StartPageState {
        let completion = match &record.details.state {
            LinkState::Pending if now >= record.expires_at => return self.expired_state(record, cookies, now),
            LinkState::Expired { .. } => return self.expired_state(record, cookies, now),
            LinkState::Pending => return StartPageState::Pending,
            LinkState::Failed { .. } | LinkState::Canceled { .. } => return StartPageState::Closed,
            LinkState::Verified { completion, .. } => completion,
        };
        match completion {
            Completion::Offered { until, .. } if now >= *until => StartPageState::Closed,
            Completion::Offered { reply_code, agreed, .. } => {
                let is_bound = self.is_bound_browser(record, cookies);
                match reply_code {
                    Some(reply_code) if is_bound && reply_code.is_live(now) => {
                        StartPageState::AwaitingCode { until: reply_code.until }
                    }
                    Some(_) if is_bound && record.needs_reply_code() => StartPageState::Closed,
                    Some(_) | None if is_bound && (*agreed || record.finishes_automatically()) => {
                        StartPageState::AwaitingFinish
                    }
                    Some(_) | None => StartPageState::AwaitingLink,
                }
            }
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Disputed { after: LoginProgress::Redeemed, .. } => StartPageState::Done,
            Completion::Lapsed { .. } => StartPageState::Closed,
            Completion::Disputed { .. } => StartPageState::Disputed,
        }
    }

    fn expired_state(&self, record: &Verification<Link>, cookies: &[String], now: Timestamp) -> StartPageState {
        let instance = self.instances.get(record.instance);
        let renewable =
            instance.is_some_and(|instance| self.renewed_request(&instance, record, cookies, now).is_some());
        StartPageState::Expired { renewable }
    }

    /// The request that a tap on an expired page creates. `None` once the person's data may be erased, because the
    /// original request is then unknown.
    pub(super) fn renewed_request(
        &self,
        instance: &Instance,
        record: &Verification<Link>,
        cookies: &[String],
        now: Timestamp,
    ) -> Option<Request> {
        let config = &instance.config;
        let kept = now < record.expires_at + config.erase_after;
        let browser = self.browser_digest(record, self.relevant_cookie(record, cookies));
        renewed_request(record, browser, config.renewals, now).filter(|_| kept && !config.disabled)
    }
}
