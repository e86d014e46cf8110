//! What a message does to the link whose code it contains.

use crate::{
    domain::{
        Chat, Reason, StateMachine as _, Subject, Verification,
        link::{Link, LinkCommand, LinkVerdict, MessageChecks, MessageText},
        quota::LimitName,
        template,
    },
    gateway::WebhookEvent,
    service::{
        Inbound, Outcome, RequestContext, ServiceError,
        inbound::message_origin::MessageOrigin,
        verifications::{Loaded, WriteOutcome},
    },
};

impl Inbound {
    pub(super) async fn apply_message(
        &self,
        cx: &RequestContext,
        loaded: Loaded<Link>,
        mut origin: MessageOrigin<'_>,
        event: &WebhookEvent,
        edited: bool,
    ) -> Result<Outcome, ServiceError> {
        let Loaded { instance, record, .. } = &loaded;
        // A link for a LID or a business-scoped user id needs no phone number.
        let requested_chat = record.request.chat.as_ref().map(Chat::subject);
        let sender = match requested_chat {
            Some(Subject::Lid(_) | Subject::Bsuid(_)) => origin.sender.clone(),
            Some(Subject::Phone(_)) | None => {
                self.lid_resolver.resolve(cx, instance, origin.sender, origin.identity.current()).await?
            }
        };
        origin.incoming.subject = sender.subject();
        let push_name = event.push_name.as_deref().and_then(template::sanitize_name);
        let text = self.message_text(record, event);
        let checks = MessageChecks { brackets_missing: edited, text, forgeable: event.forgeable };
        let risk = self.login_facts.risk_at_start(record);
        let command = |may_reply| {
            let (sender, push_name, risk) = (sender.clone(), push_name.clone(), risk.clone());
            LinkCommand::Receive { sender, push_name, checks, risk, may_reply }
        };
        let limits = &instance.config.limits;
        let verdict = Link::decide(record, command(true), cx.now()).verdict;
        if verdict == LinkVerdict::Failed(Reason::SenderUnidentified) {
            self.await_number(cx, instance, event, record, text != MessageText::Prefilled || edited).await?;
        }
        let may_reply = match verdict {
            // A successful verification and a rejection are always answered.
            LinkVerdict::Verified | LinkVerdict::Rejected => true,
            LinkVerdict::Repeated => {
                self.take_reply_quota(cx, &origin, LimitName::SuccessReplies, limits.success_replies).await?
            }
            LinkVerdict::Failed(_)
            | LinkVerdict::Expired
            | LinkVerdict::Canceled
            | LinkVerdict::Bound
            | LinkVerdict::Erased
            | LinkVerdict::Unchanged
            | LinkVerdict::Finish(_) => {
                self.take_reply_quota(cx, &origin, LimitName::FailureReplies, limits.failure_replies).await?
            }
        };
        let command = command(may_reply);
        let applied = self.verifications.apply(cx, loaded, command, Some(&origin.incoming)).await?;
        if applied.write == WriteOutcome::Duplicate {
            return Ok(Outcome::Duplicate);
        }
        Ok(match applied.verdict {
            LinkVerdict::Verified => Outcome::Verified,
            LinkVerdict::Rejected => Outcome::Failed(Reason::Rejected),
            LinkVerdict::Repeated => Outcome::Repeated,
            LinkVerdict::Expired => Outcome::Failed(Reason::CodeExpired),
            LinkVerdict::Failed(reason) => Outcome::Failed(reason),
            LinkVerdict::Canceled
            | LinkVerdict::Bound
            | LinkVerdict::Erased
            | LinkVerdict::Unchanged
            | LinkVerdict::Finish(_) => Outcome::Unchanged,
        })
    }

    /// Compares the words around the code with the prefilled ones. A record without their digest takes any.
    fn message_text(&self, record: &Verification<Link>, event: &WebhookEvent) -> MessageText {
        let (Some(text), Some(code)) = (event.text.as_deref(), record.link_code(&self.keys)) else {
            return MessageText::Prefilled;
        };
        let digest = |text: &str| record.digest_without_code(&self.keys, text, &code);
        let sent = digest(text);
        if record.details.prefilled.is_none_or(|prefilled| prefilled.matches(sent)) {
            MessageText::Prefilled
        } else if record.request.approval.as_ref().is_some_and(|asked| digest(&asked.rejecting(&code)).matches(sent)) {
            MessageText::Rejection
        } else {
            MessageText::Changed
        }
    }
}
