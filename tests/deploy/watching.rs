//! Dashboard, alerts, runbook and the daemon's metrics refer to the same names.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use countersign::metrics::Metrics;
use regex::Regex;
use serde_yaml_ng::Value;

const ALERTS: &str = "deploy/helm/countersign/files/alerts.yaml";
const DASHBOARD: &str = "deploy/helm/countersign/files/dashboard.json";
const RUNBOOK: &str = "templates/docs/guides/runbook.md";

/// Labels that Prometheus adds to every series, or to those of histograms.
const PROMETHEUS_LABELS: [&str; 5] = ["job", "namespace", "instance", "pod", "le"];

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml_ng::from_str(&crate::file(ALERTS)).unwrap();
    let groups = file["groups"].as_sequence().unwrap().clone();
    groups.into_iter().flat_map(|group| group["rules"].as_sequence().unwrap().clone()).collect()
}

/// Every expression, with the name of its rule or panel.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for rule in alerts() {
        let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap();
        found.push((name.to_owned(), rule["expr"].as_str().unwrap().to_owned()));
    }
    let dashboard: serde_json::Value = serde_json::from_str(&crate::file(DASHBOARD)).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for list in ["/templating/list", "/annotations/list"] {
        for item in dashboard.pointer(list).unwrap().as_array().unwrap() {
            if let Some(text) = item["definition"].as_str().or(item["expr"].as_str()) {
                found.push((item["name"].as_str().unwrap().to_owned(), text.to_owned()));
            }
        }
    }
    assert!(found.len() > 60, "only {} expressions", found.len());
    found
}

/// The exposed metric names, each with the name of its family.
fn exposed() -> BTreeMap<String, &'static str> {
    let mut names = BTreeMap::new();
    for entry in Metrics::FAMILIES {
        let endings: &[&str] = match entry.kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        names.extend(endings.iter().map(|ending| (format!("{}{ending}", entry.name), entry.name)));
    }
    names
}

/// The labels of each family, as the source declares them.
fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let (declared, families) = (crate::file("src/metrics/label.rs"), crate::file("src/metrics/mod.rs"));
    let set = regex(r"(?m)^    (\w+) \{ ((?:\w+: \w+(?:, )?)+) \}$");
    let sets: BTreeMap<String, BTreeSet<String>> = set
        .captures_iter(&declared)
        .map(|found| {
            let fields = found[2].split(", ").map(|field| field.split(':').next().unwrap());
            let exposed = fields.map(|field| if field == "instance" { "instance_id" } else { field }.to_owned());
            (found[1].to_owned(), exposed.collect())
        })
        .collect();
    let family = regex(r"(?m)^    (\w+): (?:Family<(\w+)|\w+)[^=]*= ");
    let labels: BTreeMap<String, BTreeSet<String>> = family
        .captures_iter(&families)
        .map(|found| {
            let set = found.get(2).map_or_else(BTreeSet::new, |name| sets[name.as_str()].clone());
            (format!("countersign_{}", &found[1]), set)
        })
        .collect();
    for entry in Metrics::FAMILIES {
        assert!(labels.contains_key(entry.name), "the declaration of {} was not recognized", entry.name);
    }
    labels
}

#[test]
fn every_metric_in_dashboard_and_alerts_exists_and_every_metric_is_used() {
    let (exposed, name) = (exposed(), regex(r"\bcountersign_\w+"));
    let mut used = BTreeSet::new();
    for (place, expression) in expressions() {
        for found in name.find_iter(&expression) {
            let family = exposed.get(found.as_str());
            used.insert(*family.unwrap_or_else(|| panic!("{place}: {} is not a metric of the daemon", found.as_str())));
        }
    }
    let unused: Vec<&str> =
        Metrics::FAMILIES.iter().map(|entry| entry.name).filter(|name| !used.contains(name)).collect();
    assert!(unused.is_empty(), "neither the dashboard nor an alert shows {unused:?}");
}

