//! The code samples are run exactly as they are shown. Which languages: `COUNTERSIGN_SAMPLES`, or else what every
//! machine has.

use std::process::{Command, Stdio};

use countersign::http::contract::{operations, samples};

use super::live::{prepare, world};

/// A label of the samples, and how its program is run.
const RUNNERS: [(&str, &str, &[&str]); 4] = [
    ("curl", "sh", &["-e"]),
    ("Node", "node", &["--input-type=module"]),
    ("Python", "python3", &["-"]),
    ("PHP", "php", &[]),
];

pub(crate) fn selected_languages() -> Vec<String> {
    let given = countersign::config::environment().find(|(name, _)| name == "COUNTERSIGN_SAMPLES");
    let given = given.map_or_else(|| "curl".to_owned(), |(_, value)| value);
    given.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_runs_unchanged() {
    let world = world();
    let daemon = world.start().await;
    let mut number = 0;
    for label in selected_languages() {
        let (_, program, arguments) = RUNNERS.into_iter().find(|(known, ..)| *known == label).unwrap();
        let needed = if label == "curl" { "curl" } else { program };
        if !installed(needed) {
            println!("skipped: samples of {label}, {needed} is not installed");
            continue;
        }
        for operation in operations() {
            number += 1;
            let live = prepare(&world, &daemon, operation, number).await;
            let sample = samples::all(operation).into_iter().find(|sample| sample.label == label).unwrap();
            let source = live.exchange(&sample.source);
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join("sample");
            std::fs::write(&file, &source).unwrap();
            let output = Command::new(program)
                .args(arguments)
                .stdin(std::fs::File::open(&file).unwrap())
                .env(samples::ENVIRONMENT[0], &daemon.base)
                .env(samples::ENVIRONMENT[1], live.instance())
                .env(samples::ENVIRONMENT[2], live.token())
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{label}, {}: {stderr}{stdout}\n{source}", operation.id);
            let json = operation.answers[0].media == "application/json";
            assert!(
                !json || serde_json::from_str::<serde_json::Value>(&stdout).is_ok(),
                "{label}, {}: {stdout}",
                operation.id
            );
        }
    }
    daemon.finish().await;
}
