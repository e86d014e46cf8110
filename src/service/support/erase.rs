//! Erasure of personal data on request: removes everything kept about a chat.

use std::collections::HashSet;

use crate::{
    api::explanation::Removed,
    domain::{Chat, Event, Partition, Subject, Verification, VerificationId, keys::Digest},
    jobs::payload::{self, JobPayload},
    service::{
        Instance, RequestContext, ServiceError, Support,
        messages::{malformed_stream, message_stream},
        verifications::{callback_url, created_at},
    },
    store::{Index, JobId, JobState, Lane, Position, StoredRecord, archive::Removal},
};

/// Records of one chat read at a time.
const PAGE_SIZE: usize = 100;
/// Most jobs of one instance searched, per state.
const MAX_JOBS: usize = 50_000;

/// Receivers that were sent data about a person, and the jobs that sent it.
#[derive(Default)]
struct DataRecipients {
    receivers: HashSet<Lane>,
    jobs: Vec<JobId>,
}

impl Support {
    /// Removes everything kept about a chat of this instance. Pending verifications are removed without a callback.
    pub async fn erase(&self, cx: &RequestContext, instance: &Instance, chat: &Chat) -> Result<Removed, ServiceError> {
        let mut erased = Removed { requests: 0, jobs: 0, messages: 0 };
        let mut recipients = DataRecipients::default();
        let lists = self.verifications.chat_indexes(instance, chat.subject());
        let mut after = None;
        loop {
            let page = cx.store.list(&lists, after.as_ref(), PAGE_SIZE).await?;
            let Some(last) = page.last() else { break };
            after = Some(Position { created_at: created_at(last), id: last.id });
            for stored in &page {
                let Some(record) = self.verifications.decode_or_report(instance, stored) else {
                    cx.store.remove(&sealed_removal(instance, stored, &lists)).await?;
                    erased.requests += 1;
                    continue;
                };
                if stored.id == last.id {
                    after = Some(Position { created_at: record.created_at, id: stored.id });
                }
                let removal = self.removal(instance, &record, &lists);
                cx.store.remove(&removal).await?;
                let urls = Event::ALL.iter().filter_map(|event| callback_url(instance, &record.request, *event));
                recipients.receivers.extend(urls.map(|url| self.outbox.callback_lane(instance, url)));
                recipients.jobs.extend(removal.jobs);
                erased.requests += 1;
            }
        }
        erased.jobs = self.erase_jobs(cx, instance, chat.subject(), &mut recipients).await?;
        self.erase_responses(cx, instance, &recipients).await?;
        erased.messages = self.erase_log_entries(cx, instance, chat.subject()).await?;
        erased.messages += self.erase_malformed(cx, instance, chat.subject()).await?;
        if let Subject::Phone(phone) = chat.subject() {
            self.lid_resolver.remove(phone);
        }
        tracing::info!(instance = %instance.config.id, ?erased, "a chat was erased");
        Ok(erased)
    }

    fn removal(&self, instance: &Instance, record: &Verification, lists: &[Index]) -> Removal {
        let mut indexes = self.verifications.indexes(instance, record);
        indexes.extend(lists.iter().filter(|list| !indexes.contains(list)).cloned().collect::<Vec<_>>());
        let mut jobs = payload::callback_ids(record);
        jobs.extend(record.request.approval.as_ref().map(|_| payload::approval_id(record.id)));
        let messages = record.as_code().map_or(0, |code| code.delivery.messages.len() + code.delivery.channels.len());
        jobs.extend((0..messages).map(|message| payload::code_id(record.id, message)));
        let removal = Removal::new(instance.config.id, record.id.partition());
        Removal { record: Some((record.id.into(), indexes)), jobs, ..removal }
    }

    /// Removes callbacks and replies that name the person, including those whose record is gone or never existed.
    async fn erase_jobs(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        subject: &Subject,
        recipients: &mut DataRecipients,
    ) -> Result<usize, ServiceError> {
        let mut removals: Vec<Removal> =
            Partition::all().map(|partition| Removal::new(instance.config.id, partition)).collect();
        let mut erased = 0;
        for state in [JobState::Waiting, JobState::Delivered, JobState::Dead] {
            for job in cx.store.jobs(instance.config.id, state, MAX_JOBS).await? {
                // A job that no key opens discloses nothing, and can stay.
                if JobPayload::open(&self.keys, instance.config.id, &job.id, &job.body)
                    .is_ok_and(|work| work.is_about(subject))
                {
                    recipients.receivers.insert(job.lane);
                    recipients.jobs.push(job.id.clone());
                    removals[usize::from(job.partition.index())].jobs.push(job.id);
                    erased += 1;
                }
            }
        }
        let chats: Vec<String> = spellings(subject)
            .iter()
            .flat_map(|chat_id| self.outbox.chat_look_up(instance, chat_id).all())
            .map(Digest::hex)
            .collect();
        for mut removal in removals {
            removal.groups = chats.clone();
            removal.lanes = vec![Lane::replies(instance.config.id), Lane::notices(instance.config.id)];
            cx.store.remove(&removal).await?;
        }
        Ok(erased)
    }

