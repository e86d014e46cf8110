//! The pages that people see in the browser.
//!
//! GET changes nothing, however many crawlers and link previews fetch a page. Only a POST changes something, and it
//! must come from our own origin and carry the page's form field, a keyed digest of link and browser.

mod end;
mod errors;
mod layout;
mod link;
mod stage_events;
mod start;
mod start_forms;
mod texts;
mod visitor;
mod whatsapp_link;
mod widget;

pub(super) use self::{
    errors::as_pages,
    layout::{PageResponse, PageResult, PageStyle, see_other, set_security_headers},
    link::{complete, dispute, dispute_form, open},
    stage_events::events,
    start::start_page,
    start_forms::{code_form, submit, submit_code},
    texts::PageTexts,
    visitor::{Visitor, same_origin_form},
    whatsapp_link::{go_to_whatsapp, qr_code},
    widget::widget,
};
