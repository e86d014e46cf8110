//! Rate limits and idempotency keys.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, Value};

use super::{
    Durability, RedisStore, key, millis,
    parse::{self, from_value},
    retries::ResendPolicy,
    script,
};
use crate::{
    domain::quota::Allowance,
    store::{Admission, AdmissionControl, BucketRequest, DrawnTokens, IdempotencyClaim, StoreError, by_partition},
};

const RESERVATION_TTL: Duration = Duration::from_hours(24);

#[async_trait]
impl AdmissionControl for RedisStore {
    async fn admit(
        &self,
        takes: &[BucketRequest],
        reserve: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError> {
        let groups = by_partition(takes);
        if let ([_], None) = (groups.as_slice(), reserve) {
            return Ok(Admission { allowances: self.buckets.take(takes).await?, idempotency_record: None });
        }
        let mut pipeline = redis::Pipeline::with_capacity(groups.len() + 1);
        for group in &groups {
            let group: Vec<&BucketRequest> = group.iter().map(|&index| &takes[index]).collect();
            pipeline.add_command(self.buckets.take_command(&group, 1));
        }
        // With a single master the commit that follows confirms the claim too; in a cluster it may go to another
        // master.
        let is_apart = self.connection.has_many_masters() && self.durability != Durability::Standard;
        let (values, held) = match reserve.map(|reserve| self.reserve_script(reserve)) {
            // Boxed to keep the future small without a cluster.
            Some(cmd) if is_apart => Box::pin(self.claim_apart(&mut pipeline, cmd)).await?,
            Some(cmd) => {
                let mut values = self.connection.run(pipeline.add_command(cmd)).await?;
                let held = values.pop();
                (values, held)
            }
            None => (self.connection.run(&mut pipeline).await?, None),
        };
        let idempotency_record = match held {
            Some(held) => {
                let (now, holder): (i64, Vec<u8>) = from_value(held)?;
                self.time.observe(now);
                Some(parse::read_claim(&holder)?)
            }
            None => None,
        };
        let mut allowances = vec![Allowance::Allowed { remaining: 0 }; takes.len()];
        for (group, value) in groups.iter().zip(values) {
            for (&index, allowance) in group.iter().zip(self.buckets.decode_taken(value)?) {
                allowances[index] = allowance;
            }
        }
        Ok(Admission { allowances, idempotency_record })
    }

    async fn draw(&self, takes: &[BucketRequest], units: u32) -> Result<DrawnTokens, StoreError> {
        let takes: Vec<&BucketRequest> = takes.iter().collect();
        self.buckets.decode_drawn(self.one(&self.buckets.take_command(&takes, units)).await?)
    }
}

impl RedisStore {
    /// Sends a confirmed claim beside the rest of an admission.
    async fn claim_apart(
        &self,
        rest: &mut redis::Pipeline,
        claim: Cmd,
    ) -> Result<(Vec<Value>, Option<Value>), StoreError> {
        let (rest, held) = tokio::join!(self.connection.run(rest), self.connection.confirm(claim, ResendPolicy::Same));
        Ok((rest?, Some(held?)))
    }

    fn reserve_script(&self, reserve: &IdempotencyClaim) -> Cmd {
        let keys: Vec<String> = reserve.key.all().map(|key| key::reservation(reserve.partition, key)).collect();
        let mut cmd = script::RESERVE.call(&keys);
        cmd.arg(self.time.test_offset_millis()).arg(millis(RESERVATION_TTL));
        for fingerprint in reserve.fingerprint.all() {
            let gives_way = reserve.replaces.as_ref().map(|claim| parse::write_claim(fingerprint, claim));
            cmd.arg(parse::write_claim(fingerprint, &reserve.claim)).arg(gives_way.unwrap_or_default());
        }
        cmd
    }
}
