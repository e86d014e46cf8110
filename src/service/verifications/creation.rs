//! Admission and creation: the limits and the idempotency key of a request, and the change that creates its record.

use std::{sync::Arc, time::Duration};

use super::draft::VerificationDraft;
use crate::{
    domain::{ClaimId, KeyRing, Kind, Partition, Verification, VerificationId, quota::Allowance},
    random,
    service::{
        Instance, Limited, RequestContext, ServiceError,
        limits::Limits,
        limits::{Limit, LimitBucket, rate_limit_statuses},
        verifications::Verifications,
    },
    store::{Admission, IdempotencyClaim, IdempotencyRecord, StoreError},
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
pub(in crate::service) struct AdmittedRequest {
    /// The record that an earlier request with this idempotency key has created.
    pub(in crate::service) existing: Option<Verification>,
    /// The draft stored under the idempotency key.
    pub(in crate::service) draft: Option<VerificationDraft>,
}

/// Decides whether a request may proceed.
pub(in crate::service) struct Admissions {
    keys: Arc<KeyRing>,
    limits: Arc<Limits>,
    verifications: Arc<Verifications>,
}

impl Admissions {
    pub(in crate::service) const fn new(
        keys: Arc<KeyRing>,
        limits: Arc<Limits>,
        verifications: Arc<Verifications>,
    ) -> Self {
        Self { keys, limits, verifications }
    }

    /// Takes from the limits and claims the idempotency key, in one round trip. A repeat of a completed request
    /// succeeds even if a limit is exhausted, and takes no storage.
    pub(in crate::service) async fn admit(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        limits: &[Limit],
        claim: Option<&IdempotencyClaim>,
    ) -> Limited<AdmittedRequest> {
        if limits.is_empty() && claim.is_none() {
            return Limited { outcome: Ok(AdmittedRequest::default()), limit_statuses: Vec::new() };
        }
        let buckets: Vec<&LimitBucket> = limits.iter().map(|limit| &limit.bucket).collect();
        let Admission { allowances, idempotency_record } = match self.limits.take(cx, &buckets, claim).await {
            Ok(admission) => admission,
            Err(error) => return ServiceError::from(error).into(),
        };
        self.limits.record_storage_use(instance, limits, &allowances);
        let outcome = match self.claimed(cx, instance, idempotency_record, claim, &allowances).await {
            Ok(admitted) if admitted.existing.is_none() => self.check(limits, &allowances).map(|()| admitted),
            outcome => outcome,
        };
        if !matches!(&outcome, Ok(AdmittedRequest { existing: None, .. })) && !has_exhausted(&allowances) {
            self.limits.give_back_storage(cx, limits).await;
        }
        Limited { outcome, limit_statuses: rate_limit_statuses(limits, &allowances) }
    }

    /// What an earlier request with the same idempotency key stored under it, or created.
    async fn claimed(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        holder: Option<IdempotencyRecord>,
        ours: Option<&IdempotencyClaim>,
        allowances: &[Allowance],
    ) -> Result<AdmittedRequest, ServiceError> {
        let mut admitted = AdmittedRequest::default();
        if let (Some(holder), Some(ours)) = (holder, ours) {
            if !ours.fingerprint.contains(holder.fingerprint) {
                return Err(ServiceError::KeyReused);
            }
            let draft = VerificationDraft::read(&holder.content)?;
            // If the process that claimed this key crashed before its commit, the same link is created here instead.
            if holder.content != ours.content {
                let look_ups = if has_exhausted(allowances) { RECORD_LOOK_UPS } else { 1 };
                admitted.existing = self.record_of(cx, instance, draft.id, look_ups).await?;
            }
            admitted.draft = Some(draft);
        }
        Ok(admitted)
    }

    /// An error if a limit is exhausted.
    fn check(&self, limits: &[Limit], allowances: &[Allowance]) -> Result<(), ServiceError> {
        let Some(retry_after) = self.limits.longest_wait(limits, allowances) else { return Ok(()) };
        let short = |(limit, allowance): (&Limit, &Allowance)| {
            limit.name.is_storage() && matches!(allowance, Allowance::Exhausted { .. })
        };
        Err(if limits.iter().zip(allowances).any(short) {
            ServiceError::StorageQuotaExceeded { retry_after }
        } else {
            ServiceError::RateLimited { retry_after }
        })
    }

    /// Admits a request and runs `commit`, which creates its record, unless an earlier request with this idempotency key
    /// has. A request that creates no record takes none of the instance's share of the store, which is restored only
    /// over days.
    pub(in crate::service) async fn create<K: Kind>(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        mut limits: Vec<Limit>,
        draft: VerificationDraft,
        claim: Option<IdempotencyClaim>,
        commit: impl AsyncFnOnce(VerificationDraft, Option<IdempotencyClaim>) -> Result<Verification<K>, ServiceError>,
    ) -> Limited<Verification<K>> {
        if let Err(error) = cx.store.check_room() {
            return ServiceError::from(error).into();
        }
        let busy = self.limits.has_too_many_jobs(instance);
        if busy {
            limits.retain(|limit| !limit.name.is_storage());
        }
        let Limited { outcome, limit_statuses } = self.admit(cx, instance, &limits, claim.as_ref()).await;
        let outcome = match outcome {
            Ok(AdmittedRequest { existing: Some(record), .. }) => {
                Verification::from_any(record).ok_or(ServiceError::KeyReused)
            }
            Ok(AdmittedRequest { .. }) if busy => Err(self.limits.too_many_jobs()),
            Ok(AdmittedRequest { draft: claimed, .. }) => {
                let outcome = commit(claimed.unwrap_or(draft), claim).await;
                // After an error of the store, the record may be there.
                if !matches!(&outcome, Ok(_) | Err(ServiceError::Store(_))) {
                    self.limits.give_back_storage(cx, &limits).await;
                }
                outcome
            }
            Err(refused) => Err(refused),
        };
        Limited { outcome, limit_statuses }
    }

    /// The record that an earlier request with the same idempotency key has created. Looks up to `looks` times, in case
    /// that request is still in progress.
    ///
    /// # Errors
    /// `KeyReused` if the key stands for a record of another instance, which only a change in the store can cause.
    pub(in crate::service) async fn record_of(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        id: VerificationId,
        looks: u32,
    ) -> Result<Option<Verification>, ServiceError> {
        for look in 1..=looks {
            if let Some(stored) = cx.store.load(id.into()).await? {
                let record = self.verifications.read(cx, &stored).await?;
                let own = record.instance == instance.config.id;
                return own.then_some(Some(record)).ok_or(ServiceError::KeyReused);
            }
            if look < looks {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(None)
    }

    pub(in crate::service) fn idempotency_claim(
        &self,
        instance: &Instance,
        idempotency: &Idempotency,
        claim: Vec<u8>,
    ) -> IdempotencyClaim {
        let (id, key, body) = (instance.config.id, idempotency.key.as_bytes(), idempotency.body.as_bytes());
        IdempotencyClaim {
            partition: self.keys.partition_for("idempotency", id, key),
            key: self.keys.look_up("idempotency", id, key),
            fingerprint: self.keys.look_up("body", id, body),
            content: claim,
            replaces: None,
        }
    }

    /// Claims an idempotency key for operation `what` on an existing record, and returns the id stored under the key.
    /// The claim lives in the `partition_for` of the operation, so the operation's commit confirms the claim as well.
    /// Returns `None` without a key, or if the store is full: a full store takes no claims but must still let existing
    /// work finish.
    pub(in crate::service) async fn claim(
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
        let claim = IdempotencyClaim { partition, ..self.idempotency_claim(instance, &idempotency, id.to_vec()) };
        let admit = async {
            cx.store.check_room()?;
            cx.store.admit(&[], Some(&claim)).await
        };
        let holder = match admit.await {
            Ok(admission) => admission.idempotency_record,
            Err(StoreError::Full) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match holder {
            Some(holder) if !claim.fingerprint.contains(holder.fingerprint) => Err(ServiceError::KeyReused),
            holder => Ok(holder.and_then(|holder| holder.content.try_into().ok()).map(ClaimId::from_bytes)),
        }
    }
}

fn has_exhausted(allowances: &[Allowance]) -> bool {
    allowances.iter().any(|allowance| matches!(allowance, Allowance::Exhausted { .. }))
}
