//! State machine of a link. Called only through [`crate::domain::StateMachine::decide`].
//!
//! Commands that do not apply to the current state leave the record unchanged.

use jiff::Timestamp;

use super::{
    COMPLETION_WINDOW, Completion, FinishVerdict, Link, LinkCommand, LinkState, LinkVerdict, MessageChecks,
    MessageText, Proof,
};
use crate::domain::{
    Event, Mode, Reason, Sender, Subject, TimelineEvent, Verification,
    binding::{Binding, ReplyCodeState},
    decision::{Decision, Effect, Reply, Transition},
    risk::Risk,
};

pub(super) fn decide(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    // The first success is always answered, and so is a rejection. The verdict may differ from the dry run in which the
    // caller took from the sender's quota of replies.
    let suppress_reply = matches!(command, LinkCommand::Receive { may_reply: false, .. });
    let mut decision = decide_with_replies(before, command, now);
    if suppress_reply && !matches!(decision.verdict, LinkVerdict::Verified | LinkVerdict::Rejected) {
        decision.effects.retain(|effect| !matches!(effect, Effect::Reply(_)));
    }
    decision
}

/// Computes the decision without regard to the quota of replies.
fn decide_with_replies(before: &Verification<Link>, command: LinkCommand, now: Timestamp) -> Decision<Link> {
    let transition = Transition::new(before, now);
    match &before.details.state {
        LinkState::Pending => transition.handle_pending(command),
        LinkState::Verified { proof, completion, .. } => {
            transition.handle_verified(proof.as_ref(), completion, command)
        }
        LinkState::Failed { reason, .. } => {
            // A person who has rejected is told so again, whichever answer they send.
            let rejected = *reason == Reason::Rejected && is_from_expected_chat(before, &command);
            let reply = if rejected { Reply::Rejected } else { Reply::Failed };
            transition.handle_terminal(&command, LinkVerdict::Failed(Reason::CodeNotActive), reply)
        }
        LinkState::Canceled { .. } => {
            transition.handle_terminal(&command, LinkVerdict::Failed(Reason::CodeCanceled), Reply::Failed)
        }
        LinkState::Expired { .. } => transition.handle_terminal(&command, LinkVerdict::Expired, Reply::Expired),
    }
}

