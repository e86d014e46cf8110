//! Links: a request is read, checked, admitted and committed.

mod create_link;
pub mod link_request;

pub use self::link_request::LinkRequest;
