//! The use cases: load a record, let the domain decide, commit the result; on a conflicting change, start over.
//!
//! This layer knows nothing about HTTP status codes, HTML or the implementation of the store.

#![deny(clippy::wildcard_enum_match_arm)]

mod app_redirect;
mod codes;
mod completion;
mod context;
pub mod funnel;
mod geoip;
pub mod health;
mod inbound;
mod instance;
mod keys;
mod limits;
mod links;
mod login_details;
pub mod oidc;
mod operator_login;
mod records;
mod retention;
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use url::Url;

pub use self::{
    app_redirect::{Response, redirect_target},
    codes::code_request,
    completion::{
        ClientBrowser, CompletionResult, DisputeState, EnteredCode, Redeemed, ReplyCodeRedemption, ReplyLinkPage,
        ReplyLinkState, StartPage, StartPageState,
    },
    context::{Action, Actor, RequestContext},
    funnel::PendingCounts,
    geoip::GeoIp,
    health::ReplicaHealth,
    inbound::{LidResolver, MessageLog, Outcome, SentMessage, Unmatched},
    instance::{AccessDenied, Grant, Instance, InstanceChanges, Instances},
    keys::{KeyState, KeysStatus, MasterStatus},
    limits::{LimitStatus, Limited, subscriber_network},
    links::{LinkRequest, link_request},
    oidc::OidcState,
    records::{Filter, Idempotency, Page, TimerOutcome, VerificationWatch, callback, decode_cursor},
    support::{callback_log, explain, receiver_response},
};
use crate::{
    audit::Audit,
    clock::Clock,
    domain::{
        KeyRing, Mode, Reason, Verification,
        binding::ReplyCode,
        code::LinkCode,
        keys::Digest,
        link::Link,
        login_details::LoginDetails,
        message_codes,
        otp::OtpCode,
        sent_code::SentCode,
        template::{self, Values},
        token::{Token, TokenKind},
        whatsapp,
    },
    jobs::permits::LocalDispatch,
    metrics::{Metrics, label::ByKind},
    reader::Faults,
    store::{Store, StoreError, StoredRecord, record},
};

/// The use cases, on top of one store.
pub struct Service {
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyRing>,
    pub instances: Arc<Instances>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub public_url: Url,
    pub local_dispatch: LocalDispatch,
    pub lid_resolver: LidResolver,
    /// Geolocation of addresses, if the operator has configured a database.
    /// Replaced by a reload.
    pub geoip: ArcSwapOption<GeoIp>,
    /// Number of codes that this process is currently handing to a gateway.
    pub codes_in_flight: AtomicUsize,
    pub health: Arc<ReplicaHealth>,
    pub counts: PendingCounts,
    pub message_log: MessageLog,
    pub key_state: KeyState,
    pub oidc: OidcState,
    pub audit: Audit,
}

/// Why a use case failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("there is no such verification")]
    NotFound,
    #[error("the request is faulty")]
    Invalid(Faults),
    /// The idempotency key belongs to a request with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// One of the limits that the request takes from is exhausted; [`Limited`] has their states.
    #[error("too many requests")]
    RateLimited { retry_after: Duration },
    /// A limit that a chat has besides those that every request takes from.
    #[error("too many requests for this chat")]
    LimitExhausted(LimitStatus),
    /// The instance's records use up its share of the store.
    #[error("the instance has used its room")]
    StorageQuotaExceeded { retry_after: Duration },
    #[error("the instance takes no new requests")]
    Disabled,
    /// The typed code cannot be accepted, or the operation is not possible for this code; see the reason.
    #[error("the code is not accepted: {0}")]
    Code(Reason),
    /// The typed code was wrong. After `attempts_remaining` more wrong ones the code ends.
    #[error("the code is wrong")]
    CodeWrong { attempts_remaining: u32 },
    /// Too many wrong codes in a row for this chat.
    #[error("the chat is locked")]
    CodeLocked(LimitStatus),
    /// Only codes can be sent; the app delivers links itself.
    #[error("there is nothing to send")]
    NothingToSend,
    /// The one-time token was used or revoked, or has expired.
    #[error("the token is spent")]
    TokenSpent,
    /// The token is unknown, or the verifier is wrong.
    #[error("the token is not accepted")]
    Refused,
    /// Too many requests are waiting for changes already.
    #[error("no place to wait is free")]
    TooManyWatchers,
    /// The gateway did not resolve the sender's LID to a phone number.
    #[error("the sender could not be identified now")]
    NotIdentified,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServiceError {
    /// Why a typed code was rejected. `None` for errors that say nothing about the code.
    fn code_rejection(&self) -> Option<Reason> {
        match self {
            Self::Code(reason) => Some(*reason),
            Self::CodeWrong { .. } => Some(Reason::CodeWrong),
            Self::CodeLocked(_) => Some(Reason::CodeLocked),
            Self::NotFound
            | Self::Invalid(_)
            | Self::KeyReused
            | Self::RateLimited { .. }
            | Self::LimitExhausted(_)
            | Self::StorageQuotaExceeded { .. }
            | Self::Disabled
            | Self::NothingToSend
            | Self::TokenSpent
            | Self::Refused
            | Self::TooManyWatchers
            | Self::NotIdentified
            | Self::Store(_) => None,
        }
    }
}

