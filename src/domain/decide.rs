//! The whole protocol: what a command does to a verification.

mod finish;

use jiff::Timestamp;

use super::{
    binding::{Binding, Told},
    decide_code::{self, CodeCommand},
    event::Event,
    id::VerificationId,
    keys::Digest,
    reason::Reason,
    risk::Risk,
    subject::Sender,
    verification::{COMPLETION_WINDOW, Completion, Mode, Proof, State, Verification},
};

/// What can happen to a verification.
#[derive(Clone, Debug)]
pub enum Command {
    /// A message with this verification's code arrived.
    Receive { sender: Sender, push_name: Option<String>, text: Sent, risk: Option<Risk> },
    /// The app changed its mind.
    Cancel,
    /// The timer rang.
    Expire,
    /// Somebody is about to send the message from the start page, or the page itself is.
    Bind { binding: Binding },
    /// Somebody tapped the button behind the link; `token` is the digest of the redeem token to hand out. Like typing and
    /// finishing, it can be repeated by the same browser while such a token lives, because an answer can be lost.
    /// A wrong browser is told the reply code, where `may_tell`.
    Complete { token: Digest, browser: Option<Digest>, may_tell: bool, risk: Option<Risk> },
    /// Somebody behind the link says that the login was started elsewhere: the reply code may be shown.
    Tell,
    /// The waiting page of somebody who is signed in already goes on by itself.
    Finish { token: Digest, browser: Option<Digest>, risk: Option<Risk> },
    /// The reply code was typed on the start page; `right` says whether it was this one.
    Type { token: Digest, browser: Option<Digest>, right: bool, risk: Option<Risk> },
    /// The app's server presents a redeem token, and the S256 challenge of its verifier if it sent one. `claim` is the
    /// id that its idempotency key stands for.
    Redeem { token: Digest, challenge: Option<String>, claim: Option<VerificationId> },
    /// The app's server presents the reply code that was typed on a page of its own. `risk`: of the browser that typed it,
    /// where the app names it.
    RedeemCode { right: bool, challenge: Option<String>, claim: Option<VerificationId>, risk: Option<Risk> },
    /// "This wasn't me."
    Dispute,
    /// The person's data is no longer needed.
    Forget,
    /// What happens only to codes.
    Code(CodeCommand),
}

/// What is to be known of a message beside its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// The brackets around the code were lost.
    pub edited: bool,
    /// The words around the code are others than the prefilled ones.
    pub changed: bool,
    /// The sender could be made up.
    pub weak: bool,
}

/// What must leave the process because of a decision. Committed with it, as jobs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Effect {
    Reply(Reply),
    Callback(Event),
    /// Tell the app of the `send`-th send of a code.
    CallbackOfSend {
        event: Event,
        send: u16,
    },
    /// Send the code, as this leg of its record says.
    Code {
        leg: usize,
    },
}

/// Which text answers in the chat.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    Success,
    /// The message came from another device than the one that waits: a code to type there, and no link.
    OtherDevice,
    /// The waiting page goes on by itself: nothing to tap.
    Proved,
    /// Another text than the prefilled one held the code: the link again.
    TextChanged,
    Failed,
    Expired,
    /// WhatsApp hid the number that this verification needs.
    Unidentified,
    /// Nobody minted this code.
    Unknown,
}

impl Reply {
    /// Whether somebody waits for it, in front of a page.
    pub const fn is_expected(self) -> bool {
        matches!(self, Self::Success | Self::OtherDevice | Self::Proved | Self::TextChanged)
    }
}

/// What the caller is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// This chat has proved the code, just now.
    Verified,
    /// It was done before, and whoever did it asks again: the same answer.
    Repeated,
    /// It failed before, and whoever tried asks again: the same answer, and nothing is counted.
    RepeatedFailure(Reason),
    Failed(Reason),
    Expired,
    Canceled,
    /// The tap is kept.
    Bound,
    Completed,
    /// The browser that completed it has asked again, and gets a further redeem token.
    CompletedAgain,
    /// Somebody has agreed behind the link, and another browser waits to go on.
    Agreed,
    /// The reply code may be shown to whoever asked.
    Told,
    /// Another browser started this, and it alone may finish.
    WrongBrowser,
    /// A try of the reply code is gone.
    WrongCode,
    Redeemed,
    Disputed,
    Forgotten,
    /// Nothing to do, and nothing wrong: the state already says so, or it is too early.
    Unchanged,
    /// The one use is over.
    Gone,
    /// Wrong token or wrong verifier.
    Refused,
    /// The code was typed, just now.
    Validated,
    /// The code is sent again.
    Resent,
    /// Not before this time.
    TooSoon(Timestamp),
}

