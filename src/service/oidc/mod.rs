//! The OpenID provider: an authorization request becomes a link with a bound browser, and the link's redeem token is the
//! code.
//!
//! 1. The page of a request stores nothing: the request travels in it, sealed for this browser ([`sealed`]).
//! 2. The tap on the page creates the link, bound to the browser ([`begin`]).
//! 3. The link completes like every other, and its redirect leads to the client ([`super::app_redirect`]).
//! 4. The client exchanges the code, once ([`tokens`]), and reads the claims until the access token ends.

mod begin;
mod keys;
mod respond;
mod sealed;
mod tokens;

pub use self::{
    keys::{OidcKeys, OidcState},
    sealed::PageRequest,
    tokens::TokenError,
};

/// Claims that the provider can make.
pub const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "at_hash",
    "amr",
    "name",
    "phone_number",
    "phone_number_verified",
];
