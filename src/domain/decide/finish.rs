//! After the match: who may finish, and how often somebody may err.

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::{Command, Decision, Draft, Effect, Reply, Verdict};
use crate::domain::{
    binding::{CODE_TRIES, Told},
    event::Event,
    id::VerificationId,
    keys::Digest,
    reason::Reason,
    risk::Risk,
    subject::Sender,
    verification::{
        COMPLETION_WINDOW, Completion, Issued, Mode, Proof, REDEEM_MISSES, REDEEM_TOKENS, REDEEM_WINDOW, Reached,
        Redemption, State,
    },
};

/// In the timeline.
const AGAIN: &str = "asked for again";

impl Draft {
    pub(super) fn verified(self, proof: Option<&Proof>, completion: &Completion, command: Command) -> Decision {
        match command {
            Command::Receive { sender, .. } => self.again(proof, completion, &sender),
            Command::Cancel | Command::Expire | Command::Bind { .. } => self.unchanged(Verdict::Unchanged),
            Command::Forget => self.forget(),
            Command::Code(_) => self.unchanged(Verdict::Refused),
            Command::Dispute => self.dispute(proof, completion),
            Command::Redeem { token, challenge, claim } => match completion {
                Completion::Released { tokens, misses, .. } => {
                    match tokens.iter().find(|issued| issued.digest.matches(token)) {
                        Some(issued) => {
                            let by = Redemption { token: Some(token), claim, until: issued.until };
                            self.redeem(challenge.as_deref(), by, last(tokens), *misses)
                        }
                        None => self.unchanged(Verdict::Refused),
                    }
                }
                Completion::Offered { .. } => self.unchanged(Verdict::Refused),
                Completion::Redeemed { by: Some(by), .. } if by.token.is_some_and(|known| known.matches(token)) => {
                    self.redeem_again(challenge.as_deref(), claim, by)
                }
                Completion::Redeemed { .. } | Completion::Lapsed { .. } | Completion::Disputed { .. } => {
                    self.unchanged(Verdict::Gone)
                }
            },
            Command::Complete { .. }
            | Command::Tell
            | Command::Finish { .. }
            | Command::Type { .. }
            | Command::RedeemCode { .. } => match (completion, command) {
                (&Completion::Offered { until, told, agreed }, command) if self.now < until => {
                    self.offered(Offer { until, told, agreed }, command)
                }
                (Completion::Offered { .. }, _) => self.lapse("lapsed"),
                (Completion::Released { tokens, by, misses }, command) => self.released(tokens, *by, *misses, &command),
                (
                    Completion::Redeemed { by: Some(by @ Redemption { token: None, .. }), .. },
                    Command::RedeemCode { right: true, challenge, claim, .. },
                ) => self.redeem_again(challenge.as_deref(), claim, by),
                _ => self.unchanged(Verdict::Gone),
            },
        }
    }

    /// The message once more.
    fn again(mut self, proof: Option<&Proof>, completion: &Completion, sender: &Sender) -> Decision {
        let now = self.now;
        let same = proof.is_some_and(|proof| sender.is(&proof.subject) == Some(true));
        let code = self.next.expects_code();
        let open = match completion {
            Completion::Offered { told: Some(told), .. } if code => told.is_live(now),
            Completion::Offered { until, .. } => now < *until,
            _ => false,
        };
        if same && open {
            self.effects.push(Effect::Reply(self.success()));
            return self.unchanged(Verdict::Repeated);
        }
        self.effects.push(Effect::Reply(Reply::Failed));
        self.unchanged(Verdict::Failed(Reason::CodeUsed))
    }

    fn offered(self, offer: Offer, command: Command) -> Decision {
        let Offer { until, told, agreed } = offer;
        match command {
            Command::Complete { browser, .. } if self.agrees_for_another(browser) => self.agree(offer),
            Command::Complete { token, browser, may_tell, risk } => match self.admits(browser) {
                true => self.release(token, browser, risk, "completed"),
                false if may_tell => self.tell(offer),
                false => self.wrong_browser(),
            },
            Command::Finish { token, browser, risk } => {
                let proves = self.next.request.completion == Some(Mode::ProvePhone);
                if !proves || !self.waits(browser) || !(agreed || self.next.finishes_by_itself()) {
                    return self.unchanged(Verdict::Refused);
                }
                self.release(token, browser, risk, "finished by the waiting page")
            }
            Command::Tell if self.next.request.challenge.is_some() || self.next.bound_browser().is_some() => {
                self.tell(offer)
            }
            Command::Tell => self.unchanged(Verdict::Refused),
            Command::Type { token, browser, right, risk } => match told {
                _ if !self.waits(browser) => self.unchanged(Verdict::WrongBrowser),
                Some(told) if told.is_live(self.now) && right => {
                    let mut decision = self.release(token, browser, risk, "code typed");
                    decision.valid_until = Some(until.min(told.until));
                    decision
                }
                Some(told) if told.is_live(self.now) => self.miss(offer, told),
                _ => self.unchanged(Verdict::Gone),
            },
            Command::RedeemCode { right, challenge, claim, risk } => match told {
                // Only an app that keeps a verifier takes codes on a page of its own.
                _ if self.next.request.challenge.is_none() => self.unchanged(Verdict::Refused),
                Some(told) if told.is_live(self.now) && right && self.proves(challenge.as_deref()) => {
                    self.redeemed(Redemption { token: None, claim, until: until.min(told.until) }, risk)
                }
                Some(told) if told.is_live(self.now) => self.miss(offer, told),
                _ => self.unchanged(Verdict::Gone),
            },
            _ => self.unchanged(Verdict::Unchanged),
        }
    }