/// Maximum attempts at a decision when concurrent changes conflict with it.
const MAX_COMMIT_ATTEMPTS: usize = 8;

impl Service {
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    pub(crate) fn codes_in_flight(&self) -> usize {
        self.codes_in_flight.load(Ordering::Relaxed)
    }

    fn decode(&self, stored: &StoredRecord) -> Result<Verification, StoreError> {
        record::decode(&self.keys, stored)
    }

    /// The decoded record. A record that this process cannot read is counted, reported and left out of the answer.
    fn decode_or_report(&self, instance: &Instance, stored: &StoredRecord) -> Option<Verification> {
        self.decode(stored).map_err(|error| self.report_unreadable(instance, "record", &error)).ok()
    }

    /// Like [`Service::decode_or_report`], for callers that draw conclusions from a missing record. Only a record sealed with a
    /// removed key yields `None`. It is an error if other replicas use a key that this process lacks, as is any other
    /// failure.
    async fn read_unless_sealed(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        stored: &StoredRecord,
    ) -> Result<Option<Verification>, StoreError> {
        match self.read(cx, stored).await {
            Err(error @ StoreError::Sealed(_)) => {
                self.report_unreadable(instance, "record", &error);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn report_unreadable(&self, instance: &Instance, kind: &'static str, error: &StoreError) {
        self.metrics.unreadable.get_or_create(&ByKind { kind }).inc();
        let instance = instance.config.id;
        if let Some(count) = self.health.record_failure(instance, kind, "unreadable", self.clock.wall()) {
            tracing::error!(%instance, kind, count, %error, "a record or job was left out of a response: no key in key_file decrypts it, or a newer version wrote it");
        }
    }

    /// The code of a link; `None` if the key that derived it was removed.
    pub fn link_code(&self, link: &Verification<Link>) -> Option<LinkCode> {
        self.keys.link_code(link.key, link.instance, &link.nonce, link.details.code_length)
    }

    /// The code that is sent to the chat; `None` if the key that derived it was removed. For a test number it is the
    /// configured one, or `None` after its end.
    pub fn otp_code(&self, code: &Verification<SentCode>) -> Option<OtpCode> {
        if code.request.test {
            let instance = self.instances.get(code.instance)?;
            let number = instance.config.codes.test_number(code.request.chat.as_ref()?.subject())?;
            return (self.now() < number.until).then(|| number.code.clone());
        }
        self.keys.otp_code(code.key, code.instance, code.id, &code.nonce, code.details.delivery.format)
    }

    /// The code to type on the start page if the message was sent from another device; `None` if the key that derived
    /// it was removed.
    pub fn reply_code(&self, link: &Verification<Link>) -> Option<ReplyCode> {
        self.keys.reply_code(link.key, link.id, &link.nonce)
    }

    pub fn token<K>(&self, record: &Verification<K>, kind: TokenKind) -> Option<Token> {
        self.keys.token(record.key, kind, record.id, &record.nonce)
    }

    /// The absolute URL of `path`, below the public URL.
    pub fn public_url(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// The path of `path` for browsers: below the path of the public URL, if it has one.
    pub fn public_path(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.path().trim_end_matches('/'))
    }

    /// The prefilled message that the person sends. With `Mode::ProvePhone` the message alone expresses consent, so it
    /// must name the app and the purpose.
    pub fn prefilled(&self, instance: &Instance, record: &Verification<Link>, code: &LinkCode) -> String {
        let request = &record.request;
        let (name, purpose) = (request.name.as_str(), request.purpose.as_deref().unwrap_or_default());
        let prompt = instance.prompt(request);
        let prompt = if request.completion == Some(Mode::ProvePhone) {
            let facts = LoginDetails { name: name.to_owned(), purpose: purpose.to_owned(), ..LoginDetails::default() };
            facts.render_prompt(prompt)
        } else {
            template::render(prompt, Values { name, purpose, ..Values::default() })
        };
        whatsapp::prefilled(&prompt, code, instance.language(Some(request)).warning())
    }

    /// Digest of a message text without its code, to detect that the text was edited.
    fn digest_without_code(&self, instance: &Instance, text: &str, code: &LinkCode) -> Digest {
        self.keys.permanent_digest("text", instance.config.id, message_codes::text_without_code(text, code).as_bytes())
    }
}
