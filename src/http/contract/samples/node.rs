//! A sample for Node.js, with the built-in `fetch`.

use std::fmt::Write as _;

use super::{SampleBody, SampleRequest, indented, quoted};

pub(super) fn sample(call: &SampleRequest<'_>) -> String {
    let mut out = String::new();
    let target = call.target("${COUNTERSIGN_INSTANCE}");
    let mut names = vec!["COUNTERSIGN_URL"];
    names.extend((target.contains("INSTANCE")).then_some("COUNTERSIGN_INSTANCE"));
    names.extend(call.token.then_some("COUNTERSIGN_TOKEN"));
    let _ = writeln!(out, "const {{ {} }} = process.env;\n", names.join(", "));
    let _ = writeln!(out, "const answer = await fetch(`${{COUNTERSIGN_URL}}{target}`, {{");
    let _ = writeln!(out, "  method: \"{}\",", call.method);
    if call.redirects {
        out.push_str("  redirect: \"manual\",\n");
    }
    if call.token || !call.headers.is_empty() {
        out.push_str("  headers: {\n");
        if call.token {
            out.push_str("    \"Authorization\": `Bearer ${COUNTERSIGN_TOKEN}`,\n");
        }
        for (name, value) in &call.headers {
            let _ = writeln!(out, "    {}: {},", quoted(name), quoted(value));
        }
        out.push_str("  },\n");
    }
    match &call.body {
        SampleBody::Nothing => {}
        SampleBody::Json(value) => {
            let _ = writeln!(out, "  body: JSON.stringify({}),", indented(&format!("{value:#}"), 2));
        }
        SampleBody::Raw(text) => {
            let _ = writeln!(out, "  body: {},", quoted(text));
        }
    }
    out.push_str("});\nconst text = await answer.text();\n");
    out.push_str("if (answer.status >= 400) throw new Error(`${answer.status}: ${text}`);\n");
    out.push_str(if call.redirects {
        "console.log(answer.headers.get(\"location\") ?? text);\n"
    } else {
        "console.log(text);\n"
    });
    out
}
