//! Minting a link: limits, idempotency, the record.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    CONFLICTS, Instance, Limited, RequestContext, Service, ServiceError, Standing,
    draft::VerificationDraft,
    input::Mint,
    limit::{self, Limit, LimitBucket},
};
use crate::{
    domain::{
        Birth, Chat, ClaimId, Kind, Partition, Verification, VerificationId,
        link::Link,
        quota::{Allowance, Name},
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
    store::{Change, CommitOutcome, Index, ReservationRequest, StoreError},
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
    /// What the idempotency key stands for.
    pub(super) draft: Option<VerificationDraft>,
}

impl Service {
    /// Makes a link. `token` names the caller's quota.
    pub async fn mint(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        token: &str,
        input: Mint,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<Link>> {
        let mut standings = Vec::new();
        let outcome = self.make_link(cx, instance, token, input, idempotency, &mut standings).await;
        Limited { outcome, standings }
    }

    async fn make_link(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        token: &str,
        input: Mint,
        idempotency: Option<Idempotency>,
        standings: &mut Vec<Standing>,
    ) -> Result<Verification<Link>, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let mut draft = self.draft_link(instance);
        let mut limits = self.mint_limits(instance, token);
        limits.extend(self.room_limits(instance, &input.request));
        limits.extend(input.request.chat.as_ref().and_then(|c| self.chat_limit(instance, Name::Links, c.subject())));
        let reserve = idempotency.map(|idempotency| self.reserve(instance, &idempotency, draft.write()));
        let entered = self.enter(cx, instance, &limits, reserve.as_ref(), standings).await?;
        if let Some(record) = entered.existing {
            return Verification::from_any(record).ok_or(ServiceError::KeyReused);
        }
        self.refuse_more_jobs(instance)?;
        draft = entered.draft.unwrap_or(draft);
        let record = self.create(cx, instance, input, draft, reserve).await?;
        self.metrics.links_minted.get_or_create(&ByInstance { instance: InstanceLabel(instance.config.id) }).inc();
        Ok(record)
    }

    /// Takes from the limits and claims the idempotency key, in one round trip. A repeat is answered also when nothing
    /// is left. `standings` gets how the rates stand.
    pub(super) async fn enter(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        limits: &[Limit],
        reserve: Option<&ReservationRequest>,
        standings: &mut Vec<Standing>,
    ) -> Result<Entered, ServiceError> {
        if limits.is_empty() && reserve.is_none() {
            return Ok(Entered::default());
        }
        let buckets: Vec<&LimitBucket> = limits.iter().map(|limit| &limit.bucket).collect();
        let admission = self.take(cx, &buckets, reserve).await?;
        self.note_room(instance, limits, &admission.allowances);
        let mut entered = Entered::default();
        if let (Some(holder), Some(ours)) = (admission.reservation, reserve) {
            if !ours.fingerprint.contains(holder.fingerprint) {
                return Err(ServiceError::KeyReused);
            }
            let draft = VerificationDraft::read(&holder.claim)?;
            // Whoever claimed it may have died before the commit; then the same link is made here.
            if holder.claim != ours.claim {
                let refused = admission.allowances.iter().any(|a| matches!(a, Allowance::Exhausted { .. }));
                entered.existing = self.made_by(cx, draft.id, if refused { PATIENCE } else { 1 }).await?;
            }
            entered.draft = Some(draft);
        }
        standings.extend(limit::rates(limits, &admission.allowances));
        if entered.existing.is_some() {
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
    async fn made_by(
        &self,
        cx: &RequestContext,
        id: VerificationId,
        looks: u32,
    ) -> Result<Option<Verification>, ServiceError> {
        for look in 1..=looks {
            if let Some(stored) = cx.store.load(id.into()).await? {
                return Ok(Some(self.read(cx, &stored).await?));
            }
            if look < looks {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(None)
    }

    async fn create(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        input: Mint,
        mut draft: VerificationDraft,
        mut reserve: Option<ReservationRequest>,
    ) -> Result<Verification<Link>, ServiceError> {
        let Mint { request, expires, max_attempts, .. } = input;
        for _ in 0..CONFLICTS {
            let now = self.now();
            let birth = Self::birth(instance, draft, now, expires, max_attempts);
            let mut record = Verification::link(birth, draft.code_length, request.clone());
            if let Some(code) = self.link_code(&record) {
                let text = self.prefilled(instance, &record, &code);
                record.kind.prefilled = Some(self.words_around(instance, &text, &code));
            }
            cx.acts_on(record.id);
            cx.sign(&mut record, 0);
            match self.send(cx, self.birth_change(instance, &record), now).await? {
                CommitOutcome::Applied { .. } => return Ok(record),
                CommitOutcome::Late(_) => {}
                // Another record has this code, or the key that made it is gone.
                CommitOutcome::Collision => draft = self.draw_again(cx, instance, draft, reserve.as_mut()).await?,
                // Somebody with the same idempotency key was faster, or it was ourselves.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => {
                    if let Some(existing) = self.made_by(cx, draft.id, 1).await? {
                        return Verification::from_any(existing).ok_or(ServiceError::KeyReused);
                    }
                }
            }
        }
        Err(StoreError::Unavailable("no free code was found".to_owned()).into())
    }

    /// Another draft. Those who repeat the request must find the same one, so an idempotency key stands for it now.
    async fn draw_again(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        refused: VerificationDraft,
        reserve: Option<&mut ReservationRequest>,
    ) -> Result<VerificationDraft, ServiceError> {
        let draft = self.draft_link(instance);
        let Some(reserve) = reserve else { return Ok(draft) };
        (reserve.claim, reserve.replaces) = (draft.write(), Some(refused.write()));
        let holder = cx.store.admit(&[], Some(reserve)).await?.reservation;
        holder.map_or(Ok(draft), |holder| Ok(VerificationDraft::read(&holder.claim)?))
    }

    /// A link's code follows from its nonce, and its id from its code.
    fn draft_link(&self, instance: &Instance) -> VerificationDraft {
        let (key, nonce, code_length) = (self.keys.current(), random::bytes(), instance.config.code_length);
        let id = self
            .keys
            .link_code(key, instance.config.id, &nonce, code_length)
            .and_then(|code| self.keys.link_id(key, instance.config.id, &code, self.millis()))
            .expect("the current key is there");
        VerificationDraft { key, nonce, code_length, id }
    }

    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.now().as_millisecond()).unwrap_or_default()
    }

    /// What is drawn and fixed when a record begins; `expires` are the seconds it lives.
    pub(super) fn birth(
        instance: &Instance,
        VerificationDraft { id, key, nonce, .. }: VerificationDraft,
        now: Timestamp,
        expires: u32,
        max_attempts: u32,
    ) -> Birth {
        Birth {
            id,
            instance: instance.config.id,
            key,
            nonce,
            now,
            expires_at: now + Duration::from_secs(u64::from(expires)),
            max_attempts,
        }
    }

    pub(super) fn birth_change<K: Kind>(&self, instance: &Instance, record: &Verification<K>) -> Change {
        let mut change = self.record_change(instance, record, 0);
        change.timer = Some(record.expires_at);
        change.indexes = self.indexes(instance, record);
        Change::of(change).starting()
    }

    /// The lists that a record stands in, as far as it still says so.
    pub(super) fn indexes<K: Kind>(&self, instance: &Instance, record: &Verification<K>) -> Vec<Index> {
        let asked = record.request.chat.as_ref().map(Chat::subject);
        let chat = asked.or_else(|| record.proof().map(|proof| &proof.subject));
        let client_ref = record.request.client_ref.as_ref();
        [Index::all(instance.config.id)]
            .into_iter()
            .chain(chat.into_iter().flat_map(|chat| self.chat_indexes(instance, chat)))
            .chain(client_ref.into_iter().flat_map(|client_ref| self.ref_indexes(instance, client_ref)))
            .collect()
    }

    pub(super) fn ref_indexes(&self, instance: &Instance, client_ref: &str) -> Vec<Index> {
        Index::by("ref", self.keys.look_up("ref", instance.config.id, client_ref.as_bytes()))
    }

    pub(super) fn reserve(&self, instance: &Instance, idempotency: &Idempotency, claim: Vec<u8>) -> ReservationRequest {
        let (id, key, body) = (instance.config.id, idempotency.key.as_bytes(), idempotency.body.as_bytes());
        ReservationRequest {
            partition: self.keys.place("idempotency", id, key),
            key: self.keys.look_up("idempotency", id, key),
            fingerprint: self.keys.look_up("body", id, body),
            claim,
            replaces: None,
        }
    }

    /// The id that an idempotency key stands for where it is not that of a new record: `what` is done in this partition,
    /// whose commit confirms the claim, too. A full store takes no claim and still finishes what is old.
    pub(super) async fn claim(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        what: &str,
        idempotency: Option<Idempotency>,
        partition: Partition,
    ) -> Result<Option<ClaimId>, ServiceError> {
        let Some(Idempotency { key, body }) = idempotency else { return Ok(None) };
        let idempotency = Idempotency { key: format!("{what} {key}"), body };
        let id: [u8; 16] = random::bytes();
        let reserve = ReservationRequest { partition, ..self.reserve(instance, &idempotency, id.to_vec()) };
        let holder = match cx.store.admit(&[], Some(&reserve)).await {
            Ok(admission) => admission.reservation,
            Err(StoreError::Full) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match holder {
            Some(holder) if !reserve.fingerprint.contains(holder.fingerprint) => Err(ServiceError::KeyReused),
            holder => Ok(holder.and_then(|holder| holder.claim.try_into().ok()).map(ClaimId::from_bytes)),
        }
    }
}
