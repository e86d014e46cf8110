//! The commands that can be applied to a link, and the verdicts returned to their callers.

use crate::domain::{ClaimId, Reason, Sender, binding::Binding, keys::Digest, risk::Risk};

/// A command that can be applied to a link.
#[derive(Clone, Debug)]
pub enum LinkCommand {
    /// A message with the link's code arrived.
    Receive {
        sender: Sender,
        push_name: Option<String>,
        text: Sent,
        risk: Option<Risk>,
        /// Whether the sender's budget of replies allows a reply. The first success is answered regardless.
        may_reply: bool,
    },
    /// Cancellation by the app.
    Cancel,
    /// End of the validity period.
    Expire,
    /// The start page binds its browser, either because the person is about to send the message or by script.
    Bind { binding: Binding },
    /// Erasure of the person's data.
    Forget,
    /// The person proceeds from the reply.
    Finish(FinishCommand),
    /// The app's server presents a redeem token and, if it sent one, the S256 challenge of its verifier. `claim` is the
    /// id that the caller's idempotency key maps to.
    Redeem { token: Digest, challenge: Option<String>, claim: Option<ClaimId> },
    /// The person selected "this wasn't me".
    Dispute,
}

/// A command that uses the link or the code in the reply. `token` is the digest of the redeem token to issue.
///
/// `Complete`, `Continue` and `Type` may be repeated by the same browser while such a token is valid, because a
/// response can be lost.
#[derive(Clone, Debug)]
pub enum FinishCommand {
    /// The button behind the link was tapped. A browser other than the bound one is shown the reply code if
    /// `may_tell` is set.
    Complete { token: Digest, browser: Option<Digest>, may_tell: bool, risk: Option<Risk> },
    /// The person behind the link says that the login was started elsewhere, so the reply code may be shown.
    Tell,
    /// The waiting page of a person who is already signed in proceeds automatically.
    Continue { token: Digest, browser: Option<Digest>, risk: Option<Risk> },
    /// The reply code was typed on the start page. `right` says whether it was correct.
    Type { token: Digest, browser: Option<Digest>, right: bool, risk: Option<Risk> },
    /// The app's server presents the reply code that was typed on a page of its own. `risk` compares the browser that
    /// typed it, if the app identifies it.
    RedeemCode { right: bool, challenge: Option<String>, claim: Option<ClaimId>, risk: Option<Risk> },
}

impl From<FinishCommand> for LinkCommand {
    fn from(command: FinishCommand) -> Self {
        Self::Finish(command)
    }
}

/// Properties of a message other than its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// The brackets around the code were lost.
    pub edited: bool,
    /// The words around the code differ from the prefilled ones.
    pub changed: bool,
    /// The sender's identity can be forged.
    pub weak: bool,
}

/// The result of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkVerdict {
    /// The chat proved the code with this message.
    Verified,
    /// The chat proved the code before and repeats the message: the reply is the same.
    Repeated,
    /// The message did not prove the code.
    Failed(Reason),
    Expired,
    Canceled,
    /// The browser is bound.
    Bound,
    Forgotten,
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
    Told,
    /// The link is bound to another browser, and only that one may finish.
    WrongBrowser,
    /// The reply code was wrong; the attempt counts.
    WrongCode,
    Redeemed,
    /// The caller that redeemed it repeats the request: the answer is the same.
    RedeemedAgain,
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
