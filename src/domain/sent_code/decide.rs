//! State machine of a sent code. Called only through [`crate::domain::Protocol::decide`].

use jiff::Timestamp;

use super::{COOLDOWN, ClaimId, CodeCommand, CodeState, CodeVerdict, Leg, MOST_SENDS, SentCode};
use crate::domain::{
    Event, Reason, TimelineEvent, Verification,
    decision::{Decision, Draft},
};

pub(super) fn decide(before: &Verification<SentCode>, command: CodeCommand, now: Timestamp) -> Decision<SentCode> {
    let draft = Draft::new(before, now);
    let code = &before.kind;
    if let CodeCommand::Try { claim: Some(claim), .. } = command
        && let Some(outcome) = code.otp.tried(claim)
    {
        return draft.unchanged(outcome.map_or_else(CodeVerdict::RepeatedFailure, |()| CodeVerdict::Repeated));
    }
    match code.state {
        CodeState::Pending | CodeState::Sent { .. } if draft.is_expired() => draft.late(command),
        CodeState::Pending | CodeState::Sent { .. } => draft.live(command),
        CodeState::Validated { .. } => draft.over(command, CodeVerdict::Failed(Reason::CodeUsed)),
        CodeState::Expired { .. } => draft.over(command, CodeVerdict::Expired),
        CodeState::Failed { reason: reason @ Reason::AttemptsExhausted, .. } => {
            draft.over(command, CodeVerdict::Failed(reason))
        }
        CodeState::Failed { .. } | CodeState::Canceled { .. } => {
            draft.over(command, CodeVerdict::Failed(Reason::CodeNotActive))
        }
    }
}

impl Draft<SentCode> {
    fn live(self, command: CodeCommand) -> Decision<SentCode> {
        let valid_until = Some(self.next.expires_at);
        let decision = match command {
            CodeCommand::Try { right: true, claim } => self.validate(claim),
            CodeCommand::Try { right: false, claim } => self.miss(claim),
            CodeCommand::Resend => self.resend(),
            CodeCommand::Replace => self.cancel(TimelineEvent::Replaced),
            CodeCommand::Cancel => self.cancel(TimelineEvent::Canceled),
            CodeCommand::Expire | CodeCommand::Forget => return self.unchanged(CodeVerdict::Unchanged),
            // A delivery report is valid at any time, so it needs no deadline.
            CodeCommand::Report { leg, report } => return self.reported(leg, report),
        };
        Decision { valid_until, ..decision }
    }

    /// The code expired, but the record does not say so yet.
    fn late(self, command: CodeCommand) -> Decision<SentCode> {
        match command {
            CodeCommand::Try { .. }
            | CodeCommand::Resend
            | CodeCommand::Replace
            | CodeCommand::Cancel
            | CodeCommand::Expire => self.expire(),
            CodeCommand::Forget => self.unchanged(CodeVerdict::Unchanged),
            CodeCommand::Report { leg, report } => self.reported(leg, report),
        }
    }

    /// Terminal states do not change; only personal data can be erased.
    fn over(self, command: CodeCommand, verdict: CodeVerdict) -> Decision<SentCode> {
        match command {
            CodeCommand::Try { .. } | CodeCommand::Resend => self.unchanged(verdict),
            CodeCommand::Replace | CodeCommand::Cancel | CodeCommand::Expire | CodeCommand::Report { .. } => {
                self.unchanged(CodeVerdict::Unchanged)
            }
            CodeCommand::Forget => self.forget(),
        }
    }

    fn validate(mut self, claim: Option<ClaimId>) -> Decision<SentCode> {
        self.next.kind.otp.note_try(claim, None);
        self.end(TimelineEvent::Validated, None, Event::CodeValidated);
        self.next.kind.state = CodeState::Validated { at: self.now };
        self.changed(CodeVerdict::Validated)
    }

    fn miss(mut self, claim: Option<ClaimId>) -> Decision<SentCode> {
        self.next.attempts += 1;
        let is_last = self.next.attempts >= self.next.max_attempts;
        let reason = if is_last { Reason::AttemptsExhausted } else { Reason::CodeWrong };
        self.next.kind.otp.note_try(claim, Some(reason));
        if is_last {
            return self.fail(reason);
        }
        self.next.note(self.now, TimelineEvent::WrongCode, Some(reason));
        self.changed(CodeVerdict::Failed(reason))
    }

    pub(super) fn fail(mut self, reason: Reason) -> Decision<SentCode> {
        self.end(TimelineEvent::Failed, Some(reason), Event::CodeFailed);
        self.next.kind.state = CodeState::Failed { at: self.now, reason };
        self.changed(CodeVerdict::Failed(reason))
    }

    fn cancel(mut self, event: TimelineEvent) -> Decision<SentCode> {
        self.end(event, None, Event::CodeCanceled);
        self.next.kind.state = CodeState::Canceled { at: self.now };
        self.changed(CodeVerdict::Canceled)
    }

    fn expire(mut self) -> Decision<SentCode> {
        self.end(TimelineEvent::Expired, Some(Reason::CodeExpired), Event::CodeExpired);
        self.next.kind.state = CodeState::Expired { at: self.now };
        self.changed(CodeVerdict::Expired)
    }

    fn resend(mut self) -> Decision<SentCode> {
        let otp = &self.next.kind.otp;
        let spent = otp.send() >= MOST_SENDS;
        let again = if spent { self.next.expires_at } else { otp.asked_at + COOLDOWN };
        if self.now < again {
            return self.unchanged(CodeVerdict::TooSoon(again));
        }
        let Some(channel) = otp.first_channel() else { return self.unchanged(CodeVerdict::Refused) };
        let send = otp.send() + 1;
        self.next.kind.otp.asked_at = self.now;
        self.next.note(self.now, TimelineEvent::Resend(send), None);
        self.queue(Leg::queued(send, channel));
        self.changed(CodeVerdict::Resent)
    }

    fn forget(mut self) -> Decision<SentCode> {
        self.next.request.erase();
        self.next.kind.erase();
        self.changed(CodeVerdict::Forgotten)
    }
}
