//! The table as a Postman collection, version 2.1.
//!
//! With its first three variables set, the collection runs from top to bottom: the other ones are read from responses,
//! and every request checks that its status is one of the contract.

use serde_json::{Value, json};

use super::{Area, Operation, operations, path_parameter, samples, values};

/// Values of the examples that are variables of the collection.
const VARIABLES: &[(&str, &str)] = &[
    ("token", values::ACCESS_TOKEN),
    ("instance", values::INSTANCE),
    ("uuid", values::UUID),
    ("code_uuid", values::CODE_UUID),
    ("handle", values::HANDLE),
    ("callback", values::CALLBACK),
    ("number", values::CODE_NUMBER),
];

/// Statements that read a variable from the response of an operation, which is `data`.
const READS: &[(&str, &str)] = &[
    (
        "generateLink",
        "pm.collectionVariables.set(\"uuid\", data.uuid); \
         pm.collectionVariables.set(\"handle\", data.start_url.split(\"/l/\")[1]);",
    ),
    ("requestCode", "pm.collectionVariables.set(\"code_uuid\", data.uuid);"),
    ("listCallbacks", "if (data.callbacks[0]) pm.collectionVariables.set(\"callback\", data.callbacks[0].id);"),
];

/// The collection; the base URL and the credentials are variables.
pub(super) fn collection(url: &str) -> Value {
    let folder = |area: &Area| {
        let items: Vec<Value> = operations().iter().filter(|operation| operation.area == *area).map(item).collect();
        json!({ "name": area.title(), "description": area.about(), "item": items })
    };
    let folders = Area::ALL.iter().map(folder).filter(|folder| folder["item"] != json!([]));
    let variable = |key: &str, value: &str| json!({ "key": key, "value": value, "type": "string" });
    let mut variables = vec![variable("url", url), variable("instance", values::INSTANCE), variable("token", "")];
    variables.extend(VARIABLES.iter().skip(2).map(|(name, example)| variable(name, example)));
    json!({
        "info": {
            "name": "countersign",
            "description": include_str!("../../../templates/docs/introduction.md"),
            "version": env!("CARGO_PKG_VERSION"),
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": { "type": "bearer", "bearer": [variable("token", "{{token}}")] },
        "variable": variables,
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
    if !operation.credentials.is_token() {
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
    let responses: Value = responses.collect();
    let event = json!([{ "listen": "test", "script": { "type": "text/javascript", "exec": check(operation) } }]);
    with_variables(json!({
        "name": operation.title,
        "event": event,
        // A redirect is the documented answer.
        "protocolProfileBehavior": { "followRedirects": false },
        "request": request,
        "response": responses,
    }))
}

/// A script that checks the status and reads variables from the response.
fn check(operation: &Operation) -> Vec<String> {
    let mut statuses: Vec<u16> = operation.answers.iter().map(|answer| answer.status).collect();
    statuses.extend(operation.problems.iter().map(|code| code.status()));
    statuses.sort_unstable();
    statuses.dedup();
    let mut lines = vec![format!(
        "pm.test(\"the status is documented\", () => pm.expect({statuses:?}).to.include(pm.response.code));"
    )];
    let reads = READS.iter().find(|(id, _)| *id == operation.id);
    lines.extend(
        reads.map(|(_, read)| {
            format!("if (pm.response.code === 200) {{ const {{ data }} = pm.response.json(); {read} }}")
        }),
    );
    lines
}

/// Replaces the values of [`VARIABLES`] in every text.
fn with_variables(item: Value) -> Value {
    match item {
        Value::String(text) => {
            let replace = |text: String, (name, value): &(&str, &str)| text.replace(value, &format!("{{{{{name}}}}}"));
            VARIABLES.iter().fold(text, replace).into()
        }
        Value::Array(items) => items.into_iter().map(with_variables).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, with_variables(value))).collect(),
        other => other,
    }
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
