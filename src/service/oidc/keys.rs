//! The provider's keys: which are published, and which of them signs.
//!
//! All replicas publish the keys of their configuration. For each key the store's meta names the time since which every
//! live replica publishes it (`oidc-key:ID`); each replica checks this with every reading of the heartbeats, so no
//! replica leads. The keys of the first start may sign at once: no client has seen a key set without them.

use std::{collections::HashMap, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::JwkSet;

use crate::{
    config::OidcConfig,
    domain::{
        Subject,
        oidc::{Algorithm, Announced, Client, SubjectKey, may_sign},
        time::rfc3339,
    },
    jose::SigningKey,
    service::{Environment, ReplicaHealth, health::HeartbeatBody},
    store::{ReplicaHeartbeat, Store, StoreError},
};

const PUBLISHED: &str = "oidc-key:";
const SUBJECT_KEY: &str = "oidc-subject-key";
/// The value for keys that may sign at once, and for keys that at least one replica does not publish.
const ALWAYS: Timestamp = Timestamp::UNIX_EPOCH;
const NOT_BY_ALL: &str = "";

/// The keys of the configuration.
pub struct OidcKeys {
    signing: Vec<Arc<SigningKey>>,
    subject: SubjectKey,
    /// How long clients may keep the key set.
    jwks_cache: SignedDuration,
}

impl OidcKeys {
    pub fn new(config: &OidcConfig) -> Self {
        Self {
            signing: config.signing_keys.clone(),
            subject: SubjectKey::new(config.subject_key),
            jwks_cache: SignedDuration::try_from(config.jwks_cache).unwrap_or(SignedDuration::MAX),
        }
    }
}

/// The provider of this process. A reload replaces its keys.
pub struct OidcState {
    store: Arc<dyn Store>,
    health: Arc<ReplicaHealth>,
    keys: ArcSwapOption<OidcKeys>,
    /// Ids of the keys that may sign, as of the last reading of the heartbeats.
    may_sign: ArcSwap<Vec<String>>,
}

impl OidcState {
    pub(in crate::service) fn new(env: &Environment, config: Option<&OidcConfig>) -> Self {
        let (store, health) = (Arc::clone(&env.store), Arc::clone(&env.health));
        let state = Self { store, health, keys: ArcSwapOption::empty(), may_sign: ArcSwap::default() };
        state.replace(config);
        state
    }

    /// Publishes the keys of a new configuration.
    pub fn replace(&self, config: Option<&OidcConfig>) {
        self.keys.store(config.map(OidcKeys::new).map(Arc::new));
    }

    /// The public keys, and for how many seconds they may be kept; `None` without a provider.
    pub fn key_set(&self) -> Option<(JwkSet, i64)> {
        let keys = self.keys.load();
        let keys = keys.as_ref()?;
        Some((JwkSet { keys: keys.signing.iter().map(|key| key.public()).collect() }, keys.jwks_cache.as_secs()))
    }

    /// The algorithms of the published keys.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let keys = self.keys.load();
        let has = |algorithm: &&Algorithm| {
            keys.iter().any(|keys| keys.signing.iter().any(|key| key.algorithm() == **algorithm))
        };
        Algorithm::ALL.iter().filter(has).copied().collect()
    }

    /// The key that signs with `algorithm` now.
    pub fn signer(&self, algorithm: Algorithm) -> Option<Arc<SigningKey>> {
        let (keys, may_sign) = (self.keys.load(), self.may_sign.load());
        let fits = |key: &&Arc<SigningKey>| key.algorithm() == algorithm && may_sign.iter().any(|id| id == key.id());
        keys.as_ref()?.signing.iter().find(fits).map(Arc::clone)
    }

    /// The subject of a person for a client; `None` without a provider.
    pub fn sub(&self, client: &Client, subject: &Subject) -> Option<String> {
        self.keys.load().as_ref().map(|keys| keys.subject.sub(client, subject))
    }

    /// Ids of the published keys, for the heartbeat.
    pub(crate) fn published(&self) -> Vec<String> {
        self.keys.load().iter().flat_map(|keys| &keys.signing).map(|key| key.id().to_owned()).collect()
    }

    /// Finds out which keys may sign, before the first request. Fails with [`StoreError::Misconfigured`] if the subject
    /// key is not the one that the store was used with: all people would become strangers.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        if self.keys.load().is_none() {
            return Ok(());
        }
        let heartbeats = self.store.heartbeats().await?.into_iter();
        let heartbeats: Vec<(ReplicaHeartbeat, HeartbeatBody)> = heartbeats.map(HeartbeatBody::of).collect();
        self.refresh(&heartbeats).await
    }

    /// Whether the subject key of a new configuration is the one in use.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if not.
    pub fn check_subject_key(&self, config: Option<&OidcConfig>) -> Result<(), StoreError> {
        let (before, next) = (self.keys.load(), config.map(OidcKeys::new));
        match (before.as_ref(), next) {
            (Some(before), Some(next)) if before.subject.fingerprint() != next.subject.fingerprint() => {
                Err(other_subject_key())
            }
            _ => Ok(()),
        }
    }

    /// Compares what the live replicas publish, and records since when all of them publish a key. With another subject
    /// key than the store's nothing is signed.
    pub(crate) async fn refresh(&self, heartbeats: &[(ReplicaHeartbeat, HeartbeatBody)]) -> Result<(), StoreError> {
        let Some(keys) = self.keys.load_full() else { return Ok(()) };
        let meta = self.store.meta().await?;
        if let Err(error) = self.record_subject_key(&keys, &meta).await {
            self.note_signers(&keys, Vec::new());
            return Err(error);
        }
        let (is_first, now) = (!meta.keys().any(|name| name.starts_with(PUBLISHED)), self.store.now());
        let others =
            heartbeats.iter().filter(|(one, said)| one.replica != self.health.replica && said.is_alive(one, now));
        let others: Vec<&HeartbeatBody> = others.map(|(_, said)| said).collect();
        let mut signing = Vec::new();
        for id in keys.signing.iter().map(|key| key.id()) {
            let field = format!("{PUBLISHED}{id}");
            let by_all = others.iter().all(|said| said.oidc_keys.iter().any(|other| other == id));
            let recorded = meta.get(&field);
            let mut since: Option<Timestamp> = recorded.and_then(|text| text.parse().ok());
            if by_all && since.is_none() {
                // The text has whole seconds: never earlier than true.
                let first = if is_first { ALWAYS } else { now + SignedDuration::from_secs(1) };
                self.store.set_meta(&field, &rfc3339(first), recorded.is_some()).await?;
                since = Some(first);
            } else if !by_all && recorded.is_some_and(|text| text != NOT_BY_ALL) {
                self.store.set_meta(&field, NOT_BY_ALL, true).await?;
            }
            if may_sign(Announced { since, by_all }, keys.jwks_cache, now) {
                signing.push(id.to_owned());
            }
        }
        self.note_signers(&keys, signing);
        Ok(())
    }

    /// Records the subject key at its first use.
    async fn record_subject_key(&self, keys: &OidcKeys, meta: &HashMap<String, String>) -> Result<(), StoreError> {
        let own = keys.subject.fingerprint();
        match meta.get(SUBJECT_KEY) {
            Some(known) if *known == own => Ok(()),
            Some(_) => Err(other_subject_key()),
            None => self.store.set_meta(SUBJECT_KEY, &own, false).await,
        }
    }

    fn note_signers(&self, keys: &OidcKeys, signing: Vec<String>) {
        let before = self.may_sign.swap(Arc::new(signing));
        let now = self.may_sign.load();
        if **now != *before {
            let waiting = keys.signing.iter().filter(|key| !now.iter().any(|id| id == key.id())).count();
            tracing::info!(
                may_sign = now.len(),
                waiting,
                "the signing keys of the OpenID provider have changed; `waiting` ones sign once all replicas publish them"
            );
        }
    }
}

fn other_subject_key() -> StoreError {
    StoreError::Misconfigured(
        "oidc.subject_key_file holds another key than the one that the store was used with: every person would become a \
         stranger to every client. Restore the former key"
            .to_owned(),
    )
}