    /// Whether the link may be completed from a browser with this cookie.
    fn admits(&self, browser: Option<Digest>) -> bool {
        self.next.bound_browser().is_none_or(|binding| is(binding.browser, browser))
    }

    fn waits(&self, browser: Option<Digest>) -> bool {
        self.next.binding.as_ref().is_some_and(|binding| is(binding.browser, browser))
    }

    /// In `prove_phone` the browser that waits goes on, whoever taps: the tap is the person's word that it may.
    fn agrees_for_another(&self, browser: Option<Digest>) -> bool {
        let proves = self.next.request.completion == Some(Mode::ProvePhone);
        proves && self.next.binding.is_some() && !self.waits(browser)
    }

    fn agree(mut self, offer: Offer) -> Decision {
        if offer.agreed {
            return self.unchanged(Verdict::Agreed);
        }
        self.next.note(self.now, "agreed", None);
        self.complete(Offer { agreed: true, ..offer }.into(), Verdict::Agreed)
    }

    /// A link that was bound to nothing belongs from now on to the browser that tapped it.
    fn release(mut self, token: Digest, by: Option<Digest>, risk: Option<Risk>, what: &str) -> Decision {
        self.next.note(self.now, what, None);
        self.next.risk = risk.or(self.next.risk.take());
        let tokens = vec![Issued { digest: token, until: self.now + REDEEM_WINDOW }];
        self.complete(Completion::Released { tokens, by, misses: 0 }, Verdict::Completed)
    }

    /// The same form once more: a further token while one lives. The oldest gives way, so that the answer which the
    /// browser follows, the last, is worth something.
    fn released(mut self, tokens: &[Issued], by: Option<Digest>, misses: u8, command: &Command) -> Decision {
        let (token, browser) = match *command {
            Command::Complete { token, browser, .. } | Command::Type { token, browser, right: true, .. } => {
                (token, browser)
            }
            Command::Finish { token, browser, .. } if self.next.request.completion == Some(Mode::ProvePhone) => {
                (token, browser)
            }
            _ => return self.unchanged(Verdict::Gone),
        };
        let until = last(tokens).min(self.repeatable_until());
        if self.now >= until || !by.is_some_and(|by| is(by, browser)) {
            return self.unchanged(Verdict::Gone);
        }
        if self.next.timeline.last().is_none_or(|last| last.what != AGAIN) {
            self.next.note(self.now, AGAIN, None);
        }
        let mut tokens: Vec<Issued> = tokens.iter().copied().filter(|issued| self.now < issued.until).collect();
        tokens.drain(..(tokens.len() + 1).saturating_sub(REDEEM_TOKENS));
        tokens.push(Issued { digest: token, until: self.now + REDEEM_WINDOW });
        let decision = self.complete(Completion::Released { tokens, by, misses }, Verdict::CompletedAgain);
        Decision { valid_until: Some(until), ..decision }
    }

    /// Repeats prolong nothing beyond what a late tap would have had.
    fn repeatable_until(&self) -> Timestamp {
        self.next.ended_at().unwrap_or(self.now) + COMPLETION_WINDOW + REDEEM_WINDOW
    }

    /// Shows the reply code; a second look prolongs nothing and restores no try.
    fn tell(mut self, offer: Offer) -> Decision {
        match offer.told {
            Some(told) if told.is_live(self.now) => self.unchanged(Verdict::Told),
            Some(_) => self.unchanged(Verdict::Gone),
            None => {
                self.next.note(self.now, "code shown", Some(Reason::WrongBrowser));
                let told = Some(Told::at(self.now));
                self.complete(Offer { told, ..offer }.into(), Verdict::Told)
            }
        }
    }

    fn wrong_browser(mut self) -> Decision {
        if self.next.timeline.last().is_some_and(|last| last.reason == Some(Reason::WrongBrowser)) {
            return self.unchanged(Verdict::WrongBrowser);
        }
        self.next.note(self.now, "link tapped", Some(Reason::WrongBrowser));
        self.changed(Verdict::WrongBrowser)
    }

