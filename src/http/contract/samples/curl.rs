//! A sample for the shell: one call of curl.

use super::{SampleBody, SampleRequest};

pub(super) fn sample(call: &SampleRequest<'_>) -> String {
    let target = call.target("$COUNTERSIGN_INSTANCE");
    let mut lines = vec![format!("curl -sS --fail-with-body -X {} \"$COUNTERSIGN_URL{target}\"", call.method)];
    if call.token {
        lines.push("-H \"Authorization: Bearer $COUNTERSIGN_TOKEN\"".to_owned());
    }
    lines.extend(call.headers.iter().map(|(name, value)| format!("-H {}", quoted(&format!("{name}: {value}")))));
    match &call.body {
        SampleBody::Nothing => {}
        SampleBody::Json(value) => lines.push(format!("-d {}", quoted(&format!("{value:#}")))),
        SampleBody::Raw(text) => lines.push(format!("--data-binary {}", quoted(text))),
    }
    lines.join(" \\\n  ")
}

/// Quotes a string for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