/// The value of [`decide`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// The new record, or `None` when nothing about it changes.
    pub next: Option<Verification>,
    pub effects: Vec<Effect>,
    pub verdict: Verdict,
    /// The first instant at which this decision would have been another one. The store compares it with its
    /// own clock, so that no replica's clock or pause decides about expiry.
    pub valid_until: Option<Timestamp>,
}

/// What `command` does to `before` at `now`. Terminal states absorb: nothing leaves `verified`, `failed`,
/// `expired` or `canceled`, and only a dispute leaves `redeemed` or `lapsed`.
pub fn decide(before: &Verification, command: Command, now: Timestamp) -> Decision {
    if let Some(otp) = &before.otp {
        return decide_code::decide(before, otp, &command, now);
    }
    let draft = Draft { next: before.clone(), effects: Vec::new(), now };
    match &before.state {
        State::Pending => draft.pending(command),
        State::Verified { proof, completion, .. } => draft.verified(proof.as_ref(), completion, command),
        State::Failed { .. } => draft.over(&command, Verdict::Failed(Reason::CodeNotActive), Reply::Failed),
        State::Canceled { .. } => draft.over(&command, Verdict::Failed(Reason::CodeCanceled), Reply::Failed),
        State::Expired { .. } => draft.over(&command, Verdict::Expired, Reply::Expired),
        State::Sent { .. } | State::Validated { .. } => draft.unchanged(Verdict::Refused),
    }
}

struct Draft {
    next: Verification,
    effects: Vec<Effect>,
    now: Timestamp,
}

impl Draft {
    fn pending(mut self, command: Command) -> Decision {
        let expires_at = self.next.expires_at;
        let expired = self.now >= expires_at;
        let mut decision = match command {
            Command::Receive { .. } if expired => {
                self.effects.push(Effect::Reply(Reply::Expired));
                return self.expire();
            }
            Command::Cancel | Command::Expire if expired => return self.expire(),
            // A number that is to be proved is not proved by what anybody can forge.
            Command::Receive { text: Sent { weak: true, .. }, .. }
                if self.next.request.completion == Some(Mode::ProvePhone) =>
            {
                self.unidentified()
            }
            Command::Receive { sender, push_name, text, risk } => self.receive(sender, push_name, text, risk),
            Command::Cancel => {
                self.end("canceled", None, Event::LinkCanceled);
                self.next.state = State::Canceled { at: self.now };
                self.changed(Verdict::Canceled)
            }
            Command::Bind { .. } if expired => return self.unchanged(Verdict::Unchanged),
            Command::Bind { binding } => self.bind(binding),
            Command::Expire | Command::Forget => return self.unchanged(Verdict::Unchanged),
            Command::Complete { .. }
            | Command::Tell
            | Command::Finish { .. }
            | Command::Type { .. }
            | Command::Redeem { .. }
            | Command::RedeemCode { .. }
            | Command::Dispute
            | Command::Code(_) => return self.unchanged(Verdict::Refused),
        };
        decision.valid_until = Some(expires_at);
        decision
    }

    fn receive(mut self, sender: Sender, push_name: Option<String>, text: Sent, risk: Option<Risk>) -> Decision {
        let bound = self.next.request.chat.as_ref().map(|chat| chat.subject().clone());
        let subject = match (&bound, sender.subject()) {
            (_, None) => None,
            (Some(bound), Some(_)) => match sender.is(bound) {
                None => None,
                // Not what was asked for: what the gateway reported.
                Some(true) => sender.same_kind(bound),
                Some(false) => return self.mismatch(),
            },
            (None, Some(subject)) => Some(subject),
        };
        // A sender who hides the needed identity may well be the right one, so it costs no attempt.
        let Some(subject) = subject else { return self.unidentified() };
        if text.changed && self.next.request.exact {
            return self.text_changed();
        }
        let what = match (text.edited, self.next.is_unbound()) {
            (false, false) => "verified",
            (true, false) => "verified (edited text)",
            (false, true) => "verified (unbound)",
            (true, true) => "verified (edited text, unbound)",
        };
        self.end(what, None, Event::LinkVerified);
        let elsewhere = self.next.expects_code();
        self.effects.push(Effect::Reply(self.success()));
        self.next.risk = risk;
        self.next.text_changed = text.changed;
        self.next.state = State::Verified {
            at: self.now,
            proof: Some(Proof { subject, sender, push_name }),
            completion: Completion::Offered {
                until: self.now + COMPLETION_WINDOW,
                told: elsewhere.then(|| Told::at(self.now)),
                agreed: false,
            },
        };
        self.changed(Verdict::Verified)
    }

