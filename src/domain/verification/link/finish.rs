//! The steps after the match: which browser may proceed, and how many wrong reply codes are allowed.

use jiff::Timestamp;

use super::{
    COMPLETION_WINDOW, Completion, FinishCommand, FinishVerdict, IssuedToken, Link, LinkState, LoginProgress,
    MAX_REDEEM_TOKENS, Proof, REDEEM_WINDOW, completion::latest_expiry,
};
use crate::domain::{
    Event, Mode, Reason, TimelineEvent,
    binding::{MAX_REPLY_CODE_ATTEMPTS, ReplyCodeState},
    decision::{Decision, Effect, Transition},
    digest::Digest,
    risk::Risk,
};

/// The data of [`Completion::Offered`].
#[derive(Clone, Copy)]
pub(super) struct Offer {
    pub(super) until: Timestamp,
    pub(super) reply_code: Option<ReplyCodeState>,
    pub(super) agreed: bool,
}

impl Offer {
    /// The reply code, if it is still accepted.
    pub(super) fn live_code(&self, now: Timestamp) -> Option<ReplyCodeState> {
        self.reply_code.filter(|reply_code| reply_code.is_live(now))
    }
}

impl From<Offer> for Completion {
    fn from(Offer { until, reply_code, agreed }: Offer) -> Self {
        Self::Offered { until, reply_code, agreed }
    }
}

/// Compares in constant time.
fn matches(bound: Digest, browser: Option<Digest>) -> bool {
    browser.is_some_and(|browser| bound.matches(browser))
}

impl Transition<Link> {
    pub(super) fn finish(self, completion: &Completion, command: FinishCommand) -> Decision<Link> {
        match completion {
            &Completion::Offered { until, reply_code, agreed } if self.now < until => {
                self.offered(Offer { until, reply_code, agreed }, command)
            }
            Completion::Offered { .. } => self.lapse(TimelineEvent::Lapsed),
            Completion::Released { tokens, by, wrong_verifiers } => {
                self.released(tokens, *by, *wrong_verifiers, &command)
            }
            Completion::Redeemed { by: Some(by), .. } => self.code_redeemed_again(by, &command),
            Completion::Redeemed { by: None, .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. }
            | Completion::NotOffered => self.unchanged(FinishVerdict::Gone),
        }
    }

    fn offered(self, offer: Offer, command: FinishCommand) -> Decision<Link> {
        match command {
            FinishCommand::Complete { browser, .. } if self.confirms_for_another(browser) => self.confirm(offer),
            FinishCommand::Complete { token, browser, may_reveal_code, risk } => match self.allows(browser) {
                true => self.release(token, browser, risk, TimelineEvent::Completed),
                false if may_reveal_code => self.reveal_code(offer),
                false => self.wrong_browser(),
            },
            FinishCommand::Continue { token, browser, risk } => {
                let proves = self.next.request.completion == Some(Mode::ProvePhone);
                if !proves || !self.is_bound_to(browser) || !(offer.agreed || self.next.finishes_automatically()) {
                    return self.unchanged(FinishVerdict::Refused);
                }
                self.release(token, browser, risk, TimelineEvent::Finished)
            }
            FinishCommand::RevealCode
                if self.next.request.challenge.is_some() || self.next.bound_browser().is_some() =>
            {
                self.reveal_code(offer)
            }
            FinishCommand::RevealCode => self.unchanged(FinishVerdict::Refused),
            FinishCommand::EnterCode { browser, .. } if !self.is_bound_to(browser) => {
                self.unchanged(FinishVerdict::WrongBrowser)
            }
            FinishCommand::EnterCode { token, browser, correct, risk } => match offer.live_code(self.now) {
                Some(reply_code) if correct => {
                    let decision = self.release(token, browser, risk, TimelineEvent::CodeTyped);
                    Decision { valid_until: Some(offer.until.min(reply_code.until)), ..decision }
                }
                Some(reply_code) => self.record_wrong_code(offer, reply_code),
                None => self.unchanged(FinishVerdict::Gone),
            },
            FinishCommand::RedeemCode { correct, challenge, claim, risk } => {
                self.redeem_code(offer, correct, challenge.as_deref(), claim, risk)
            }
        }
    }

    /// Whether the link may be completed from a browser with this cookie.
    fn allows(&self, browser: Option<Digest>) -> bool {
        self.next.bound_browser().is_none_or(|binding| matches(binding.browser, browser))
    }

    fn is_bound_to(&self, browser: Option<Digest>) -> bool {
        self.next.details.binding.as_ref().is_some_and(|binding| matches(binding.browser, browser))
    }

    /// In `prove_phone` the browser that waits proceeds, wherever the link is tapped: the tap confirms that it may.
    fn confirms_for_another(&self, browser: Option<Digest>) -> bool {
        let proves = self.next.request.completion == Some(Mode::ProvePhone);
        proves && self.next.details.binding.is_some() && !self.is_bound_to(browser)
    }

    fn confirm(mut self, offer: Offer) -> Decision<Link> {
        if offer.agreed {
            return self.unchanged(FinishVerdict::Agreed);
        }
        self.next.add_event(self.now, TimelineEvent::Agreed, None);
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
        self.next.add_event(self.now, event, None);
        self.next.details.risk = risk.or(self.next.details.risk.take());
        let tokens = vec![IssuedToken { digest: token, until: self.now + REDEEM_WINDOW }];
        self.complete(Completion::Released { tokens, by, wrong_verifiers: 0 }, FinishVerdict::Completed)
    }

