//! The whole protocol: what a command does to a verification.

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::{
    decide_code::{self, CodeCommand},
    event::Event,
    keys::Digest,
    reason::Reason,
    subject::Sender,
    verification::{COMPLETION_WINDOW, Completion, Proof, REDEEM_MISSES, REDEEM_WINDOW, State, Verification},
};

/// What can happen to a verification.
#[derive(Clone, Debug)]
pub enum Command {
    /// A message with this verification's code arrived.
    Receive { sender: Sender, push_name: Option<String>, edited: bool },
    /// The app changed its mind.
    Cancel,
    /// The timer rang.
    Expire,
    /// Somebody tapped the button behind the link; `token` is the digest of the redeem token to hand out.
    Complete { token: Digest },
    /// The app's server presents a redeem token, and the S256 challenge of its verifier if it sent one.
    Redeem { token: Digest, challenge: Option<String> },
    /// "This wasn't me."
    Dispute,
    /// The person's data is no longer needed.
    Forget,
    /// What happens only to codes.
    Code(CodeCommand),
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
    Failed,
    Expired,
    /// WhatsApp hid the number that this verification needs.
    Unidentified,
    /// Nobody minted this code.
    Unknown,
}

/// What the caller is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// This chat has proved the code, just now.
    Verified,
    /// The same chat had proved it already; the reply is repeated.
    Repeated,
    Failed(Reason),
    Expired,
    Canceled,
    Completed,
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
/// `expired` or `canceled`, and nothing leaves `redeemed`, `lapsed` or `disputed`.
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
            Command::Receive { sender, push_name, edited } => self.receive(sender, push_name, edited),
            Command::Cancel => {
                self.end("canceled", None, Event::LinkCanceled);
                self.next.state = State::Canceled { at: self.now };
                self.changed(Verdict::Canceled)
            }
            Command::Expire | Command::Forget => return self.unchanged(Verdict::Unchanged),
            Command::Complete { .. } | Command::Redeem { .. } | Command::Dispute | Command::Code(_) => {
                return self.unchanged(Verdict::Refused);
            }
        };
        decision.valid_until = Some(expires_at);
        decision
    }

    fn receive(mut self, sender: Sender, push_name: Option<String>, edited: bool) -> Decision {
        let bound = self.next.request.chat.as_ref().map(|chat| chat.subject().clone());
        let subject = match (&bound, sender.subject()) {
            (_, None) => None,
            (Some(bound), Some(_)) => match sender.is(bound) {
                None => None,
                Some(true) => Some(bound.clone()),
                Some(false) => return self.mismatch(),
            },
            (None, Some(subject)) => Some(subject),
        };
        // A sender who hides the needed identity may well be the right one, so it costs no attempt.
        let Some(subject) = subject else {
            let reason = Reason::SenderUnidentified;
            self.next.note(self.now, "message", Some(reason));
            self.effects.push(Effect::Reply(Reply::Unidentified));
            return self.changed(Verdict::Failed(reason));
        };
        let what = if edited { "verified (edited text)" } else { "verified" };
        self.end(what, None, Event::LinkVerified);
        self.effects.push(Effect::Reply(Reply::Success));
        self.next.state = State::Verified {
            at: self.now,
            proof: Some(Proof { subject, sender, push_name }),
            completion: Completion::Offered { until: self.now + COMPLETION_WINDOW },
        };
        self.changed(Verdict::Verified)
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

    fn expire(mut self) -> Decision {
        self.end("expired", Some(Reason::CodeExpired), Event::LinkExpired);
        self.next.state = State::Expired { at: self.now };
        self.changed(Verdict::Expired)
    }

    fn verified(mut self, proof: Option<&Proof>, completion: &Completion, command: Command) -> Decision {
        let now = self.now;
        match command {
            Command::Receive { sender, .. } => {
                let same = proof.is_some_and(|proof| sender.is(&proof.subject) == Some(true));
                let open = matches!(completion, Completion::Offered { until } if now < *until);
                if same && open {
                    self.effects.push(Effect::Reply(Reply::Success));
                    return self.unchanged(Verdict::Repeated);
                }
                self.effects.push(Effect::Reply(Reply::Failed));
                self.unchanged(Verdict::Failed(Reason::CodeUsed))
            }
            Command::Cancel | Command::Expire => self.unchanged(Verdict::Unchanged),
            Command::Code(_) => self.unchanged(Verdict::Refused),
            Command::Forget => self.forget(),
            Command::Complete { token } => match completion {
                Completion::Offered { until } if now < *until => {
                    self.next.note(now, "completed", None);
                    let until = now + REDEEM_WINDOW;
                    self.complete(Completion::Released { token, until, misses: 0 }, Verdict::Completed)
                }
                Completion::Offered { .. } => self.lapse("lapsed"),
                _ => self.unchanged(Verdict::Gone),
            },
            Command::Redeem { token, challenge } => match completion {
                Completion::Released { token: issued, until, misses } if issued.matches(token) => {
                    let (until, misses) = (*until, *misses);
                    self.redeem(challenge.as_deref(), until, misses)
                }
                Completion::Offered { .. } | Completion::Released { .. } => self.unchanged(Verdict::Refused),
                Completion::Redeemed { .. } | Completion::Lapsed { .. } | Completion::Disputed { .. } => {
                    self.unchanged(Verdict::Gone)
                }
            },
            Command::Dispute => match completion {
                Completion::Offered { .. } | Completion::Released { .. } => {
                    self.next.note(now, "disputed", None);
                    self.effects.push(Effect::Callback(Event::LinkDisputed));
                    self.complete(Completion::Disputed { at: now }, Verdict::Disputed)
                }
                Completion::Disputed { .. } => self.unchanged(Verdict::Disputed),
                Completion::Redeemed { .. } | Completion::Lapsed { .. } => self.unchanged(Verdict::Gone),
            },
        }
    }

    fn redeem(mut self, presented: Option<&str>, until: Timestamp, misses: u8) -> Decision {
        if self.now >= until {
            return self.lapse("redeem token lapsed");
        }
        let proven = self.next.request.challenge.as_deref().is_none_or(|wanted| {
            presented.is_some_and(|presented| presented.as_bytes().ct_eq(wanted.as_bytes()).into())
        });
        if proven {
            self.next.note(self.now, "redeemed", None);
            self.effects.push(Effect::Callback(Event::LinkRedeemed));
            let at = self.now;
            let mut decision = self.complete(Completion::Redeemed { at }, Verdict::Redeemed);
            decision.valid_until = Some(until);
            return decision;
        }
        if misses + 1 >= REDEEM_MISSES {
            return self.lapse("redeem token spent by wrong verifiers");
        }
        if let State::Verified { completion: Completion::Released { misses, .. }, .. } = &mut self.next.state {
            *misses += 1;
        }
        self.changed(Verdict::Refused)
    }

    fn lapse(mut self, what: &str) -> Decision {
        self.next.note(self.now, what, Some(Reason::RedeemExpired));
        let at = self.now;
        self.complete(Completion::Lapsed { at }, Verdict::Gone)
    }

    fn complete(mut self, to: Completion, verdict: Verdict) -> Decision {
        let mut valid_until = None;
        if let State::Verified { completion, .. } = &mut self.next.state {
            if let (Completion::Offered { until }, Completion::Released { .. }) = (&*completion, &to) {
                valid_until = Some(*until);
            }
            *completion = to;
        }
        Decision { valid_until, ..self.changed(verdict) }
    }

    /// `failed`, `expired` and `canceled`: every message gets its answer, nothing changes.
    fn over(mut self, command: &Command, verdict: Verdict, reply: Reply) -> Decision {
        match command {
            Command::Receive { .. } => {
                self.effects.push(Effect::Reply(reply));
                self.unchanged(verdict)
            }
            Command::Cancel | Command::Expire => self.unchanged(Verdict::Unchanged),
            Command::Complete { .. } | Command::Redeem { .. } | Command::Dispute | Command::Code(_) => {
                self.unchanged(Verdict::Refused)
            }
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
