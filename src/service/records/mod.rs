//! The cycle that every use case shares: load a record, let the domain decide, commit the result with its jobs.

pub mod callback;
mod commit;
mod creation;
mod draft;
mod loaded;
mod outbox;
mod requests;
mod timers;
mod watch;

pub(super) use self::{
    callback::envelope,
    commit::{CommandOutcome, WriteOutcome},
    creation::AdmittedDraft,
    draft::VerificationDraft,
    loaded::{Loaded, LoadedTyped},
    outbox::InboundMessage,
    requests::{created_at, has_phone_ending},
};
pub use self::{
    creation::Idempotency,
    requests::{Filter, Page, decode_cursor},
    timers::TimerOutcome,
    watch::VerificationWatch,
};
