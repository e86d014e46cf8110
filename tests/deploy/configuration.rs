//! Checks the shipped configurations with the daemon's own validation, with secrets where they are mounted.

use std::path::Path;

use countersign::{app, config, gateway::Purpose};
use tempfile::TempDir;
use toml::{Table, Value};

/// Directory in which the manifests and Compose mount secrets.
const MOUNTED: &str = "/run/secrets/";

/// A valid secret for a key of the configuration.
fn secret(key: &str) -> &'static str {
    match key {
        "key_file" => "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=",
        "url_file" => "rediss://:password@redis.example.org:6380/0",
        "callback_secrets_file" => "whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=",
        "basic_auth_file" => "user:password",
        _ => "8f1c27d05be94a6398d2c41f7a60be35",
    }
}

/// Creates the file that each `…_file` points to, below `directory`, and returns their number.
fn provide(table: &mut Table, directory: &TempDir) -> usize {
    let mut provided = 0;
    for (key, value) in table.iter_mut() {
        match value {
            Value::String(path) if key.ends_with("_file") => {
                assert!(path.starts_with(MOUNTED), "{key} = {path} is not below {MOUNTED}");
                let file = directory.path().join(path.trim_start_matches(MOUNTED).replace('/', "-"));
                std::fs::write(&file, secret(key)).unwrap();
                *path = file.to_str().unwrap().to_owned();
                provided += 1;
            }
            Value::Table(table) => provided += provide(table, directory),
            Value::Array(values) => {
                provided += values
                    .iter_mut()
                    .filter_map(Value::as_table_mut)
                    .map(|table| provide(table, directory))
                    .sum::<usize>();
            }
            _ => {}
        }
    }
    provided
}

/// The faults that `check-config` would report, with a valid secret in each file.
pub(crate) fn faults(text: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let mut table: Table = text.parse().unwrap_or_else(|error| panic!("{error} in {text}"));
    assert!(provide(&mut table, &directory) >= 3, "a key, callback secrets and a gateway's secret are files");
    check(&table.to_string())
}

/// The same with the secrets of `secrets` instead of the mounted directory.
pub(crate) fn faults_with(text: &str, secrets: &Path) -> Vec<String> {
    check(&text.replace("/run/secrets/countersign", secrets.to_str().unwrap()))
}

fn check(text: &str) -> Vec<String> {
    let config = config::load_text(text, [], &[]);
    let checked = config.and(|config| app::build_instances(config, Purpose::Serve)).into_result();
    let faults = checked.err().unwrap_or_default();
    faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect()
}

/// Helm must accept every kind that `serve` accepts.
#[test]
fn the_chart_knows_every_kind_of_gateway() {
    let schema = include_str!("../../deploy/helm/countersign/values.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let listed = &schema["$defs"]["instance"]["properties"]["gateway"]["properties"]["kind"]["enum"];
    let mut listed: Vec<&str> = listed.as_array().unwrap().iter().map(|kind| kind.as_str().unwrap()).collect();
    let mut kinds: Vec<&str> = countersign::gateway::kinds().map(|kind| kind.name).collect();
    listed.sort_unstable();
    kinds.sort_unstable();
    assert_eq!(listed, kinds);
}
