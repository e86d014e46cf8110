//! The steps after the match: which browser may proceed, and how many wrong reply codes are allowed.

use jiff::Timestamp;

use super::{
    COMPLETION_WINDOW, Completion, FinishCommand, FinishVerdict, Issued, Link, LinkState, Proof, REDEEM_TOKENS,
    REDEEM_WINDOW, Reached, completion::last_end,
};
use crate::domain::{
    Event, Mode, Reason, TimelineEvent,
    binding::{CODE_TRIES, Told},
    decision::{Decision, Draft, Effect},
    keys::Digest,
    risk::Risk,
};

/// The data of [`Completion::Offered`].
#[derive(Clone, Copy)]
pub(super) struct Offer {
    pub(super) until: Timestamp,
    pub(super) told: Option<Told>,
    pub(super) agreed: bool,
}

impl Offer {
    /// The reply code, if it is still accepted.
    pub(super) fn live_code(&self, now: Timestamp) -> Option<Told> {
        self.told.filter(|told| told.is_live(now))
    }
}

impl From<Offer> for Completion {
    fn from(Offer { until, told, agreed }: Offer) -> Self {
        Self::Offered { until, told, agreed }
    }
}

/// Compares in constant time.
fn is(bound: Digest, browser: Option<Digest>) -> bool {
    browser.is_some_and(|browser| bound.matches(browser))
}

impl Draft<Link> {
    pub(super) fn finish(self, completion: &Completion, command: FinishCommand) -> Decision<Link> {
        match completion {
            &Completion::Offered { until, told, agreed } if self.now < until => {
                self.offered(Offer { until, told, agreed }, command)
            }
            Completion::Offered { .. } => self.lapse(TimelineEvent::Lapsed),
            Completion::Released { tokens, by, misses } => self.released(tokens, *by, *misses, &command),
            Completion::Redeemed { by: Some(by), .. } => self.code_redeemed_again(by, &command),
            Completion::Redeemed { by: None, .. } | Completion::Lapsed { .. } | Completion::Disputed { .. } => {
                self.unchanged(FinishVerdict::Gone)
            }
        }
    }

    fn offered(self, offer: Offer, command: FinishCommand) -> Decision<Link> {
        match command {
            FinishCommand::Complete { browser, .. } if self.agrees_for_another(browser) => self.agree(offer),
            FinishCommand::Complete { token, browser, may_tell, risk } => match self.admits(browser) {
                true => self.release(token, browser, risk, TimelineEvent::Completed),
                false if may_tell => self.tell(offer),
                false => self.wrong_browser(),
            },
            FinishCommand::Continue { token, browser, risk } => {
                let proves = self.next.request.completion == Some(Mode::ProvePhone);
                if !proves || !self.waits(browser) || !(offer.agreed || self.next.finishes_by_itself()) {
                    return self.unchanged(FinishVerdict::Refused);
                }
                self.release(token, browser, risk, TimelineEvent::Finished)
            }
            FinishCommand::Tell if self.next.request.challenge.is_some() || self.next.bound_browser().is_some() => {
                self.tell(offer)
            }
            FinishCommand::Tell => self.unchanged(FinishVerdict::Refused),
            FinishCommand::Type { browser, .. } if !self.waits(browser) => self.unchanged(FinishVerdict::WrongBrowser),
            FinishCommand::Type { token, browser, right, risk } => match offer.live_code(self.now) {
                Some(told) if right => {
                    let decision = self.release(token, browser, risk, TimelineEvent::CodeTyped);
                    Decision { valid_until: Some(offer.until.min(told.until)), ..decision }
                }
                Some(told) => self.miss(offer, told),
                None => self.unchanged(FinishVerdict::Gone),
            },
            FinishCommand::RedeemCode { right, challenge, claim, risk } => {
                self.redeem_code(offer, right, challenge.as_deref(), claim, risk)
            }
        }
    }

    /// Whether the link may be completed from a browser with this cookie.
    fn admits(&self, browser: Option<Digest>) -> bool {
        self.next.bound_browser().is_none_or(|binding| is(binding.browser, browser))
    }

    fn waits(&self, browser: Option<Digest>) -> bool {
        self.next.kind.binding.as_ref().is_some_and(|binding| is(binding.browser, browser))
    }

    /// In `prove_phone` the browser that waits proceeds, wherever the link is tapped: the tap confirms that it may.
    fn agrees_for_another(&self, browser: Option<Digest>) -> bool {
        let proves = self.next.request.completion == Some(Mode::ProvePhone);
        proves && self.next.kind.binding.is_some() && !self.waits(browser)
    }

    fn agree(mut self, offer: Offer) -> Decision<Link> {
        if offer.agreed {
            return self.unchanged(FinishVerdict::Agreed);
        }
        self.next.note(self.now, TimelineEvent::Agreed, None);
        self.complete(Offer { agreed: true, ..offer }.into(), FinishVerdict::Agreed)
    }

    /// Records `by`, the browser that completed the link; only this browser may repeat the request.
    fn release(
        mut self,
        token: Digest,
        by: Option<Digest>,
        risk: Option<Risk>,
        event: TimelineEvent,
    ) -> Decision<Link> {
        self.next.note(self.now, event, None);
        self.next.kind.risk = risk.or(self.next.kind.risk.take());
        let tokens = vec![Issued { digest: token, until: self.now + REDEEM_WINDOW }];
        self.complete(Completion::Released { tokens, by, misses: 0 }, FinishVerdict::Completed)
    }

