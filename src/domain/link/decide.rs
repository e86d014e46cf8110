//! State machine of a link. Called only through [`crate::domain::StateMachine::decide`].
//!
//! Commands that do not apply to the current state leave the record unchanged.

use jiff::Timestamp;

use super::{
    COMPLETION_WINDOW, Completion, FinishVerdict, Link, LinkCommand, LinkState, LinkVerdict, MessageChecks, Proof,
};
use crate::domain::{
    Event, Mode, Reason, Sender, Subject, TimelineEvent, Verification,
    binding::{Binding, ReplyCodeState},
    decision::{Decision, Effect, Reply, Transition},
    risk::Risk,
};

pub(super) fn decide(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    let silent = matches!(command, LinkCommand::Receive { may_reply: false, .. });
    let mut decision = decide_with_replies(before, command, now);
    if silent && decision.verdict != LinkVerdict::Verified {
        decision.effects.retain(|effect| !matches!(effect, Effect::Reply(_)));
    }
    decision
}

/// Decides as if the reply budget were unlimited.
fn decide_with_replies(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    let draft = Transition::new(before, now);
    match &before.details.state {
        LinkState::Pending => draft.handle_pending(command),
        LinkState::Verified { proof, completion, .. } => draft.handle_verified(proof.as_ref(), completion, command),
        LinkState::Failed { .. } => {
            draft.handle_terminal(&command, LinkVerdict::Failed(Reason::CodeNotActive), Reply::Failed)
        }
        LinkState::Canceled { .. } => {
            draft.handle_terminal(&command, LinkVerdict::Failed(Reason::CodeCanceled), Reply::Failed)
        }
        LinkState::Expired { .. } => draft.handle_terminal(&command, LinkVerdict::Expired, Reply::Expired),
    }
}

impl Transition<Link> {
    fn handle_pending(mut self, command: LinkCommand) -> Decision<Link> {
        let expires_at = self.next.expires_at;
        let expired = self.is_expired();
        let decision = match command {
            LinkCommand::Receive { .. } if expired => {
                self.effects.push(Effect::Reply(Reply::Expired));
                return self.expire();
            }
            LinkCommand::Cancel | LinkCommand::Expire if expired => return self.expire(),
            LinkCommand::BindBrowser { .. } if expired => return self.unchanged(LinkVerdict::Unchanged),
            LinkCommand::Receive { sender, push_name, checks: text, risk, .. } => {
                self.receive(sender, push_name, text, risk)
            }
            LinkCommand::BindBrowser { binding } => self.bind(binding),
            LinkCommand::Cancel => {
                self.record_end(TimelineEvent::Canceled, None, Event::LinkCanceled);
                self.next.details.state = LinkState::Canceled { at: self.now };
                self.changed(LinkVerdict::Canceled)
            }
            LinkCommand::Expire | LinkCommand::Erase => return self.unchanged(LinkVerdict::Unchanged),
            LinkCommand::Finish(_) | LinkCommand::Redeem { .. } | LinkCommand::Exchange(_) | LinkCommand::Dispute => {
                return self.unchanged(FinishVerdict::Refused);
            }
        };
        Decision { valid_until: Some(expires_at), ..decision }
    }

    fn handle_verified(self, proof: Option<&Proof>, completion: &Completion, command: LinkCommand) -> Decision<Link> {
        match command {
            LinkCommand::Receive { sender, .. } => self.handle_repeated_message(proof, completion, &sender),
            LinkCommand::Cancel | LinkCommand::Expire | LinkCommand::BindBrowser { .. } => {
                self.unchanged(LinkVerdict::Unchanged)
            }
            LinkCommand::Erase => self.forget(),
            LinkCommand::Finish(command) => self.finish(completion, command),
            LinkCommand::Redeem { token, challenge, claim } => {
                self.redeem(completion, token, challenge.as_deref(), claim)
            }
            LinkCommand::Exchange(exchange) => self.exchange(completion, &exchange),
            LinkCommand::Dispute => self.dispute(proof, completion),
        }
    }

    /// `failed`, `expired` and `canceled`: messages are answered, and the state does not change.
    fn handle_terminal(mut self, command: &LinkCommand, verdict: LinkVerdict, reply: Reply) -> Decision<Link> {
        match command {
            LinkCommand::Receive { .. } => {
                self.effects.push(Effect::Reply(reply));
                self.unchanged(verdict)
            }
            LinkCommand::Cancel | LinkCommand::Expire | LinkCommand::BindBrowser { .. } => {
                self.unchanged(LinkVerdict::Unchanged)
            }
            LinkCommand::Finish(_) | LinkCommand::Redeem { .. } | LinkCommand::Exchange(_) | LinkCommand::Dispute => {
                self.unchanged(FinishVerdict::Refused)
            }
            LinkCommand::Erase => self.forget(),
        }
    }

