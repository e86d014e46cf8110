//! Rate limits: which buckets a use case draws from, and their state afterwards.
//!
//! A use case builds its `Limit`s, takes one unit from each in one round trip to the store, and reports the resulting
//! `LimitStatus`s to its caller whether or not it succeeds.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use crate::{
    domain::{
        Chat, InstanceId, KeyRing, LookUp, Partition, Request, Subject, VerificationId, country,
        keys::Digest,
        quota::{Allowance, LimitName, Quota},
        sent_code::COOLDOWN,
    },
    metrics::{Metrics, label::ByLimit},
    service::{Environment, Instance, Instances, ReplicaHealth, RequestContext, ServiceError},
    store::{Admission, BucketRequest, IdempotencyClaim, StoreError},
};

/// Stands in for an address in the bucket that all clients share; no address has this form.
const ALL_CLIENTS: &str = "everybody";

/// One limit of one party. It is one bucket, or two while the look-up key is being rotated; both must then have a unit
/// left.
pub(in crate::service) struct LimitBucket {
    partition: Partition,
    limit: &'static str,
    owner: LookUp,
    pub(in crate::service) quota: Quota,
}

impl LimitBucket {
    pub(in crate::service) const fn new(
        partition: Partition,
        limit: &'static str,
        owner: LookUp,
        quota: Quota,
    ) -> Self {
        Self { partition, limit, owner, quota }
    }

    pub(super) fn bucket_requests(&self) -> impl Iterator<Item = BucketRequest> {
        self.owner.all().map(|digest| self.take(digest))
    }

    /// The bucket to read when nothing is to be taken.
    pub(in crate::service) fn peek(&self) -> BucketRequest {
        self.take(self.owner.oldest())
    }

    fn take(&self, digest: Digest) -> BucketRequest {
        let bucket = [self.limit, ":", &digest.hex()].concat();
        BucketRequest { partition: self.partition, bucket, quota: self.quota }
    }
}

/// A bucket and the name of its limit.
pub(in crate::service) struct Limit {
    pub(in crate::service) name: LimitName,
    pub(in crate::service) bucket: LimitBucket,
}

impl Limit {
    fn new(name: LimitName, partition: Partition, owner: LookUp, quota: Quota) -> Self {
        Self { name, bucket: LimitBucket::new(partition, name.as_str(), owner, quota) }
    }
}

/// The state of a limit after an attempt to take from it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LimitStatus {
    pub name: LimitName,
    pub quota: Quota,
    pub allowance: Allowance,
}

impl LimitStatus {
    /// How long to wait until the limit is no longer exhausted; zero if it is not.
    pub const fn wait(&self) -> Duration {
        match self.allowance {
            Allowance::Exhausted { retry_after } => retry_after,
            Allowance::Allowed { .. } => Duration::ZERO,
        }
    }
}

/// The result of a use case that takes from limits. The caller gets the state of the limits in any case.
#[must_use]
pub struct Limited<T> {
    pub outcome: Result<T, ServiceError>,
    pub limit_statuses: Vec<LimitStatus>,
}

/// A refusal before anything was taken.
impl<T> From<ServiceError> for Limited<T> {
    fn from(error: ServiceError) -> Self {
        Self { outcome: Err(error), limit_statuses: Vec::new() }
    }
}

impl<T> Limited<T> {
    pub(in crate::service) fn and_then<U>(self, then: impl FnOnce(T) -> Result<U, ServiceError>) -> Limited<U> {
        Limited { outcome: self.outcome.and_then(then), limit_statuses: self.limit_statuses }
    }
}

fn statuses(limits: &[Limit], allowances: &[Allowance]) -> impl Iterator<Item = LimitStatus> {
    let status = |(limit, &allowance): (&Limit, &Allowance)| LimitStatus {
        name: limit.name,
        quota: limit.bucket.quota,
        allowance,
    };
    limits.iter().zip(allowances).map(status)
}

/// The state of the rate limits only. Exhausted storage is reported as a separate error.
pub(in crate::service) fn rate_limit_statuses(limits: &[Limit], allowances: &[Allowance]) -> Vec<LimitStatus> {
    statuses(limits, allowances).filter(|status| !status.name.is_storage()).collect()
}

/// Takes from the limits.
pub struct Limits {
    keys: Arc<KeyRing>,
    pub(super) instances: Arc<Instances>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) health: Arc<ReplicaHealth>,
}

