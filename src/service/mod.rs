//! The use cases: load a record, let the domain decide, commit the result; on a conflicting change, start over.
//!
//! This layer knows nothing about HTTP status codes, HTML or the implementation of the store.
//!
//! [`Services`] wires it once. Each use case holds only what it uses: values of the [`Environment`], values that several
//! use cases share ([`Shared`]), and, where a login needs another use case, that one: [`LoginCompletion`] renews an expired
//! request with [`Links`], and [`Oidc`] uses both.

#![deny(clippy::wildcard_enum_match_arm)]

mod codes;
mod completion;
mod context;
mod deliveries;
pub mod funnel;
mod geoip;
pub mod health;
mod inbound;
mod instance;
mod keys;
mod lid_resolver;
mod limits;
mod links;
mod login_facts;
mod messages;
pub mod oidc;
mod operator_logins;
mod public_url;
pub mod receiver_responses;
mod request_fields;
mod retention;
mod support;
mod verifications;

use std::{sync::Arc, time::Duration};

pub use self::{
    codes::{Codes, code_request},
    completion::{
        ClientBrowser, CompletionResult, DisputeState, EnteredCode, LoginCompletion, Redeemed, ReplyCodeRedemption,
        ReplyLinkPage, ReplyLinkState, StartPage, StartPageState,
    },
    context::{Action, Actor, RequestContext},
    deliveries::SentMessage,
    geoip::GeoIp,
    health::ReplicaHealth,
    inbound::Inbound,
    instance::{AccessDenied, Grant, Instance, InstanceChanges, Instances},
    keys::{KeysStatus, MasterStatus},
    limits::{LimitStatus, Limited, subscriber_network},
    links::{LinkRequest, Links, approval_request, link_request},
    messages::{Outcome, Unmatched},
    oidc::Oidc,
    operator_logins::OperatorLogins,
    public_url::{PublicUrl, Response, redirect_target},
    support::{CallbackLog, Support, callback_log, explain},
    verifications::{
        Filter, Idempotency, MAX_RECORDS_READ, Page, TimerOutcome, VerificationWatch, Verifications, callback,
        decode_cursor,
    },
};
use self::{
    deliveries::Deliveries,
    funnel::FunnelCounts,
    keys::KeyState,
    lid_resolver::LidResolver,
    limits::Limits,
    login_facts::LoginFacts,
    messages::{MalformedWebhooks, MessageLog},
    oidc::OidcState,
    receiver_responses::ReceiverResponses,
    verifications::{Admissions, Outbox},
};
use crate::{
    audit::Audit,
    clock::Clock,
    config::OidcConfig,
    domain::{KeyRing, Reason},
    jobs::permits::LocalDispatch,
    metrics::Metrics,
    reader::Faults,
    store::{KeyGate, Store, StoreError},
};

/// The use cases.
pub struct Services {
    pub env: Environment,
    pub shared: Shared,
    pub links: Arc<Links>,
    pub codes: Codes,
    pub inbound: Inbound,
    pub completion: Arc<LoginCompletion>,
    pub oidc: Oidc,
    pub oidc_keys: Arc<OidcState>,
    pub callbacks: Arc<CallbackLog>,
    pub support: Support,
    pub operator_logins: OperatorLogins,
}

/// What the process runs with. All layers above the store use it.
pub struct Environment {
    pub store: Arc<dyn Store>,
    pub keys: Arc<KeyRing>,
    pub instances: Arc<Instances>,
    pub metrics: Arc<Metrics>,
    pub clock: Clock,
    pub public_url: PublicUrl,
    pub local_dispatch: LocalDispatch,
    pub health: Arc<ReplicaHealth>,
    pub audit: Audit,
}

/// What several use cases share. Workers and operators use some of it directly.
pub struct Shared {
    pub key_state: Arc<KeyState>,
    pub limits: Arc<Limits>,
    pub funnel: Arc<FunnelCounts>,
    pub outbox: Arc<Outbox>,
    pub verifications: Arc<Verifications>,
    admissions: Arc<Admissions>,
    pub login_facts: Arc<LoginFacts>,
    pub deliveries: Arc<Deliveries>,
    lid_resolver: Arc<LidResolver>,
    pub message_log: Arc<MessageLog>,
    pub malformed: Arc<MalformedWebhooks>,
    pub responses: Arc<ReceiverResponses>,
}

impl Services {
    /// Wires the use cases. `key_gate` is the one of the store. Also returns the task that writes the message log.
    pub fn new(
        env: Environment,
        key_gate: KeyGate,
        geoip: Option<Arc<GeoIp>>,
        oidc: Option<&OidcConfig>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (message_log, write_log) = MessageLog::new(Arc::clone(&env.keys), Arc::clone(&env.store));
        let shared = Shared::new(&env, key_gate, geoip, message_log);
        let oidc_keys = Arc::new(OidcState::new(&env, oidc));
        let links = Arc::new(Links::new(&env, &shared));
        let completion = Arc::new(LoginCompletion::new(&env, &shared, Arc::clone(&links)));
        let callbacks = Arc::new(CallbackLog::new(&env, &shared));
        let services = Self {
            codes: Codes::new(&env, &shared),
            inbound: Inbound::new(&env, &shared),
            oidc: Oidc::new(&env, &shared, Arc::clone(&oidc_keys), Arc::clone(&links), Arc::clone(&completion)),
            support: Support::new(&env, &shared, Arc::clone(&callbacks)),
            operator_logins: OperatorLogins::new(Arc::clone(&env.keys)),
            links,
            completion,
            oidc_keys,
            callbacks,
            shared,
            env,
        };
        (services, write_log)
    }
}

impl Shared {
    fn new(env: &Environment, key_gate: KeyGate, geoip: Option<Arc<GeoIp>>, message_log: MessageLog) -> Self {
        let key_state = Arc::new(KeyState::new(env, key_gate));
        let limits = Arc::new(Limits::new(env));
        let funnel = Arc::new(FunnelCounts::new(env));
        let outbox = Arc::new(Outbox::new(env));
        let verifications =
            Arc::new(Verifications::new(env, Arc::clone(&key_state), Arc::clone(&funnel), Arc::clone(&outbox)));
        let admissions = Admissions::new(Arc::clone(&env.keys), Arc::clone(&limits), Arc::clone(&verifications));
        Self {
            admissions: Arc::new(admissions),
            login_facts: Arc::new(LoginFacts::new(Arc::clone(&env.keys), env.public_url.clone(), geoip)),
            deliveries: Arc::new(Deliveries::new(env, Arc::clone(&key_state), Arc::clone(&verifications))),
            lid_resolver: Arc::default(),
            message_log: Arc::new(message_log),
            malformed: Arc::new(MalformedWebhooks::new(env)),
            responses: Arc::new(ReceiverResponses::new(Arc::clone(&env.keys))),
            key_state,
            limits,
            funnel,
            outbox,
            verifications,
        }
    }
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
