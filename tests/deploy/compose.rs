//! The Compose files: hardened containers, ports on loopback only, and an initial configuration that the daemon accepts.

use std::{path::Path, process::Command};

use serde_yaml_ng::Value;

use crate::configuration;

const FILES: [&str; 3] = ["deploy/compose.yaml", "deploy/compose.tls.yaml", "deploy/compose.waha.yaml"];

fn services() -> Vec<(String, Value)> {
    let files = FILES.iter().map(|path| serde_yaml_ng::from_str::<Value>(&crate::file(path)).unwrap());
    files
        .flat_map(|file| {
            let services = file["services"].as_mapping().unwrap().clone();
            services.into_iter().map(|(name, service)| (name.as_str().unwrap().to_owned(), service))
        })
        .collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_sequence().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn containers_are_hardened_and_publish_only_on_loopback() {
    let complete: Vec<_> = services().into_iter().filter(|(_, service)| service.get("image").is_some()).collect();
    let names: Vec<&str> = complete.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["countersign", "redis", "proxy", "waha"]);
    for (name, service) in &complete {
        assert!(texts(&service["security_opt"]).contains(&"no-new-privileges:true"), "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        // WAHA runs a browser, which needs a writable file system and capabilities.
        if name != "waha" {
            assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert!(service["pids_limit"].is_u64(), "{name}");
        }
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:") || name == "proxy", "{name} publishes {port} on all addresses");
        }
    }
    let (_, redis) = complete.iter().find(|(name, _)| name == "redis").unwrap();
    let command = texts(&redis["command"]);
    for pair in [["--appendonly", "yes"], ["--maxmemory-policy", "noeviction"]] {
        assert!(command.windows(2).any(|window| window == pair), "{pair:?} in {command:?}");
    }
    assert_eq!(texts(&redis["networks"]), ["store"]);
    assert!(redis.get("ports").is_none());
}

#[test]
fn no_secret_has_a_default() {
    let mut secrets = 0;
    for (name, service) in services() {
        for (key, value) in service["environment"].as_mapping().into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap());
            if ["KEY", "SECRET", "PASSWORD", "TOKEN"].iter().any(|word| key.contains(word)) {
                assert!(value.starts_with("${") && value.contains(":?"), "{name}: {key} is {value}");
                secrets += 1;
            }
        }
    }
    assert_eq!(secrets, 2, "WAHA's API key and HMAC key");
}

#[test]
fn init_writes_a_valid_configuration_and_overwrites_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let init = |arguments: &[&str]| {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/init"))
            .args(arguments)
            .env("COUNTERSIGN_DIR", directory.path().join("local"))
            .env("COUNTERSIGN_ENV", directory.path().join("env"))
            .output()
            .unwrap()
    };
    assert_eq!(init(&["--name", "Har\"bour", "--number", "+447700900999"]).status.code(), Some(2));
    let arguments =
        ["--name", "Harbour", "--number", "+447700900999", "--callback-url", "https://app.example.org/hooks"];
    let first = init(&arguments);
    assert!(first.status.success(), "{first:?}");
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(configuration::faults(&read("local/config/config.toml")), Vec::<String>::new());
    // Also with the secrets that it generated.
    assert_eq!(
        configuration::faults_with(&read("local/config/config.toml"), &directory.path().join("local/secrets")),
        Vec::<String>::new()
    );
    let output = String::from_utf8(first.stdout).unwrap();
    let token = output.lines().find_map(|line| line.strip_prefix("API token, shown only now: ")).unwrap();
    let digest = countersign::config::credentials::token_digest(token);
    assert!(read("local/config/config.toml").contains(&digest), "{digest}");
    assert_eq!(init(&arguments).status.code(), Some(1), "existing files are not overwritten");
}
