//! Exchange of a redeem token or a reply code, once, by the app's server.

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;

use super::{
    Completion, FinishCommand, FinishVerdict, Link, LinkState, MAX_WRONG_VERIFIERS, Redemption,
    completion::latest_expiry, finish::Offer,
};
use crate::domain::{
    ClaimId, Event, Reason, TimelineEvent,
    decision::{Decision, Effect, Transition},
    digest::Digest,
    oidc::Exchange,
    risk::Risk,
};

impl Transition<Link> {
    pub(super) fn redeem(
        self,
        completion: &Completion,
        token: Digest,
        challenge: Option<&str>,
        claim: Option<ClaimId>,
    ) -> Decision<Link> {
        // A code of the OpenID provider is bound to its client, so the API does not take it.
        if self.next.request.authorization.is_some() {
            return self.unchanged(FinishVerdict::Refused);
        }
        match completion {
            Completion::Released { tokens, wrong_verifiers, .. } => {
                let Some(issued) = tokens.iter().find(|issued| issued.digest.matches(token)) else {
                    return self.unchanged(FinishVerdict::Refused);
                };
                let by = Redemption { token: Some(token), claim, until: issued.until, revoked: false };
                let proves = self.matches_challenge(challenge);
                self.redeem_issued(proves, by, latest_expiry(tokens), *wrong_verifiers)
            }
            Completion::Offered { .. } => self.unchanged(FinishVerdict::Refused),
            Completion::Redeemed { by: Some(by), .. } if by.token.is_some_and(|known| known.matches(token)) => {
                self.redeem_again(challenge, claim, by)
            }
            Completion::Redeemed { .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. }
            | Completion::NotOffered => self.unchanged(FinishVerdict::Gone),
        }
    }

    /// `last` is the expiry of the token that is valid the longest.
    fn redeem_issued(mut self, proves: bool, by: Redemption, last: Timestamp, wrong_verifiers: u8) -> Decision<Link> {
        if self.now >= last {
            return self.lapse(TimelineEvent::TokenLapsed);
        }
        if self.now >= by.until {
            return self.unchanged(FinishVerdict::Gone);
        }
        if proves {
            return self.redeemed(by, None);
        }
        if wrong_verifiers + 1 >= MAX_WRONG_VERIFIERS {
            return self.lapse(TimelineEvent::VerifiersExhausted);
        }
        if let LinkState::Verified { completion: Completion::Released { wrong_verifiers, .. }, .. } =
            &mut self.next.details.state
        {
            *wrong_verifiers += 1;
        }
        self.changed(FinishVerdict::Refused)
    }

    /// Exchanges a code of the OpenID provider. It has no repeats: a second use may be that of a thief, so it revokes what
    /// the first one gave (RFC 6749, 4.1.2).
    pub(super) fn exchange(self, completion: &Completion, exchange: &Exchange) -> Decision<Link> {
        let Some(authorization) = &self.next.request.authorization else {
            return self.unchanged(FinishVerdict::Refused);
        };
        match completion {
            Completion::Released { tokens, wrong_verifiers, .. } => {
                let Some(issued) = tokens.iter().find(|issued| issued.digest.matches(exchange.code)) else {
                    return self.unchanged(FinishVerdict::Refused);
                };
                let by = Redemption { token: Some(exchange.code), claim: None, until: issued.until, revoked: false };
                let admitted = authorization.admits(exchange);
                self.redeem_issued(admitted, by, latest_expiry(tokens), *wrong_verifiers)
            }
            Completion::Redeemed { by: Some(by), .. } if by.token.is_some_and(|used| used.matches(exchange.code)) => {
                if by.revoked {
                    self.unchanged(FinishVerdict::Revoked)
                } else {
                    self.revoke()
                }
            }
            Completion::Offered { .. }
            | Completion::Redeemed { .. }
            | Completion::Lapsed { .. }
            | Completion::Disputed { .. }
            | Completion::NotOffered => self.unchanged(FinishVerdict::Refused),
        }
    }

    fn revoke(mut self) -> Decision<Link> {
        self.next.add_event(self.now, TimelineEvent::Revoked, Some(Reason::CodeUsed));
        if let LinkState::Verified { completion: Completion::Redeemed { by: Some(by), .. }, .. } =
            &mut self.next.details.state
        {
            by.revoked = true;
        }
        self.changed(FinishVerdict::Revoked)
    }

    /// Only allowed for apps that keep a verifier.
    pub(super) fn redeem_code(
        self,
        offer: Offer,
        correct: bool,
        challenge: Option<&str>,
        claim: Option<ClaimId>,
        risk: Option<Risk>,
    ) -> Decision<Link> {
        if self.next.request.challenge.is_none() {
            return self.unchanged(FinishVerdict::Refused);
        }
        match offer.live_code(self.now) {
            Some(reply_code) if correct && self.matches_challenge(challenge) => {
                let until = offer.until.min(reply_code.until);
                self.redeemed(Redemption { token: None, claim, until, revoked: false }, risk)
            }
            Some(reply_code) => self.record_wrong_code(offer, reply_code),
            None => self.unchanged(FinishVerdict::Gone),
        }
    }

    /// Repeats the answer to a reply code that was already exchanged.
    pub(super) fn code_redeemed_again(self, by: &Redemption, command: &FinishCommand) -> Decision<Link> {
        if let FinishCommand::RedeemCode { correct: true, challenge, claim, .. } = command
            && by.token.is_none()
        {
            return self.redeem_again(challenge.as_deref(), *claim, by);
        }
        self.unchanged(FinishVerdict::Gone)
    }

    /// Repeats the answer for a caller that did not receive it. A copied redirect URL is not enough: it contains the
    /// token, but neither the verifier nor the caller's idempotency key.
    fn redeem_again(self, presented: Option<&str>, claim: Option<ClaimId>, by: &Redemption) -> Decision<Link> {
        let same_caller = self.next.request.challenge.is_some() || claim.is_some() && claim == by.claim;
        let repeated = self.now < by.until && same_caller && self.matches_challenge(presented);
        self.unchanged(if repeated { FinishVerdict::RedeemedAgain } else { FinishVerdict::Gone })
    }

    fn redeemed(mut self, by: Redemption, risk: Option<Risk>) -> Decision<Link> {
        self.next.add_event(self.now, TimelineEvent::Redeemed, None);
        self.next.details.risk = risk.or(self.next.details.risk.take());
        self.effects.push(Effect::Callback(Event::LinkRedeemed));
        let (at, until) = (self.now, by.until);
        let decision = self.complete(Completion::Redeemed { by: Some(by), at }, FinishVerdict::Redeemed);
        Decision { valid_until: Some(until), ..decision }
    }

    fn matches_challenge(&self, presented: Option<&str>) -> bool {
        self.next.request.challenge.as_deref().is_none_or(|wanted| {
            presented.is_some_and(|presented| presented.as_bytes().ct_eq(wanted.as_bytes()).into())
        })
    }
}
