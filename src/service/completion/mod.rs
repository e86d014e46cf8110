//! From the match to the app's session: the start page, the link in the reply, and the redeem token.

mod browser;
mod redeem;
mod reply_link;
mod start_page;
mod start_page_actions;

pub use self::{
    browser::ClientBrowser,
    redeem::{Redeemed, ReplyCodeRedemption},
    reply_link::{CompletionResult, DisputeState, ReplyLinkPage, ReplyLinkState},
    start_page::{StartPage, StartPageState},
    start_page_actions::EnteredCode,
};
