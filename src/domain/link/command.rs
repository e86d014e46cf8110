//! What can happen to a link, and what its cause is answered.

use crate::domain::{ClaimId, Reason, Sender, binding::Binding, keys::Digest, risk::Risk};

/// What can happen to a link.
#[derive(Clone, Debug)]
pub enum LinkCommand {
    /// A message with its code arrived.
    Receive {
        sender: Sender,
        push_name: Option<String>,
        text: Sent,
        risk: Option<Risk>,
        /// The sender's budget of replies is not used up. The first success is answered in any case.
        may_reply: bool,
    },
    /// The app changed its mind.
    Cancel,
    /// Its time is over.
    Expire,
    /// A person is about to send the message from the start page, or the page itself is.
    Bind { binding: Binding },
    /// The person's data is no longer needed.
    Forget,
    /// A person goes on from the reply.
    Finish(FinishCommand),
    /// The app's server presents a redeem token, and the S256 challenge of its verifier if it sent one. `claim` is the
    /// id that its idempotency key stands for.
    Redeem { token: Digest, challenge: Option<String>, claim: Option<ClaimId> },
    /// "This wasn't me."
    Dispute,
}

/// What can be done with the link or the code in the reply. `token` is the digest of the redeem token to hand out.
/// Completing, continuing and typing can be repeated by the same browser while such a token lives, because an answer can
/// be lost.
#[derive(Clone, Debug)]
pub enum FinishCommand {
    /// The button behind the link was tapped. A wrong browser is shown the reply code, where `may_tell`.
    Complete { token: Digest, browser: Option<Digest>, may_tell: bool, risk: Option<Risk> },
    /// The person behind the link says that the login was started elsewhere: the reply code may be shown.
    Tell,
    /// The waiting page of a person who is signed in already goes on by itself.
    Continue { token: Digest, browser: Option<Digest>, risk: Option<Risk> },
    /// The reply code was typed on the start page; `right` says whether it was this one.
    Type { token: Digest, browser: Option<Digest>, right: bool, risk: Option<Risk> },
    /// The app's server presents the reply code that was typed on a page of its own.
    /// `risk` compares the browser that typed it, where the app names it.
    RedeemCode { right: bool, challenge: Option<String>, claim: Option<ClaimId>, risk: Option<Risk> },
}

impl From<FinishCommand> for LinkCommand {
    fn from(command: FinishCommand) -> Self {
        Self::Finish(command)
    }
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

/// The answer to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkVerdict {
    /// This chat has proved the code, just now.
    Verified,
    /// The chat has proved it before, and writes again: the same answer.
    Repeated,
    /// A message did not prove it.
    Failed(Reason),
    Expired,
    Canceled,
    /// The tap is kept.
    Bound,
    Forgotten,
    /// Nothing to do, and nothing wrong: the state already says so, or it is too early.
    Unchanged,
    /// To what follows upon the match.
    Finish(FinishVerdict),
}

/// The answer to a [`FinishCommand`], a redeem token or a dispute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FinishVerdict {
    Completed,
    /// The browser that completed it has asked again, and gets a further redeem token.
    CompletedAgain,
    /// The person has agreed behind the link, and another browser waits to go on.
    Agreed,
    /// The reply code may be shown to the browser that asked.
    Told,
    /// Another browser started this, and it alone may finish.
    WrongBrowser,
    /// A try of the reply code is gone.
    WrongCode,
    Redeemed,
    /// The caller who redeemed it asks again: the same answer.
    RedeemedAgain,
    Disputed,
    /// The one use is over.
    Gone,
    /// Wrong token or wrong verifier, or too early.
    Refused,
}

impl From<FinishVerdict> for LinkVerdict {
    fn from(verdict: FinishVerdict) -> Self {
        Self::Finish(verdict)
    }
}
