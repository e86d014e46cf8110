//! Minting a link: limits, idempotency, the record.

use std::time::Duration;

use super::{
    CONFLICTS, Instance, Service, ServiceError,
    input::Mint,
    job::{self, About, Work},
};
use crate::{
    domain::{
        Partition, Verification, VerificationId,
        keys::Digest,
        quota::{Allowance, Quota},
        verification::Birth,
    },
    entropy,
    metrics::label::{ByInstance, ByLimit, Of},
    store::{Change, Committed, Destination, Index, RecordChange, RecordKey, Reserve, StoreError, Take, record},
};

/// What a caller sent to make a repeat safe.
pub struct Idempotency {
    pub key: String,
    /// The body in one canonical spelling.
    pub body: String,
}

/// A link, new or the same as before.
pub struct Minted {
    pub record: Verification,
    /// What is left of the caller's quota, if there is one.
    pub allowance: Option<(Quota, u32)>,
}

impl Service {
    /// Makes a link. `token` names the caller's quota.
    pub async fn mint(
        &self,
        instance: &Instance,
        token: &str,
        input: Mint,
        idempotency: Option<Idempotency>,
    ) -> Result<Minted, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let now = self.now();
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let mut id = VerificationId::new(millis, entropy::bytes());
        let takes: Vec<Take> =
            instance.config.limits.mint.map(|quota| self.mint_take(instance, token, quota)).into_iter().collect();
        let reserve = idempotency.map(|idempotency| self.reserve(instance, &idempotency, id));
        let mut allowance = None;
        if !takes.is_empty() || reserve.is_some() {
            let admission = self.store.admit(&takes, reserve.as_ref()).await?;
            if let (Some(taken), Some(take)) = (admission.allowances.first(), takes.first()) {
                match *taken {
                    Allowance::Allowed { remaining } => allowance = Some((take.quota, remaining)),
                    Allowance::Exhausted { retry_after } => {
                        self.metrics.limited.get_or_create(&ByLimit { limit: "mint" }).inc();
                        return Err(ServiceError::RateLimited { retry_after, quota: take.quota });
                    }
                }
            }
            if let (Some(holder), Some(ours)) = (admission.reservation, &reserve) {
                if holder.fingerprint != ours.fingerprint {
                    return Err(ServiceError::KeyReused);
                }
                if holder.id != id {
                    id = holder.id;
                    // Whoever reserved it may have died before the commit; then we do it for him.
                    if let Some(stored) = self.store.load(RecordKey { id, code: None }).await? {
                        return Ok(Minted { record: self.decode(&stored)?, allowance });
                    }
                }
            }
        }
        let record = self.create(instance, input, id).await?;
        self.metrics.links_minted.get_or_create(&ByInstance { instance: Of(instance.config.id) }).inc();
        Ok(Minted { record, allowance })
    }

    async fn create(&self, instance: &Instance, input: Mint, id: VerificationId) -> Result<Verification, ServiceError> {
        let Mint { request, expires, max_attempts, .. } = input;
        for _ in 0..CONFLICTS {
            let now = self.now();
            let birth = Birth {
                id,
                instance: instance.config.id,
                key: self.keys.current(),
                nonce: entropy::bytes(),
                code_length: instance.config.code_length,
                now,
                expires_at: now + Duration::from_secs(u64::from(expires)),
                max_attempts,
            };
            let record = Verification::new(birth, request.clone());
            match self.send(self.birth_change(instance, &record), now).await? {
                Committed::Applied { .. } => return Ok(record),
                // Another record has this code: another nonce gives another code.
                Committed::Collision | Committed::Late(_) => {}
                // Somebody with the same idempotency key was faster, or it was ourselves.
                Committed::Conflict | Committed::Duplicate => {
                    let (_, existing) = self.load(RecordKey { id, code: None }).await?;
                    return Ok(existing);
                }
            }
        }
        Err(StoreError::Unavailable("no free code was found".to_owned()).into())
    }

    fn birth_change(&self, instance: &Instance, record: &Verification) -> Change {
        let key = self.key_of(record);
        let work = Work::Tick { about: About::from(key) };
        let timer = self.job(instance, job::timer_id(record.id), Destination::timer(), Some(record.expires_at), &work);
        let mut indexes = vec![Index::all(instance.config.id)];
        if let Some(chat) = &record.request.chat {
            indexes.push(self.chat_index(instance, chat.subject()));
        }
        if let Some(client_ref) = &record.request.client_ref {
            indexes.push(self.ref_index(instance, client_ref));
        }
        Change {
            partition: record.id.partition(),
            records: vec![RecordChange {
                key,
                expected: 0,
                bytes: Some(record::encode(&self.keys, record)),
                retain_until: record.expires_at + instance.config.retention,
                indexes,
                created_at: record.created_at,
            }],
            answers: None,
            jobs: vec![timer],
            cancel: Vec::new(),
            retime: Vec::new(),
            valid_until: None,
            finishing: false,
        }
    }

    pub(super) fn ref_index(&self, instance: &Instance, client_ref: &str) -> Index {
        Index::by("ref", self.keys.look_up("ref", instance.config.id, client_ref.as_bytes()))
    }

    fn mint_take(&self, instance: &Instance, token: &str, quota: Quota) -> Take {
        let digest = self.keys.look_up("mint", instance.config.id, token.as_bytes());
        Take { partition: spread(digest), bucket: format!("mint:{}", digest.hex()), quota }
    }

    fn reserve(&self, instance: &Instance, idempotency: &Idempotency, id: VerificationId) -> Reserve {
        let digest = |purpose: &str, text: &str| self.keys.look_up(purpose, instance.config.id, text.as_bytes());
        let key = digest("idempotency", &idempotency.key);
        Reserve { partition: spread(key), key, fingerprint: digest("body", &idempotency.body), id }
    }
}

/// Any partition, always the same one for the same digest.
pub(super) fn spread(digest: Digest) -> Partition {
    Partition::of(u8::from_str_radix(&digest.hex()[..2], 16).expect("hex digits of our own"))
}
