//! The part of the protocol for codes that we send: `pending → sent → validated | failed | expired | canceled`.
//! Reached only through [`super::decide()`].

use jiff::{SignedDuration, Timestamp};

use super::{
    decide::{Command, Decision, Effect, Verdict},
    delivery_failure::DeliveryFailure,
    event::Event,
    id::VerificationId,
    reason::Reason,
    sending::{Fate, Leg, MOST_SENDS, Otp},
    timeline::TimelineEvent,
    verification::{State, Verification},
};

/// Between two sends of one code.
pub const COOLDOWN: SignedDuration = SignedDuration::from_secs(60);

/// What can happen to a code, beside what can happen to every verification.
#[derive(Clone, Debug)]
pub enum CodeCommand {
    /// The app presents what a person typed. `claim` is the id that its idempotency key stands for.
    Try { right: bool, claim: Option<VerificationId> },
    /// The app wants the same code to be sent again.
    Resend,
    /// Another code was asked for, for the same chat.
    Replace,
    /// The gateway has taken a message.
    Accepted { leg: usize },
    /// The phone has it.
    Delivered { leg: usize },
    /// It will never have it; the word says why.
    Undelivered { leg: usize, why: DeliveryFailure },
    /// The gateway was asked and did not answer, so that it may have it or not.
    Unknown { leg: usize, why: DeliveryFailure },
}

pub(super) fn decide(before: &Verification, otp: &Otp, command: &Command, now: Timestamp) -> Decision {
    let draft = Draft { next: before.clone(), otp: otp.clone(), effects: Vec::new(), now };
    if let Command::Code(CodeCommand::Try { claim: Some(claim), .. }) = command
        && let Some(outcome) = otp.tried(*claim)
    {
        return draft.unchanged(outcome.map_or_else(Verdict::RepeatedFailure, |()| Verdict::Repeated));
    }
    match before.state {
        State::Pending | State::Sent { .. } => draft.live(command),
        State::Validated { .. } => draft.over(command, Verdict::Failed(Reason::CodeUsed)),
        State::Expired { .. } => draft.over(command, Verdict::Expired),
        State::Failed { reason: Reason::AttemptsExhausted, .. } => {
            draft.over(command, Verdict::Failed(Reason::AttemptsExhausted))
        }
        State::Failed { .. } | State::Canceled { .. } => draft.over(command, Verdict::Failed(Reason::CodeNotActive)),
        State::Verified { .. } => draft.unchanged(Verdict::Refused),
    }
}

