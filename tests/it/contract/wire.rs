//! Detects unintended changes of the API: compares every schema of the document with a checked-in file.
//!
//! `COUNTERSIGN_BLESS=1 cargo test --test it -- contract::wire` writes the file anew.

use std::fs;

use countersign::http::contract::openapi;
use serde_json::{Map, Value, json};

const FILE: &str = "tests/it/contract/wire.txt";

/// A schema without what is only for people, and with what it requires in alphabetical order.
fn normalized(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let prose = |name: &str, value: &Value| ["description", "example"].contains(&name) && !value.is_object();
            let kept = members.iter().filter(|(name, value)| !prose(name, value));
            kept.map(|(name, value)| {
                let mut value = normalized(value);
                if let (true, Some(names)) = (name == "required", value.as_array_mut()) {
                    names.sort_by_key(Value::to_string);
                }
                (name.clone(), value)
            })
            .collect()
        }
        Value::Array(list) => list.iter().map(normalized).collect(),
        other => other.clone(),
    }
}

/// Media types and their schemas.
fn content(message: &Value) -> Value {
    let content = message["content"].as_object().into_iter().flatten();
    content.map(|(media, content)| (media.clone(), normalized(&content["schema"]))).collect::<Map<_, _>>().into()
}

fn operation(operation: &Value) -> Value {
    let answers = operation["responses"].as_object().into_iter().flatten();
    // A problem has one shape everywhere.
    let answers = answers.filter(|(status, _)| status.starts_with('2') || status.starts_with('3'));
    json!({
        "parameters": normalized(&operation["parameters"]),
        "body": content(&operation["requestBody"]),
        "answers": answers.map(|(status, answer)| (status.clone(), content(answer))).collect::<Map<_, _>>(),
    })
}

/// One line for each component and each operation.
fn lines(document: &Value) -> Vec<String> {
    let components = document["components"]["schemas"].as_object().unwrap().iter();
    let mut lines: Vec<String> = components.map(|(name, schema)| format!("{name} {}", normalized(schema))).collect();
    for place in ["paths", "webhooks"] {
        for (path, methods) in document[place].as_object().unwrap() {
            for (method, described) in methods.as_object().unwrap() {
                lines.push(format!("{method} {path} {}", operation(described)));
            }
        }
    }
    lines
}

#[test]
fn schemas_match_the_recorded_ones() {
    let found = lines(&openapi("https://wa.example.org"));
    if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
        fs::write(FILE, found.join("\n") + "\n").unwrap();
    }
    let kept = fs::read_to_string(FILE).unwrap();
    for (found, kept) in found.iter().zip(kept.lines()) {
        assert_eq!(found, kept, "the wire has changed: if it should, write {FILE} anew and say so in CHANGELOG.md");
    }
    assert_eq!(found.len(), kept.lines().count(), "an operation has come or gone: write {FILE} anew");
}