    fn receive(
        mut self,
        sender: Sender,
        push_name: Option<String>,
        text: MessageChecks,
        risk: Option<Risk>,
    ) -> Decision<Link> {
        // A sender whose identity can be forged must not prove a number.
        let authorization = self.next.request.authorization.as_ref();
        if text.forgeable && (authorization.is_some() || self.next.request.completion == Some(Mode::ProvePhone)) {
            return self.reject_unidentified();
        }
        let needs_phone = authorization.is_some_and(|authorization| !authorization.allow_hidden);
        let bound = self.next.request.chat.as_ref().map(|chat| chat.subject().clone());
        let subject = match (&bound, sender.subject()) {
            (_, None) => None,
            (Some(bound), Some(_)) => match sender.matches(bound) {
                None => None,
                // Use the identity that the gateway reported, not the requested one.
                Some(true) => sender.same_kind(bound),
                Some(false) => return self.reject_wrong_sender(),
            },
            (None, Some(subject)) => Some(subject),
        };
        // A sender whose identity is hidden may be the correct one, so this does not count as an attempt.
        let Some(subject) = subject.filter(|subject| !needs_phone || matches!(subject, Subject::Phone(_))) else {
            return self.reject_unidentified();
        };
        if text.text_changed && self.next.request.exact {
            return self.reject_changed_text();
        }
        let event = TimelineEvent::Verified { edited: text.brackets_missing, unbound: self.next.is_unbound() };
        self.record_end(event, None, Event::LinkVerified);
        let elsewhere = self.next.needs_reply_code();
        self.effects.push(Effect::Reply(self.success_reply()));
        let link = &mut self.next.details;
        link.risk = risk;
        link.text_changed = text.text_changed;
        link.state = LinkState::Verified {
            at: self.now,
            proof: Some(Proof { subject, sender, push_name }),
            completion: Completion::Offered {
                until: self.now + COMPLETION_WINDOW,
                reply_code: elsewhere.then(|| ReplyCodeState::new(self.now)),
                agreed: false,
            },
        };
        self.changed(LinkVerdict::Verified)
    }

    /// Answers a repeated message after the match.
    fn handle_repeated_message(
        mut self,
        proof: Option<&Proof>,
        completion: &Completion,
        sender: &Sender,
    ) -> Decision<Link> {
        let now = self.now;
        let same = proof.is_some_and(|proof| sender.matches(&proof.subject) == Some(true));
        let open = match completion {
            Completion::Offered { reply_code: Some(reply_code), .. } if self.next.needs_reply_code() => {
                reply_code.is_live(now)
            }
            Completion::Offered { until, .. } => now < *until,
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. } => false,
        };
        if same && open {
            self.effects.push(Effect::Reply(self.success_reply()));
            return self.unchanged(LinkVerdict::Repeated);
        }
        self.effects.push(Effect::Reply(Reply::Failed));
        self.unchanged(LinkVerdict::Failed(Reason::CodeUsed))
    }

    /// The reply to a message that proves the code.
    fn success_reply(&self) -> Reply {
        if self.next.needs_reply_code() {
            Reply::WithCode
        } else if self.next.finishes_automatically() {
            Reply::NoActionNeeded
        } else {
            Reply::Success
        }
    }

    /// The sender may have read a different text than the one they are asked to confirm; the reply contains a link to
    /// it.
    fn reject_changed_text(mut self) -> Decision<Link> {
        let reason = Reason::TextChanged;
        self.next.add_event(self.now, TimelineEvent::Message, Some(reason));
        self.effects.push(Effect::Reply(Reply::TextChanged));
        self.changed(LinkVerdict::Failed(reason))
    }

    fn reject_unidentified(mut self) -> Decision<Link> {
        let reason = Reason::SenderUnidentified;
        self.next.add_event(self.now, TimelineEvent::Message, Some(reason));
        self.effects.push(Effect::Reply(Reply::Unidentified));
        self.changed(LinkVerdict::Failed(reason))
    }

    /// Another chat sent the code. The link remains valid for the correct chat until the attempts are exhausted.
    fn reject_wrong_sender(mut self) -> Decision<Link> {
        let why = Reason::SenderMismatch;
        self.next.attempts += 1;
        self.effects.push(Effect::Reply(Reply::Failed));
        if self.next.attempts < self.next.max_attempts {
            self.next.add_event(self.now, TimelineEvent::Message, Some(why));
        } else {
            let reason = if self.next.max_attempts == 1 { why } else { Reason::AttemptsExhausted };
            self.record_end(TimelineEvent::Failed, Some(reason), Event::LinkFailed);
            self.next.details.state = LinkState::Failed { at: self.now, reason };
        }
        self.changed(LinkVerdict::Failed(why))
    }

    /// A later tap replaces an earlier one until the match. The timeline keeps only the last of several consecutive
    /// taps, so they leave room for later events.
    ///
    /// For a client of the OpenID provider the browser never changes: only the one that the authorization request came
    /// from may get the code. It can still say that WhatsApp is on another device.
    fn bind(mut self, binding: Binding) -> Decision<Link> {
        let is_frozen = self.next.request.authorization.is_some();
        if is_frozen && !self.next.details.binding.as_ref().is_some_and(|held| held.browser.matches(binding.browser)) {
            return self.unchanged(LinkVerdict::Unchanged);
        }
        let same = |held: &Binding| {
            held.whatsapp_device == binding.whatsapp_device && !held.automatic && held.browser.matches(binding.browser)
        };
        if self.next.details.binding.as_ref().is_some_and(|held| binding.automatic || same(held)) {
            return self.unchanged(LinkVerdict::Unchanged);
        }
        if self.next.timeline.last().is_some_and(|last| matches!(last.event, TimelineEvent::Tapped(_))) {
            self.next.timeline.pop();
        }
        self.next.add_event(self.now, TimelineEvent::Tapped(binding.whatsapp_device), None);
        self.next.details.binding = Some(binding);
        self.changed(LinkVerdict::Bound)
    }

    fn expire(mut self) -> Decision<Link> {
        self.record_end(TimelineEvent::Expired, Some(Reason::CodeExpired), Event::LinkExpired);
        self.next.details.state = LinkState::Expired { at: self.now };
        self.changed(LinkVerdict::Expired)
    }

    fn forget(mut self) -> Decision<Link> {
        self.next.request.erase();
        self.next.details.erase();
        self.changed(LinkVerdict::Erased)
    }
}
