//! The start page: which browser waits, what it waits for, and how it goes on.

use std::sync::Arc;

use jiff::Timestamp;
use url::Url;

use super::{
    Idempotency, Instance, Mint, Service, ServiceError,
    complete::{check, is_used},
    facts::Side,
};
use crate::{
    domain::{
        Command, State, Verdict, Verification,
        binding::{Binding, CODE_TRIES, Place},
        renewal::renewed,
        token::{Kind, RedeemToken, Token},
        verification::{Completion, Reached, Request},
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
};

/// A start page that was looked at; looking changes nothing.
pub struct Start {
    pub instance: Arc<Instance>,
    pub record: Verification,
    pub stage: Stage,
    /// Ties the form to this page and this browser.
    pub form_field: String,
    /// This browser is the one that waits.
    pub ours: bool,
}

/// What a waiting page shows. The words are the states of its event stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// The message is not here yet.
    Pending,
    /// The reply holds a link to tap.
    Link,
    /// The reply holds a code to type here, until then.
    Code {
        until: Timestamp,
    },
    /// The person is signed in already: nothing more is needed.
    Finish,
    Done,
    /// Too late; a tap makes a new one, where `renewable`.
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

    /// Nothing follows.
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Done | Self::Expired { .. } | Self::Disputed | Self::Over)
    }
}

/// What a typed code was worth.
pub enum Typed {
    /// `None` when there is nowhere to go, or no more.
    Right {
        redirect: Option<Url>,
    },
    Wrong {
        tries_left: u8,
    },
}

