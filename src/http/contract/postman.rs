//! The table as a Postman collection, version 2.1.

use serde_json::{Value, json};

use super::{Area, Operation, operations, path_parameter, samples, values};

/// The collection; the base URL and the credentials are variables.
pub(super) fn collection(url: &str) -> Value {
    let folder = |area: &Area| {
        let items: Vec<Value> = operations().iter().filter(|operation| operation.area == *area).map(item).collect();
        json!({ "name": area.title(), "description": area.about(), "item": items })
    };
    let folders = Area::ALL.iter().map(folder).filter(|folder| folder["item"] != json!([]));
    let variable = |key: &str, value: &str| json!({ "key": key, "value": value, "type": "string" });
    json!({
        "info": {
            "name": "countersign",
            "description": include_str!("../../../templates/docs/introduction.md"),
            "version": env!("CARGO_PKG_VERSION"),
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": { "type": "bearer", "bearer": [variable("token", "{{token}}")] },
        "variable": [variable("url", url), variable("instance", values::INSTANCE), variable("token", "")],
        "item": folders.collect::<Value>(),
    })
}

fn item(operation: &Operation) -> Value {
    let mut request = json!({
        "method": operation.method,
        "description": operation.about,
        "header": operation
            .example_headers()
            .into_iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect::<Value>(),
        "url": address(operation),
    });
    if !operation.access.is_token() {
        request["auth"] = json!({ "type": "noauth" });
    }
    if let Some(body) = &operation.body {
        request["header"]
            .as_array_mut()
            .map(|all| all.push(json!({ "key": "Content-Type", "value": body.media })))
            .unwrap_or_default();
        request["body"] = json!({
            "mode": "raw",
            "raw": samples::written(body),
            "options": { "raw": { "language": if body.media.ends_with("json") { "json" } else { "text" } } },
        });
    }
    let responses = operation.answers.iter().filter(|answer| !answer.example.is_null()).map(|answer| {
        json!({
            "name": answer.about,
            "originalRequest": request,
            "code": answer.status,
            "header": [{ "key": "Content-Type", "value": answer.media }],
            "body": answer.example.as_str().map_or_else(|| format!("{:#}", answer.example), str::to_owned),
        })
    });
    json!({ "name": operation.title, "request": request, "response": responses.collect::<Value>() })
}

fn address(operation: &Operation) -> Value {
    let path: Vec<String> = operation
        .path
        .split('/')
        .skip(1)
        .map(|segment| match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some("instance") => "{{instance}}".to_owned(),
            Some(name) => format!(":{name}"),
            None => segment.to_owned(),
        })
        .collect();
    let query: Vec<Value> = operation
        .parameters
        .iter()
        .filter(|parameter| parameter.place == "query")
        .map(|parameter| {
            json!({
                "key": parameter.name,
                "value": parameter.example.unwrap_or_default(),
                "disabled": parameter.example.is_none(),
                "description": parameter.schema["description"],
            })
        })
        .collect();
    let variables = operation.path_parameters().filter(|name| *name != "instance").map(|name| {
        let (value, about) = path_parameter(operation.path, name);
        json!({ "key": name, "value": value, "description": about })
    });
    json!({
        "raw": format!("{{{{url}}}}/{}", path.join("/")),
        "host": ["{{url}}"],
        "path": path,
        "query": query,
        "variable": variables.collect::<Value>(),
    })
}
