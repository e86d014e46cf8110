//! The pages that people see in the browser.
//!
//! GET changes nothing, however many crawlers and link previews fetch a page. Only a POST changes something, and it
//! must come from our own origin and carry the page's form field, a keyed digest of link and browser.

mod link;
mod live;
mod look;
mod start;
mod visitor;
mod widget;
mod words;

pub(super) use self::{
    link::{complete, disputable, dispute, open},
    live::events,
    look::policy,
    start::{go, qr_code, start, tap, type_code},
    visitor::Visitor,
    widget::widget,
};