struct Draft {
    next: Verification,
    otp: Otp,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Draft {
    fn live(self, command: &Command) -> Decision {
        let expires_at = self.next.expires_at;
        let expired = self.now >= expires_at;
        let mut decision = match command {
            Command::Cancel | Command::Expire if expired => return self.expire(),
            Command::Code(CodeCommand::Try { .. } | CodeCommand::Resend | CodeCommand::Replace) if expired => {
                return self.expire();
            }
            Command::Cancel => self.cancel(TimelineEvent::Canceled),
            Command::Expire | Command::Forget => return self.unchanged(Verdict::Unchanged),
            Command::Receive { .. }
            | Command::Bind { .. }
            | Command::Complete { .. }
            | Command::Tell
            | Command::Finish { .. }
            | Command::Type { .. }
            | Command::Redeem { .. }
            | Command::RedeemCode { .. }
            | Command::Dispute => {
                return self.unchanged(Verdict::Refused);
            }
            Command::Code(command) => match *command {
                CodeCommand::Try { right: true, claim } => self.validate(claim),
                CodeCommand::Try { right: false, claim } => self.miss(claim),
                CodeCommand::Replace => self.cancel(TimelineEvent::Replaced),
                CodeCommand::Resend => self.resend(),
                // How a message fared is true whenever it is heard.
                CodeCommand::Accepted { leg } => return self.arrived(leg, Fate::Accepted),
                CodeCommand::Delivered { leg } => return self.arrived(leg, Fate::Delivered),
                CodeCommand::Undelivered { leg, why } => return self.undelivered(leg, why, expired),
                CodeCommand::Unknown { leg, why } => return self.unknown(leg, why, expired),
            },
        };
        decision.valid_until = Some(expires_at);
        decision
    }

    /// Terminal states absorb.
    fn over(self, command: &Command, verdict: Verdict) -> Decision {
        match command {
            Command::Code(CodeCommand::Try { .. } | CodeCommand::Resend) => self.unchanged(verdict),
            Command::Code(_) | Command::Cancel | Command::Expire => self.unchanged(Verdict::Unchanged),
            Command::Receive { .. }
            | Command::Bind { .. }
            | Command::Complete { .. }
            | Command::Tell
            | Command::Finish { .. }
            | Command::Type { .. }
            | Command::Redeem { .. }
            | Command::RedeemCode { .. }
            | Command::Dispute => self.unchanged(Verdict::Refused),
            Command::Forget => self.forget(),
        }
    }

    fn validate(mut self, claim: Option<VerificationId>) -> Decision {
        self.otp.note_try(claim, None);
        self.end(TimelineEvent::Validated, None, Event::CodeValidated);
        self.next.state = State::Validated { at: self.now };
        self.changed(Verdict::Validated)
    }

    fn miss(mut self, claim: Option<VerificationId>) -> Decision {
        self.next.attempts += 1;
        let is_last = self.next.attempts >= self.next.max_attempts;
        let reason = if is_last { Reason::AttemptsExhausted } else { Reason::CodeWrong };
        self.otp.note_try(claim, Some(reason));
        if !is_last {
            self.next.note(self.now, TimelineEvent::WrongCode, Some(reason));
            return self.changed(Verdict::Failed(reason));
        }
        self.end(TimelineEvent::Failed, Some(reason), Event::CodeFailed);
        self.next.state = State::Failed { at: self.now, reason };
        self.changed(Verdict::Failed(reason))
    }

    fn cancel(mut self, event: TimelineEvent) -> Decision {
        self.end(event, None, Event::CodeCanceled);
        self.next.state = State::Canceled { at: self.now };
        self.changed(Verdict::Canceled)
    }

    fn expire(mut self) -> Decision {
        self.end(TimelineEvent::Expired, Some(Reason::CodeExpired), Event::CodeExpired);
        self.next.state = State::Expired { at: self.now };
        self.changed(Verdict::Expired)
    }

    fn resend(mut self) -> Decision {
        let spent = self.otp.send() >= MOST_SENDS;
        let again = if spent { self.next.expires_at } else { self.otp.asked_at + COOLDOWN };
        if self.now < again {
            return self.unchanged(Verdict::TooSoon(again));
        }
        let Some(channel) = self.otp.first_channel() else { return self.unchanged(Verdict::Refused) };
        self.otp.asked_at = self.now;
        let send = self.otp.send() + 1;
        self.next.note(self.now, TimelineEvent::Resend(send), None);
        self.queue(Leg { send, channel, fate: Fate::Queued });
        self.changed(Verdict::Resent)
    }

    fn queue(&mut self, leg: Leg) {
        self.effects.push(Effect::Code { leg: self.otp.legs.len() });
        self.otp.legs.push(leg);
    }

    /// The app is told once per send, however many channels and reports there were, and in order.
    fn arrived(mut self, index: usize, fate: Fate) -> Decision {
        let Some(leg) = self.otp.legs.get_mut(index) else { return self.unchanged(Verdict::Refused) };
        let news = match leg.fate {
            Fate::Queued | Fate::Unknown => true,
            Fate::Accepted => fate == Fate::Delivered,
            Fate::Delivered | Fate::Failed => false,
        };
        if !news {
            return self.unchanged(Verdict::Unchanged);
        }
        leg.fate = fate;
        let Leg { send, channel, .. } = *leg;
        if matches!(self.next.state, State::Pending) {
            self.next.state = State::Sent { at: self.now };
        }
        if self.otp.tell_sent(send) {
            self.next.note(self.now, TimelineEvent::Sent(channel), None);
            self.effects.push(Effect::CallbackOfSend { event: Event::CodeSent, send });
        }
        if fate == Fate::Delivered && self.otp.tell_delivered(send) {
            self.next.note(self.now, TimelineEvent::Delivered(channel), None);
            self.effects.push(Effect::CallbackOfSend { event: Event::CodeDelivered, send });
        }
        self.changed(Verdict::Unchanged)
    }

    /// Over to the next channel, unless a later send is on its way. When no message is left that could arrive,
    /// the verification ends.
    fn undelivered(mut self, index: usize, why: DeliveryFailure, expired: bool) -> Decision {
        let latest = self.otp.send();
        let Some(leg) = self.otp.legs.get_mut(index) else { return self.unchanged(Verdict::Refused) };
        if matches!(leg.fate, Fate::Failed | Fate::Delivered) {
            return self.unchanged(Verdict::Unchanged);
        }
        let replaced = leg.fate == Fate::Unknown;
        leg.fate = Fate::Failed;
        let Leg { send, channel, .. } = *leg;
        let reason = Reason::ReplyUndeliverable;
        self.next.note(self.now, TimelineEvent::NotDelivered(channel, why), Some(reason));
        match self.otp.next_channel(channel) {
            Some(channel) if send == latest && !expired && !replaced => {
                self.queue(Leg { send, channel, fate: Fate::Queued });
            }
            _ if !expired && self.otp.legs.iter().all(|leg| leg.fate == Fate::Failed) => {
                self.end(TimelineEvent::Failed, Some(reason), Event::CodeFailed);
                self.next.state = State::Failed { at: self.now, reason };
                return self.changed(Verdict::Failed(reason));
            }
            _ => {}
        }
        self.changed(Verdict::Unchanged)
    }

    /// Over to the next channel as well. Without one the verification waits for what the person types.
    fn unknown(mut self, index: usize, why: DeliveryFailure, expired: bool) -> Decision {
        let latest = self.otp.send();
        let Some(leg) = self.otp.legs.get_mut(index) else { return self.unchanged(Verdict::Refused) };
        if leg.fate != Fate::Queued {
            return self.unchanged(Verdict::Unchanged);
        }
        leg.fate = Fate::Unknown;
        let Leg { send, channel, .. } = *leg;
        self.next.note(self.now, TimelineEvent::PerhapsSent(channel, why), None);
        if let Some(channel) = self.otp.next_channel(channel).filter(|_| send == latest && !expired) {
            self.queue(Leg { send, channel, fate: Fate::Queued });
        }
        self.changed(Verdict::Unchanged)
    }

    fn forget(mut self) -> Decision {
        self.next.forget();
        self.otp.footer = None;
        self.changed(Verdict::Forgotten)
    }

    fn end(&mut self, event: TimelineEvent, reason: Option<Reason>, callback: Event) {
        self.next.note(self.now, event, reason);
        self.effects.push(Effect::Callback(callback));
    }

    fn changed(mut self, verdict: Verdict) -> Decision {
        self.next.otp = Some(self.otp);
        Decision { next: Some(self.next), effects: self.effects, verdict, valid_until: None }
    }

    fn unchanged(self, verdict: Verdict) -> Decision {
        Decision { next: None, effects: self.effects, verdict, valid_until: None }
    }
}