    /// A repeated form: issues another token while one is valid. The oldest token is dropped if there are too many, so
    /// that the last response, which the browser follows, contains a valid token.
    fn released(
        mut self,
        tokens: &[IssuedToken],
        by: Option<Digest>,
        wrong_verifiers: u8,
        command: &FinishCommand,
    ) -> Decision<Link> {
        let proves = self.next.request.completion == Some(Mode::ProvePhone);
        let (token, browser) = match *command {
            FinishCommand::Complete { token, browser, .. }
            | FinishCommand::EnterCode { token, browser, correct: true, .. } => (token, browser),
            FinishCommand::Continue { token, browser, .. } if proves => (token, browser),
            FinishCommand::EnterCode { .. }
            | FinishCommand::Continue { .. }
            | FinishCommand::RevealCode
            | FinishCommand::RedeemCode { .. } => return self.unchanged(FinishVerdict::Gone),
        };
        let until = latest_expiry(tokens).min(self.repeatable_until());
        if self.now >= until || !by.is_some_and(|by| matches(by, browser)) {
            return self.unchanged(FinishVerdict::Gone);
        }
        if self.next.timeline.last().is_none_or(|last| last.event != TimelineEvent::TokenReissued) {
            self.next.add_event(self.now, TimelineEvent::TokenReissued, None);
        }
        let mut tokens: Vec<IssuedToken> = tokens.iter().copied().filter(|issued| self.now < issued.until).collect();
        tokens.drain(..(tokens.len() + 1).saturating_sub(MAX_REDEEM_TOKENS));
        tokens.push(IssuedToken { digest: token, until: self.now + REDEEM_WINDOW });
        let decision =
            self.complete(Completion::Released { tokens, by, wrong_verifiers }, FinishVerdict::CompletedAgain);
        Decision { valid_until: Some(until), ..decision }
    }

    /// The last time a repeat is answered: repeats do not extend the window beyond that of a late tap.
    fn repeatable_until(&self) -> Timestamp {
        self.next.ended_at().unwrap_or(self.now) + COMPLETION_WINDOW + REDEEM_WINDOW
    }

    /// Shows the reply code. Showing it again extends neither its deadline nor the number of attempts.
    fn reveal_code(mut self, offer: Offer) -> Decision<Link> {
        match offer.reply_code {
            Some(reply_code) if reply_code.is_live(self.now) => self.unchanged(FinishVerdict::CodeRevealed),
            Some(_) => self.unchanged(FinishVerdict::Gone),
            None => {
                self.next.add_event(self.now, TimelineEvent::CodeShown, Some(Reason::WrongBrowser));
                let reply_code = Some(ReplyCodeState::new(self.now));
                self.complete(Offer { reply_code, ..offer }.into(), FinishVerdict::CodeRevealed)
            }
        }
    }

    fn wrong_browser(mut self) -> Decision<Link> {
        if self.next.timeline.last().is_some_and(|last| last.reason == Some(Reason::WrongBrowser)) {
            return self.unchanged(FinishVerdict::WrongBrowser);
        }
        self.next.add_event(self.now, TimelineEvent::LinkTapped, Some(Reason::WrongBrowser));
        self.changed(FinishVerdict::WrongBrowser)
    }

    pub(super) fn record_wrong_code(mut self, offer: Offer, reply_code: ReplyCodeState) -> Decision<Link> {
        let wrong_attempts = reply_code.wrong_attempts + 1;
        let over = wrong_attempts >= MAX_REPLY_CODE_ATTEMPTS;
        let reason = if over { Reason::AttemptsExhausted } else { Reason::CodeWrong };
        self.next.add_event(self.now, TimelineEvent::CodeTyped, Some(reason));
        let to = Offer { reply_code: Some(ReplyCodeState { wrong_attempts, ..reply_code }), ..offer };
        let decision = self.complete(to.into(), if over { FinishVerdict::Gone } else { FinishVerdict::WrongCode });
        Decision { valid_until: Some(offer.until.min(reply_code.until)), ..decision }
    }

    /// Accepted in every state until the person's data is erased, so an app that started a session learns that it has
    /// to end it.
    pub(super) fn dispute(mut self, proof: Option<&Proof>, completion: &Completion) -> Decision<Link> {
        let after = match completion {
            Completion::Disputed { .. } => return self.unchanged(FinishVerdict::Disputed),
            Completion::NotOffered => return self.unchanged(FinishVerdict::Gone),
            Completion::Offered { until, .. } if self.now < *until => LoginProgress::Offered,
            Completion::Released { tokens, .. } if self.now < latest_expiry(tokens) => LoginProgress::Released,
            Completion::Redeemed { .. } => LoginProgress::Redeemed,
            Completion::Offered { .. } | Completion::Released { .. } | Completion::Lapsed { .. } => {
                LoginProgress::Lapsed
            }
        };
        if proof.is_none() {
            return self.unchanged(FinishVerdict::Gone);
        }
        self.next.add_event(self.now, TimelineEvent::Disputed, None);
        self.effects.push(Effect::Callback(Event::LinkDisputed));
        let at = self.now;
        self.complete(Completion::Disputed { at, after }, FinishVerdict::Disputed)
    }

    pub(super) fn lapse(mut self, event: TimelineEvent) -> Decision<Link> {
        self.next.add_event(self.now, event, Some(Reason::RedeemExpired));
        let at = self.now;
        self.complete(Completion::Lapsed { at }, FinishVerdict::Gone)
    }

    pub(super) fn complete(mut self, to: Completion, verdict: FinishVerdict) -> Decision<Link> {
        let mut valid_until = None;
        if let LinkState::Verified { completion, .. } = &mut self.next.details.state {
            let continues = matches!(to, Completion::Released { .. } | Completion::Offered { .. });
            if let Completion::Offered { until, .. } = completion
                && continues
            {
                valid_until = Some(*until);
            }
            *completion = to;
        }
        Decision { valid_until, ..self.changed(verdict) }
    }
}
