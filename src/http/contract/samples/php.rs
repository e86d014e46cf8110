//! A sample for PHP, with its built-in HTTP streams.

use std::fmt::Write as _;

use serde_json::Value;

use super::{SampleBody, SampleRequest, indented, listed};

pub(super) fn sample(call: &SampleRequest<'_>) -> String {
    let mut out = "<?php\n$context = stream_context_create(['http' => [\n".to_owned();
    let _ = writeln!(out, "    'method' => '{}',\n    'ignore_errors' => true,", call.method);
    if call.redirects {
        out.push_str("    'follow_location' => 0,\n");
    }
    if call.token || !call.headers.is_empty() {
        out.push_str("    'header' => [\n");
        if call.token {
            out.push_str("        'Authorization: Bearer ' . getenv('COUNTERSIGN_TOKEN'),\n");
        }
        for (name, value) in &call.headers {
            let _ = writeln!(out, "        {},", quoted(&format!("{name}: {value}")));
        }
        out.push_str("    ],\n");
    }
    match &call.body {
        SampleBody::Nothing => {}
        SampleBody::Json(value) => {
            let _ = writeln!(out, "    'content' => json_encode({}),", indented(&literal(value), 4));
        }
        SampleBody::Raw(text) => {
            let _ = writeln!(out, "    'content' => {},", quoted(text));
        }
    }
    let target = quoted(&call.target("\0")).replace('\0', "' . getenv('COUNTERSIGN_INSTANCE') . '");
    let _ = writeln!(out, "]]);\n$answer = file_get_contents(getenv('COUNTERSIGN_URL') . {target}, false, $context);");
    out.push_str("$status = (int) explode(' ', $http_response_header[0])[1];\n");
    out.push_str("if ($status >= 400) {\n    fwrite(STDERR, \"$status: $answer\\n\");\n    exit(1);\n}\n");
    out.push_str("echo $answer, \"\\n\";\n");
    out
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A value as a PHP expression.
fn literal(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => listed('[', &items.iter().map(literal).collect::<Vec<_>>(), ']'),
        Value::Object(map) if map.is_empty() => "new stdClass()".to_owned(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(name, value)| format!("{} => {}", quoted(name), literal(value)));
            listed('[', &pairs.collect::<Vec<_>>(), ']')
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
