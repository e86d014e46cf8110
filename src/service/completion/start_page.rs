//! The state of a waiting page, derived from the record and from the browser that shows it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{
    domain::{
        Reason, Request, TimelineEvent, Verification,
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
    /// As [`StartPageState::Pending`], and the code came from a number that it does not belong to.
    PendingAfterWrongSender,
    /// The reply contains a link to tap.
    AwaitingLink,
    /// The reply contains a code to type here, valid until `until`.
    AwaitingCode {
        until: Timestamp,
        wrong_attempts: u8,
    },
    /// The person has given consent, so this browser can complete the login without further input.
    AwaitingFinish,
    Done,
    /// Expired. If `renewable`, a tap creates a new request.
    Expired {
        renewable: bool,
    },
    /// Too many messages came from numbers that the code does not belong to.
    WrongSender,
    /// The app canceled the request.
    Canceled,
    /// Too many wrong reply codes were typed.
    CodeSpent {
        renewable: bool,
    },
    /// The message came, but nobody finished the login in time.
    Lapsed {
        renewable: bool,
    },
    Disputed,
}

impl StartPageState {
    /// Every identifier.
    pub const NAMES: [&'static str; 12] = [
        "pending",
        "other_number",
        "link",
        "code",
        "finish",
        "done",
        "expired",
        "failed",
        "canceled",
        "code_spent",
        "lapsed",
        "disputed",
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::PendingAfterWrongSender => "other_number",
            Self::AwaitingLink => "link",
            Self::AwaitingCode { .. } => "code",
            Self::AwaitingFinish => "finish",
            Self::Done => "done",
            Self::Expired { .. } => "expired",
            Self::WrongSender => "failed",
            Self::Canceled => "canceled",
            Self::CodeSpent { .. } => "code_spent",
            Self::Lapsed { .. } => "lapsed",
            Self::Disputed => "disputed",
        }
    }

    /// Whether the message is awaited.
    pub const fn is_pending(self) -> bool {
        matches!(self, Self::Pending | Self::PendingAfterWrongSender)
    }

    /// Whether no other state follows.
    pub const fn is_last(self) -> bool {
        match self {
            Self::Pending
            | Self::PendingAfterWrongSender
            | Self::AwaitingLink
            | Self::AwaitingCode { .. }
            | Self::AwaitingFinish => false,
            Self::Done
            | Self::Expired { .. }
            | Self::WrongSender
            | Self::Canceled
            | Self::CodeSpent { .. }
            | Self::Lapsed { .. }
            | Self::Disputed => true,
        }
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
        let renewable = || self.is_renewable(record, cookies, now);
        let completion = match &record.details.state {
            LinkState::Pending if now >= record.expires_at => {
                return StartPageState::Expired { renewable: renewable() };
            }
            LinkState::Expired { .. } => return StartPageState::Expired { renewable: renewable() },
            LinkState::Pending if record.attempts > 0 => return StartPageState::PendingAfterWrongSender,
            LinkState::Pending => return StartPageState::Pending,
            LinkState::Failed { .. } => return StartPageState::WrongSender,
            LinkState::Canceled { .. } => return StartPageState::Canceled,
            LinkState::Verified { completion, .. } => completion,
        };
        match completion {
            Completion::Offered { until, reply_code, agreed } if now < *until => {
                let is_bound = self.is_bound_browser(record, cookies);
                match reply_code {
                    Some(reply_code) if is_bound && reply_code.is_live(now) => StartPageState::AwaitingCode {
                        until: reply_code.until,
                        wrong_attempts: reply_code.wrong_attempts,
                    },
                    Some(_) if is_bound && record.needs_reply_code() => ran_out(record, renewable()),
                    Some(_) | None if is_bound && (*agreed || record.finishes_automatically()) => {
                        StartPageState::AwaitingFinish
                    }
                    Some(_) | None => StartPageState::AwaitingLink,
                }
            }
            Completion::Offered { .. } | Completion::Lapsed { .. } => ran_out(record, renewable()),
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::NotOffered
            | Completion::Disputed { after: LoginProgress::Redeemed, .. } => StartPageState::Done,
            Completion::Disputed { .. } => StartPageState::Disputed,
        }
    }

    /// Whether a tap of this browser makes a new request of one that ran out.
    fn is_renewable(&self, record: &Verification<Link>, cookies: &[String], now: Timestamp) -> bool {
        let instance = self.instances.get(record.instance);
        instance.is_some_and(|instance| self.renewed_request(&instance, record, cookies, now).is_some())
    }

    /// The request that a tap on the page of one that ran out creates. `None` once the person's data may be erased, because the
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

/// The state of a login whose message came, and that can no longer be finished.
fn ran_out(record: &Verification<Link>, renewable: bool) -> StartPageState {
    let is_code_spent = record
        .timeline
        .iter()
        .any(|entry| entry.event == TimelineEvent::CodeTyped && entry.reason == Some(Reason::AttemptsExhausted));
    if is_code_spent { StartPageState::CodeSpent { renewable } } else { StartPageState::Lapsed { renewable } }
}
