//! The message log: the outcome of each incoming message, kept for a day to explain why it had an effect or none.
//!
//! Traces hold no text, code or full number. They are queued and written in batches by a background task, so that no
//! login waits for them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::sleep,
};

use super::outcome::{Outcome, ReceiveResult};
use crate::{
    domain::{
        InstanceId, KeyRing, LookUp, PARTITIONS, Partition, Subject, VerificationId, keys::Digest,
        message_codes::find_codes,
    },
    gateway::{IgnoreReason, WebhookEvent},
    random,
    service::{Instance, RequestContext, ServiceError},
    store::{
        Store,
        archive::{LogEntry, LogStream, MAX_LOG_ENTRIES},
    },
};

/// Traces waiting to be written. If the queue is full, further ones are dropped rather than delaying a login.
const QUEUE_CAPACITY: usize = 4_096;
const MAX_BATCH: usize = 1_000;
/// How long the first entry of a batch waits for others.
const BATCH_DELAY: Duration = Duration::from_millis(50);
/// Number of trailing phone digits kept in an entry.
const ENDING_DIGITS: usize = 4;

/// What is stored about one message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::service) struct LoggedMessage {
    /// Digests of the gateway's message id: its part that is stable over redeliveries, and the whole id.
    pub(in crate::service) ids: Vec<Digest>,
    /// Digest of the sender, by which the entry can be erased.
    pub(in crate::service) chat: Option<Digest>,
    /// The last digits of the sender's phone.
    pub(in crate::service) ending: Option<String>,
    /// `phone`, `lid` or `bsuid`.
    pub(in crate::service) sender: Option<String>,
    pub(in crate::service) outcome: Outcome,
    pub(in crate::service) uuid: Option<VerificationId>,
    /// Seconds between the gateway's timestamp and our clock.
    pub(in crate::service) age: Option<i64>,
}

/// Sends entries to the background writer.
pub struct MessageLog {
    keys: Arc<KeyRing>,
    queue: mpsc::Sender<QueueItem>,
    /// Signals that a reader is waiting for the queue to be written.
    flush: Arc<Notify>,
}

enum QueueItem {
    Append(LogEntry),
    /// A reader's request: write all earlier entries, then signal.
    Flush(oneshot::Sender<()>),
}

