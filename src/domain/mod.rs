//! The protocol, without side effects: no I/O, no clock, no randomness, no JSON.
//!
//! A [`Verification`] is one request to prove control of a chat, either by a [`link`] or by a code that we send
//! ([`sent_code`]). Each type has its own commands and verdicts. [`StateMachine::decide`], a pure function of the record,
//! the command and the time, returns what follows from a command. Callers load the record, decide and commit; no other
//! code changes its state.

#![deny(clippy::wildcard_enum_match_arm)]

pub mod approval;
pub mod binding;
mod channel;
pub mod chat_state;
pub mod code;
pub mod country;
mod delivery_failure;
pub mod device;
mod digest;
pub mod doctor_mark;
pub mod event;
pub mod fiction;
pub mod id;
pub mod keys;
pub mod language;
pub mod login_details;
pub mod look_up;
pub mod message_codes;
pub mod normalize;
mod numbering;
pub mod oidc;
pub mod otp;
pub mod phone;
pub mod phone_input;
pub mod quota;
pub mod reason;
pub mod redirect;
pub mod renewal;
pub mod request;
pub mod risk;
pub mod scope;
pub mod standard_webhooks;
mod status;
pub mod subject;
pub mod template;
pub mod time;
pub mod timeline;
pub mod token;
pub mod verification;
pub mod whatsapp;
pub(crate) mod wire;

pub use channel::Channel;
pub use delivery_failure::DeliveryFailure;
pub use event::Event;
pub use id::{ClaimId, InstanceId, PARTITIONS, Partition, VerificationId};
pub use keys::KeyRing;
pub use language::Language;
pub use look_up::LookUp;
pub use phone::Phone;
pub use reason::Reason;
pub use request::{Mode, Request};
pub use status::{OtpType, Status};
pub use subject::{Chat, Sender, Subject};
pub use timeline::TimelineEvent;
pub use verification::{
    AnyKind, Kind, KindRef, NewVerification, StateMachine, TypedVerification, Verification,
    decision::{self, Decision, Effect},
    link, sent_code,
};
