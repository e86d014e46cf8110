//! The protocol, without the world: no I/O, no clock, no randomness, no JSON.
//!
//! A [`Verification`] is one request to prove a chat. Everything that can happen to it is a
//! [`Command`]; what follows is the value of [`decide()`], a pure function of the record, the command
//! and the time. Callers load, decide, commit; nobody else changes a state.

pub mod binding;
pub mod code;
pub mod country;
pub mod decide;
pub mod decide_code;
pub mod device;
pub mod event;
pub mod extract;
pub mod facts;
pub mod id;
pub mod keys;
pub mod language;
pub mod look_up;
mod numbering;
pub mod otp;
pub mod password;
pub mod phone;
pub mod quota;
pub mod reason;
pub mod redirect;
pub mod renewal;
pub mod risk;
pub mod scope;
pub mod sending;
pub mod subject;
pub mod target;
pub mod template;
pub mod time;
pub mod token;
pub mod typed;
pub mod verification;
pub mod whatsapp;
pub mod written;

pub use decide::{Command, Decision, Effect, Verdict, decide};
pub use event::Event;
pub use id::{InstanceId, PARTITIONS, Partition, VerificationId};
pub use keys::KeyRing;
pub use language::Language;
pub use look_up::LookUp;
pub use phone::Phone;
pub use reason::Reason;
pub use subject::{Chat, Sender, Subject};
pub use verification::{Completion, Mode, Request, State, Verification};
