//! The commands that can be applied to a link, and the verdicts returned to their callers.

use crate::domain::{ClaimId, Reason, Sender, binding::Binding, digest::Digest, oidc::Exchange, risk::Risk};

/// A command that can be applied to a link.
#[derive(Clone, Debug)]
pub enum LinkCommand {
    /// A message with the link's code arrived.
    Receive {
        sender: Sender,
        push_name: Option<String>,
        checks: MessageChecks,
        risk: Option<Risk>,
        /// Whether the sender's budget of replies allows a reply. The first success is answered regardless.
        may_reply: bool,
    },
    /// Cancellation by the app.
    Cancel,
    /// End of the validity period.
    Expire,
    /// The start page binds its browser, either because the person is about to send the message or by script.
    BindBrowser { binding: Binding },
    /// Erasure of the person's data.
    Erase,
    /// The person proceeds from the reply.
    Finish(FinishCommand),
    /// The app's server presents a redeem token and, if it sent one, the S256 challenge of its verifier. `claim` is the
    /// id that the caller's idempotency key maps to.
    Redeem { token: Digest, challenge: Option<String>, claim: Option<ClaimId> },
    /// A client of the OpenID provider presents its code.
    Exchange(Exchange),
    /// The person selected "this wasn't me".
    Dispute,
}

/// A command that uses the link or the code in the reply. `token` is the digest of the redeem token to issue.
///
/// `Complete`, `Continue` and `EnterCode` may be repeated by the same browser while such a token is valid, because a
/// response can be lost.
#[derive(Clone, Debug)]
pub enum FinishCommand {
    /// The button behind the link was tapped. A browser other than the bound one is shown the reply code if
    /// `may_reveal_code` is set.
    Complete { token: Digest, browser: Option<Digest>, may_reveal_code: bool, risk: Option<Risk> },
    /// The person behind the link says that the login was started elsewhere, so the reply code may be shown.
    RevealCode,
    /// The waiting page of a person who is already signed in proceeds automatically.
    Continue { token: Digest, browser: Option<Digest>, risk: Option<Risk> },
    /// The reply code was typed on the start page. `correct` says whether it was correct.
    EnterCode { token: Digest, browser: Option<Digest>, correct: bool, risk: Option<Risk> },
    /// The app's server presents the reply code that was typed on a page of its own. `risk` compares the browser that
    /// typed it, if the app identifies it.
    RedeemCode { correct: bool, challenge: Option<String>, claim: Option<ClaimId>, risk: Option<Risk> },
}

impl From<FinishCommand> for LinkCommand {
    fn from(command: FinishCommand) -> Self {
        Self::Finish(command)
    }
}

/// Properties of a message other than its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MessageChecks {
    /// The brackets around the code were lost.
    pub brackets_missing: bool,
    /// What the words around the code say.
    pub text: MessageText,
    /// The sender's identity can be forged.
    pub forgeable: bool,
}

/// What the words around the code say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MessageText {
    /// The prefilled words; for an approval, the answer that approves.
    #[default]
    Prefilled,
    /// The answer that rejects an approval.
    Rejection,
    /// Neither.
    Changed,
}

/// The result of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkVerdict {
    /// The chat proved the code with this message.
    Verified,
    /// The person rejected what was asked.
    Rejected,
    /// The chat proved the code before and repeats the message: the reply is the same.
    Repeated,
    /// The message did not prove the code.
    Failed(Reason),
    Expired,
    Canceled,
    /// The browser is bound.
    Bound,
    Erased,
    /// The command had no effect: the state already covers it, or it came too early.
    Unchanged,
    /// Verdict on the steps that follow the match.
    Finish(FinishVerdict),
}

/// The result of a [`FinishCommand`], a redeem token or a dispute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishVerdict {
    Completed,
    /// The browser that completed the link repeated the request and gets another redeem token.
    CompletedAgain,
    /// The person agreed behind the link; the waiting browser may now proceed.
    Agreed,
    /// The reply code may be shown to the browser that requested it.
    CodeRevealed,
    /// The link is bound to another browser, and only that one may finish.
    WrongBrowser,
    /// The reply code was wrong; the attempt counts.
    WrongCode,
    Redeemed,
    /// The caller that redeemed it repeats the request: the answer is the same.
    RedeemedAgain,
    /// The code was used before: what it gave is revoked.
    Revoked,
    Disputed,
    /// The single use is over.
    Gone,
    /// Wrong token or verifier, or too early.
    Refused,
}

impl From<FinishVerdict> for LinkVerdict {
    fn from(verdict: FinishVerdict) -> Self {
        Self::Finish(verdict)
    }
}