    /// Responses of receivers may repeat what callbacks contained.
    async fn erase_responses(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        recipients: &DataRecipients,
    ) -> Result<(), ServiceError> {
        for receiver in &recipients.receivers {
            for (stream, entry) in self.responses.responses_to(cx, receiver, &recipients.jobs).await? {
                let mut removal = Removal::new(instance.config.id, entry.partition);
                removal.log_entries.push((stream, entry.bytes));
                cx.store.remove(&removal).await?;
            }
        }
        Ok(())
    }

    async fn erase_log_entries(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        subject: &Subject,
    ) -> Result<usize, ServiceError> {
        let stream = message_stream(instance.config.id);
        let about = self.message_log.sender_look_up(instance, subject);
        let mut erased = 0;
        for (_, message, entry) in self.message_log.read(cx, instance).await? {
            if message.chat.is_some_and(|chat| about.contains(chat)) {
                let mut removal = Removal::new(instance.config.id, entry.partition);
                removal.log_entries.push((stream.clone(), entry.bytes));
                cx.store.remove(&removal).await?;
                erased += 1;
            }
        }
        Ok(erased)
    }

    async fn erase_malformed(
        &self,
        cx: &RequestContext,
        instance: &Instance,
        subject: &Subject,
    ) -> Result<usize, ServiceError> {
        let kept = self.malformed.read(cx, instance).await?.into_iter();
        let mut erased = 0;
        for (_, _, entry) in kept.filter(|(_, webhook, _)| webhook.names(subject)) {
            let mut removal = Removal::new(instance.config.id, entry.partition);
            removal.log_entries.push((malformed_stream(instance.config.id), entry.bytes));
            cx.store.remove(&removal).await?;
            erased += 1;
        }
        Ok(erased)
    }
}

/// Removal of a record that cannot be decrypted here: covers what follows from its id alone.
fn sealed_removal(instance: &Instance, stored: &StoredRecord, lists: &[Index]) -> Removal {
    let id = VerificationId::from(stored.id);
    let indexes = [std::slice::from_ref(&Index::all(instance.config.id)), lists].concat();
    let jobs = Event::ALL.iter().map(|event| payload::callback_id(id, *event)).collect();
    Removal { record: Some((stored.id, indexes)), jobs, ..Removal::new(instance.config.id, id.partition()) }
}

/// Ids by which gateways may name this chat.
fn spellings(subject: &Subject) -> Vec<String> {
    match subject {
        Subject::Phone(phone) => {
            let names = |digits: String| {
                let suffixed = ["", "@c.us", "@s.whatsapp.net", "@hosted"].map(|suffix| format!("{digits}{suffix}"));
                let prefixed = ["+", "whatsapp:+"].map(|prefix| format!("{prefix}{digits}"));
                suffixed.into_iter().chain(prefixed)
            };
            phone.spellings().into_iter().flat_map(names).collect()
        }
        Subject::Lid(_) | Subject::Bsuid(_) => vec![subject.chat_id(), subject.value()],
    }
}

impl JobPayload {
    /// Whether the job names this person.
    fn is_about(&self, subject: &Subject) -> bool {
        let names = |chat_id: &str| chat_id.parse::<Chat>().is_ok_and(|chat| chat.subject() == subject);
        match self {
            Self::Callback(job) => {
                let body: serde_json::Value = serde_json::from_str(&job.body).unwrap_or_default();
                let data = &body["data"];
                let value = subject.value();
                data["subject"]["value"] == value.as_str() || data["chat_id"].as_str().is_some_and(names)
            }
            Self::Reply(job) => job.subject.as_ref() == Some(subject) || names(&job.chat_id),
            // Names only its record, which is removed already.
            Self::Code(_) | Self::Approval(_) => false,
        }
    }
}
