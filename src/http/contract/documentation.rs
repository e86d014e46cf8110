//! Operations that serve the contract itself.

use serde_json::{Value, json};

use super::operation::{Area, Credentials, Operation, operation};
use crate::http::problem::Code;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        served("/", "getRoot", "A redirect to the documentation")
            .about("For people who open the daemon's address in a browser.")
            .answer(303, "To `/docs`", "", json!({}), Value::Null),
        file("/openapi.json", "getOpenApi", "The contract as OpenAPI 3.1", "application/json")
            .about("Generated from the same table as the page, and held to the routes by tests."),
        file("/docs", "getDocs", "The contract as a page", "text/html")
            .about("One file that loads nothing: it can be saved and read offline."),
        file("/docs/search", "searchDocs", "A search over guides and contract", "text/html")
            .query(
                "q",
                json!({ "type": "string", "maxLength": 100, "description": "Words that all have to occur." }),
                Some("webhook"),
            )
            .about("Sections of guides, operations, fields, problem codes and reasons, best first."),
        file("/docs/{guide}", "getGuide", "A guide as a page", "text/html")
            .about("`/docs` lists them.")
            .problems(&[Code::NotFound]),
        file("/docs.md", "getDocsMarkdown", "The contract as Markdown", "text/markdown")
            .about("The same as the page, as text."),
        file("/postman.json", "getPostman", "The contract as a Postman collection", "application/json")
            .about("Version 2.1; set its variables to your URL, instance and token."),
        file("/llms.txt", "getLlms", "An index for language models", "text/plain")
            .about("As llmstxt.org describes it."),
    ]
}

/// An operation without access to the store.
fn served(path: &'static str, id: &'static str, title: &'static str) -> Operation {
    let store = [Code::NotFound, Code::InternalError, Code::StoreUnavailable, Code::TemporaryReducedCapacity];
    operation(Area::Contract, "GET", path, id, title)
        .open_to(Credentials::Public)
        .without(&store)
        .problems(&[Code::RateLimited])
        .spends()
}

fn file(path: &'static str, id: &'static str, title: &'static str, media: &'static str) -> Operation {
    let kind = if media == "application/json" { "object" } else { "string" };
    served(path, id, title).answer(200, "The file", media, json!({ "type": kind }), Value::Null).answer(
        304,
        "You have it already",
        "",
        json!({}),
        Value::Null,
    )
}
