//! Minting a link: take from the limits, claim the idempotency key, create the record.
//!
//! Two requests with the same idempotency key must end with the same record: the key stores a draft, from which every
//! repeat derives the same id, code and tokens.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Instance, LimitStatus, Limited, MAX_COMMIT_ATTEMPTS, RequestContext, Service, ServiceError,
    draft::VerificationDraft,
    link_request::LinkRequest,
    rate_limit::{self, Limit, LimitBucket},
};
use crate::{
    domain::{
        Chat, ClaimId, Kind, NewVerification, Partition, Verification, VerificationId,
        link::Link,
        quota::{Allowance, LimitName},
    },
    metrics::label::{ByInstance, InstanceLabel},
    random,
    store::{Change, CommitOutcome, Index, ReservationRequest, StoreError},
};

/// How many times, 50 ms apart, a repeat that exceeds a limit looks for the first request's record before it is
/// refused.
const RECORD_LOOK_UPS: u32 = 10;

/// An idempotency key, and the request body that a repeat must match.
pub struct Idempotency {
    pub key: String,
    /// The request body in canonical form.
    pub body: String,
}

/// Result of the admission check: rate limits and idempotency key.
#[derive(Default)]
pub(super) struct AdmittedRequest {
    /// The record that an earlier request with this idempotency key has created.
    pub(super) existing: Option<Verification>,
    /// The draft stored under the idempotency key.
    pub(super) draft: Option<VerificationDraft>,
}

impl Service {
    /// Creates a link. `token` identifies the caller for its rate limit.
    pub async fn create_link(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        token: &str,
        input: LinkRequest,
        idempotency: Option<Idempotency>,
    ) -> Limited<Verification<Link>> {
        let mut limit_statuses = Vec::new();
        let outcome = self.try_create_link(cx, instance, token, input, idempotency, &mut limit_statuses).await;
        Limited { outcome, limit_statuses }
    }

    async fn try_create_link(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        token: &str,
        input: LinkRequest,
        idempotency: Option<Idempotency>,
        limit_statuses: &mut Vec<LimitStatus>,
    ) -> Result<Verification<Link>, ServiceError> {
        if instance.config.disabled {
            return Err(ServiceError::Disabled);
        }
        let mut draft = self.draft_link(instance);
        let mut limits = self.mint_limits(instance, token);
        limits.extend(self.storage_limits(instance, &input.request));
        limits
            .extend(input.request.chat.as_ref().and_then(|c| self.chat_limit(instance, LimitName::Links, c.subject())));
        let reserve = idempotency.map(|idempotency| self.reservation(instance, &idempotency, draft.write()));
        let entered = self.admit(cx, instance, &limits, reserve.as_ref(), limit_statuses).await?;
        if let Some(record) = entered.existing {
            return Verification::from_any(record).ok_or(ServiceError::KeyReused);
        }
        self.check_pending_jobs(instance)?;
        draft = entered.draft.unwrap_or(draft);
        let record = self.commit_link(cx, instance, input, draft, reserve).await?;
        self.metrics.links_minted.get_or_create(&ByInstance { instance: InstanceLabel(instance.config.id) }).inc();
        Ok(record)
    }

    /// Takes from the limits and claims the idempotency key, in one round trip. A repeat of a completed request
    /// succeeds even if a limit is exhausted. Adds the state of the rate limits to `limit_statuses`.
    pub(super) async fn admit(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        limits: &[Limit],
        reserve: Option<&ReservationRequest>,
        limit_statuses: &mut Vec<LimitStatus>,
    ) -> Result<AdmittedRequest, ServiceError> {
        if limits.is_empty() && reserve.is_none() {
            return Ok(AdmittedRequest::default());
        }
        let buckets: Vec<&LimitBucket> = limits.iter().map(|limit| &limit.bucket).collect();
        let admission = self.take(cx, &buckets, reserve).await?;
        self.record_storage_use(instance, limits, &admission.allowances);
        let mut entered = AdmittedRequest::default();
        if let (Some(holder), Some(ours)) = (admission.reservation, reserve) {
            if !ours.fingerprint.contains(holder.fingerprint) {
                return Err(ServiceError::KeyReused);
            }
            let draft = VerificationDraft::read(&holder.claim)?;
            // If the process that claimed this key crashed before its commit, the same link is created here instead.
            if holder.claim != ours.claim {
                let refused = admission.allowances.iter().any(|a| matches!(a, Allowance::Exhausted { .. }));
                entered.existing =
                    self.record_of(cx, instance, draft.id, if refused { RECORD_LOOK_UPS } else { 1 }).await?;
            }
            entered.draft = Some(draft);
        }
        limit_statuses.extend(rate_limit::rate_limit_statuses(limits, &admission.allowances));
        if entered.existing.is_some() {
            return Ok(entered);
        }
        let Some(retry_after) = self.longest_wait(limits, &admission.allowances) else { return Ok(entered) };
        let short = |(limit, allowance): (&Limit, &Allowance)| {
            limit.name.is_storage() && matches!(allowance, Allowance::Exhausted { .. })
        };
        Err(if limits.iter().zip(&admission.allowances).any(short) {
            ServiceError::StorageQuotaExceeded { retry_after }
        } else {
            ServiceError::RateLimited { retry_after }
        })
    }

