//! Whether a message is answered: the limits of replies to one sender, and replies that concern no link.

use std::time::Duration;

use crate::{
    domain::{
        Partition,
        decision::Reply,
        quota::{Allowance, LimitName, Quota},
    },
    service::{
        Inbound, Instance, Outcome, RequestContext, ServiceError, inbound::message_origin::MessageOrigin,
        limits::LimitBucket, messages::ReceiveResult, verifications::InboundMessage,
    },
    store::{Change, CommitOutcome, StoreError},
};

/// Minimum interval between replies to unknown codes from one sender.
const UNKNOWN_REPLY_INTERVAL: Duration = Duration::from_mins(10);

impl Inbound {
    /// The reply to a message with several live codes, none of which is accepted. It counts against the limit of
    /// failure replies.
    pub(super) async fn failure_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        let quota = instance.config.limits.failure_replies;
        Ok(self.take_reply_quota(cx, origin, LimitName::FailureReplies, quota).await?.then_some(Reply::Failed))
    }

    /// The reply to an unknown code: none, unless the instance is configured to reply and the sender's limit allows it.
    pub(super) async fn unknown_reply(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
    ) -> Result<Option<Reply>, ServiceError> {
        if !instance.config.reply_to_unknown {
            return Ok(None);
        }
        let bucket = origin.bucket("unknown", Quota::per(1, UNKNOWN_REPLY_INTERVAL));
        Ok(self.try_take(cx, &bucket).await?.then_some(Reply::Unknown))
    }

    /// Ends the handling of a message that is applied to no record.
    pub(super) async fn finish_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        origin: &MessageOrigin<'_>,
        reply: Option<Reply>,
        outcome: Outcome,
    ) -> Result<ReceiveResult, ServiceError> {
        if let Some(reply) = reply {
            let sent = self.reply_without_record(cx, instance, origin.partition, &origin.incoming, reply).await?;
            if sent == CommitOutcome::Duplicate {
                return Ok(Outcome::Duplicate.into());
            }
        }
        Ok(outcome.into())
    }

    /// Queues a reply that concerns no record, in the sender's partition.
    async fn reply_without_record(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        partition: Partition,
        incoming: &InboundMessage,
        reply: Reply,
    ) -> Result<CommitOutcome, StoreError> {
        let job = self.outbox.reply_job(instance, None, incoming, reply);
        self.outbox.commit(cx, Change::new(partition).answers(incoming.id).job(job), cx.now()).await
    }

    pub(super) async fn take_reply_quota(
        &self,
        cx: &RequestContext,
        origin: &MessageOrigin<'_>,
        name: LimitName,
        quota: Option<Quota>,
    ) -> Result<bool, ServiceError> {
        let Some(quota) = quota else { return Ok(true) };
        let allowed = self.try_take(cx, &origin.bucket(name.as_str(), quota)).await?;
        if !allowed {
            self.limits.count_limit(name);
        }
        Ok(allowed)
    }

    async fn try_take(&self, cx: &RequestContext, bucket: &LimitBucket) -> Result<bool, ServiceError> {
        let admission = self.limits.take(cx, &[bucket], None).await?;
        Ok(matches!(admission.allowances[..], [Allowance::Allowed { .. }]))
    }
}
