//! The OpenID provider: an authorization request becomes a link with a bound browser, and the link's redeem token is the
//! code.
//!
//! 1. The page of a request stores nothing: the request travels in it, sealed for this browser ([`sealed`]).
//! 2. The tap on the page creates the link, bound to the browser ([`begin`]).
//! 3. The link completes like every other, and its redirect leads to the client ([`super::public_url`]).
//! 4. The client exchanges the code, once ([`tokens`]), and reads the claims until the access token ends.

mod begin;
mod keys;
mod respond;
mod sealed;
mod tokens;

use std::sync::Arc;

pub use self::{
    keys::{OidcKeys, OidcState},
    sealed::PageRequest,
    tokens::TokenError,
};
use super::{Environment, Instances, Links, LoginCompletion, PublicUrl, Shared, verifications::Verifications};
use crate::{clock::Clock, domain::KeyRing};

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

/// The use cases of the provider.
pub struct Oidc {
    keys: Arc<KeyRing>,
    instances: Arc<Instances>,
    clock: Clock,
    public_url: PublicUrl,
    verifications: Arc<Verifications>,
    provider: Arc<OidcState>,
    links: Arc<Links>,
    completion: Arc<LoginCompletion>,
}

impl Oidc {
    pub(super) fn new(
        env: &Environment,
        shared: &Shared,
        provider: Arc<OidcState>,
        links: Arc<Links>,
        completion: Arc<LoginCompletion>,
    ) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            instances: Arc::clone(&env.instances),
            clock: env.clock.clone(),
            public_url: env.public_url.clone(),
            verifications: Arc::clone(&shared.verifications),
            provider,
            links,
            completion,
        }
    }
}
