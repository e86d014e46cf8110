//! State machine of a link. Called only through [`crate::domain::Protocol::decide`].
//!
//! Commands that do not apply to the current state leave the record unchanged.

use jiff::Timestamp;

use super::{COMPLETION_WINDOW, Completion, FinishVerdict, Link, LinkCommand, LinkState, LinkVerdict, Proof, Sent};
use crate::domain::{
    Event, Mode, Reason, Sender, TimelineEvent, Verification,
    binding::{Binding, Told},
    decision::{Decision, Draft, Effect, Reply},
    risk::Risk,
};

pub(super) fn decide(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    let silent = matches!(command, LinkCommand::Receive { may_reply: false, .. });
    let mut decision = decide_and_reply(before, command, now);
    if silent && decision.verdict != LinkVerdict::Verified {
        decision.effects.retain(|effect| !matches!(effect, Effect::Reply(_)));
    }
    decision
}

/// Decides as if the reply budget were unlimited.
fn decide_and_reply(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    let draft = Draft::new(before, now);
    match &before.kind.state {
        LinkState::Pending => draft.pending(command),
        LinkState::Verified { proof, completion, .. } => draft.verified(proof.as_ref(), completion, command),
        LinkState::Failed { .. } => draft.over(&command, LinkVerdict::Failed(Reason::CodeNotActive), Reply::Failed),
        LinkState::Canceled { .. } => draft.over(&command, LinkVerdict::Failed(Reason::CodeCanceled), Reply::Failed),
        LinkState::Expired { .. } => draft.over(&command, LinkVerdict::Expired, Reply::Expired),
    }
}

impl Draft<Link> {
    fn pending(mut self, command: LinkCommand) -> Decision<Link> {
        let expires_at = self.next.expires_at;
        let expired = self.is_expired();
        let decision = match command {
            LinkCommand::Receive { .. } if expired => {
                self.effects.push(Effect::Reply(Reply::Expired));
                return self.expire();
            }
            LinkCommand::Cancel | LinkCommand::Expire if expired => return self.expire(),
            LinkCommand::Bind { .. } if expired => return self.unchanged(LinkVerdict::Unchanged),
            LinkCommand::Receive { sender, push_name, text, risk, .. } => self.receive(sender, push_name, text, risk),
            LinkCommand::Bind { binding } => self.bind(binding),
            LinkCommand::Cancel => {
                self.end(TimelineEvent::Canceled, None, Event::LinkCanceled);
                self.next.kind.state = LinkState::Canceled { at: self.now };
                self.changed(LinkVerdict::Canceled)
            }
            LinkCommand::Expire | LinkCommand::Forget => return self.unchanged(LinkVerdict::Unchanged),
            LinkCommand::Finish(_) | LinkCommand::Redeem { .. } | LinkCommand::Dispute => {
                return self.unchanged(FinishVerdict::Refused);
            }
        };
        Decision { valid_until: Some(expires_at), ..decision }
    }

    fn verified(self, proof: Option<&Proof>, completion: &Completion, command: LinkCommand) -> Decision<Link> {
        match command {
            LinkCommand::Receive { sender, .. } => self.again(proof, completion, &sender),
            LinkCommand::Cancel | LinkCommand::Expire | LinkCommand::Bind { .. } => {
                self.unchanged(LinkVerdict::Unchanged)
            }
            LinkCommand::Forget => self.forget(),
            LinkCommand::Finish(command) => self.finish(completion, command),
            LinkCommand::Redeem { token, challenge, claim } => {
                self.redeem(completion, token, challenge.as_deref(), claim)
            }
            LinkCommand::Dispute => self.dispute(proof, completion),
        }
    }

    /// `failed`, `expired` and `canceled`: messages are answered, and the state does not change.
    fn over(mut self, command: &LinkCommand, verdict: LinkVerdict, reply: Reply) -> Decision<Link> {
        match command {
            LinkCommand::Receive { .. } => {
                self.effects.push(Effect::Reply(reply));
                self.unchanged(verdict)
            }
            LinkCommand::Cancel | LinkCommand::Expire | LinkCommand::Bind { .. } => {
                self.unchanged(LinkVerdict::Unchanged)
            }
            LinkCommand::Finish(_) | LinkCommand::Redeem { .. } | LinkCommand::Dispute => {
                self.unchanged(FinishVerdict::Refused)
            }
            LinkCommand::Forget => self.forget(),
        }
    }

