//! The use cases: load a record, let the domain decide, commit the result; on a conflicting change, start over.
//!
//! This layer knows nothing about HTTP status codes, HTML or the implementation of the store.

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

/// The use cases, on top of one store.
pub struct Service {
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyRing>,
    pub instances: Arc<Instances>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub public_url: Url,
    pub handoff: LocalDispatch,
    pub phones: Phones,
    /// Geolocation of addresses, if the operator has configured a database.
    pub places: Option<Places>,
    /// Number of codes that this process is currently handing to a gateway.
    pub sending: AtomicUsize,
    pub vitals: Arc<Vitals>,
    pub traces: Traces,
    pub key_state: KeyState,
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
    #[error("too many")]
    RateLimited { retry_after: Duration },
    /// The instance's records use up its share of the store.
    #[error("the instance has used its room")]
    RoomUsed { retry_after: Duration },
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
    CodeLocked { retry_after: Duration },
    /// Only codes can be sent; the app delivers links itself.
    #[error("there is nothing to send")]
    NothingToSend,
    /// The one-time token was used or revoked, or has expired.
    #[error("the token is spent")]
    Spent,
    /// The token is unknown, or the verifier is wrong.
    #[error("the token is not accepted")]
    Refused,
    /// Too many requests are waiting for changes already.
    #[error("no place to wait is free")]
    Crowded,
    /// The gateway did not resolve the sender's LID to a phone number.
    #[error("the sender could not be identified now")]
    NotIdentified,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Maximum attempts at a decision when concurrent changes conflict with it.
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

    /// The decoded record. A record that this process cannot read is counted, reported and left out of the answer.
    fn readable(&self, instance: &Instance, stored: &StoredRecord) -> Option<Verification> {
        self.decode(stored).map_err(|error| self.unreadable(instance, "record", &error)).ok()
    }

    /// Like [`Service::readable`], for callers that draw conclusions from a missing record. Only a record sealed with a
    /// removed key yields `None`. It is an error if other replicas use a key that this process lacks, as is any other
    /// failure.
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

    /// The code of a link; `None` if the key that derived it was removed.
    pub fn link_code(&self, link: &Verification<Link>) -> Option<LinkCode> {
        self.keys.link_code(link.key, link.instance, &link.nonce, link.kind.code_length)
    }

    /// The code that is sent to the chat; `None` if the key that derived it was removed.
    pub fn otp(&self, code: &Verification<SentCode>) -> Option<OtpCode> {
        self.keys.otp_code(code.key, code.instance, code.id, &code.nonce, code.kind.otp.shape)
    }

    /// The code to type on the start page if the message was sent from another device; `None` if the key that derived
    /// it was removed.
    pub fn reply_code(&self, link: &Verification<Link>) -> Option<ReplyCode> {
        self.keys.reply_code(link.key, link.id, &link.nonce)
    }

    pub fn token<K>(&self, record: &Verification<K>, kind: Kind) -> Option<Token> {
        self.keys.token(record.key, kind, record.id, &record.nonce)
    }

    /// The absolute URL of `path`, below the public URL.
    pub fn public(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }

    /// The prefilled message that the person sends. With `Mode::ProvePhone` the message alone expresses consent, so it
    /// must name the app and the purpose.
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

    /// Digest of a message text without its code, to detect that the text was edited.
    fn words_around(&self, instance: &Instance, text: &str, code: &LinkCode) -> Digest {
        self.keys.permanent("text", instance.config.id, extract::around(text, code).as_bytes())
    }
}