impl MessageLog {
    /// Returns the queue and the task that writes it. The task ends when all senders are dropped.
    pub(in crate::service) fn new(
        keys: Arc<KeyRing>,
        store: Arc<dyn Store>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE_CAPACITY);
        let flush = Arc::new(Notify::new());
        let write = write(store, waiting, Arc::clone(&flush));
        (Self { keys, queue, flush }, write)
    }

    /// Drops the entry if the queue is full: the store is slow then, and the entries already queued suffice.
    fn enqueue(&self, entry: LogEntry) {
        let _ = self.queue.try_send(QueueItem::Append(entry));
    }

    /// Waits until all earlier entries are written.
    pub(crate) async fn flushed(&self) {
        let (sender, written) = oneshot::channel();
        if self.queue.send(QueueItem::Flush(sender)).await.is_ok() {
            self.flush.notify_one();
            let _ = written.await;
        }
    }

    pub(in crate::service) fn sender_look_up(&self, instance: &Instance, subject: &Subject) -> LookUp {
        self.keys.look_up("trace", instance.config.id, subject.canonical().as_bytes())
    }

    /// The digests under which a gateway's message id is stored.
    pub(in crate::service) fn message_look_up(&self, instance: &Instance, id: &str) -> LookUp {
        self.keys.look_up("message", instance.config.id, id.as_bytes())
    }

    /// Queues the log entry of a message. One that was ignored as our own or as a group message is kept only with a code:
    /// gateways deliver every reply of ours, and those would crowd out what people ask about.
    pub(in crate::service) fn append(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        event: &WebhookEvent,
        ReceiveResult { outcome, record }: ReceiveResult,
    ) {
        if let Outcome::Ignored(reason) = outcome {
            let has_code = || {
                let text = event.text.as_deref().unwrap_or_default();
                !find_codes(text, usize::from(instance.config.code_length)).codes.is_empty()
            };
            match explains(reason) {
                Explains::Always => {}
                Explains::WithCode if has_code() => {}
                Explains::WithCode | Explains::Never => return,
            }
        }
        let subject = event.sender.subject();
        let ids = [event.stable_id(), event.message_id.as_deref()].into_iter().flatten();
        let ids: Vec<Digest> = ids.map(|id| self.message_look_up(instance, id).current()).collect();
        let partition = ids.first().map_or(Partition::from_byte(0), |id| Partition::from_byte(id.as_bytes()[0]));
        let age = event.timestamp.map(|at| cx.now().as_second() - at);
        let message = LoggedMessage {
            ids,
            chat: subject.as_ref().map(|subject| self.sender_look_up(instance, subject).current()),
            ending: event.sender.phone.as_ref().map(|phone| ending(phone.digits())),
            sender: subject.as_ref().map(|subject| subject.kind().to_owned()),
            outcome,
            uuid: record,
            age,
        };
        let id = instance.config.id;
        let json = serde_json::to_vec(&message).expect("a log entry has only string keys");
        let entry = LogEntry {
            partition,
            stream: message_stream(id),
            bytes: self.keys.seal(&context(id), &json, random::bytes()),
        };
        self.enqueue(entry);
    }

    /// Traces of an instance, newest first.
    pub(in crate::service) async fn read(
        &self,
        cx: &RequestContext,
        instance: &Instance,
    ) -> Result<Vec<(Timestamp, LoggedMessage, LogEntry)>, ServiceError> {
        self.flushed().await;
        let id = instance.config.id;
        let entries = cx.store.read_log(&message_stream(id), MAX_LOG_ENTRIES * usize::from(PARTITIONS)).await?;
        let open = |entry: &LogEntry| -> Option<LoggedMessage> {
            serde_json::from_slice(&self.keys.open(&context(id), &entry.bytes).ok()?).ok()
        };
        Ok(entries.into_iter().filter_map(|(at, entry)| Some((at, open(&entry)?, entry))).collect())
    }
}

async fn write(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<QueueItem>, flush: Arc<Notify>) {
    let mut batch = Vec::new();
    while let Some(first) = waiting.recv().await {
        // Sleep instead of receiving: waking this task for each entry would cost more than the entry itself.
        if matches!(first, QueueItem::Append(_)) {
            tokio::select! { () = sleep(BATCH_DELAY) => {}, () = flush.notified() => {} }
        }
        let (mut next, mut reader) = (Some(first), None);
        while let Some(entry) = next {
            match entry {
                QueueItem::Append(entry) => batch.push(entry),
                QueueItem::Flush(done) => reader = Some(done),
            }
            next = if batch.len() < MAX_BATCH && reader.is_none() { waiting.try_recv().ok() } else { None };
        }
        if !batch.is_empty()
            && let Err(error) = store.append_log(&batch).await
        {
            tracing::debug!(%error, "entries of the message log could not be stored");
        }
        batch.clear();
        reader.map(|done| done.send(()));
    }
}

pub(in crate::service) fn message_stream(instance: InstanceId) -> LogStream {
    LogStream(format!("messages:{}", instance.simple()))
}

fn context(instance: InstanceId) -> String {
    format!("trace:{}", instance.simple())
}

fn ending(digits: &str) -> String {
    digits[digits.len().saturating_sub(ENDING_DIGITS)..].to_owned()
}

/// Whether an ignored message is worth explaining.
enum Explains {
    Always,
    /// Only with a code: a login was attempted from the instance's own number or in a group.
    WithCode,
    Never,
}

const fn explains(reason: IgnoreReason) -> Explains {
    match reason {
        IgnoreReason::FromMe | IgnoreReason::Group | IgnoreReason::Broadcast => Explains::WithCode,
        // A malformed event has no sender; it is kept under `malformed`.
        IgnoreReason::Status | IgnoreReason::Malformed => Explains::Never,
        IgnoreReason::Event
        | IgnoreReason::NonText
        | IgnoreReason::Edit
        | IgnoreReason::AnotherNumber
        | IgnoreReason::SendersDiffer
        | IgnoreReason::Sms
        | IgnoreReason::Incomplete => Explains::Always,
    }
}
