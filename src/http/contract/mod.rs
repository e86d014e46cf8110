//! The HTTP contract: one table of operations, rendered as OpenAPI, as a page, as Markdown, as a Postman collection,
//! and as an index for language models.
//!
//! # Adding an operation
//!
//! 1. Add the route to [`super::ROUTES`].
//! 2. Add a row to the file of its area here, such as `requests.rs`: one call of `operation(…)`, with an example
//!    request and response. A new file needs one line in [`operations`]. Declare the struct of the response in
//!    [`crate::api`]. An example is a value of it; what several examples share is in `examples.rs` and `values.rs`.
//! 3. State in `tests/it/contract/live.rs` how such a value arises in a running daemon: the example is executed.

mod area;
mod callbacks;
mod codes;
mod documentation;
mod examples;
pub(in crate::http) mod fields;
pub(in crate::http) mod highlight;
mod links;
mod markdown;
mod openapi;
mod operation;
pub(in crate::http) mod page;
mod pages;
mod postman;
mod requests;
pub mod samples;
mod schema;
pub mod serve;
mod support;
pub mod values;
pub mod verify;
mod wawp;
mod webhooks;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

pub use self::{
    openapi::openapi,
    operation::{Area, Credentials, Operation, Parameter, RequestBody, SuccessResponse},
};

/// All operations of the public listener, in the order of the documentation.
pub fn operations() -> &'static [Operation] {
    static ALL: LazyLock<Vec<Operation>> = LazyLock::new(|| {
        [
            links::operations(),
            codes::operations(),
            requests::operations(),
            callbacks::operations(),
            support::operations(),
            wawp::operations(),
            pages::operations(),
            webhooks::operations(),
            documentation::operations(),
        ]
        .into_iter()
        .flatten()
        .collect()
    });
    &ALL
}

/// Example value and description of a path parameter.
fn path_parameter(path: &str, name: &str) -> (&'static str, &'static str) {
    match name {
        "instance" => (values::INSTANCE, "The instance's id."),
        "uuid" if path.ends_with("/resend") => (values::CODE_UUID, "The request's id."),
        "uuid" => (values::UUID, "The request's id."),
        "id" => (values::CALLBACK, "The callback's id in the list."),
        "chat_id" => (values::CHAT, "A chat id, an E.164 number or a business-scoped user id."),
        "guide" => (values::GUIDE, "The guide's name, as `/docs` links it."),
        "handle" => (values::HANDLE, "Names the start page; part of `start_url`."),
        "secret" => (values::WEBHOOK_SECRET, "The secret that the gateway was given with the URL."),
        "tail" => ("messages-upsert", "What some gateways append to the URL."),
        "token" if path.starts_with("/d/") => (values::DISPUTE_TOKEN, "Part of the second link in the reply."),
        "token" if path.starts_with("/o/") => (values::LINK_TOKEN, "Part of the link in the reply."),
        _ => ("", ""),
    }
}

fn path_value(path: &str, name: &str) -> &'static str {
    path_parameter(path, name).0
}
