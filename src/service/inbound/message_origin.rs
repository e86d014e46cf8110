//! The sender of a message, as limits and replies need it.

use crate::{
    domain::{LookUp, Partition, Sender, Subject, quota::Quota},
    gateway::WebhookEvent,
    service::{Inbound, Instance, limits::LimitBucket, verifications::InboundMessage},
};

/// The sender of a message, for limits and replies.
pub(super) struct MessageOrigin<'a> {
    pub(super) sender: &'a Sender,
    /// Identifies the sender in bucket names.
    pub(super) identity: LookUp,
    pub(super) partition: Partition,
    pub(super) incoming: InboundMessage,
}

impl MessageOrigin<'_> {
    /// A bucket of this sender.
    pub(super) fn bucket(&self, what: &'static str, quota: Quota) -> LimitBucket {
        LimitBucket::new(self.partition, what, self.identity, quota)
    }
}

impl Inbound {
    pub(super) fn message_origin<'a>(
        &self,
        instance: &Instance,
        event: &'a WebhookEvent,
        id: &str,
        chat_id: &str,
    ) -> MessageOrigin<'a> {
        let subject = event.sender.subject();
        let instance_id = instance.config.id;
        let canonical = subject.as_ref().map_or_else(|| format!("chat:{chat_id}"), Subject::canonical);
        let identity = self.keys.look_up("sender", instance_id, canonical.as_bytes());
        let incoming = InboundMessage {
            id: self.keys.look_up("message", instance_id, id.as_bytes()),
            chat_id: chat_id.to_owned(),
            subject,
        };
        let partition = self.keys.partition_for("sender", instance_id, canonical.as_bytes());
        MessageOrigin { sender: &event.sender, identity, partition, incoming }
    }
}
