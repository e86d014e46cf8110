//! Schemas that the structs in `crate::api` do not declare: requests, parameters and streams.

use serde_json::{Map, Value, json};

use crate::{
    api::{
        Warning,
        callback::{Callback, CallbackEntry},
        limits,
        problem::ProblemBody,
        schema::Schema,
        verification::{
            CodeRequestView, CodeView, CompletionView, LinkRequestView, LinkView, RequestView, RiskView, SubjectView,
        },
    },
    domain::Language,
};

pub(super) fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

pub(super) fn time(about: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": about })
}

/// The field `lang` of a request.
pub(super) fn language() -> Value {
    let tags: Vec<&str> = Language::all().map(Language::tag).collect();
    let about = format!("A built-in language: {}. An unknown one falls back to the instance's.", tags.join(", "));
    json!({ "type": ["string", "null"], "maxLength": limits::LANGUAGE, "description": about })
}

/// An event, named `event`, of a stream.
pub(super) fn streamed(event: &str, data: &str) -> Value {
    json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "id": text("Counts the events of this stream."),
            "event": { "const": event },
            "data": text(data),
            "retry": { "type": "integer", "description": "Milliseconds to wait before asking again." },
        },
    })
}

/// All named schemas, for `components.schemas`.
pub(super) fn components() -> Map<String, Value> {
    fn component<T: Schema>() -> (String, Value) {
        (T::COMPONENT.unwrap_or_default().to_owned(), T::definition())
    }
    [
        component::<ProblemBody>(),
        component::<Warning>(),
        component::<SubjectView>(),
        component::<CompletionView>(),
        component::<RiskView>(),
        component::<LinkView>(),
        component::<CodeView>(),
        component::<LinkRequestView>(),
        component::<CodeRequestView>(),
        component::<RequestView>(),
        component::<CallbackEntry>(),
        component::<Callback>(),
    ]
    .into_iter()
    .collect()
}
