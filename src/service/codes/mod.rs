//! Codes sent to a chat: requested, resent, reported, and validated against the chat's count of wrong attempts.

mod chat_state;
pub mod code_request;
mod sending;
mod validate;
