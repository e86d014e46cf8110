//! The table as an OpenAPI 3.1 document.

use serde_json::{Map, Value, json};

use super::{Area, Credentials, Operation, Parameter, examples, operations, path_parameter, samples, schema};
use crate::{
    api::{callback::Callback, problem::ProblemBody, schema::Schema as _},
    domain::Event,
    http::problem::{Code, Problem},
};

/// The document; `url` is the base URL of the API, without a trailing slash.
pub fn openapi(url: &str) -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_ascii_lowercase()] = described(operation);
    }
    let tag = |area: &Area| json!({ "name": area.title(), "description": area.about() });
    let used = |area: &&Area| operations().iter().any(|operation| operation.area == **area);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "countersign",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Login links and codes over WhatsApp.",
            "description": include_str!("../../../templates/docs/introduction.md"),
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": url }],
        "tags": Area::ALL.iter().filter(used).map(tag).collect::<Value>(),
        "paths": paths,
        "webhooks": callbacks(),
        "components": {
            "schemas": schema::components(),
            "headers": headers(),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description":
                    "An API token of the instance. The roles of an operation are scopes: a token that was given scopes \
                     needs that one, and one without has them all." },
                "poll_token": { "type": "http", "scheme": "bearer", "description": "The request's `poll_token`." },
            },
        },
    })
}

fn described(operation: &Operation) -> Value {
    let mut parameters: Vec<Value> = operation
        .path_parameters()
        .map(|name| {
            let (example, about) = path_parameter(operation.path, name);
            json!({
                "name": name, "in": "path", "required": true, "description": about, "example": example,
                "schema": { "type": "string" },
            })
        })
        .collect();
    parameters.extend(operation.parameters.iter().map(parameter));
    let roles: Vec<&str> = operation.scope.iter().map(|scope| scope.as_str()).collect();
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.area.title()],
        "summary": operation.title,
        "description": operation.about,
        "parameters": parameters,
        "responses": responses(operation),
        "security": match operation.credentials {
            Credentials::Token => json!([{ "token": roles }]),
            Credentials::PollToken => json!([{ "token": roles }, { "poll_token": [] }]),
            Credentials::Wawp | Credentials::Gateway | Credentials::Public => json!([]),
        },
        "x-codeSamples": samples::all(operation)
            .iter()
            .map(|sample| json!({ "lang": sample.language, "label": sample.label, "source": sample.source }))
            .collect::<Value>(),
    });
    if let Some(body) = &operation.body {
        described["requestBody"] = json!({
            "required": body.required,
            "content": { body.media: { "schema": body.schema, "example": body.example } },
        });
    }
    described
}

fn parameter(parameter: &Parameter) -> Value {
    let mut schema = parameter.schema.clone();
    let about = schema.as_object_mut().and_then(|schema| schema.remove("description")).unwrap_or_default();
    let mut described = json!({
        "name": parameter.name, "in": parameter.place, "required": parameter.required, "schema": schema,
    });
    if about.is_string() {
        described["description"] = about;
    }
    if let Some(example) = parameter.example {
        let number = example.parse::<u32>().ok().filter(|_| parameter.schema["type"] == "integer");
        described["example"] = number.map_or_else(|| json!(example), |number| json!(number));
    }
    described
}

fn responses(operation: &Operation) -> Value {
    let mut responses = Map::new();
    let common = common_headers(operation.spends);
    for answer in &operation.answers {
        let status = answer.status.to_string();
        let response =
            responses.entry(status).or_insert_with(|| json!({ "description": answer.about, "headers": common }));
        if !answer.media.is_empty() {
            response["content"][answer.media]["schema"] = answer.schema.clone();
            if !answer.example.is_null() {
                response["content"][answer.media]["example"] = answer.example.clone();
            }
        }
    }
    for code in &operation.problems {
        let status = code.status().to_string();
        let response = responses.entry(status).or_insert_with(|| json!({ "description": "", "headers": common }));
        let so_far = response["description"].as_str().unwrap_or_default();
        let line = format!("`{}`: {}", code.as_str(), code.title());
        response["description"] = if so_far.is_empty() { json!(line) } else { json!(format!("{so_far}\n\n{line}")) };
        let media = &mut response["content"]["application/problem+json"];
        media["schema"] = ProblemBody::schema();
        media["examples"][code.as_str()] = json!({ "summary": code.title(), "value": example(*code) });
        if *code == Code::RateLimited && operation.area == Area::Pages {
            response["content"]["text/html"]["schema"] = json!({ "type": "string" });
        }
        for name in own_headers(*code) {
            response["headers"][*name] = json!({ "$ref": format!("#/components/headers/{name}") });
        }
    }
    Value::Object(responses)
}

