//! The rules of the OpenID provider: which authorization requests are accepted, which errors the others get, who may
//! exchange a code, and which key signs (OpenID Connect Core 1.0, RFC 6749, RFC 7636, RFC 9207, RFC 9700).
//!
//! A login itself is an ordinary link. Its request holds the [`Authorization`], and the link's
//! [`decide`](super::StateMachine::decide) exchanges the code.

mod authorize;
mod client;
mod error;
mod exchange;
mod parameters;
mod signing;
mod subject_key;

pub use self::{
    authorize::{Accepted, Authorization, Prompt, Refused, ResponseMode, ReturnAddress, authorize},
    client::{Algorithm, ClaimScopes, Client, SubjectType, redirect_uri},
    error::{ErrorCode, ProtocolError},
    exchange::{AccessTokenRequest, Exchange},
    parameters::Parameters,
    signing::{Announced, may_sign},
    subject_key::SubjectKey,
};

#[cfg(test)]
mod tests;