/// Whether the command is a message from the chat that the request names.
fn is_from_expected_chat(record: &Verification<Link>, command: &LinkCommand) -> bool {
    let LinkCommand::Receive { sender, .. } = command else { return false };
    record.request.chat.as_ref().is_some_and(|chat| sender.matches(chat.subject()) == Some(true))
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
            LinkCommand::Receive { sender, push_name, checks, risk, .. } => {
                self.receive(sender, push_name, checks, risk)
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
            LinkCommand::Receive { sender, checks, .. } => {
                self.handle_repeated_message(proof, completion, &sender, checks.text)
            }
            LinkCommand::Cancel | LinkCommand::Expire | LinkCommand::BindBrowser { .. } => {
                self.unchanged(LinkVerdict::Unchanged)
            }
            LinkCommand::Erase => self.erase(),
            LinkCommand::Finish(command) => self.finish(completion, command),
            LinkCommand::Redeem { token, challenge, claim } => {
                self.redeem(completion, token, challenge.as_deref(), claim)
            }
            LinkCommand::Exchange(exchange) => self.exchange(completion, &exchange),
            LinkCommand::Dispute => self.dispute(proof, completion),
        }
    }

    /// Handles commands in the states `failed`, `expired` and `canceled`. Messages get a reply; only `Erase` changes the
    /// record.
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
            LinkCommand::Erase => self.erase(),
        }
    }

    fn receive(
        mut self,
        sender: Sender,
        push_name: Option<String>,
        checks: MessageChecks,
        risk: Option<Risk>,
    ) -> Decision<Link> {
        // A sender whose identity can be forged must not prove a number: with prove_phone the message alone completes the
        // login, and a client of the OpenID provider trusts the number.
        let authorization = self.next.request.authorization.as_ref();
        if checks.forgeable && (authorization.is_some() || self.next.request.completion == Some(Mode::ProvePhone)) {
            return self.reject_unidentified();
        }
        let needs_phone = authorization.is_some_and(|authorization| !authorization.allow_hidden);
        let expected = self.next.request.chat.as_ref().map(|chat| chat.subject().clone());
        let subject = match (&expected, sender.subject()) {
            (_, None) => None,
            (Some(expected), Some(_)) => match sender.matches(expected) {
                None => None,
                // Use the identity that the gateway reported, not the requested one.
                Some(true) => sender.same_kind(expected),
                Some(false) => return self.reject_wrong_sender(),
            },
            (None, Some(subject)) => Some(subject),
        };
        // The gateway hid the sender's identity. It may be the expected sender, so this does not count as an attempt.
        let Some(subject) = subject.filter(|subject| !needs_phone || matches!(subject, Subject::Phone(_))) else {
            return self.reject_unidentified();
        };
        match checks.text {
            MessageText::Rejection => return self.reject_request(),
            MessageText::Changed if self.next.request.exact => return self.reject_changed_text(),
            MessageText::Changed | MessageText::Prefilled => {}
        }
        let event = TimelineEvent::Verified { edited: checks.brackets_missing, unbound: self.next.is_unbound() };
        self.record_end(event, None, Event::LinkVerified);
        self.effects.push(Effect::Reply(self.success_reply()));
        let completion = if self.next.request.approval.is_some() {
            Completion::NotOffered
        } else {
            Completion::Offered {
                until: self.now + COMPLETION_WINDOW,
                reply_code: self.next.needs_reply_code().then(|| ReplyCodeState::new(self.now)),
                agreed: false,
            }
        };
        let link = &mut self.next.details;
        link.risk = risk;
        link.text_changed = checks.text == MessageText::Changed;
        link.state =
            LinkState::Verified { at: self.now, proof: Some(Proof { subject, sender, push_name }), completion };
        self.changed(LinkVerdict::Verified)
    }

    /// Handles a message that arrives after the link has been verified. A later rejection does not withdraw an approval;
    /// its reply says what was decided.
    fn handle_repeated_message(
        mut self,
        proof: Option<&Proof>,
        completion: &Completion,
        sender: &Sender,
        text: MessageText,
    ) -> Decision<Link> {
        let now = self.now;
        let same = proof.is_some_and(|proof| sender.matches(&proof.subject) == Some(true));
        let open = match completion {
            Completion::Offered { reply_code: Some(reply_code), .. } if self.next.needs_reply_code() => {
                reply_code.is_live(now)
            }
            Completion::Offered { until, .. } => now < *until,
            Completion::NotOffered => true,
            Completion::Released { .. }
            | Completion::Redeemed { .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. } => false,
        };
        if same && open {
            self.effects.push(Effect::Reply(self.success_reply()));
            return self.unchanged(match text {
                MessageText::Rejection => LinkVerdict::Failed(Reason::CodeUsed),
                MessageText::Prefilled | MessageText::Changed => LinkVerdict::Repeated,
            });
        }
        self.effects.push(Effect::Reply(Reply::Failed));
        self.unchanged(LinkVerdict::Failed(Reason::CodeUsed))
    }

    /// The reply to a message that verifies the link.
    fn success_reply(&self) -> Reply {
        if self.next.request.approval.is_some() {
            Reply::Approved
        } else if self.next.needs_reply_code() {
            Reply::WithCode
        } else if self.next.finishes_automatically() {
            Reply::NoActionNeeded
        } else {
            Reply::Success
        }
    }

    /// Ends a request for an approval, because the person rejects what it asks.
    fn reject_request(mut self) -> Decision<Link> {
        let reason = Reason::Rejected;
        self.record_end(TimelineEvent::Failed, Some(reason), Event::LinkFailed);
        self.effects.push(Effect::Reply(Reply::Rejected));
        self.next.details.state = LinkState::Failed { at: self.now, reason };
        self.changed(LinkVerdict::Rejected)
    }

    /// Rejects a message whose text was changed: the sender may not have seen the text that they are asked to confirm.
    /// The reply links to that text.
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

    /// Handles a code sent from the wrong chat. The link stays valid for the expected chat until `max_attempts` is
    /// reached. If only one attempt is allowed, the reason names the wrong sender, because nothing was exhausted by
    /// repetition.
    fn reject_wrong_sender(mut self) -> Decision<Link> {
        let reason = Reason::SenderMismatch;
        self.next.attempts += 1;
        self.effects.push(Effect::Reply(Reply::Failed));
        if self.next.attempts < self.next.max_attempts {
            self.next.add_event(self.now, TimelineEvent::Message, Some(reason));
        } else {
            let end = if self.next.max_attempts == 1 { reason } else { Reason::AttemptsExhausted };
            self.record_end(TimelineEvent::Failed, Some(end), Event::LinkFailed);
            self.next.details.state = LinkState::Failed { at: self.now, reason: end };
        }
        self.changed(LinkVerdict::Failed(reason))
    }

    /// Records the browser that tapped. Until the link is verified, a later tap replaces an earlier one. Consecutive
    /// taps collapse into one timeline entry because the timeline is bounded.
    ///
    /// For a client of the OpenID provider the browser never changes: only the one that the authorization request came
    /// from may get the code. It can still say that WhatsApp is on another device.
    fn bind(mut self, binding: Binding) -> Decision<Link> {
        let is_frozen = self.next.request.authorization.is_some();
        if is_frozen && !self.next.details.binding.as_ref().is_some_and(|held| held.browser.matches(binding.browser)) {
            return self.unchanged(LinkVerdict::Unchanged);
        }
        let same = |current: &Binding| {
            current.whatsapp_device == binding.whatsapp_device
                && !current.automatic
                && current.browser.matches(binding.browser)
        };
        if self.next.details.binding.as_ref().is_some_and(|current| binding.automatic || same(current)) {
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

    fn erase(mut self) -> Decision<Link> {
        self.next.request.erase();
        self.next.details.erase();
        self.changed(LinkVerdict::Erased)
    }
}
