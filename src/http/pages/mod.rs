//! What a person sees in the browser. GET changes nothing; only a POST with this page's field does.

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
