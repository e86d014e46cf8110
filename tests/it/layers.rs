//! A module imports only from lower layers, as the crate's front page lists them.

use std::{fs, path::Path};

/// Lowest first. Modules of one layer do not import one another.
const LAYERS: &[&[&str]] = &[
    &["hash"],
    &["domain"],
    &["api"],
    &["reader"],
    &["audit", "clock", "random"],
    &["trace_context"],
    &["config", "metrics"],
    &["store", "gateway", "egress"],
    &["jobs"],
    &["service"],
    &["ops", "worker"],
    &["http"],
    &["telemetry"],
    &["app"],
    &["dev", "doctor"],
    &["cli"],
    &["lib", "main", "decisions"],
];

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer"))
}

fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix("src").unwrap();
            let module = relative.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
            found.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Every `crate::module`, also inside `use crate::{a, b::c}`.
fn imports(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + 7..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned());
            continue;
        };
        let mut depth = 0;
        let mut word = String::new();
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.push(std::mem::take(&mut word)),
                c if depth == 0 => word.push(c),
                _ => {}
            }
        }
        names.push(word);
    }
    names
        .iter()
        .map(|name| name.trim().split("::").next().unwrap().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn imports_flow_down() {
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    assert!(found.len() > 60);
    for (module, source) in &found {
        let own = layer(module);
        for import in imports(source).iter().filter(|import| *import != module) {
            let known = LAYERS.iter().flat_map(|layer| layer.iter()).any(|name| name == import);
            assert!(!known || layer(import) < own, "{module} must not import {import}");
        }
    }
}

#[test]
fn the_domain_uses_no_json_no_clock_and_no_async() {
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    for (_, source) in found.iter().filter(|(module, _)| module == "domain") {
        let code = source.split("#[cfg(test)]").next().unwrap();
        for forbidden in
            ["serde_json", "async ", "await", "Timestamp::now", "tokio", "std::fs", "std::net", "getrandom"]
        {
            assert!(!code.contains(forbidden), "domain uses {forbidden}");
        }
    }
}
