//! What is taken from limits, and how the caller of a request hears of it.

use std::{cell::RefCell, net::IpAddr, time::Duration};

use super::{Instance, Service, ServiceError, mint::spread};
use crate::{
    domain::{
        InstanceId, Partition, Subject,
        quota::{Allowance, Name, Quota},
    },
    metrics::label::ByLimit,
    store::{StoreError, Take},
};

tokio::task_local! {
    static TOLD: RefCell<Vec<Standing>>;
}

/// One bucket, and what it is called.
pub(super) struct Limit {
    pub(super) name: Name,
    pub(super) take: Take,
}

/// How a limit stands after something was taken from it, or was not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Standing {
    pub name: Name,
    pub quota: Quota,
    pub allowance: Allowance,
}

/// Runs `work`, and says how each limit stands that it took from.
pub async fn telling<F: Future>(work: F) -> (F::Output, Vec<Standing>) {
    let told = RefCell::new(Vec::new());
    TOLD.scope(told, async {
        let output = work.await;
        (output, TOLD.with(RefCell::take))
    })
    .await
}

/// Outside of [`telling`] nobody listens.
fn tell(standing: Standing) {
    let _ = TOLD.try_with(|told| told.borrow_mut().push(standing));
}

impl Service {
    /// Tells how the limits stand and counts those that are short. How long to wait until none is.
    pub(super) fn judge(&self, limits: &[Limit], allowances: &[Allowance]) -> Option<Duration> {
        let mut wait = None;
        for (Limit { name, take }, &allowance) in limits.iter().zip(allowances) {
            wait = wait.max(self.note(Standing { name: *name, quota: take.quota, allowance }));
        }
        wait
    }

    /// Tells how a limit stands, and counts it when it is short. How long to wait until it is not.
    pub fn note(&self, standing: Standing) -> Option<Duration> {
        tell(standing);
        let Allowance::Exhausted { retry_after } = standing.allowance else { return None };
        self.count_limit(standing.name);
        Some(retry_after)
    }

    pub(super) fn count_limit(&self, name: Name) {
        self.metrics.limited.get_or_create(&ByLimit { limit: name.as_str() }).inc();
    }

    /// A refusal by a limit that is kept elsewhere than in a bucket.
    pub(super) fn limited(&self, name: Name, quota: Quota, retry_after: Duration) -> ServiceError {
        let _ = self.note(Standing { name, quota, allowance: Allowance::Exhausted { retry_after } });
        ServiceError::RateLimited { retry_after }
    }

    /// Of one token, and of all of them. They lie beside one another and beside those of the instance's chats, so that
    /// one step of the store takes from all.
    pub(super) fn mint_limits(&self, instance: &Instance, token: &str) -> Vec<Limit> {
        let limits = &instance.config.limits;
        let whole = limits.instance.map(|quota| self.instance_limit(instance, Name::Instance, b"", quota));
        self.token_limit(instance, Name::Mint, token).into_iter().chain(whole).collect()
    }

    pub(super) fn token_limit(&self, instance: &Instance, name: Name, token: &str) -> Option<Limit> {
        let quota = instance.config.limits.mint?;
        Some(self.instance_limit(instance, name, token.as_bytes(), quota))
    }

    /// What one chat gets, however often and with whatever token somebody asks.
    pub(super) fn chat_limit(&self, instance: &Instance, name: Name, subject: &Subject) -> Option<Limit> {
        let limits = &instance.config.limits;
        let quota = if name == Name::Links { limits.links } else { limits.codes }?;
        Some(self.instance_limit(instance, name, subject.canonical().as_bytes(), quota))
    }

    fn instance_limit(&self, instance: &Instance, name: Name, of: &[u8], quota: Quota) -> Limit {
        let id = instance.config.id;
        let bucket = format!("{}:{}", name.as_str(), self.keys.look_up(name.as_str(), id, of).hex());
        Limit { name, take: Take { partition: self.limits_partition(id), bucket, quota } }
    }

    fn limits_partition(&self, instance: InstanceId) -> Partition {
        spread(self.keys.look_up("limits", instance, b""))
    }

    /// Takes from limits of one address. It is a network, for IPv6.
    pub async fn admit_address(&self, address: IpAddr, limits: &[(Name, Quota)]) -> Result<Vec<Standing>, StoreError> {
        let digest = self.keys.look_up("address", InstanceId::NOBODY, address.to_string().as_bytes());
        let (partition, hex) = (spread(digest), digest.hex());
        let take =
            |&(name, quota): &(Name, Quota)| Take { partition, bucket: format!("{}:{hex}", name.as_str()), quota };
        let takes: Vec<Take> = limits.iter().map(take).collect();
        let allowances = self.store.admit(&takes, None).await?.allowances;
        let standing = |(&(name, quota), allowance)| Standing { name, quota, allowance };
        Ok(limits.iter().zip(allowances).map(standing).collect())
    }
}
