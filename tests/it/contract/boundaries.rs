//! Every limit in the document is enforced: a value at the limit is accepted, and one beyond it is reported.

use countersign::http::contract::{Credentials, Operation, Parameter, operations};
use serde_json::{Value, json};

use super::{
    encoded,
    live::{Live, prepare, world},
};
use crate::daemon::{Daemon, ReceivedResponse};

/// Where a value stands.
#[derive(Clone, Debug)]
enum Location {
    Query(&'static str),
    Header(&'static str),
    /// A JSON pointer into the body.
    Body(String),
}

impl Location {
    /// As a problem names it.
    fn field(&self) -> String {
        match self {
            Self::Query(name) | Self::Header(name) => (*name).to_owned(),
            Self::Body(pointer) => pointer.trim_start_matches('/').replace('/', "."),
        }
    }
}

/// A limit: the value at it, and one beyond.
struct FieldBoundary {
    place: Location,
    at: Value,
    beyond: Value,
}

fn limits(place: &Location, schema: &Value) -> Vec<FieldBoundary> {
    let text = |length: u64| json!("1".repeat(usize::try_from(length).unwrap()));
    let bound = |name: &str| schema[name].as_i64();
    let mut pairs = Vec::new();
    if let Some(most) = schema["maxLength"].as_u64() {
        pairs.push((text(most), text(most + 1)));
    }
    if let Some(least) = schema["minLength"].as_u64() {
        pairs.push((text(least), text(least - 1)));
    }
    pairs.extend(bound("minimum").map(|least| (json!(least), json!(least - 1))));
    pairs.extend(bound("maximum").map(|most| (json!(most), json!(most + 1))));
    pairs.into_iter().map(|(at, beyond)| FieldBoundary { place: place.clone(), at, beyond }).collect()
}

fn of_object(schema: &Value, prefix: &str) -> Vec<FieldBoundary> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let each = properties.flat_map(|(name, schema)| {
        let pointer = format!("{prefix}/{name}");
        let mut found = limits(&Location::Body(pointer.clone()), schema);
        found.extend(of_object(schema, &pointer));
        found
    });
    each.collect()
}

fn of_parameter(parameter: &Parameter) -> Vec<FieldBoundary> {
    let place =
        if parameter.place == "query" { Location::Query(parameter.name) } else { Location::Header(parameter.name) };
    limits(&place, &parameter.schema)
}

/// The operation's example with one value exchanged, and no key that would make it a repeat.
async fn send(app: &Daemon, operation: &Operation, live: &Live, place: &Location, value: &Value) -> ReceivedResponse {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut url = url::Url::parse(&format!("{}{}", app.base, live.exchange(&operation.example_path()))).unwrap();
    for (name, example) in operation.example_query() {
        if !matches!(place, Location::Query(own) if *own == name) {
            url.query_pairs_mut().append_pair(name, &live.exchange(example));
        }
    }
    if let Location::Query(name) = place {
        url.query_pairs_mut().append_pair(name, &text);
    }
    let mut request = http::Request::builder().method(operation.method).uri(url.as_str());
    if operation.credentials.is_token() {
        request = request.header("authorization", format!("Bearer {}", live.token()));
    }
    if let Location::Header(name) = place {
        request = request.header(*name, &text);
    }
    let mut body = Vec::new();
    if let Some(described) = &operation.body {
        request = request.header("content-type", described.media);
        let mut example = described.example.clone();
        if let Location::Body(pointer) = place {
            let mut at = &mut example;
            for name in pointer.split('/').skip(1) {
                at = &mut at[name];
            }
            *at = value.clone();
        }
        body = live.exchange(&encoded(described.media, &example)).into_bytes();
    }
    app.send(request.body(body).unwrap()).await
}

/// The schema of a field.
fn fault(answer: &ReceivedResponse, field: &str) -> Option<String> {
    let errors = answer.json["errors"].as_array()?;
    let named = errors.iter().find(|error| error["field"] == field)?;
    Some(named["detail"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_limit_is_enforced() {
    let world = world();
    let app = world.start().await;
    let mut count = 0;
    let asked = |operation: &&Operation| operation.credentials.is_token() || operation.credentials == Credentials::Wawp;
    for (number, operation) in operations().iter().filter(asked).enumerate() {
        let body = operation.body.as_ref().map(|body| of_object(&body.schema, "")).unwrap_or_default();
        let limits: Vec<FieldBoundary> = operation.parameters.iter().flat_map(of_parameter).chain(body).collect();
        if limits.is_empty() {
            continue;
        }
        let live = prepare(&world, &app, operation, number).await;
        for FieldBoundary { place, at, beyond } in &limits {
            let (field, id) = (place.field(), operation.id);
            let answer = send(&app, operation, &live, place, beyond).await;
            let refusal = fault(&answer, &field);
            assert_eq!(answer.status, 422, "{id}: {field} = {beyond}: {}", answer.text);
            assert!(refusal.is_some(), "{id}: {field} = {beyond} is not named: {}", answer.text);
            // A value at the limit may still be faulty in another way: ones are no URL.
            let answer = send(&app, operation, &live, place, at).await;
            assert_ne!(fault(&answer, &field), refusal, "{id}: {field} = {at}");
            count += 1;
        }
    }
    assert!(count >= 56, "only {count} limits were found");
    app.finish().await;
}
