//! A schema as rows for the documentation: one per field, with nested fields under dotted names.

use serde_json::Value;

use super::schema;

/// A field or a parameter.
pub(in crate::http) struct FieldRow {
    pub(in crate::http) name: String,
    /// `string`, `integer 60–3600`, `one of a, b`.
    pub(in crate::http) kind: String,
    pub(in crate::http) required: bool,
    pub(in crate::http) about: String,
}

/// Rows of an object and of the objects nested in it.
pub(in crate::http) fn rows(schema: &Value) -> Vec<FieldRow> {
    let mut found = Vec::new();
    collect(&resolved(schema), "", &mut found);
    found
}

fn collect(schema: &Value, prefix: &str, found: &mut Vec<FieldRow>) {
    for variant in schema["anyOf"].as_array().into_iter().flatten() {
        collect(&resolved(variant), prefix, found);
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if found.iter().any(|row| row.name == format!("{prefix}{name}")) {
            continue;
        }
        let inner = resolved(field);
        found.push(FieldRow {
            name: format!("{prefix}{name}"),
            kind: kind(field),
            required: required.contains(&name.as_str()),
            about: inner["description"].as_str().unwrap_or_default().to_owned(),
        });
        let items = resolved(&inner["items"]);
        // A request within a list is described where a single one is shown.
        if inner["properties"].is_object() && !is_named(field, "Request") {
            collect(&inner, &format!("{prefix}{name}."), found);
        } else if items["properties"].is_object() && !is_named(&inner["items"], "Request") {
            collect(&items, &format!("{prefix}{name}[]."), found);
        }
    }
}

fn is_named(schema: &Value, name: &str) -> bool {
    schema["$ref"].as_str().is_some_and(|reference| reference.ends_with(&format!("/{name}")))
}

fn resolved(schema: &Value) -> Value {
    let Some(reference) = schema["$ref"].as_str() else { return schema.clone() };
    let name = reference.rsplit('/').next().unwrap_or_default();
    schema::components().remove(name).unwrap_or_default()
}

/// A schema's type in a few words.
pub(super) fn kind(schema: &Value) -> String {
    let schema = resolved(schema);
    if let Some(word) = schema.get("const") {
        return word.to_string();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .filter(|word| word.as_str() != Some(""))
            .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
            .collect();
        return if words.len() > 9 { format!("one of {} words", words.len()) } else { words.join(" | ") };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect(),
        _ => vec!["any JSON"],
    };
    let mut text = match schema["format"].as_str() {
        Some(format) => format.to_owned(),
        None => types.join(" or "),
    };
    if schema["items"].is_object() {
        text = format!("list of {}", kind(&schema["items"]));
    }
    if let (Some(least), Some(most)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        text = format!("{text} {least}–{most}");
    }
    if let Some(longest) = schema["maxLength"].as_u64() {
        text = format!("{text} ≤ {longest}");
    }
    if let Some(default) = schema.get("default") {
        text = format!("{text}, default {default}");
    }
    text
}
