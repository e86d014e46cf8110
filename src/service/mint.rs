//! Minting a link: limits, idempotency, the record.

use std::time::Duration;

use jiff::Timestamp;

use super::{CONFLICTS, Instance, Service, ServiceError, input::Mint, limit::Limit};
use crate::{
    domain::{
        Partition, Verification, VerificationId,
        keys::Digest,
        quota::{Allowance, Name},
        verification::Birth,
    },
    entropy,
    jobs::payload::{self, About, Work},
    metrics::label::{ByInstance, Of},
    store::{Change, Committed, Index, Lane, RecordChange, RecordKey, Reserve, StoreError, Take, record},
};

/// Looks for a request under the same key, before its repeat is told to wait.
const PATIENCE: u32 = 10;

/// What a caller sent to make a repeat safe.
pub struct Idempotency {
    pub key: String,
    /// The body in one canonical spelling.
    pub body: String,
}

/// What a caller found at the door.
#[derive(Default)]
pub(super) struct Entered {
    /// What an earlier request with this idempotency key has made.
    pub(super) existing: Option<Verification>,
    /// The id that the idempotency key stands for.
    pub(super) id: Option<VerificationId>,
}

impl Service {
    /// Makes a link. `token` names the caller's quota.
    pub async fn mint(
        &self,
        instance: &Instance,
        token: &str,
        input: Mint,
        idempotency: Option<Idempotency>,
    ) -> Result<Verification, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let now = self.now();
        let millis = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let mut id = VerificationId::new(millis, entropy::bytes());
        let mut limits = self.mint_limits(instance, token);
        limits.extend(self.room_limits(instance, &input.request));
        limits.extend(input.request.chat.as_ref().and_then(|c| self.chat_limit(instance, Name::Links, c.subject())));
        let reserve = idempotency.map(|idempotency| self.reserve(instance, &idempotency, id));
        let Entered { existing, id: reserved } = self.enter(instance, &limits, reserve).await?;
        if let Some(record) = existing {
            return Ok(record);
        }
        id = reserved.unwrap_or(id);
        let record = self.create(instance, input, id).await?;
        self.metrics.links_minted.get_or_create(&ByInstance { instance: Of(instance.config.id) }).inc();
        Ok(record)
    }

    /// Takes from the limits and claims the idempotency key, in one round trip. Somebody who repeats himself is
    /// answered also when nothing is left.
    pub(super) async fn enter(
        &self,
        instance: &Instance,
        limits: &[Limit],
        reserve: Option<Reserve>,
    ) -> Result<Entered, ServiceError> {
        if limits.is_empty() && reserve.is_none() {
            return Ok(Entered::default());
        }
        let takes: Vec<Take> = limits.iter().map(|limit| limit.take.clone()).collect();
        let admission = self.store.admit(&takes, reserve.as_ref()).await?;
        self.note_room(instance, limits, &admission.allowances);
        let mut entered = Entered::default();
        if let (Some(holder), Some(ours)) = (admission.reservation, &reserve) {
            if holder.fingerprint != ours.fingerprint {
                return Err(ServiceError::KeyReused);
            }
            entered.id = Some(holder.id);
            // Whoever reserved it may have died before the commit; then we do it for him.
            if holder.id != ours.id {
                let refused = admission.allowances.iter().any(|a| matches!(a, Allowance::Exhausted { .. }));
                entered.existing = self.made_by(holder.id, if refused { PATIENCE } else { 1 }).await?;
            }
        }
        if entered.existing.is_some() {
            Self::mention(limits, &admission.allowances);
            return Ok(entered);
        }
        let Some(retry_after) = self.judge(limits, &admission.allowances) else { return Ok(entered) };
        let short = |(limit, allowance): (&Limit, &Allowance)| {
            limit.name.is_room() && matches!(allowance, Allowance::Exhausted { .. })
        };
        Err(if limits.iter().zip(&admission.allowances).any(short) {
            ServiceError::RoomUsed { retry_after }
        } else {
            ServiceError::RateLimited { retry_after }
        })
    }

    /// What somebody with the same idempotency key has made, or is about to make.
    async fn made_by(&self, id: VerificationId, looks: u32) -> Result<Option<Verification>, ServiceError> {
        for look in 1..=looks {
            if let Some(stored) = self.store.load(RecordKey { id, code: None }).await? {
                return Ok(Some(self.read(&stored).await?));
            }
            if look < looks {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(None)
    }

    async fn create(&self, instance: &Instance, input: Mint, id: VerificationId) -> Result<Verification, ServiceError> {
        let Mint { request, expires, max_attempts, .. } = input;
        for _ in 0..CONFLICTS {
            let now = self.now();
            let birth = self.birth(instance, id, now, expires, max_attempts);
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

    /// What is drawn and fixed when a record begins; `expires` are the seconds it lives.
    pub(super) fn birth(
        &self,
        instance: &Instance,
        id: VerificationId,
        now: Timestamp,
        expires: u32,
        max_attempts: u32,
    ) -> Birth {
        Birth {
            id,
            instance: instance.config.id,
            key: self.keys.current(),
            nonce: entropy::bytes(),
            code_length: instance.config.code_length,
            now,
            expires_at: now + Duration::from_secs(u64::from(expires)),
            max_attempts,
        }
    }

    pub(super) fn birth_change(&self, instance: &Instance, record: &Verification) -> Change {
        let key = self.key_of(record);
        let work = Work::Tick { about: About::from(key) };
        let timer = self.job(instance, payload::timer_id(record.id), Lane::timer(), Some(record.expires_at), &work);
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

    pub(super) fn reserve(&self, instance: &Instance, idempotency: &Idempotency, id: VerificationId) -> Reserve {
        let digest = |purpose: &str, text: &str| self.keys.look_up(purpose, instance.config.id, text.as_bytes());
        let key = digest("idempotency", &idempotency.key);
        Reserve { partition: spread(key), key, fingerprint: digest("body", &idempotency.body), id }
    }
}

/// Any partition, always the same one for the same digest.
pub(super) fn spread(digest: Digest) -> Partition {
    Partition::of(u8::from_str_radix(&digest.hex()[..2], 16).expect("hex digits of our own"))
}