    /// What the right message is answered with.
    fn success(&self) -> Reply {
        match () {
            () if self.next.expects_code() => Reply::OtherDevice,
            () if self.next.finishes_by_itself() => Reply::Proved,
            () => Reply::Success,
        }
    }

    /// Whoever wrote may have read something else than what is agreed to; the link shows it.
    fn text_changed(mut self) -> Decision {
        let reason = Reason::TextChanged;
        self.next.note(self.now, "message", Some(reason));
        self.effects.push(Effect::Reply(Reply::TextChanged));
        self.changed(Verdict::Failed(reason))
    }

    fn unidentified(mut self) -> Decision {
        let reason = Reason::SenderUnidentified;
        self.next.note(self.now, "message", Some(reason));
        self.effects.push(Effect::Reply(Reply::Unidentified));
        self.changed(Verdict::Failed(reason))
    }

    /// Somebody else sent the code. It stays alive for its owner until too many have tried.
    fn mismatch(mut self) -> Decision {
        let why = Reason::SenderMismatch;
        self.next.attempts += 1;
        self.effects.push(Effect::Reply(Reply::Failed));
        if self.next.attempts < self.next.max_attempts {
            self.next.note(self.now, "message", Some(why));
        } else {
            let reason = if self.next.max_attempts == 1 { why } else { Reason::AttemptsExhausted };
            self.end("failed", Some(reason), Event::LinkFailed);
            self.next.state = State::Failed { at: self.now, reason };
        }
        self.changed(Verdict::Failed(why))
    }

    /// The last tap of a person wins; the match freezes it.
    fn bind(mut self, binding: Binding) -> Decision {
        let same =
            |held: &Binding| held.place == binding.place && !held.gently && held.browser.matches(binding.browser);
        if self.next.binding.as_ref().is_some_and(|held| binding.gently || same(held)) {
            return self.unchanged(Verdict::Unchanged);
        }
        self.next.note_tap(self.now, binding.place);
        self.next.binding = Some(binding);
        self.changed(Verdict::Bound)
    }

    fn expire(mut self) -> Decision {
        self.end("expired", Some(Reason::CodeExpired), Event::LinkExpired);
        self.next.state = State::Expired { at: self.now };
        self.changed(Verdict::Expired)
    }

    /// `failed`, `expired` and `canceled`: every message gets its answer, nothing changes.
    fn over(mut self, command: &Command, verdict: Verdict, reply: Reply) -> Decision {
        match command {
            Command::Receive { .. } => {
                self.effects.push(Effect::Reply(reply));
                self.unchanged(verdict)
            }
            Command::Cancel | Command::Expire | Command::Bind { .. } => self.unchanged(Verdict::Unchanged),
            Command::Complete { .. }
            | Command::Tell
            | Command::Finish { .. }
            | Command::Type { .. }
            | Command::Redeem { .. }
            | Command::RedeemCode { .. }
            | Command::Dispute
            | Command::Code(_) => self.unchanged(Verdict::Refused),
            Command::Forget => self.forget(),
        }
    }

    fn forget(mut self) -> Decision {
        self.next.forget();
        self.changed(Verdict::Forgotten)
    }

    fn end(&mut self, what: &str, reason: Option<Reason>, event: Event) {
        self.next.note(self.now, what, reason);
        self.effects.push(Effect::Callback(event));
    }

    fn changed(self, verdict: Verdict) -> Decision {
        Decision { next: Some(self.next), effects: self.effects, verdict, valid_until: None }
    }

    fn unchanged(self, verdict: Verdict) -> Decision {
        Decision { next: None, effects: self.effects, verdict, valid_until: None }
    }
}
