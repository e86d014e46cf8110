//! The state of a waiting page, derived from the record and from the browser that shows it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Instance, RequestContext, Service, ServiceError, loaded::Loaded};
use crate::domain::{
    Request, Verification,
    link::{Completion, Link, LinkState, Reached},
    renewal::renewed,
    token::{Kind, Token},
};

/// The data of a start page. Loading it changes nothing.
pub struct Start {
    pub instance: Arc<Instance>,
    pub record: Verification<Link>,
    pub stage: Stage,
    /// Binds the form to this page and this browser.
    pub form_field: String,
    /// Whether this browser is the one bound to the record.
    pub ours: bool,
}

/// The state of a waiting page. Its identifiers are the events of the page's stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The message has not arrived yet.
    Pending,
    /// The reply contains a link to tap.
    Link,
    /// The reply contains a code to type here, valid until `until`.
    Code {
        until: Timestamp,
    },
    /// The person has given consent, so this browser can complete the login without further input.
    Finish,
    Done,
    /// Expired. If `renewable`, a tap creates a new request.
    Expired {
        renewable: bool,
    },
    Disputed,
    Over,
}

impl Stage {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Link => "link",
            Self::Code { .. } => "code",
            Self::Finish => "finish",
            Self::Done => "done",
            Self::Expired { .. } => "expired",
            Self::Disputed => "disputed",
            Self::Over => "over",
        }
    }

    /// Whether no other state follows.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Done | Self::Expired { .. } | Self::Disputed | Self::Over)
    }
}

impl Service {
    pub async fn start(&self, cx: &RequestContext, handle: &Token, cookies: &[String]) -> Result<Start, ServiceError> {
        let Loaded { instance, record, .. } = self.recognise(cx, handle, Kind::Handle).await?;
        Ok(self.started(handle, record, instance, cookies))
    }

    pub(super) fn started(
        &self,
        handle: &Token,
        record: Verification<Link>,
        instance: Arc<Instance>,
        cookies: &[String],
    ) -> Start {
        let form_field = self.keys.form_field(handle, self.own(&record, cookies));
        let ours = self.waits(&record, cookies);
        Start { stage: self.stage(&record, cookies), form_field, ours, instance, record }
    }

    fn waits(&self, record: &Verification<Link>, cookies: &[String]) -> bool {
        let browser = self.browser(record, self.own(record, cookies));
        record.kind.binding.as_ref().zip(browser).is_some_and(|(held, browser)| held.browser.matches(browser))
    }

    /// The current state of the page in a browser with these cookies.
    pub fn stage(&self, record: &Verification<Link>, cookies: &[String]) -> Stage {
        let now = self.now();
        let completion = match &record.kind.state {
            LinkState::Pending if now >= record.expires_at => return self.expired(record, cookies, now),
            LinkState::Expired { .. } => return self.expired(record, cookies, now),
            LinkState::Pending => return Stage::Pending,
            LinkState::Failed { .. } | LinkState::Canceled { .. } => return Stage::Over,
            LinkState::Verified { completion, .. } => completion,
        };
        match completion {
            Completion::Offered { until, .. } if now >= *until => Stage::Over,
            Completion::Offered { told, agreed, .. } => {
                let ours = self.waits(record, cookies);
                match told {
                    Some(told) if ours && told.is_live(now) => Stage::Code { until: told.until },
                    Some(_) if ours && record.expects_code() => Stage::Over,
                    _ if ours && (*agreed || record.finishes_by_itself()) => Stage::Finish,
                    _ => Stage::Link,
                }
            }
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Disputed { after: Reached::Redeemed, .. } => Stage::Done,
            Completion::Lapsed { .. } => Stage::Over,
            Completion::Disputed { .. } => Stage::Disputed,
        }
    }

    fn expired(&self, record: &Verification<Link>, cookies: &[String], now: Timestamp) -> Stage {
        let instance = self.instances.get(record.instance);
        let renewable = instance.is_some_and(|instance| self.renewed(&instance, record, cookies, now).is_some());
        Stage::Expired { renewable }
    }

    /// The request that a tap on an expired page creates. `None` once the person's data may be erased, because the
    /// original request is then unknown.
    pub(super) fn renewed(
        &self,
        instance: &Instance,
        record: &Verification<Link>,
        cookies: &[String],
        now: Timestamp,
    ) -> Option<Request> {
        let config = &instance.config;
        let kept = now < record.expires_at + config.erase_after;
        let browser = self.browser(record, self.own(record, cookies));
        renewed(record, browser, config.renewals, now).filter(|_| kept && !config.disabled)
    }
}
