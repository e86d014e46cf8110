//! A sample for Python, with `urllib` of the standard library.

use std::fmt::Write as _;

use serde_json::Value;

use super::{SampleBody, SampleRequest, indented, listed, quoted};

/// `urllib` follows redirects by default, but this one is for a browser.
const STAY: &str = "class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


";

pub(super) fn sample(call: &SampleRequest<'_>) -> String {
    let json = if matches!(call.body, SampleBody::Json(_)) { "json, " } else { "" };
    let mut out = format!("import {json}os, urllib.error, urllib.request\n\n");
    if call.redirects {
        out.push_str(STAY);
    }
    let target = call.target("{os.environ['COUNTERSIGN_INSTANCE']}");
    out.push_str("request = urllib.request.Request(\n");
    let _ = writeln!(out, "    f\"{{os.environ['COUNTERSIGN_URL']}}{target}\",\n    method=\"{}\",", call.method);
    if call.token || !call.headers.is_empty() {
        out.push_str("    headers={\n");
        if call.token {
            out.push_str("        \"Authorization\": f\"Bearer {os.environ['COUNTERSIGN_TOKEN']}\",\n");
        }
        for (name, value) in &call.headers {
            let _ = writeln!(out, "        {}: {},", quoted(name), quoted(value));
        }
        out.push_str("    },\n");
    }
    match &call.body {
        SampleBody::Nothing => {}
        SampleBody::Json(value) => {
            let _ = writeln!(out, "    data=json.dumps({}).encode(),", indented(&literal(value), 4));
        }
        SampleBody::Raw(text) => {
            let _ = writeln!(out, "    data={}.encode(),", quoted(text));
        }
    }
    out.push_str(")\ntry:\n");
    if call.redirects {
        out.push_str("    with urllib.request.build_opener(Stay).open(request) as answer:\n");
    } else {
        out.push_str("    with urllib.request.urlopen(request) as answer:\n");
    }
    out.push_str("        print(answer.read().decode())\nexcept urllib.error.HTTPError as error:\n");
    if call.redirects {
        out.push_str(
            "    if error.code != 303:\n        raise SystemExit(f\"{error.code}: {error.read().decode()}\")\n",
        );
        out.push_str("    print(error.headers[\"location\"])\n");
    } else {
        out.push_str("    raise SystemExit(f\"{error.code}: {error.read().decode()}\")\n");
    }
    out
}

/// A value as a Python expression.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(items) => listed('[', &items.iter().map(literal).collect::<Vec<_>>(), ']'),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, value)| format!("{}: {}", quoted(name), literal(value)));
            listed('{', &pairs.collect::<Vec<_>>(), '}')
        }
        Value::Number(_) | Value::String(_) => value.to_string(),
    }
}
