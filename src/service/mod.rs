//! Use cases: load, decide, commit; again when somebody else moved first.
//!
//! Nothing here knows HTTP status codes, HTML or how a store works.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod answer;
pub mod callback;
mod code;
mod commit;
mod complete;
mod context;
pub mod delivery;
mod draft;
mod erase;
pub mod explain;
mod facts;
mod identity;
pub mod input;
pub mod input_code;
mod instance;
mod keys;

mod landing;
mod limit;
mod loaded;
mod login;
mod mint;
mod outbox;
mod outcome;
mod places;
mod receipt;
mod receive;
mod redeem;
mod requests;
mod room;
mod stage;
mod start;
mod target;
mod timers;
mod trace;
mod validate;
pub mod vitals;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use url::Url;

pub use self::{
    complete::{Opened, OpenedAs, Tapped},
    context::{By, Deed, RequestContext},
    identity::Phones,
    input::Mint,
    instance::{Denied, Grant, Instance, Instances, Replaced},
    keys::{KeyState, KeysStatus, MasterStatus},
    landing::landing,
    limit::{Limited, Standing, subscriber_network},
    mint::Idempotency,
    outcome::{Outcome, Unmatched},
    places::Places,
    receipt::SentLeg,
    redeem::{Redeemed, TypedElsewhere},
    requests::{Filter, Page, decode_cursor},
    stage::{Stage, Start},
    start::{Browser, Typed},
    timers::Rung,
    trace::Traces,
    vitals::Vitals,
    watch::Watched,
};
use crate::{
    audit::Audit,
    clock::Clock,
    domain::{
        KeyRing, Mode, Reason, Verification,
        binding::ReplyCode,
        code::LinkCode,
        extract,
        facts::Facts,
        keys::Digest,
        link::Link,
        otp::OtpCode,
        sent_code::SentCode,
        template::{self, Values},
        token::{Kind, Token},
        whatsapp,
    },
    jobs::permits::LocalDispatch,
    metrics::{Metrics, label::ByKind},
    reader::Faults,
    store::{Store, StoreError, StoredRecord, record},
};

/// The use cases, over one store.
pub struct Service {
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyRing>,
    pub instances: Arc<Instances>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub public_url: Url,
    pub handoff: LocalDispatch,
    pub phones: Phones,
    /// Where addresses are, if the operator has a database.
    pub places: Option<Places>,
    /// Codes that a gateway is being given by this process.
    pub sending: AtomicUsize,
    pub vitals: Arc<Vitals>,
    pub traces: Traces,
    pub key_state: KeyState,
    pub audit: Audit,
}

/// Why a use case did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("there is no such verification")]
    NotFound,
    #[error("the request is faulty")]
    Invalid(Faults),
    /// The idempotency key stands for a request with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    #[error("too many")]
    RateLimited { retry_after: Duration },
    /// Its records fill the room that the instance has in the store.
    #[error("the instance has used its room")]
    RoomUsed { retry_after: Duration },
    #[error("the instance takes no new requests")]
    Disabled,
    /// A code that was typed does not count, or nothing can be done about a code: the reason says why.
    #[error("the code is not accepted: {0}")]
    Code(Reason),
    /// It was not the code, which ends after so many more wrong ones.
    #[error("the code is wrong")]
    CodeWrong { attempts_remaining: u32 },
    /// Too many codes in a row were wrong for this chat.
    #[error("the chat is locked")]
    CodeLocked { retry_after: Duration },
    /// Only codes are sent; a link is handed out by the app.
    #[error("there is nothing to send")]
    NothingToSend,
    /// The one-time token was used, revoked, or is too old.
    #[error("the token is spent")]
    Spent,
    /// No such token, or a wrong verifier.
    #[error("the token is not accepted")]
    Refused,
    /// Too many wait for news already.
    #[error("no place to wait is free")]
    Crowded,
    /// The gateway did not say which phone the sender's LID stands for.
    #[error("the sender could not be identified now")]
    NotIdentified,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How often a decision is taken again because others moved first.
const CONFLICTS: usize = 8;

impl Service {
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    pub(crate) fn codes_on_their_way(&self) -> usize {
        self.sending.load(Ordering::Relaxed)
    }

    fn decode(&self, stored: &StoredRecord) -> Result<Verification, StoreError> {
        record::decode(&self.keys, stored)
    }

    /// The record, unless this process cannot read it: that is counted and reported, and costs an answer nothing else.
    fn readable(&self, instance: &Instance, stored: &StoredRecord) -> Option<Verification> {
        self.decode(stored).map_err(|error| self.unreadable(instance, "record", &error)).ok()
    }

    /// As [`Service::readable`], before something is concluded from what is missing: a key that this process lacks and
    /// others have is an error. So is everything but a missing key.
    async fn legible(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        stored: &StoredRecord,
    ) -> Result<Option<Verification>, StoreError> {
        match self.read(cx, stored).await {
            Err(error @ StoreError::Sealed(_)) => {
                self.unreadable(instance, "record", &error);
                Ok(None)
            }
            read => read.map(Some),
        }
    }

    fn unreadable(&self, instance: &Instance, kind: &'static str, error: &StoreError) {
        self.metrics.unreadable.get_or_create(&ByKind { kind }).inc();
        let instance = instance.config.id;
        if let Some(count) = self.vitals.failed(instance, kind, "unreadable", self.clock.wall()) {
            tracing::error!(%instance, kind, count, %error, "left out of an answer: it cannot be read here");
        }
    }

    /// The code of a link; `None` when the key that made it was removed.
    pub fn link_code(&self, link: &Verification<Link>) -> Option<LinkCode> {
        self.keys.link_code(link.key, link.instance, &link.nonce, link.kind.code_length)
    }

    /// The code that we send; `None` when the key that made it was removed.
    pub fn otp(&self, code: &Verification<SentCode>) -> Option<OtpCode> {
        self.keys.otp_code(code.key, code.instance, code.id, &code.nonce, code.kind.otp.shape)
    }

    /// What another device types on the start page; `None` when the key that made it was removed.
    pub fn reply_code(&self, link: &Verification<Link>) -> Option<ReplyCode> {
        self.keys.reply_code(link.key, link.id, &link.nonce)
    }

    pub fn token<K>(&self, record: &Verification<K>, kind: Kind) -> Option<Token> {
        self.keys.token(record.key, kind, record.id, &record.nonce)
    }

    /// Below the public URL.
    pub fn public(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// What the person is to send. Where a message alone is the person's word, it says itself what for.
    pub fn prefilled(&self, instance: &Instance, record: &Verification<Link>, code: &LinkCode) -> String {
        let request = &record.request;
        let (name, purpose) = (request.name.as_str(), request.purpose.as_deref().unwrap_or_default());
        let prompt = instance.prompt(request);
        let prompt = if request.completion == Some(Mode::ProvePhone) {
            let facts = Facts { name: name.to_owned(), purpose: purpose.to_owned(), ..Facts::default() };
            facts.name_in_prompt(prompt)
        } else {
            template::render(prompt, Values { name, purpose, ..Values::default() })
        };
        whatsapp::prefilled(&prompt, code, instance.language(Some(request)).warning())
    }

    /// What stands for the words of a text around its code.
    fn words_around(&self, instance: &Instance, text: &str, code: &LinkCode) -> Digest {
        self.keys.permanent("text", instance.config.id, extract::around(text, code).as_bytes())
    }
}