impl Limits {
    pub(in crate::service) fn new(env: &Environment) -> Self {
        Self {
            keys: Arc::clone(&env.keys),
            instances: Arc::clone(&env.instances),
            metrics: Arc::clone(&env.metrics),
            health: Arc::clone(&env.health),
        }
    }

    /// Returns how long to wait until no limit is exhausted, and counts the exhausted ones in the metrics.
    pub(in crate::service) fn longest_wait(&self, limits: &[Limit], allowances: &[Allowance]) -> Option<Duration> {
        statuses(limits, allowances).filter_map(|status| self.retry_after(status)).max()
    }

    /// Returns how long to wait until the limit is no longer exhausted, and counts it in the metrics if it is.
    pub fn retry_after(&self, status: LimitStatus) -> Option<Duration> {
        let Allowance::Exhausted { retry_after } = status.allowance else { return None };
        self.count_limit(status.name);
        Some(retry_after)
    }

    pub(in crate::service) fn count_limit(&self, name: LimitName) {
        self.metrics.limited.get_or_create(&ByLimit { limit: name.as_str() }).inc();
    }

    /// The status of an exhausted limit that is not kept in a bucket. Counts it in the metrics.
    pub(in crate::service) fn exhausted(&self, name: LimitName, quota: Quota, retry_after: Duration) -> LimitStatus {
        self.count_limit(name);
        LimitStatus { name, quota, allowance: Allowance::Exhausted { retry_after } }
    }

    /// The limits of one token and of the whole instance. They share a partition with each other and with the limits of
    /// the instance's chats, so that the store can take from all of them in one step.
    pub(in crate::service) fn mint_limits(&self, instance: &Instance, token: &str) -> Vec<Limit> {
        let limits = &instance.config.limits;
        let whole = limits.instance.map(|quota| self.instance_limit(instance, LimitName::Instance, b"", quota));
        self.token_limit(instance, LimitName::Mint, token).into_iter().chain(whole).collect()
    }

    pub(in crate::service) fn token_limit(&self, instance: &Instance, name: LimitName, token: &str) -> Option<Limit> {
        let quota = instance.config.limits.mint?;
        Some(self.instance_limit(instance, name, token.as_bytes(), quota))
    }

    pub(in crate::service) fn test_limit(&self, instance: &Instance) -> Option<Limit> {
        let quota = instance.config.limits.test_callbacks?;
        Some(self.instance_limit(instance, LimitName::TestCallbacks, b"", quota))
    }

    /// The limit of one chat, independent of the token that is used.
    pub(in crate::service) fn chat_limit(
        &self,
        instance: &Instance,
        name: LimitName,
        subject: &Subject,
    ) -> Option<Limit> {
        let limits = &instance.config.limits;
        let quota = if name == LimitName::Links { limits.links } else { limits.codes }?;
        Some(self.instance_limit(instance, name, subject.canonical().as_bytes(), quota))
    }

    /// Limits against toll fraud, i.e. codes requested only for the fees they cause: per client network, country and
    /// number prefix.
    pub(in crate::service) fn sending_limits(&self, instance: &Instance, request: &Request) -> Vec<Limit> {
        let limits = &instance.config.limits;
        let mut all = Vec::new();
        let mut add = |name, quota: Option<Quota>, of: &str| {
            all.extend(quota.map(|quota| self.instance_limit(instance, name, of.as_bytes(), quota)));
        };
        if let Some(address) = request.client_ip.as_deref().and_then(|text| text.parse().ok()) {
            add(LimitName::CodesOfAddress, limits.codes_of_address, &subscriber_network(address).to_string());
        }
        if let Some(Subject::Phone(phone)) = request.chat.as_ref().map(Chat::subject) {
            add(LimitName::CodesOfCountry, limits.codes_of_country, country::calling_code(phone.digits()));
            add(LimitName::CodesOfPrefix, limits.codes_of_prefix, country::prefix(phone.digits()));
        }
        all
    }

    /// The limits of a request for an approval. It counts as a code to the chat: both are messages to a person who may
    /// never have written.
    pub(in crate::service) fn approval_limits(&self, instance: &Instance, request: &Request) -> Vec<Limit> {
        let mut all = self.sending_limits(instance, request);
        if let Some(subject) = request.chat.as_ref().map(Chat::subject) {
            all.extend(self.chat_limit(instance, LimitName::Codes, subject));
            let quota = Quota::per(1, COOLDOWN.unsigned_abs());
            all.push(self.instance_limit(instance, LimitName::Cooldown, subject.canonical().as_bytes(), quota));
        }
        all
    }