/// Who taps.
#[derive(Clone, Copy)]
pub struct Browser<'a> {
    /// The values of its cookies by our name.
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
    pub async fn start(&self, handle: &Token, cookies: &[String]) -> Result<Start, ServiceError> {
        let (_, record, instance) = self.recognise(handle, Kind::Handle).await?;
        Ok(self.started(handle, record, instance, cookies))
    }

    fn started(&self, handle: &Token, record: Verification, instance: Arc<Instance>, cookies: &[String]) -> Start {
        let form_field = self.keys.form_field(handle, self.own(&record, cookies));
        let ours = self.waits(&record, cookies);
        Start { stage: self.stage(&record, cookies), form_field, ours, instance, record }
    }

    fn waits(&self, record: &Verification, cookies: &[String]) -> bool {
        let browser = self.browser(record, self.own(record, cookies));
        record.binding.as_ref().zip(browser).is_some_and(|(held, browser)| held.browser.matches(browser))
    }

    /// What the page of a browser with these cookies shows now.
    pub fn stage(&self, record: &Verification, cookies: &[String]) -> Stage {
        let now = self.now();
        let completion = match &record.state {
            _ if record.otp.is_some() => return Stage::Over,
            State::Pending if now >= record.expires_at => return self.expired(record, cookies, now),
            State::Expired { .. } => return self.expired(record, cookies, now),
            State::Pending => return Stage::Pending,
            State::Sent { .. } | State::Validated { .. } | State::Failed { .. } | State::Canceled { .. } => {
                return Stage::Over;
            }
            State::Verified { completion, .. } => completion,
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

    fn expired(&self, record: &Verification, cookies: &[String], now: Timestamp) -> Stage {
        let instance = self.instances.get(record.instance);
        let renewable = instance.is_some_and(|instance| self.renewed(&instance, record, cookies, now).is_some());
        Stage::Expired { renewable }
    }

    /// What a tap on the page makes. Once the person's data was erased, what was asked for is no longer known.
    fn renewed(
        &self,
        instance: &Instance,
        record: &Verification,
        cookies: &[String],
        now: Timestamp,
    ) -> Option<Request> {
        let config = &instance.config;
        let kept = now < record.expires_at + config.erase_after;
        let browser = self.browser(record, self.own(record, cookies));
        renewed(record, browser, config.renewals, now).filter(|_| kept && !config.disabled)
    }

    /// The tap on the start page. `gently`: the page itself did it, so it takes the place of no other browser.
    pub async fn tap(
        &self,
        handle: &Token,
        browser: Browser<'_>,
        form_field: &str,
        place: Place,
        gently: bool,
    ) -> Result<Start, ServiceError> {
        let (stored, record, instance) = self.recognise(handle, Kind::Handle).await?;
        let cookie = self.own(&record, browser.cookies);
        let digest = self.browser(&record, cookie).ok_or(ServiceError::Refused)?;
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let place = if instance.config.strict_browser { Place::Here } else { place };
        let binding = Binding {
            browser: digest,
            place,
            ip: browser.ip.map(|ip| ip.to_string()),
            user_agent: browser.user_agent.map(|agent| agent.chars().take(300).collect()),
            gently,
        };
        let first = record.binding.is_none();
        let command = Command::Bind { binding };
        let applied = self.apply(&instance, record.id, Some((stored.version, record)), command, None).await?;
        if first && applied.verdict == Verdict::Bound {
            self.metrics
                .links_clicked
                .get_or_create(&ByInstance { instance: InstanceLabel(applied.record.instance) })
                .inc();
        }
        Ok(self.started(handle, applied.record, instance, browser.cookies))
    }

    /// The reply's code, typed on the start page.
    pub async fn type_code(
        &self,
        handle: &Token,
        browser: Browser<'_>,
        form_field: &str,
        typed: &str,
    ) -> Result<Typed, ServiceError> {
        let (stored, record, instance) = self.recognise(handle, Kind::Handle).await?;
        let cookie = self.own(&record, browser.cookies);
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let command = Command::Type {
            token: self.keys.secret(redeem.secret()),
            browser: self.browser(&record, cookie),
            right: self.reply_code(&record).is_some_and(|code| code.is(typed)),
            risk: self.risk_of_end(&record, browser.side()),
        };
        let applied = self.apply(&instance, record.id, Some((stored.version, record)), command, None).await?;
        match applied.verdict {
            Verdict::Completed | Verdict::CompletedAgain => {
                Ok(Typed::Right { redirect: self.redirect(&instance, &applied.record, &redeem) })
            }
            Verdict::WrongCode => {
                let misses = match &applied.record.state {
                    State::Verified { completion: Completion::Offered { told: Some(told), .. }, .. } => told.misses,
                    _ => CODE_TRIES,
                };
                Ok(Typed::Wrong { tries_left: CODE_TRIES - misses })
            }
            Verdict::WrongBrowser | Verdict::Refused => Err(ServiceError::Refused),
            _ if is_used(&applied.record) => Ok(Typed::Right { redirect: None }),
            _ => Err(ServiceError::Spent),
        }
    }

    /// The waiting page of a person who is signed in already goes on. `None` when there is nowhere to go, or no more.
    pub async fn finish(
        &self,
        handle: &Token,
        browser: Browser<'_>,
        form_field: &str,
    ) -> Result<Option<Url>, ServiceError> {
        let (stored, record, instance) = self.recognise(handle, Kind::Handle).await?;
        let cookie = self.own(&record, browser.cookies);
        check(form_field, &self.keys.form_field(handle, cookie))?;
        let redeem = RedeemToken::new(record.id, random::bytes());
        let token = self.keys.secret(redeem.secret());
        let risk = self.risk_of_end(&record, browser.side());
        let command = Command::Finish { token, browser: self.browser(&record, cookie), risk };
        let applied = self.apply(&instance, record.id, Some((stored.version, record)), command, None).await?;
        match applied.verdict {
            Verdict::Completed | Verdict::CompletedAgain => Ok(self.redirect(&instance, &applied.record, &redeem)),
            Verdict::Refused => Err(ServiceError::Refused),
            _ if is_used(&applied.record) => Ok(None),
            _ => Err(ServiceError::Spent),
        }
    }

    /// Makes an expired request anew, and gives the handle of the new one. Many taps make one.
    pub async fn renew(&self, handle: &Token, cookies: &[String], form_field: &str) -> Result<Token, ServiceError> {
        let (_, record, instance) = self.recognise(handle, Kind::Handle).await?;
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
        let minted = self.mint(&instance, "renewals", mint, Some(idempotency)).await?;
        self.token(&minted, Kind::Handle).ok_or(ServiceError::Spent)
    }
}
