//! Turns a decision into one atomic change, and commits it.

use jiff::Timestamp;

use super::{loaded::Loaded, outbox::InboundMessage};
use crate::{
    domain::{Decision, Effect, StateMachine, Verification},
    jobs::payload,
    service::{
        RequestContext, ServiceError,
        verifications::{MAX_COMMIT_ATTEMPTS, Verifications},
    },
    store::{Change, CommitOutcome, Job, StoreError},
};

/// Result of a command.
pub(in crate::service) struct CommandOutcome<K: StateMachine> {
    pub(in crate::service) verdict: K::Verdict,
    /// The record after the command.
    pub(in crate::service) record: Verification<K>,
    pub(in crate::service) write: WriteOutcome,
}

/// Whether a command wrote anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::service) enum WriteOutcome {
    /// The decision was to change nothing.
    Unchanged,
    Committed,
    /// The gateway message had been answered before; nothing was written.
    Duplicate,
}

impl Verifications {
    /// Decides and commits. After a conflict, loads the record and decides again, for at most `MAX_COMMIT_ATTEMPTS` rounds.
    pub(in crate::service) async fn apply<K: StateMachine>(
        &self,
        cx: &RequestContext,
        mut loaded: Loaded<K>,
        command: K::Command,
        incoming: Option<&InboundMessage>,
    ) -> Result<CommandOutcome<K>, ServiceError> {
        let id = loaded.record.id;
        cx.set_verification(id);
        let mut now = cx.now();
        for _ in 0..MAX_COMMIT_ATTEMPTS {
            let mut decision = K::decide(&loaded.record, command.clone(), now);
            let verdict = decision.verdict;
            if decision.next.is_none() && decision.effects.is_empty() {
                return Ok(CommandOutcome { verdict, record: loaded.record, write: WriteOutcome::Unchanged });
            }
            if let Some(next) = &mut decision.next {
                cx.attribute(next, loaded.record.timeline.len());
            }
            let change = self.change_for(&loaded, &decision, incoming, now);
            let after = decision.next.as_ref().unwrap_or(&loaded.record);
            match self.outbox.commit_with_record(cx, change, Some(after), now).await? {
                CommitOutcome::Applied { .. } => {
                    if let Some(next) = &decision.next {
                        self.funnel.count(Some(&loaded.record), next);
                    }
                    let record = decision.next.unwrap_or(loaded.record);
                    return Ok(CommandOutcome { verdict, record, write: WriteOutcome::Committed });
                }
                CommitOutcome::Duplicate => {
                    return Ok(CommandOutcome { verdict, record: loaded.record, write: WriteOutcome::Duplicate });
                }
                CommitOutcome::Conflict | CommitOutcome::Collision => {
                    (loaded.version, loaded.record) = self.load_as(cx, id).await?;
                    now = cx.now();
                }
                CommitOutcome::Late(at) => {
                    (loaded.version, loaded.record) = self.load_as(cx, id).await?;
                    now = at;
                }
            }
        }
        Err(StoreError::Unavailable("too many conflicting changes".to_owned()).into())
    }

    pub(in crate::service) fn change_for<K: StateMachine>(
        &self,
        loaded: &Loaded<K>,
        decision: &Decision<K>,
        incoming: Option<&InboundMessage>,
        now: Timestamp,
    ) -> Change {
        let Loaded { instance, record: before, version } = loaded;
        let after = decision.next.as_ref().unwrap_or(before);
        let ends = before.ended_at().is_none() && after.ended_at().is_some();
        let jobs: Vec<Job> = decision
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Callback(event) => {
                    let id = payload::callback_id(before.id, *event);
                    self.outbox.callback_job(instance, after, *event, id, 0, now)
                }
                Effect::CallbackForSend { event, send } => {
                    let id = payload::callback_of_send_id(before.id, *event, *send);
                    self.outbox.callback_job(instance, after, *event, id, u32::from(*send), now)
                }
                Effect::SendCode { message } => Some(self.outbox.code_job(instance, after, *message)),
                Effect::Reply(reply) => {
                    incoming.map(|incoming| self.outbox.reply_job(instance, Some(before.id), incoming, *reply))
                }
            })
            .collect();
        let mut record = self.record_change(instance, after, *version);
        if decision.next.is_none() {
            record.bytes = None;
        }
        record.indexes = match after.proof() {
            Some(proof) if ends && after.request.chat.is_none() => self.chat_indexes(instance, &proof.subject),
            Some(_) | None => Vec::new(),
        };
        if ends {
            record.timer = Some(crate::service::retention::after_end(instance, after, now));
        }
        Change::of(record).answers(incoming.map(|incoming| incoming.id)).jobs(jobs).valid_until(decision.valid_until)
    }
}
