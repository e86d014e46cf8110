//! An authenticated message from a person: find the code, decide, answer once.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Instance, Service, ServiceError, commit::Incoming, limit::LimitBucket};
use crate::{
    domain::{
        Chat, Command, LookUp, Partition, Reason, Sender, Subject, Verdict, Verification, VerificationId,
        decide::{Reply, Sent},
        extract::{Candidates, candidates},
        quota::{Allowance, Name, Quota},
        template,
    },
    gateway::{IgnoreReason, WebhookEvent},
    metrics::label::{ByReason, InstanceLabel},
    store::{CommitOutcome, Locator, RecordId, StoreError},
};

/// Slack of a gateway's clock and its retries, on top of the longest life of a code.
const SLACK: SignedDuration = SignedDuration::from_mins(10);
/// One answer to unknown codes per sender in this time.
const UNKNOWN_REPLIES: Duration = Duration::from_mins(10);

/// What became of one event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Verified,
    /// The person who had verified wrote again; the success reply is repeated.
    Repeated,
    Expired,
    Failed(Reason),
    /// Answered before, perhaps by another replica.
    Duplicate,
    /// Not a message, or one without anything like a code.
    Ignored(&'static str),
}

impl Outcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Repeated => "repeated",
            Self::Expired => "code_expired",
            Self::Failed(reason) => reason.as_str(),
            Self::Duplicate => "duplicate",
            Self::Ignored(why) => why,
        }
    }
}

/// Who wrote, for limits and replies.
struct From<'a> {
    sender: &'a Sender,
    /// Stands for the sender in keys.
    identity: LookUp,
    partition: Partition,
    incoming: Incoming,
}

impl From<'_> {
    /// What is counted for this sender.
    fn bucket(&self, what: &'static str, quota: Quota) -> LimitBucket {
        LimitBucket::new(self.partition, what, self.identity, quota)
    }
}

impl Service {
    /// Handles one event of an authenticated webhook. An error means that it must be delivered again.
    pub async fn receive(&self, instance: &Instance, event: &WebhookEvent) -> Result<Outcome, ServiceError> {
        let mut about = None;
        let outcome = match self.handle(instance, event, &mut about).await {
            // A fail-over lost the record meanwhile, or it was erased: the next delivery finds what is true.
            Err(ServiceError::NotFound) => return Err(StoreError::Unavailable("a record vanished".to_owned()).into()),
            outcome => outcome?,
        };
        self.trace(instance, event, outcome, about);
        let instance = InstanceLabel(instance.config.id);
        match outcome {
            Outcome::Failed(reason) => {
                let reason = reason.as_str();
                self.metrics.attempts_failed.get_or_create(&ByReason { instance, reason }).inc();
                self.vitals.failed(instance.0, "message", reason, self.clock.wall());
            }
            Outcome::Expired => {
                let reason = Reason::CodeExpired.as_str();
                self.metrics.attempts_failed.get_or_create(&ByReason { instance, reason }).inc();
                self.vitals.failed(instance.0, "message", reason, self.clock.wall());
            }
            _ => {}
        }
        if let word @ ("code_unknown" | "no_code") = outcome.as_str() {
            self.metrics.messages_unmatched.get_or_create(&ByReason { instance, reason: word }).inc();
        }
        if let Outcome::Ignored(reason @ ("another_number" | "senders_differ")) = outcome
            && let Some(count) = self.vitals.failed(instance.0, "message", reason, self.clock.wall())
        {
            tracing::warn!(instance = %instance.0, reason, count, "a message verifies nobody");
        }
        Ok(outcome)
    }

    async fn handle(
        &self,
        instance: &Instance,
        event: &WebhookEvent,
        about: &mut Option<VerificationId>,
    ) -> Result<Outcome, ServiceError> {
        let for_us = event.is_for(&*instance.gateway, &instance.config.number);
        if let Some(receipt) = event.receipt.as_ref().filter(|_| for_us) {
            return self.report(instance, receipt).await;
        }
        if let Some(why) = event.ignored {
            return Ok(Outcome::Ignored(why.as_str()));
        }
        if !for_us {
            return Ok(Outcome::Ignored(IgnoreReason::AnotherNumber.as_str()));
        }
        let (Some(text), Some(id), Some(chat_id)) = (&event.text, event.stable_id(), &event.chat_id) else {
            return Ok(Outcome::Ignored("incomplete"));
        };
        if self.is_too_old(instance, event) {
            return Ok(Outcome::Failed(Reason::MessageTooOld));
        }
        let Candidates { codes, edited } = candidates(text, usize::from(instance.config.code_length));
        if codes.is_empty() {
            return Ok(Outcome::Ignored("no_code"));
        }
        let from = self.from(instance, event, id, chat_id);
        let places: Vec<Locator> = codes
            .iter()
            .flat_map(|code| self.keys.link_ids(instance.config.id, code))
            .map(|id| RecordId::from(id).locator())
            .collect();
        let guesses = instance.config.limits.guesses.map(|quota| from.bucket("guesses", quota));
        let peek = guesses.as_ref().map(LimitBucket::oldest);
        let found = self.store.find(peek.as_ref(), &places).await?;
        if matches!(found.allowance, Some(Allowance::Exhausted { .. })) {
            self.count_limit(Name::Guesses);
            return Ok(Outcome::Failed(Reason::RateLimited));
        }
        let mut known: Vec<(Verification, u64)> = Vec::new();
        for stored in found.records.into_iter().flatten() {
            known.extend(self.legible(instance, &stored).await?.map(|record| (record, stored.version)));
        }
        // A place is a shorter digest than a code is long.
        known.retain(|(record, _)| self.code(record).is_some_and(|code| codes.contains(&code)));
        let now = self.now();
        let mut live = known.iter().filter(|(record, _)| record.status(now) == "pending");
        match (live.next(), live.next()) {
            (Some(_), Some(_)) => self.refuse(instance, from, Reason::SeveralCodes).await,
            (Some(one), None) => {
                *about = Some(one.0.id);
                self.matched(instance, from, event, edited, one).await
            }
            // A redelivered message finds the record it has ended, not one beside it that was over before.
            (None, _) => match known.iter().find(|(record, _)| record.status(now) != "expired").or(known.first()) {
                Some(one) => {
                    *about = Some(one.0.id);
                    self.matched(instance, from, event, edited, one).await
                }
                None => {
                    self.all_keys_known().await?;
                    if let Some(bucket) = guesses {
                        self.take(&[&bucket], None).await?;
                    }
                    self.refuse(instance, from, Reason::CodeUnknown).await
                }
            },
        }
    }