    pub(super) fn instance_limit(&self, instance: &Instance, name: LimitName, of: &[u8], quota: Quota) -> Limit {
        let id = instance.config.id;
        let partition = self.keys.partition_for("limits", id, b"");
        Limit::new(name, partition, self.keys.look_up(name.as_str(), id, of), quota)
    }

    /// Takes from limits of one client address, counted separately per link and for all other requests. For IPv6,
    /// `address` is the subscriber's network (see [`subscriber_network`]).
    pub async fn take_for_address(
        &self,
        cx: &RequestContext,
        address: IpAddr,
        link: Option<VerificationId>,
        limits: &[(LimitName, Quota)],
    ) -> Result<Vec<LimitStatus>, StoreError> {
        let owner = link.map_or_else(|| address.to_string(), |link| format!("{address} for {link}"));
        let partition = self.address_partition(&owner);
        self.take_all(cx, limits.iter().map(|&(name, quota)| self.address_limit(partition, name, &owner, quota))).await
    }

    /// Takes one attempt at the operator password from the limit of the address and from the limit shared by all
    /// addresses, or from neither.
    pub async fn take_for_login(
        &self,
        cx: &RequestContext,
        address: IpAddr,
        own: Quota,
        of_all: Quota,
    ) -> Result<Vec<LimitStatus>, StoreError> {
        let partition = self.address_partition(ALL_CLIENTS);
        let limit = |owner, quota| self.address_limit(partition, LimitName::OperatorLogin, owner, quota);
        self.take_all(cx, [limit(&address.to_string(), own), limit(ALL_CLIENTS, of_all)]).await
    }

    fn address_limit(&self, partition: Partition, name: LimitName, owner: &str, quota: Quota) -> Limit {
        // Store a digest instead of the address.
        Limit::new(name, partition, self.keys.look_up("address", InstanceId::NONE, owner.as_bytes()), quota)
    }

    fn address_partition(&self, owner: &str) -> Partition {
        self.keys.partition_for("address", InstanceId::NONE, owner.as_bytes())
    }

    async fn take_all(
        &self,
        cx: &RequestContext,
        limits: impl IntoIterator<Item = Limit>,
    ) -> Result<Vec<LimitStatus>, StoreError> {
        let limits: Vec<Limit> = limits.into_iter().collect();
        let buckets: Vec<&LimitBucket> = limits.iter().map(|limit| &limit.bucket).collect();
        let allowances = self.take(cx, &buckets, None).await?.allowances;
        Ok(statuses(&limits, &allowances).collect())
    }

    /// Takes a unit from each bucket and claims an idempotency key, in one round trip. Returns one allowance per
    /// bucket, in the order of `buckets`.
    pub(in crate::service) async fn take(
        &self,
        cx: &RequestContext,
        buckets: &[&LimitBucket],
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError> {
        let bucket_requests: Vec<BucketRequest> = buckets.iter().flat_map(|bucket| bucket.bucket_requests()).collect();
        let Admission { allowances, idempotency_record } = cx.store.admit(&bucket_requests, claim).await?;
        let mut found = allowances.into_iter();
        let shortest = |bucket: &&LimitBucket| found.by_ref().take(bucket.owner.all().count()).reduce(stricter);
        let allowances: Option<Vec<Allowance>> = buckets.iter().map(shortest).collect();
        let allowances = allowances.ok_or_else(|| StoreError::Corrupt("an allowance is missing".to_owned()))?;
        Ok(Admission { allowances, idempotency_record })
    }
}

/// The more restrictive of two allowances.
fn stricter(one: Allowance, other: Allowance) -> Allowance {
    match (one, other) {
        (Allowance::Allowed { remaining: a }, Allowance::Allowed { remaining: b }) => {
            Allowance::Allowed { remaining: a.min(b) }
        }
        (Allowance::Exhausted { retry_after: a }, Allowance::Exhausted { retry_after: b }) => {
            Allowance::Exhausted { retry_after: a.max(b) }
        }
        (short @ Allowance::Exhausted { .. }, _) | (_, short @ Allowance::Exhausted { .. }) => short,
    }
}

/// The part of an address that identifies one subscriber: the whole IPv4 address, or the /64 network of an IPv6
/// address.
pub fn subscriber_network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_subscriber_is_a_64() {
        assert_eq!(subscriber_network("2001:db8:1:2:3::4".parse().unwrap()).to_string(), "2001:db8:1:2::");
        assert_eq!(subscriber_network("203.0.113.9".parse().unwrap()).to_string(), "203.0.113.9");
    }
}
