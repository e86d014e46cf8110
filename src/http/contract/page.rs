//! The table as an HTML page that loads nothing.

use std::sync::LazyLock;

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    Area, Operation, Parameter, examples,
    fields::{self, FieldRow},
    highlight::{html, prose},
    operations, path_parameter, samples, values, verify,
};
use crate::{
    domain::{Event, Reason},
    hash::sha256,
    http::{
        guides::{GUIDES, Guide},
        problem::Code,
    },
};

pub(in crate::http) const CSS: &str = include_str!("../../../templates/docs/style.css");
/// Tabs of samples, filled with the reader's values.
pub(in crate::http) const SAMPLES_JS: &str = include_str!("../../../templates/docs/samples.js");
const JS: &str =
    concat!(include_str!("../../../templates/docs/samples.js"), include_str!("../../../templates/docs/page.js"));
const INTRODUCTION: &str = include_str!("../../../templates/docs/introduction.md");

#[derive(Template)]
#[template(path = "docs/page.html")]
struct ReferencePage {
    css: &'static str,
    js: &'static str,
    guides: &'static [Guide],
    version: &'static str,
    introduction: Vec<Paragraph>,
    areas: Vec<Chapter>,
    events: Vec<(&'static str, String)>,
    event: String,
    verify: Vec<HighlightedSample>,
    problems: Vec<(&'static str, u16, &'static str, String)>,
    reasons: Vec<(&'static str, String)>,
}

/// A paragraph, or the steps of a list.
struct Paragraph {
    html: String,
    steps: Vec<String>,
}

struct Chapter {
    id: &'static str,
    title: &'static str,
    about: String,
    operations: Vec<OperationSection>,
}

struct OperationSection {
    id: &'static str,
    method: &'static str,
    path: &'static str,
    title: &'static str,
    about: String,
    access: String,
    /// Whether the form sends the token that is entered in the page's bar.
    token: bool,
    path_fields: Vec<FormField>,
    query_fields: Vec<FormField>,
    header_fields: Vec<FormField>,
    rows: Vec<FieldRow>,
    body: Option<(&'static str, String)>,
    answers: Vec<RenderedResponse>,
    answer_rows: Vec<FieldRow>,
    problems: Vec<(u16, &'static str, &'static str)>,
    samples: Vec<HighlightedSample>,
}

/// A parameter, as shown in the table and in the form.
struct FormField {
    name: String,
    kind: String,
    about: String,
    value: String,
}

struct RenderedResponse {
    status: u16,
    about: &'static str,
    media: &'static str,
    example: String,
}

struct HighlightedSample {
    label: &'static str,
    html: String,
}

/// The page, and its content security policy.
pub(super) fn page() -> (String, String) {
    static HTML: LazyLock<String> =
        LazyLock::new(|| built().render().expect("a compiled template of plain values renders"));
    (HTML.clone(), policy(Some(JS), CSS))
}

/// Content security policy of a documentation page: it may load its own style and script, and nothing else.
pub(in crate::http) fn policy(script: Option<&str>, style: &str) -> String {
    let source = |text: &str| format!("'sha256-{}'", STANDARD.encode(sha256(text.as_bytes())));
    let script = script.map_or_else(|| "'none'".to_owned(), source);
    format!(
        "default-src 'none'; script-src {script}; style-src {}; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        source(style)
    )
}

fn built() -> ReferencePage {
    let chapters = Area::ALL.iter().map(|area| Chapter {
        id: area.id(),
        title: area.title(),
        about: prose(area.about()),
        operations: operations().iter().filter(|operation| operation.area == *area).map(section).collect(),
    });
    ReferencePage {
        css: CSS,
        js: JS,
        guides: GUIDES,
        version: env!("CARGO_PKG_VERSION"),
        introduction: INTRODUCTION.split("\n\n").map(paragraph).collect(),
        areas: chapters.filter(|chapter| !chapter.operations.is_empty()).collect(),
        events: Event::ALL.iter().map(|event| (event.as_str(), prose(event.about()))).collect(),
        event: html(&format!("{:#}", examples::callback_json())),
        verify: verify::samples()
            .map(|sample| HighlightedSample { label: sample.label, html: html(&sample.source) })
            .into(),
        problems: Code::ALL
            .iter()
            .map(|code| (code.as_str(), code.status(), code.title(), prose(code.remedy())))
            .collect(),
        reasons: Reason::ALL.iter().map(|reason| (reason.as_str(), prose(reason.about()))).collect(),
    }
}

fn paragraph(text: &str) -> Paragraph {
    if !text.starts_with("1. ") {
        return Paragraph { html: prose(text), steps: Vec::new() };
    }
    let step = |line: &str| line.split_once(". ").map_or_else(String::new, |(_, step)| prose(step));
    Paragraph { html: String::new(), steps: text.lines().map(step).collect() }
}

fn section(operation: &Operation) -> OperationSection {
    let path_fields = operation.path_parameters().filter(|name| *name != "instance").map(|name| {
        let (value, about) = path_parameter(operation.path, name);
        FormField { name: name.to_owned(), kind: "string".to_owned(), about: prose(about), value: value.to_owned() }
    });
    let placed = |place: &str| {
        let here = operation.parameters.iter().filter(|parameter| parameter.place == place);
        here.map(input).collect()
    };
    let answer = operation.answers.first();
    OperationSection {
        id: operation.id,
        method: operation.method,
        path: operation.path,
        title: operation.title,
        about: prose(operation.about),
        access: operation.needs(),
        token: operation.credentials.is_token(),
        path_fields: path_fields.collect(),
        query_fields: placed("query"),
        header_fields: placed("header"),
        rows: operation.body.as_ref().map(|body| shown_rows(&body.schema)).unwrap_or_default(),
        body: operation.body.as_ref().map(|body| (body.media, samples::written(body))),
        answers: operation.answers.iter().map(render_response).collect(),
        answer_rows: answer.map(|answer| shown_rows(data(&answer.schema))).unwrap_or_default(),
        problems: operation.problems.iter().map(|code| (code.status(), code.as_str(), code.title())).collect(),
        samples: samples::all(operation)
            .map(|sample| HighlightedSample { label: sample.label, html: html(sample.source.trim_end()) })
            .into(),
    }
}

/// The schema of the envelope's `data`; the schema itself if there is no envelope.
pub(in crate::http) fn data(schema: &Value) -> &Value {
    schema.pointer("/properties/data").unwrap_or(schema)
}

fn shown_rows(schema: &Value) -> Vec<FieldRow> {
    fields::rows(schema).into_iter().map(|row| FieldRow { about: prose(&row.about), ..row }).collect()
}

fn input(parameter: &Parameter) -> FormField {
    let value = parameter.example.filter(|value| *value != values::WEBHOOK_SIGNATURE).unwrap_or_default();
    let about = parameter.schema["description"].as_str().unwrap_or_default();
    FormField {
        name: parameter.name.to_owned(),
        kind: fields::kind(&parameter.schema),
        about: prose(about),
        value: value.to_owned(),
    }
}

fn render_response(answer: &super::SuccessResponse) -> RenderedResponse {
    let example = match &answer.example {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => html(&format!("{value:#}")),
    };
    RenderedResponse { status: answer.status, about: answer.about, media: answer.media, example }
}