    fn miss(mut self, offer: Offer, told: Told) -> Decision {
        let misses = told.misses + 1;
        let over = misses >= CODE_TRIES;
        self.next.note(self.now, "code typed", Some(if over { Reason::AttemptsExhausted } else { Reason::CodeWrong }));
        let to = Offer { told: Some(Told { misses, ..told }), ..offer };
        let decision = self.complete(to.into(), if over { Verdict::Gone } else { Verdict::WrongCode });
        Decision { valid_until: Some(offer.until.min(told.until)), ..decision }
    }

    /// Whatever became of the link, until the person's data is erased: an app that has begun a session learns that it has
    /// to end it.
    fn dispute(mut self, proof: Option<&Proof>, completion: &Completion) -> Decision {
        let after = match completion {
            Completion::Disputed { .. } => return self.unchanged(Verdict::Disputed),
            _ if proof.is_none() => return self.unchanged(Verdict::Gone),
            Completion::Offered { until, .. } if self.now < *until => Reached::Offered,
            Completion::Released { tokens, .. } if self.now < last(tokens) => Reached::Released,
            Completion::Redeemed { .. } => Reached::Redeemed,
            Completion::Offered { .. } | Completion::Released { .. } | Completion::Lapsed { .. } => Reached::Lapsed,
        };
        self.next.note(self.now, "disputed", None);
        self.effects.push(Effect::Callback(Event::LinkDisputed));
        let at = self.now;
        self.complete(Completion::Disputed { at, after }, Verdict::Disputed)
    }

    fn proves(&self, presented: Option<&str>) -> bool {
        self.next.request.challenge.as_deref().is_none_or(|wanted| {
            presented.is_some_and(|presented| presented.as_bytes().ct_eq(wanted.as_bytes()).into())
        })
    }

    /// `last`: the end of the token that lives longest.
    fn redeem(mut self, presented: Option<&str>, by: Redemption, last: Timestamp, misses: u8) -> Decision {
        if self.now >= last {
            return self.lapse("redeem token lapsed");
        }
        if self.now >= by.until {
            return self.unchanged(Verdict::Gone);
        }
        if self.proves(presented) {
            return self.redeemed(by, None);
        }
        if misses + 1 >= REDEEM_MISSES {
            return self.lapse("redeem token spent by wrong verifiers");
        }
        if let State::Verified { completion: Completion::Released { misses, .. }, .. } = &mut self.next.state {
            *misses += 1;
        }
        self.changed(Verdict::Refused)
    }

    /// A caller who got no answer asks again. A copied redirect is worth nothing: it holds the token, and neither the
    /// verifier nor the caller's idempotency key.
    fn redeem_again(self, presented: Option<&str>, claim: Option<VerificationId>, by: &Redemption) -> Decision {
        let same_caller = self.next.request.challenge.is_some() || claim.is_some() && claim == by.claim;
        let repeated = self.now < by.until && same_caller && self.proves(presented);
        self.unchanged(if repeated { Verdict::Repeated } else { Verdict::Gone })
    }

    fn redeemed(mut self, by: Redemption, risk: Option<Risk>) -> Decision {
        self.next.note(self.now, "redeemed", None);
        self.next.risk = risk.or(self.next.risk.take());
        self.effects.push(Effect::Callback(Event::LinkRedeemed));
        let (at, until) = (self.now, by.until);
        let mut decision = self.complete(Completion::Redeemed { by: Some(by), at }, Verdict::Redeemed);
        decision.valid_until = Some(until);
        decision
    }

    fn lapse(mut self, what: &str) -> Decision {
        self.next.note(self.now, what, Some(Reason::RedeemExpired));
        let at = self.now;
        self.complete(Completion::Lapsed { at }, Verdict::Gone)
    }

    fn complete(mut self, to: Completion, verdict: Verdict) -> Decision {
        let mut valid_until = None;
        if let State::Verified { completion, .. } = &mut self.next.state {
            if let (Completion::Offered { until, .. }, Completion::Released { .. } | Completion::Offered { .. }) =
                (&*completion, &to)
            {
                valid_until = Some(*until);
            }
            *completion = to;
        }
        Decision { valid_until, ..self.changed(verdict) }
    }
}

/// A link that waits to be tapped.
#[derive(Clone, Copy)]
struct Offer {
    until: Timestamp,
    told: Option<Told>,
    agreed: bool,
}

impl From<Offer> for Completion {
    fn from(Offer { until, told, agreed }: Offer) -> Self {
        Self::Offered { until, told, agreed }
    }
}

fn last(tokens: &[Issued]) -> Timestamp {
    tokens.iter().map(|issued| issued.until).max().unwrap_or_default()
}

/// Constant-time.
fn is(bound: Digest, browser: Option<Digest>) -> bool {
    browser.is_some_and(|browser| bound.matches(browser))
}