    async fn matched(
        &self,
        instance: &Instance,
        mut from: From<'_>,
        event: &WebhookEvent,
        edited: bool,
        (record, version): &(Verification, u64),
    ) -> Result<Outcome, ServiceError> {
        // A link for a LID or a user id needs no phone.
        let asked = record.request.chat.as_ref().map(Chat::subject);
        let sender = match asked {
            Some(Subject::Lid(_) | Subject::Bsuid(_)) => from.sender.clone(),
            _ => self.phones.resolve(instance, from.sender, from.identity.current()).await?,
        };
        from.incoming.subject = sender.subject();
        let push_name = event.push_name.as_deref().and_then(template::person);
        let sent = event.text.as_deref().zip(self.code(record));
        let words = sent.map(|(text, code)| self.words_around(instance, text, &code));
        let changed = record.prefilled.zip(words).is_some_and(|(prefilled, words)| !prefilled.matches(words));
        let text = Sent { edited, changed, weak: event.forgeable };
        let command = Command::Receive { sender, push_name, text, risk: self.risk_of_start(record) };
        let foreseen = crate::domain::decide(record, command.clone(), self.now()).verdict;
        let limits = &instance.config.limits;
        from.incoming.may_reply = match foreseen {
            Verdict::Verified => true,
            Verdict::Repeated => self.may_reply(&from, Name::SuccessReplies, limits.success_replies).await?,
            _ => self.may_reply(&from, Name::FailureReplies, limits.failure_replies).await?,
        };
        let loaded = Some((*version, record.clone()));
        let applied = self.apply(instance, record.id, loaded, command, Some(&from.incoming)).await?;
        if applied.duplicate {
            return Ok(Outcome::Duplicate);
        }
        Ok(match applied.verdict {
            Verdict::Verified => Outcome::Verified,
            Verdict::Repeated => Outcome::Repeated,
            Verdict::Expired => Outcome::Expired,
            Verdict::Failed(reason) => Outcome::Failed(reason),
            _ => Outcome::Ignored("unchanged"),
        })
    }

    /// Nothing matched. Silence, unless a reply is due and the sender's budget allows it.
    async fn refuse(&self, instance: &Instance, from: From<'_>, reason: Reason) -> Result<Outcome, ServiceError> {
        let reply = match reason {
            Reason::SeveralCodes => {
                let quota = instance.config.limits.failure_replies;
                self.may_reply(&from, Name::FailureReplies, quota).await?.then_some(Reply::Failed)
            }
            _ if instance.config.reply_to_unknown => {
                let bucket = from.bucket("unknown", Quota::per(1, UNKNOWN_REPLIES));
                self.allows(&bucket).await?.then_some(Reply::Unknown)
            }
            _ => None,
        };
        if let Some(reply) = reply {
            let sent = self.reply_without_record(instance, from.partition, &from.incoming, reply).await?;
            if sent == CommitOutcome::Duplicate {
                return Ok(Outcome::Duplicate);
            }
        }
        Ok(Outcome::Failed(reason))
    }

    async fn may_reply(&self, from: &From<'_>, name: Name, quota: Option<Quota>) -> Result<bool, ServiceError> {
        let Some(quota) = quota else { return Ok(true) };
        let allowed = self.allows(&from.bucket(name.as_str(), quota)).await?;
        if !allowed {
            self.count_limit(name);
        }
        Ok(allowed)
    }

    async fn allows(&self, bucket: &LimitBucket) -> Result<bool, ServiceError> {
        let admission = self.take(&[bucket], None).await?;
        Ok(matches!(admission.allowances[..], [Allowance::Allowed { .. }]))
    }

    fn from<'a>(&self, instance: &Instance, event: &'a WebhookEvent, id: &str, chat_id: &str) -> From<'a> {
        let subject = event.sender.subject();
        let instance_id = instance.config.id;
        let canonical = subject.as_ref().map_or_else(|| format!("chat:{chat_id}"), Subject::canonical);
        let identity = self.keys.look_up("sender", instance_id, canonical.as_bytes());
        let incoming = Incoming {
            id: self.keys.look_up("message", instance_id, id.as_bytes()),
            chat_id: chat_id.to_owned(),
            subject,
            may_reply: true,
        };
        let partition = self.keys.place("sender", instance_id, canonical.as_bytes());
        From { sender: &event.sender, identity, partition, incoming }
    }

    /// By the gateway's own time; the daemon's message ids are forgotten only long after this.
    fn is_too_old(&self, instance: &Instance, event: &WebhookEvent) -> bool {
        let Some(sent) = event.timestamp.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) else {
            return event.timestamp.is_some();
        };
        let longest = SignedDuration::try_from(instance.config.longest_life()).unwrap_or(SignedDuration::MAX);
        let age = self.now().duration_since(sent);
        age > longest + SLACK || age < -SLACK
    }
}