    /// A repeated form: issues another token while one is valid. The oldest token is dropped if there are too many, so
    /// that the last response, which the browser follows, contains a valid token.
    fn released(
        mut self,
        tokens: &[Issued],
        by: Option<Digest>,
        misses: u8,
        command: &FinishCommand,
    ) -> Decision<Link> {
        let proves = self.next.request.completion == Some(Mode::ProvePhone);
        let (token, browser) = match *command {
            FinishCommand::Complete { token, browser, .. }
            | FinishCommand::Type { token, browser, right: true, .. } => (token, browser),
            FinishCommand::Continue { token, browser, .. } if proves => (token, browser),
            FinishCommand::Type { .. }
            | FinishCommand::Continue { .. }
            | FinishCommand::Tell
            | FinishCommand::RedeemCode { .. } => return self.unchanged(FinishVerdict::Gone),
        };
        let until = last_end(tokens).min(self.repeatable_until());
        if self.now >= until || !by.is_some_and(|by| is(by, browser)) {
            return self.unchanged(FinishVerdict::Gone);
        }
        if self.next.timeline.last().is_none_or(|last| last.event != TimelineEvent::AskedAgain) {
            self.next.note(self.now, TimelineEvent::AskedAgain, None);
        }
        let mut tokens: Vec<Issued> = tokens.iter().copied().filter(|issued| self.now < issued.until).collect();
        tokens.drain(..(tokens.len() + 1).saturating_sub(REDEEM_TOKENS));
        tokens.push(Issued { digest: token, until: self.now + REDEEM_WINDOW });
        let decision = self.complete(Completion::Released { tokens, by, misses }, FinishVerdict::CompletedAgain);
        Decision { valid_until: Some(until), ..decision }
    }

    /// The last time a repeat is answered: repeats do not extend the window beyond that of a late tap.
    fn repeatable_until(&self) -> Timestamp {
        self.next.ended_at().unwrap_or(self.now) + COMPLETION_WINDOW + REDEEM_WINDOW
    }

    /// Shows the reply code. Showing it again extends neither its deadline nor the number of attempts.
    fn tell(mut self, offer: Offer) -> Decision<Link> {
        match offer.told {
            Some(told) if told.is_live(self.now) => self.unchanged(FinishVerdict::Told),
            Some(_) => self.unchanged(FinishVerdict::Gone),
            None => {
                self.next.note(self.now, TimelineEvent::CodeShown, Some(Reason::WrongBrowser));
                let told = Some(Told::at(self.now));
                self.complete(Offer { told, ..offer }.into(), FinishVerdict::Told)
            }
        }
    }

    fn wrong_browser(mut self) -> Decision<Link> {
        if self.next.timeline.last().is_some_and(|last| last.reason == Some(Reason::WrongBrowser)) {
            return self.unchanged(FinishVerdict::WrongBrowser);
        }
        self.next.note(self.now, TimelineEvent::LinkTapped, Some(Reason::WrongBrowser));
        self.changed(FinishVerdict::WrongBrowser)
    }

    pub(super) fn miss(mut self, offer: Offer, told: Told) -> Decision<Link> {
        let misses = told.misses + 1;
        let over = misses >= CODE_TRIES;
        let reason = if over { Reason::AttemptsExhausted } else { Reason::CodeWrong };
        self.next.note(self.now, TimelineEvent::CodeTyped, Some(reason));
        let to = Offer { told: Some(Told { misses, ..told }), ..offer };
        let decision = self.complete(to.into(), if over { FinishVerdict::Gone } else { FinishVerdict::WrongCode });
        Decision { valid_until: Some(offer.until.min(told.until)), ..decision }
    }

    /// Accepted in every state until the person's data is erased, so an app that started a session learns that it has
    /// to end it.
    pub(super) fn dispute(mut self, proof: Option<&Proof>, completion: &Completion) -> Decision<Link> {
        let after = match completion {
            Completion::Disputed { .. } => return self.unchanged(FinishVerdict::Disputed),
            Completion::Offered { until, .. } if self.now < *until => Reached::Offered,
            Completion::Released { tokens, .. } if self.now < last_end(tokens) => Reached::Released,
            Completion::Redeemed { .. } => Reached::Redeemed,
            Completion::Offered { .. } | Completion::Released { .. } | Completion::Lapsed { .. } => Reached::Lapsed,
        };
        if proof.is_none() {
            return self.unchanged(FinishVerdict::Gone);
        }
        self.next.note(self.now, TimelineEvent::Disputed, None);
        self.effects.push(Effect::Callback(Event::LinkDisputed));
        let at = self.now;
        self.complete(Completion::Disputed { at, after }, FinishVerdict::Disputed)
    }

    pub(super) fn lapse(mut self, event: TimelineEvent) -> Decision<Link> {
        self.next.note(self.now, event, Some(Reason::RedeemExpired));
        let at = self.now;
        self.complete(Completion::Lapsed { at }, FinishVerdict::Gone)
    }

    pub(super) fn complete(mut self, to: Completion, verdict: FinishVerdict) -> Decision<Link> {
        let mut valid_until = None;
        if let LinkState::Verified { completion, .. } = &mut self.next.kind.state {
            let goes_on = matches!(to, Completion::Released { .. } | Completion::Offered { .. });
            if let Completion::Offered { until, .. } = completion
                && goes_on
            {
                valid_until = Some(*until);
            }
            *completion = to;
        }
        Decision { valid_until, ..self.changed(verdict) }
    }
}