    fn receive(mut self, sender: Sender, push_name: Option<String>, text: Sent, risk: Option<Risk>) -> Decision<Link> {
        // A sender whose identity can be forged must not prove a number.
        if text.weak && self.next.request.completion == Some(Mode::ProvePhone) {
            return self.unidentified();
        }
        let bound = self.next.request.chat.as_ref().map(|chat| chat.subject().clone());
        let subject = match (&bound, sender.subject()) {
            (_, None) => None,
            (Some(bound), Some(_)) => match sender.is(bound) {
                None => None,
                // Use the identity that the gateway reported, not the requested one.
                Some(true) => sender.same_kind(bound),
                Some(false) => return self.mismatch(),
            },
            (None, Some(subject)) => Some(subject),
        };
        // A sender whose identity is hidden may be the right one, so this does not count as an attempt.
        let Some(subject) = subject else { return self.unidentified() };
        if text.changed && self.next.request.exact {
            return self.text_changed();
        }
        let event = TimelineEvent::Verified { edited: text.edited, unbound: self.next.is_unbound() };
        self.end(event, None, Event::LinkVerified);
        let elsewhere = self.next.expects_code();
        self.effects.push(Effect::Reply(self.success()));
        let link = &mut self.next.kind;
        link.risk = risk;
        link.text_changed = text.changed;
        link.state = LinkState::Verified {
            at: self.now,
            proof: Some(Proof { subject, sender, push_name }),
            completion: Completion::Offered {
                until: self.now + COMPLETION_WINDOW,
                told: elsewhere.then(|| Told::at(self.now)),
                agreed: false,
            },
        };
        self.changed(LinkVerdict::Verified)
    }

    /// Answers a repeated message after the match.
    fn again(mut self, proof: Option<&Proof>, completion: &Completion, sender: &Sender) -> Decision<Link> {
        let now = self.now;
        let same = proof.is_some_and(|proof| sender.is(&proof.subject) == Some(true));
        let open = match completion {
            Completion::Offered { told: Some(told), .. } if self.next.expects_code() => told.is_live(now),
            Completion::Offered { until, .. } => now < *until,
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. } => false,
        };
        if same && open {
            self.effects.push(Effect::Reply(self.success()));
            return self.unchanged(LinkVerdict::Repeated);
        }
        self.effects.push(Effect::Reply(Reply::Failed));
        self.unchanged(LinkVerdict::Failed(Reason::CodeUsed))
    }

    /// The reply to a message that proves the code.
    fn success(&self) -> Reply {
        if self.next.expects_code() {
            Reply::OtherDevice
        } else if self.next.finishes_by_itself() {
            Reply::Proved
        } else {
            Reply::Success
        }
    }

    /// The sender may have read a different text than the one they are asked to confirm; the reply contains a link to
    /// it.
    fn text_changed(mut self) -> Decision<Link> {
        let reason = Reason::TextChanged;
        self.next.note(self.now, TimelineEvent::Message, Some(reason));
        self.effects.push(Effect::Reply(Reply::TextChanged));
        self.changed(LinkVerdict::Failed(reason))
    }

    fn unidentified(mut self) -> Decision<Link> {
        let reason = Reason::SenderUnidentified;
        self.next.note(self.now, TimelineEvent::Message, Some(reason));
        self.effects.push(Effect::Reply(Reply::Unidentified));
        self.changed(LinkVerdict::Failed(reason))
    }

    /// Another chat sent the code. The link remains valid for the right chat until the attempts are exhausted.
    fn mismatch(mut self) -> Decision<Link> {
        let why = Reason::SenderMismatch;
        self.next.attempts += 1;
        self.effects.push(Effect::Reply(Reply::Failed));
        if self.next.attempts < self.next.max_attempts {
            self.next.note(self.now, TimelineEvent::Message, Some(why));
        } else {
            let reason = if self.next.max_attempts == 1 { why } else { Reason::AttemptsExhausted };
            self.end(TimelineEvent::Failed, Some(reason), Event::LinkFailed);
            self.next.kind.state = LinkState::Failed { at: self.now, reason };
        }
        self.changed(LinkVerdict::Failed(why))
    }

    /// A later tap replaces an earlier one until the match. The timeline keeps only the last of several consecutive
    /// taps, so they leave room for later events.
    fn bind(mut self, binding: Binding) -> Decision<Link> {
        let same =
            |held: &Binding| held.place == binding.place && !held.gently && held.browser.matches(binding.browser);
        if self.next.kind.binding.as_ref().is_some_and(|held| binding.gently || same(held)) {
            return self.unchanged(LinkVerdict::Unchanged);
        }
        if self.next.timeline.last().is_some_and(|last| matches!(last.event, TimelineEvent::Tapped(_))) {
            self.next.timeline.pop();
        }
        self.next.note(self.now, TimelineEvent::Tapped(binding.place), None);
        self.next.kind.binding = Some(binding);
        self.changed(LinkVerdict::Bound)
    }

    fn expire(mut self) -> Decision<Link> {
        self.end(TimelineEvent::Expired, Some(Reason::CodeExpired), Event::LinkExpired);
        self.next.kind.state = LinkState::Expired { at: self.now };
        self.changed(LinkVerdict::Expired)
    }

    fn forget(mut self) -> Decision<Link> {
        self.next.request.erase();
        self.next.kind.erase();
        self.changed(LinkVerdict::Forgotten)
    }
}