#[test]
fn every_label_of_an_expression_exists_and_its_values_occur_in_the_source() {
    let (exposed, labels, source) = (exposed(), labels(), source());
    let selector = regex(r"\b(countersign_\w+)\{([^}]*)\}");
    let matcher = regex(r#"(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)""#);
    let mut words = 0;
    for (place, expression) in expressions() {
        for found in selector.captures_iter(&expression) {
            let family = exposed[&found[1]];
            for matched in matcher.captures_iter(&found[2]) {
                let (label, value) = (&matched[1], &matched[2]);
                let known = labels[family].contains(label) || PROMETHEUS_LABELS.contains(&label);
                // A dashboard variable filters by the label; series without it would disappear.
                assert!(known, "{place}: {family} has no label {label}");
                for word in value.split('|').filter(|word| !word.starts_with('$')) {
                    assert!(
                        source.contains(&format!("\"{word}\"")),
                        "{place}: {label}=\"{word}\" does not occur in the source"
                    );
                    words += 1;
                }
            }
        }
        let grouping = regex(r"\b(?:by|on|group_left) \(([^)]*)\)");
        for found in grouping.captures_iter(&expression) {
            for label in found[1].split(", ").filter(|label| !label.is_empty()) {
                let known = PROMETHEUS_LABELS.contains(&label) || labels.values().any(|labels| labels.contains(label));
                assert!(known, "{place}: no metric has the label {label}");
            }
        }
    }
    assert!(words > 20, "only {words} values were checked");
}

fn source() -> String {
    fn collect(directory: &Path, into: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else {
                into.push_str(&std::fs::read_to_string(path).unwrap_or_default());
            }
        }
    }
    let mut source = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
    source
}

#[test]
fn every_alert_has_annotations_a_runbook_section_and_tests() {
    let runbook = crate::file(RUNBOOK);
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let tests = crate::file("tests/deploy/alerts.yaml");
    let mut names = BTreeSet::new();
    for rule in alerts() {
        let Some(name) = rule["alert"].as_str() else { continue };
        names.insert(name.to_owned());
        let severity = rule["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("warning" | "critical")), "{name}: {severity:?}");
        for annotation in ["summary", "impact", "cause"] {
            assert!(rule["annotations"][annotation].is_string(), "{name} has no {annotation}");
        }
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("/{RUNBOOK}#{}", name.to_lowercase())), "{name}: {url}");
    }
    let (firing, silent) = cases(&tests);
    for rule in alerts() {
        let Some(name) = rule["alert"].as_str() else { continue };
        let rule = format!("{name} {:?} {:?}", rule["labels"]["severity"].as_str(), rule["labels"]["about"].as_str());
        assert!(firing.contains(&rule), "no test makes {rule} fire");
        assert!(silent.contains(name), "no test expects {name} to stay silent");
    }
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, sections, "left: alerts, right: sections of the runbook");
}

/// The rules that a test expects to fire, and the alerts that a test expects to stay silent.
fn cases(tests: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let tests: Value = serde_yaml_ng::from_str(tests).unwrap();
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for test in tests["tests"].as_sequence().unwrap() {
        for case in test["alert_rule_test"].as_sequence().unwrap() {
            let (name, expected) = (case["alertname"].as_str().unwrap(), case["exp_alerts"].as_sequence().unwrap());
            for alert in expected {
                let label = |label: &str| alert["exp_labels"][label].as_str();
                firing.insert(format!("{name} {:?} {:?}", label("severity"), label("about")));
            }
            if expected.is_empty() {
                silent.insert(name.to_owned());
            }
        }
    }
    (firing, silent)
}

#[test]
fn the_dashboard_starts_with_the_funnel_and_no_panels_overlap() {
    let dashboard: serde_json::Value = serde_json::from_str(&crate::file(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels[0]["title"].as_str().unwrap().starts_with("Funnel"));
    let steps: Vec<&str> = panels[1]["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|target| target["legendFormat"].as_str().unwrap())
        .collect();
    assert_eq!(steps.first().zip(steps.last()), Some((&"Created", &"Redeemed")));
    let mut taken = BTreeSet::new();
    for panel in panels {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}

/// If `PROMTOOL` is set: promtool checks the rules, runs their tests and parses the dashboard's expressions.
#[test]
fn promtool_accepts_rules_and_expressions_and_the_rule_tests_pass() {
    let Some(promtool) = std::env::var_os("PROMTOOL") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |arguments: &[&str], file: PathBuf| {
        let done = Command::new(&promtool).args(arguments).arg(&file).output().unwrap();
        assert!(done.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&done.stderr));
    };
    run(&["check", "rules", "--lint-fatal"], root.join(ALERTS));
    run(&["test", "rules"], root.join("tests/deploy/alerts.yaml"));
    let rules: Vec<serde_json::Value> = expressions()
        .into_iter()
        .filter(|(_, expression)| !expression.starts_with("label_values"))
        .enumerate()
        .map(|(index, (_, expression))| {
            let filled = regex(r"\$__\w+").replace_all(&expression, "5m").into_owned();
            serde_json::json!({ "record": format!("panel:{index}"), "expr": filled })
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(file.path(), groups.to_string()).unwrap();
    run(&["check", "rules"], file.path().to_owned());
}
