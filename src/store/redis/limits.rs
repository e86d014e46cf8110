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
        requests: &[BucketRequest],
        claim: Option<&IdempotencyClaim>,
    ) -> Result<Admission, StoreError> {
        let groups = by_partition(requests);
        if let ([_], None) = (groups.as_slice(), claim) {
            return Ok(Admission { allowances: self.buckets.take(requests).await?, idempotency_record: None });
        }
        let mut pipeline = redis::Pipeline::with_capacity(groups.len() + 1);
        for group in &groups {
            let group: Vec<&BucketRequest> = group.iter().map(|&index| &requests[index]).collect();
            pipeline.add_command(self.buckets.take_command(&group, 1));
        }
        // With a single master the commit that follows confirms the claim too; in a cluster it may go to another
        // master.
        let is_apart = self.connection.has_many_masters() && self.durability != Durability::Standard;
        let (values, held) = match claim.map(|claim| self.claim_script(claim)) {
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
        let mut allowances = vec![Allowance::Allowed { remaining: 0 }; requests.len()];
        for (group, value) in groups.iter().zip(values) {
            for (&index, allowance) in group.iter().zip(self.buckets.decode_taken(value)?) {
                allowances[index] = allowance;
            }
        }
        Ok(Admission { allowances, idempotency_record })
    }

    fn check_room(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn draw(&self, requests: &[BucketRequest], units: u32) -> Result<DrawnTokens, StoreError> {
        let requests: Vec<&BucketRequest> = requests.iter().collect();
        self.buckets.decode_drawn(self.one(&self.buckets.take_command(&requests, units.into())).await?)
    }

    async fn give_back(&self, requests: &[BucketRequest]) -> Result<(), StoreError> {
        let requests: Vec<&BucketRequest> = requests.iter().collect();
        self.buckets.decode_drawn(self.one(&self.buckets.take_command(&requests, -1)).await?)?;
        Ok(())
    }
}

impl RedisStore {
    /// Sends a confirmed claim beside the rest of an admission.
    async fn claim_apart(
        &self,
        rest: &mut redis::Pipeline,
        claim: Cmd,
    ) -> Result<(Vec<Value>, Option<Value>), StoreError> {
        let (rest, held) =
            tokio::join!(self.connection.run(rest), self.connection.write_confirmed(claim, ResendPolicy::Same));
        Ok((rest?, Some(held?)))
    }

    fn claim_script(&self, claim: &IdempotencyClaim) -> Cmd {
        let keys: Vec<String> = claim.key.all().map(|key| key::reservation(claim.partition, key)).collect();
        let mut cmd = script::RESERVE.call(&keys);
        cmd.arg(self.time.test_offset_millis()).arg(millis(RESERVATION_TTL));
        for fingerprint in claim.fingerprint.all() {
            let gives_way = claim.replaces.as_ref().map(|claim| parse::write_claim(fingerprint, claim));
            cmd.arg(parse::write_claim(fingerprint, &claim.content)).arg(gives_way.unwrap_or_default());
        }
        cmd
    }
}
