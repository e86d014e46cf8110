//! Message traces: the outcome of each incoming message, kept for a day to explain why it had an effect or none.
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

use super::{Instance, Outcome, RequestContext, Service, ServiceError, outcome::Received};
use crate::{
    domain::{InstanceId, LookUp, PARTITIONS, Partition, Subject, VerificationId, keys::Digest},
    gateway::{IgnoreReason, WebhookEvent},
    random,
    store::{
        Store,
        archive::{LogEntry, LogStream, MAX_LOG_ENTRIES},
    },
};

/// Traces waiting to be written. If the queue is full, further ones are dropped rather than delaying a login.
const QUEUE: usize = 4_096;
const BATCH: usize = 1_000;
/// How long the first trace of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// Number of trailing phone digits kept in a trace.
const ENDING: usize = 4;

/// What is stored about one message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Trace {
    /// Digests of the gateway's message id: its part that is stable over redeliveries, and the whole id.
    pub(super) ids: Vec<Digest>,
    /// Digest of the sender, by which the trace can be erased.
    pub(super) chat: Option<Digest>,
    /// The last digits of the sender's phone.
    pub(super) ending: Option<String>,
    /// `phone`, `lid` or `bsuid`.
    pub(super) sender: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) uuid: Option<VerificationId>,
    /// Seconds between the gateway's timestamp and our clock.
    pub(super) age: Option<i64>,
}

/// Sends traces to the background writer.
#[derive(Clone)]
pub struct Traces {
    queue: mpsc::Sender<Entry>,
    /// Signals that a reader is waiting for the queue to be written.
    hurry: Arc<Notify>,
}

enum Entry {
    Note(LogEntry),
    /// A reader's request: write all earlier traces, then signal.
    Write(oneshot::Sender<()>),
}

impl Traces {
    /// Returns the queue and the task that writes it. The task ends when all senders are dropped.
    pub fn new(store: Arc<dyn Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let hurry = Arc::new(Notify::new());
        let write = write(store, waiting, Arc::clone(&hurry));
        (Self { queue, hurry }, write)
    }

    /// Drops the trace if the queue is full: the store is slow then, and the traces already queued suffice.
    fn put(&self, note: LogEntry) {
        let _ = self.queue.try_send(Entry::Note(note));
    }

    /// Waits until all earlier traces are written.
    pub(crate) async fn written(&self) {
        let (sender, written) = oneshot::channel();
        if self.queue.send(Entry::Write(sender)).await.is_ok() {
            self.hurry.notify_one();
            let _ = written.await;
        }
    }
}

async fn write(store: Arc<dyn Store>, mut waiting: mpsc::Receiver<Entry>, hurry: Arc<Notify>) {
    let mut batch = Vec::new();
    while let Some(first) = waiting.recv().await {
        // Sleep instead of receiving: waking this task for each trace would cost more than the trace itself.
        if matches!(first, Entry::Note(_)) {
            tokio::select! { () = sleep(GATHER) => {}, () = hurry.notified() => {} }
        }
        let (mut next, mut reader) = (Some(first), None);
        while let Some(entry) = next {
            match entry {
                Entry::Note(note) => batch.push(note),
                Entry::Write(told) => reader = Some(told),
            }
            next = if batch.len() < BATCH && reader.is_none() { waiting.try_recv().ok() } else { None };
        }
        if !batch.is_empty()
            && let Err(error) = store.append_log(&batch).await
        {
            tracing::debug!(%error, "traces were not kept");
        }
        batch.clear();
        reader.map(|told| told.send(()));
    }
}

pub(super) fn journal(instance: InstanceId) -> LogStream {
    LogStream(format!("messages:{}", instance.simple()))
}

fn context(instance: InstanceId) -> String {
    format!("trace:{}", instance.simple())
}

impl Service {
    pub(super) fn trace_of(&self, instance: &Instance, subject: &Subject) -> LookUp {
        self.keys.look_up("trace", instance.config.id, subject.canonical().as_bytes())
    }

    /// The digests under which a gateway's message id is stored.
    pub(super) fn message_look_up(&self, instance: &Instance, id: &str) -> LookUp {
        self.keys.look_up("message", instance.config.id, id.as_bytes())
    }

    /// Queues a trace of a message, unless it was ignored for a reason that explains nothing, such as our own or a
    /// group message.
    pub(super) fn trace(&self, instance: &Instance, event: &WebhookEvent, Received { outcome, record }: Received) {
        if matches!(outcome, Outcome::Ignored(why) if !explains(why)) {
            return;
        }
        let subject = event.sender.subject();
        let ids = [event.stable_id(), event.message_id.as_deref()].into_iter().flatten();
        let ids: Vec<Digest> = ids.map(|id| self.message_look_up(instance, id).current()).collect();
        let partition = ids.first().map_or(Partition::of(0), |id| Partition::of(id.as_bytes()[0]));
        let age = event.timestamp.map(|at| self.now().as_second() - at);
        let trace = Trace {
            ids,
            chat: subject.as_ref().map(|subject| self.trace_of(instance, subject).current()),
            ending: event.sender.phone.as_ref().map(|phone| ending(phone.digits())),
            sender: subject.as_ref().map(|subject| subject.kind().to_owned()),
            outcome,
            uuid: record,
            age,
        };
        let id = instance.config.id;
        let json = serde_json::to_vec(&trace).expect("a trace has only string keys");
        let note =
            LogEntry { partition, stream: journal(id), bytes: self.keys.seal(&context(id), &json, random::bytes()) };
        self.traces.put(note);
    }

    /// Traces of an instance, newest first.
    pub(super) async fn traces(
        &self,
        cx: &RequestContext,
        instance: &Instance,
    ) -> Result<Vec<(Timestamp, Trace, LogEntry)>, ServiceError> {
        self.traces.written().await;
        let id = instance.config.id;
        let notes = cx.store.read_log(&journal(id), MAX_LOG_ENTRIES * usize::from(PARTITIONS)).await?;
        let open = |note: &LogEntry| -> Option<Trace> {
            serde_json::from_slice(&self.keys.open(&context(id), &note.bytes).ok()?).ok()
        };
        Ok(notes.into_iter().filter_map(|(at, note)| Some((at, open(&note)?, note))).collect())
    }
}

fn ending(digits: &str) -> String {
    digits[digits.len().saturating_sub(ENDING)..].to_owned()
}

/// Whether the reason can explain to a sender what happened to the message.
const fn explains(why: IgnoreReason) -> bool {
    match why {
        IgnoreReason::FromMe | IgnoreReason::Group | IgnoreReason::Broadcast | IgnoreReason::Status => false,
        IgnoreReason::Event
        | IgnoreReason::NonText
        | IgnoreReason::Edit
        | IgnoreReason::AnotherNumber
        | IgnoreReason::SendersDiffer
        | IgnoreReason::Sms
        | IgnoreReason::Incomplete => true,
    }
}
