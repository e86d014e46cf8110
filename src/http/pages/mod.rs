//! The pages that people see in the browser.
//!
//! GET changes nothing, however many crawlers and link previews fetch a page. Only a POST changes something, and it
//! must come from our own origin and carry the page's form field, a keyed digest of link and browser.

mod link;
mod stage_events;
mod layout;
mod start;
mod visitor;
mod widget;
mod words;

pub(super) use self::{
    link::{complete, dispute_form, dispute, open},
    stage_events::events,
    layout::set_security_headers,
    start::{go_to_whatsapp, qr_code, start_page, tap, submit_code},
    visitor::Visitor,
    widget::widget,
};
