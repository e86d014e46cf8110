//! From the match to the app's session: the start page, the link in the reply, and the redeem token.

mod browser;
mod redeem;
mod reply_link;
mod start_page;
mod start_page_actions;

pub use self::{
    browser::ClientBrowser,
    redeem::{Redeemed, ReplyCodeRedemption},
    reply_link::{CompletionResult, DisputeState, ReplyLinkPage, ReplyLinkState},
    start_page::{StartPage, StartPageState},
    start_page_actions::EnteredCode,
};

use std::sync::Arc;

use super::{
    Environment, Instances, PublicUrl, Shared,
    keys::KeyState,
    links::Links,
    login_facts::LoginFacts,
    verifications::{Admissions, Verifications},
};
use crate::{domain::KeyRing, metrics::Metrics};

/// The use cases of a login from its message on.
pub struct LoginCompletion {
    keys: Arc<KeyRing>,
    key_state: Arc<KeyState>,
    instances: Arc<Instances>,
    metrics: Arc<Metrics>,
    public_url: PublicUrl,
    admissions: Arc<Admissions>,
    verifications: Arc<Verifications>,
    login_facts: Arc<LoginFacts>,
    /// Creates the requests that renew expired ones.
    links: Arc<Links>,
}

impl LoginCompletion {
    pub(super) fn new(env: &Environment, shared: &Shared, links: Arc<Links>) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            key_state: Arc::clone(&shared.key_state),
            instances: Arc::clone(&env.instances),
            metrics: Arc::clone(&env.metrics),
            public_url: env.public_url.clone(),
            admissions: Arc::clone(&shared.admissions),
            verifications: Arc::clone(&shared.verifications),
            login_facts: Arc::clone(&shared.login_facts),
            links,
        }
    }
}
