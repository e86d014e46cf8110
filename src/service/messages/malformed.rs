//! Authenticated webhooks that could not be parsed, in whole or in part. They are truncated, sealed, and kept for a day in
//! one bounded log stream per instance, for `explain`.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    domain::{InstanceId, KeyRing, Subject},
    gateway::{IgnoreReason, Webhook},
    random,
    service::{Environment, Instance, ReplicaHealth, RequestContext, ServiceError},
    store::archive::{LogEntry, LogStream, MAX_LOG_ENTRIES},
};

/// Most bytes kept of a body.
const BODY: usize = 4096;

/// A webhook, truncated.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::service) struct MalformedWebhook {
    /// What is wrong; does not quote the body.
    pub(in crate::service) fault: String,
    pub(in crate::service) body: String,
}

impl MalformedWebhook {
    /// Whether the body contains an id of this person.
    pub(in crate::service) fn names(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Phone(phone) => phone.spellings().iter().any(|digits| self.body.contains(digits)),
            Subject::Lid(id) | Subject::Bsuid(id) => self.body.contains(id.as_str()),
        }
    }
}

pub(in crate::service) fn malformed_stream(instance: InstanceId) -> LogStream {
    LogStream(format!("malformed:{}", instance.simple()))
}

fn context(instance: InstanceId) -> String {
    format!("malformed:{}", instance.simple())
}

/// The kept webhooks of all instances.
pub struct MalformedWebhooks {
    keys: Arc<KeyRing>,
    health: Arc<ReplicaHealth>,
    clock: Clock,
}

impl MalformedWebhooks {
    pub(in crate::service) fn new(env: &Environment) -> Self {
        Self { keys: Arc::clone(&env.keys), health: Arc::clone(&env.health), clock: env.clock.clone() }
    }

    /// Logs a malformed webhook and keeps its beginning. If the store is unavailable, the gateway must deliver again.
    pub async fn keep(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        fault: &str,
        webhook: &Webhook<'_>,
    ) -> Result<(), ServiceError> {
        let id = instance.config.id;
        let reason = IgnoreReason::Malformed.as_str();
        if let Some(count) = self.health.record_failure(id, "webhook", reason, self.clock.wall()) {
            let gateway = instance.gateway.kind();
            tracing::warn!(gateway, instance = %id, fault, count, "could not parse an authenticated webhook; `explain malformed` shows it for a day");
        }
        let body = String::from_utf8_lossy(&webhook.body[..webhook.body.len().min(BODY)]).into_owned();
        let json =
            serde_json::to_vec(&MalformedWebhook { fault: fault.to_owned(), body }).expect("it has only string keys");
        let bytes = self.keys.seal(&context(id), &json, random::bytes());
        // In a single partition, so that a gateway that posts nothing else cannot fill the store.
        let partition = self.keys.partition_for("malformed", id, b"");
        Ok(cx.store.append_log(&[LogEntry { partition, stream: malformed_stream(id), bytes }]).await?)
    }

    /// The kept webhooks of an instance, newest first. Those that no key opens are skipped.
    pub(in crate::service) async fn read(
        &self,
        cx: &RequestContext,
        instance: &Instance,
    ) -> Result<Vec<(Timestamp, MalformedWebhook, LogEntry)>, ServiceError> {
        let id = instance.config.id;
        let open = |entry: &LogEntry| -> Option<MalformedWebhook> {
            serde_json::from_slice(&self.keys.open(&context(id), &entry.bytes).ok()?).ok()
        };
        let entries = cx.store.read_log(&malformed_stream(id), MAX_LOG_ENTRIES).await?;
        Ok(entries.into_iter().filter_map(|(at, entry)| Some((at, open(&entry)?, entry))).collect())
    }
}