/// An example of a problem.
pub(super) fn example(code: Code) -> ProblemBody {
    Problem::new(code, "What to do about it, for people.").body()
}

fn own_headers(code: Code) -> &'static [&'static str] {
    match code {
        Code::RateLimited => &["Retry-After", "RateLimit", "RateLimit-Policy"],
        Code::StoreUnavailable | Code::TemporaryReducedCapacity | Code::InstanceFull => &["Retry-After"],
        Code::Unauthenticated => &["WWW-Authenticate", "RateLimit", "RateLimit-Policy"],
        Code::InsufficientScope => &["WWW-Authenticate"],
        _ => &[],
    }
}

fn common_headers(spends: bool) -> Value {
    let limit_headers: &[&str] = if spends { &["RateLimit", "RateLimit-Policy"] } else { &[] };
    let names = ["X-Request-Id"].iter().chain(limit_headers);
    names.map(|name| ((*name).to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }))).collect()
}

fn headers() -> Value {
    let header = |about: &str| json!({ "description": about, "schema": { "type": "string" } });
    json!({
        "X-Request-Id": header("Names this exchange in the daemon's log; yours is kept when it is short and harmless."),
        "Retry-After": { "description": "Seconds.", "schema": { "type": "integer", "minimum": 1 } },
        "RateLimit": header("What is left of each limit that this request took from: `\"mint\";r=4990;t=1`. `t` are the \
            seconds until all of it is back; when nothing is left, until one is. A list of structured fields (RFC 9651)."),
        "RateLimit-Policy": header("Those limits: `\"mint\";q=5000;w=25` is 5,000 at once and as many in 25 seconds."),
        "WWW-Authenticate": header("`Bearer`, and where the token may not do this, the scope that it lacks."),
    })
}

/// `onLinkVerified` for `link.verified`. Without one, generators name the operation after its position.
fn operation_id(event: &str) -> String {
    event.split(['.', '_']).fold("on".to_owned(), |id, word| {
        let (first, rest) = word.split_at(1);
        id + &first.to_ascii_uppercase() + rest
    })
}

/// The callbacks that the daemon posts to the app.
fn callbacks() -> Value {
    let parameters: Vec<Value> = [
        ("webhook-id", "The same for every attempt: deduplicate on it."),
        ("webhook-timestamp", "Seconds since 1970 of this attempt; refuse what is older than five minutes."),
        ("webhook-signature", "`v1,` and base64 HMAC-SHA256 of `id.timestamp.body`, one entry for each live secret."),
    ]
    .iter()
    .map(|(name, about)| {
        json!({ "name": name, "in": "header", "required": true, "description": about, "schema": { "type": "string" } })
    })
    .collect();
    let mut callbacks = Map::new();
    for event in Event::ALL {
        let example = examples::callback(event.as_str());
        callbacks.insert(
            event.as_str().to_owned(),
            json!({ "post": {
                "operationId": operation_id(event.as_str()),
                "summary": event.about(),
                "security": [],
                "parameters": parameters,
                "requestBody": { "required": true, "content": {
                    "application/json": { "schema": Callback::schema(), "example": example },
                } },
                "responses": {
                    "2XX": { "description": "Taken. Anything else is tried again." },
                    "410": { "description": "Never again." },
                },
            }}),
        );
    }
    Value::Object(callbacks)
}
