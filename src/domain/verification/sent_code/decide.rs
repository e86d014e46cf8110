//! State machine of a sent code. Called only through [`crate::domain::StateMachine::decide`].

use jiff::Timestamp;

use super::{COOLDOWN, ChannelMessage, ClaimId, CodeCommand, CodeState, CodeVerdict, MAX_SENDS, SentCode};
use crate::domain::{
    Event, Reason, TimelineEvent, Verification,
    decision::{Decision, Transition},
};

pub(super) fn decide(before: &Verification<SentCode>, command: CodeCommand, now: Timestamp) -> Decision<SentCode> {
    let draft = Transition::new(before, now);
    let code = &before.details;
    if let CodeCommand::Validate { claim: Some(claim), .. } = command
        && let Some(outcome) = code.delivery.attempt_under(claim)
    {
        return draft.unchanged(match outcome {
            Ok(()) => CodeVerdict::Repeated,
            Err((reason, attempts)) => CodeVerdict::RepeatedFailure { reason, attempts },
        });
    }
    match code.state {
        CodeState::Pending | CodeState::Sent { .. } if draft.is_expired() => draft.handle_expired(command),
        CodeState::Pending | CodeState::Sent { .. } => draft.handle_open(command),
        CodeState::Validated { .. } => draft.handle_terminal(command, CodeVerdict::Failed(Reason::CodeUsed)),
        CodeState::Expired { .. } => draft.handle_terminal(command, CodeVerdict::Expired),
        CodeState::Failed { reason: reason @ Reason::AttemptsExhausted, .. } => {
            draft.handle_terminal(command, CodeVerdict::Failed(reason))
        }
        CodeState::Failed { .. } | CodeState::Canceled { .. } => {
            draft.handle_terminal(command, CodeVerdict::Failed(Reason::CodeNotActive))
        }
    }
}

impl Transition<SentCode> {
    fn handle_open(self, command: CodeCommand) -> Decision<SentCode> {
        let valid_until = Some(self.next.expires_at);
        let decision = match command {
            CodeCommand::Validate { correct: true, claim } => self.validate(claim),
            CodeCommand::Validate { correct: false, claim } => self.record_wrong_code(claim),
            CodeCommand::Resend => self.resend(),
            CodeCommand::Replace => self.cancel(TimelineEvent::Replaced),
            CodeCommand::Cancel => self.cancel(TimelineEvent::Canceled),
            CodeCommand::Expire | CodeCommand::Erase => return self.unchanged(CodeVerdict::Unchanged),
            // A delivery report is valid at any time, so it needs no deadline.
            CodeCommand::Report { message, report } => return self.apply_report(message, report),
        };
        Decision { valid_until, ..decision }
    }

    /// The code expired, but the record does not say so yet.
    fn handle_expired(self, command: CodeCommand) -> Decision<SentCode> {
        match command {
            CodeCommand::Validate { .. }
            | CodeCommand::Resend
            | CodeCommand::Replace
            | CodeCommand::Cancel
            | CodeCommand::Expire => self.expire(),
            CodeCommand::Erase => self.unchanged(CodeVerdict::Unchanged),
            CodeCommand::Report { message, report } => self.apply_report(message, report),
        }
    }

    /// Terminal states do not change; only personal data can be erased.
    fn handle_terminal(self, command: CodeCommand, verdict: CodeVerdict) -> Decision<SentCode> {
        match command {
            CodeCommand::Validate { .. } | CodeCommand::Resend => self.unchanged(verdict),
            CodeCommand::Replace | CodeCommand::Cancel | CodeCommand::Expire | CodeCommand::Report { .. } => {
                self.unchanged(CodeVerdict::Unchanged)
            }
            CodeCommand::Erase => self.erase(),
        }
    }

    fn validate(mut self, claim: Option<ClaimId>) -> Decision<SentCode> {
        self.next.details.delivery.record_attempt(claim, None, self.next.attempts);
        self.record_end(TimelineEvent::Validated, None, Event::CodeValidated);
        self.next.details.state = CodeState::Validated { at: self.now };
        self.changed(CodeVerdict::Validated)
    }

    fn record_wrong_code(mut self, claim: Option<ClaimId>) -> Decision<SentCode> {
        let earlier = self.next.attempts;
        self.next.attempts += 1;
        let is_last = self.next.attempts >= self.next.max_attempts;
        let reason = if is_last { Reason::AttemptsExhausted } else { Reason::CodeWrong };
        self.next.details.delivery.record_attempt(claim, Some(reason), earlier);
        if is_last {
            return self.fail(reason);
        }
        self.next.add_event(self.now, TimelineEvent::WrongCode, Some(reason));
        self.changed(CodeVerdict::Failed(reason))
    }

    pub(super) fn fail(mut self, reason: Reason) -> Decision<SentCode> {
        self.record_end(TimelineEvent::Failed, Some(reason), Event::CodeFailed);
        self.next.details.state = CodeState::Failed { at: self.now, reason };
        self.changed(CodeVerdict::Failed(reason))
    }

    fn cancel(mut self, event: TimelineEvent) -> Decision<SentCode> {
        self.record_end(event, None, Event::CodeCanceled);
        self.next.details.state = CodeState::Canceled { at: self.now };
        self.changed(CodeVerdict::Canceled)
    }

    fn expire(mut self) -> Decision<SentCode> {
        self.record_end(TimelineEvent::Expired, Some(Reason::CodeExpired), Event::CodeExpired);
        self.next.details.state = CodeState::Expired { at: self.now };
        self.changed(CodeVerdict::Expired)
    }

    fn resend(mut self) -> Decision<SentCode> {
        let otp = &self.next.details.delivery;
        let spent = otp.send() >= MAX_SENDS;
        let again = if spent { self.next.expires_at } else { otp.requested_at + COOLDOWN };
        if self.now < again {
            return self.unchanged(CodeVerdict::TooSoon(again));
        }
        let Some(channel) = otp.first_channel() else { return self.unchanged(CodeVerdict::Refused) };
        let send = otp.send() + 1;
        self.next.details.delivery.requested_at = self.now;
        self.next.add_event(self.now, TimelineEvent::Resend(send), None);
        self.queue_message(ChannelMessage::queued(send, channel));
        self.changed(CodeVerdict::Resent)
    }

    fn erase(mut self) -> Decision<SentCode> {
        self.next.request.erase();
        self.next.details.erase();
        self.changed(CodeVerdict::Erased)
    }
}
