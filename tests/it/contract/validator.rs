//! Validates a response against the document.

use countersign::http::contract::{Operation, openapi};
use serde_json::{Value, json};

use crate::daemon::ReceivedResponse;

pub(super) struct ResponseValidator {
    document: Value,
}

impl ResponseValidator {
    /// Stricter than the document: what it does not name must not be there.
    pub(super) fn new() -> Self {
        let mut document = openapi("https://wa.example.org");
        forbid_other_members(&mut document);
        Self { document }
    }

    fn responses(&self, operation: &Operation) -> &Value {
        &self.document["paths"][operation.path][operation.method.to_ascii_lowercase()]["responses"]
    }

    /// Fails when status, media type, headers or body are not as documented.
    pub(super) fn check(&self, operation: &Operation, answer: &ReceivedResponse) {
        let place = format!("{} ({} {})", operation.id, operation.method, operation.path);
        let response = &self.responses(operation)[answer.status.to_string()];
        assert!(response.is_object(), "{place} answers {}, which is not documented: {}", answer.status, answer.text);
        assert!(!answer.header("x-request-id").is_empty(), "{place}: no x-request-id");
        for name in ["RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate"] {
            let (there, described) = (answer.headers.contains_key(name), response["headers"][name].is_object());
            assert!(described || !there, "{place}: {name} is not documented for {}", answer.status);
            let always = operation.spends && answer.status < 400 && name.starts_with("RateLimit");
            assert!(there || !always, "{place}: {name} is documented and missing");
        }
        let Some(content) = response["content"].as_object() else {
            assert!(answer.text.is_empty(), "{place}: {} has no documented body: {}", answer.status, answer.text);
            return;
        };
        let media = answer.header("content-type").split(';').next().unwrap().trim().to_owned();
        let described = content.get(&media).or_else(|| content.get("*/*"));
        let described =
            described.unwrap_or_else(|| panic!("{place}: {media:?} is not documented for {}", answer.status));
        if media.ends_with("json") {
            self.check_json(&place, &described["schema"], &answer.json);
        }
        if media == "application/problem+json" {
            let code = answer.json["code"].as_str().unwrap_or_default();
            assert!(described["examples"][code].is_object(), "{place}: {code} is not documented: {}", answer.text);
        }
    }

    /// A value against a schema of the document.
    pub(super) fn check_json(&self, place: &str, schema: &Value, value: &Value) {
        let schema = json!({ "components": self.document["components"], "allOf": [schema] });
        let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
        compiler.enable_format_assertions();
        compiler.add_resource("contract.json", schema).unwrap();
        let id = compiler.compile("contract.json", &mut schemas).unwrap();
        let outcome = schemas.validate(value, id);
        assert!(outcome.is_ok(), "{place}: {:#}\n{value:#}", outcome.unwrap_err());
    }

    pub(super) fn schema(&self, name: &str) -> Value {
        self.document["components"]["schemas"][name].clone()
    }
}

fn forbid_other_members(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) && map.contains_key("type") {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(forbid_other_members);
        }
        Value::Array(list) => list.iter_mut().for_each(forbid_other_members),
        _ => {}
    }
}
