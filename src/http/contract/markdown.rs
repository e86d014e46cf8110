//! The table as text: the whole documentation in Markdown, and an index for language models.

use std::fmt::Write as _;

use super::{Area, Operation, examples, fields, operations, path_parameter, samples, verify};
use crate::{
    domain::{Event, Reason},
    http::{guides::GUIDES, problem::Code},
};

const INTRODUCTION: &str = include_str!("../../../templates/docs/introduction.md");

/// The whole documentation, with the content of the page.
pub(super) fn document() -> String {
    let mut out = format!("# countersign: the API\n\n{INTRODUCTION}");
    for guide in GUIDES {
        // Headings move down one level, since the document has its own title.
        let lines = guide.source.lines().scan(false, |code, line| {
            *code ^= line.starts_with("```");
            Some(if line.starts_with('#') && !*code { format!("#{line}\n") } else { format!("{line}\n") })
        });
        out.push('\n');
        out.extend(lines);
    }
    for area in Area::ALL {
        let mut those = operations().iter().filter(|operation| operation.area == *area).peekable();
        if those.peek().is_some() {
            let _ = write!(out, "\n## {}\n\n{}\n", area.title(), area.about());
        }
        those.for_each(|operation| section(operation, &mut out));
    }
    callbacks(&mut out);
    out.push_str("\n## Problem codes\n\n| code | status | meaning | what to do |\n|---|---|---|---|\n");
    for code in Code::ALL {
        let _ = writeln!(out, "| `{}` | {} | {} | {} |", code.as_str(), code.status(), code.title(), code.remedy());
    }
    out.push_str("\n## Reasons\n\n| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        let _ = writeln!(out, "| `{}` | {} |", reason.as_str(), reason.about());
    }
    out
}

fn section(operation: &Operation, out: &mut String) {
    let Operation { method, path, title, about, .. } = operation;
    let _ = write!(out, "\n### {title}\n\n`{method} {path}`\n\n{about}\n\nAccess: {}.\n", operation.needs());
    let own =
        operation.path_parameters().map(|name| (name, "path".to_owned(), path_parameter(path, name).1.to_owned()));
    let others = operation.parameters.iter().map(|parameter| {
        let about = parameter.schema["description"].as_str().unwrap_or_default().to_owned();
        (parameter.name, format!("{}, {}", parameter.place, fields::kind(&parameter.schema)), about)
    });
    let parameters: Vec<_> = own.chain(others).collect();
    if !parameters.is_empty() {
        out.push_str("\nParameters:\n\n");
        for (name, kind, about) in parameters {
            let _ = writeln!(out, "- `{name}` ({kind}): {about}");
        }
    }
    if let Some(body) = &operation.body {
        let _ = write!(out, "\nBody, `{}`:\n\n", body.media);
        for row in fields::rows(&body.schema) {
            let required = if row.required { ", required" } else { "" };
            let _ = writeln!(out, "- `{}` ({}{required}): {}", row.name, row.kind, row.about);
        }
    }
    for sample in samples::all(operation).iter().take(1) {
        let _ = write!(out, "\n```{}\n{}\n```\n", sample.language, sample.source);
    }
    out.push_str("\nAnswers:\n\n");
    for answer in &operation.answers {
        let _ = writeln!(out, "- {} {}", answer.status, answer.about);
    }
    for code in &operation.problems {
        let _ = writeln!(out, "- {} `{}`: {}", code.status(), code.as_str(), code.title());
    }
    for answer in operation.answers.iter().filter(|answer| answer.example.is_object()) {
        let _ = write!(out, "\n```json\n{:#}\n```\n", answer.example);
    }
}

fn callbacks(out: &mut String) {
    out.push_str(
        "\n## Callbacks to your app\n\nA `POST` with the headers of Standard Webhooks, delivered at least once: \
         deduplicate on `webhook-id`, and do not rely on order.\n\n",
    );
    for event in Event::ALL {
        let _ = writeln!(out, "- `{}`: {}", event.as_str(), event.about());
    }
    let _ = write!(out, "\n```json\n{:#}\n```\n", examples::callback_json());
    for sample in verify::samples() {
        let _ = write!(out, "\nVerify one in {}:\n\n```{}\n{}```\n", sample.label, sample.language, sample.source);
    }
}

/// An index as described by llmstxt.org; `url` is the base URL of the API.
pub(super) fn index(url: &str) -> String {
    let mut out = "# countersign\n\n> Login links and codes over WhatsApp, self-hosted: an HTTP API, hosted pages and \
                   signed callbacks.\n\n"
        .to_owned();
    let _ =
        writeln!(out, "Authenticate with `Authorization: Bearer <API token>`; the instance's id stands in the path.");
    out.push_str("Log a person in on `redeem`, never on the callback `link.verified`.\n\n## Docs\n\n");
    for (file, about) in [
        ("docs.md", "every operation, callback, problem code and reason, with examples"),
        ("openapi.json", "the same as OpenAPI 3.1"),
        ("postman.json", "the same as a Postman collection"),
        ("docs", "the same as a page for people"),
    ] {
        let _ = writeln!(out, "- [{file}]({url}/{file}): {about}");
    }
    out.push_str("\n## Guides\n\n");
    for guide in GUIDES {
        let _ = writeln!(out, "- [{}]({url}/docs/{}): {}", guide.title(), guide.slug, guide.summary());
    }
    for area in Area::ALL {
        let mut those = operations().iter().filter(|operation| operation.area == *area).peekable();
        if those.peek().is_some() {
            let _ = write!(out, "\n## {}\n\n", area.title());
        }
        for Operation { method, path, title, id, .. } in those {
            let _ = writeln!(out, "- [{method} {path}]({url}/docs#{id}): {title}");
        }
    }
    out
}