    /// The record that an earlier request with the same idempotency key has created. Looks up to `looks` times, in case
    /// that request is still in progress.
    ///
    /// # Errors
    /// `KeyReused` if the key stands for a record of another instance, which only a change in the store can cause.
    async fn record_of(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        id: VerificationId,
        looks: u32,
    ) -> Result<Option<Verification>, ServiceError> {
        for look in 1..=looks {
            if let Some(stored) = cx.store.load(id.into()).await? {
                let record = self.read(cx, &stored).await?;
                let own = record.instance == instance.config.id;
                return own.then_some(Some(record)).ok_or(ServiceError::KeyReused);
            }
            if look < looks {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(None)
    }

    async fn commit_link(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        input: LinkRequest,
        mut draft: VerificationDraft,
        mut reserve: Option<ReservationRequest>,
    ) -> Result<Verification<Link>, ServiceError> {
        let LinkRequest { request, expires, max_attempts, binding, .. } = input;
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let now = self.now();
            let new = Self::new_verification(instance, draft, now, expires, max_attempts);
            let mut record = Verification::link(new, draft.code_length, request.clone());
            if let Some(code) = self.link_code(&record) {
                let text = self.prefilled(instance, &record, &code);
                record.details.prefilled = Some(self.digest_without_code(instance, &text, &code));
            }
            record.details.binding = binding.clone();
            cx.set_verification(record.id);
            cx.attribute(&mut record, 0);
            match self.commit(cx, self.creation_change(instance, &record), now).await? {
                CommitOutcome::Applied { .. } => return Ok(record),
                CommitOutcome::Late(_) => {}
                // Another record has this code, or the key that derived it was removed.
                CommitOutcome::Collision => draft = self.redraw(cx, instance, draft, reserve.as_mut()).await?,
                // A request with the same idempotency key was faster, or an earlier attempt of this one succeeded.
                CommitOutcome::Conflict | CommitOutcome::Duplicate => {
                    if let Some(existing) = self.record_of(cx, instance, draft.id, 1).await? {
                        return Verification::from_any(existing).ok_or(ServiceError::KeyReused);
                    }
                }
            }
        }
        Err(StoreError::Unavailable("no free code was found".to_owned()).into())
    }

    /// Draws another draft. With an idempotency key, the new draft replaces the refused one in the store, so that
    /// repeats of the request use the same draft.
    async fn redraw(
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

    /// The code of a link is derived from its nonce, and its id from the code.
    fn draft_link(&self, instance: &Instance) -> VerificationDraft {
        let (key, nonce, code_length) = (self.keys.current_id(), random::bytes(), instance.config.code_length);
        let id = self
            .keys
            .link_code(key, instance.config.id, &nonce, code_length)
            .and_then(|code| self.keys.link_id(key, instance.config.id, &code, self.now_millis()))
            .expect("the current key is there");
        VerificationDraft { key, nonce, code_length, id }
    }

    pub(super) fn now_millis(&self) -> u64 {
        u64::try_from(self.now().as_millisecond()).unwrap_or_default()
    }

    /// The random and fixed properties of a new record. `expires` is its lifetime in seconds.
    pub(super) fn new_verification(
        instance: &Instance,
        VerificationDraft { id, key, nonce, .. }: VerificationDraft,
        now: Timestamp,
        expires: u32,
        max_attempts: u32,
    ) -> NewVerification {
        NewVerification {
            id,
            instance: instance.config.id,
            key,
            nonce,
            created_at: now,
            expires_at: now + Duration::from_secs(u64::from(expires)),
            max_attempts,
        }
    }

    pub(super) fn creation_change<K: Kind>(&self, instance: &Instance, record: &Verification<K>) -> Change {
        let mut change = self.record_change(instance, record, 0);
        change.timer = Some(record.expires_at);
        change.indexes = self.indexes(instance, record);
        Change::of(change).starting()
    }

    /// The lists that contain a record. After erasure the record no longer yields the lists of its chat and client
    /// reference.
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

    pub(super) fn reservation(
        &self,
        instance: &Instance,
        idempotency: &Idempotency,
        claim: Vec<u8>,
    ) -> ReservationRequest {
        let (id, key, body) = (instance.config.id, idempotency.key.as_bytes(), idempotency.body.as_bytes());
        ReservationRequest {
            partition: self.keys.partition_for("idempotency", id, key),
            key: self.keys.look_up("idempotency", id, key),
            fingerprint: self.keys.look_up("body", id, body),
            claim,
            replaces: None,
        }
    }

    /// Claims an idempotency key for operation `what` on an existing record, and returns the id stored under the key.
    /// The claim lives in the `partition_for` of the operation, so the operation's commit confirms the claim as well.
    /// Returns `None` without a key, or if the store is full: a full store takes no claims but must still let existing
    /// work finish.
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
        let reserve = ReservationRequest { partition, ..self.reservation(instance, &idempotency, id.to_vec()) };
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
