//! The contract, about itself.

use serde_json::{Value, json};

use super::operation::{Access, Area, Operation, operation};
use crate::http::problem::Code;

pub(super) fn operations() -> Vec<Operation> {
    let object = json!({ "type": "object" });
    vec![
        file("/openapi.json", "getOpenApi", "The contract as OpenAPI 3.1")
            .about("Generated from the same table as this page, and held to the routes by tests.")
            .answer(200, "The document", "application/json", object, Value::Null)
            .answer(304, "You have it already", "", json!({}), Value::Null),
    ]
}

fn file(path: &'static str, id: &'static str, title: &'static str) -> Operation {
    let store = [Code::NotFound, Code::InternalError, Code::StoreUnavailable, Code::TemporaryReducedCapacity];
    operation(Area::Contract, "GET", path, id, title).open_to(Access::Nobody).without(&store)
}
