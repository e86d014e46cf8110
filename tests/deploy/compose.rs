//! Compose files: closed containers, nothing open but what should be, and a first configuration that works.

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
fn containers_of_ours_are_closed() {
    let whole: Vec<_> = services().into_iter().filter(|(_, service)| service.get("image").is_some()).collect();
    let names: Vec<&str> = whole.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["countersign", "redis", "proxy", "waha"]);
    for (name, service) in &whole {
        assert!(texts(&service["security_opt"]).contains(&"no-new-privileges:true"), "{name}");
        assert!(service["mem_limit"].is_string(), "{name}");
        // WAHA runs a browser; how it is closed is its own business.
        if name != "waha" {
            assert_eq!(service["read_only"].as_bool(), Some(true), "{name}");
            assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
            assert!(service["pids_limit"].is_u64(), "{name}");
        }
        for port in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:") || name == "proxy", "{name} opens {port} to everybody");
        }
    }
    let (_, redis) = whole.iter().find(|(name, _)| name == "redis").unwrap();
    let command = texts(&redis["command"]);
    for pair in [["--appendonly", "yes"], ["--maxmemory-policy", "noeviction"]] {
        assert!(command.windows(2).any(|window| window == pair), "{pair:?} in {command:?}");
    }
    assert_eq!(texts(&redis["networks"]), ["store"]);
    assert!(redis.get("ports").is_none());
}

#[test]
fn no_secret_has_a_default() {
    let mut asked = 0;
    for (name, service) in services() {
        for (key, value) in service["environment"].as_mapping().into_iter().flatten() {
            let (key, value) = (key.as_str().unwrap(), value.as_str().unwrap());
            if ["KEY", "SECRET", "PASSWORD", "TOKEN"].iter().any(|word| key.contains(word)) {
                assert!(value.starts_with("${") && value.contains(":?"), "{name}: {key} is {value}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, 2, "WAHA's two keys");
}

#[test]
fn init_makes_a_configuration_that_the_daemon_takes_and_nothing_twice() {
    let place = tempfile::tempdir().unwrap();
    let init = |arguments: &[&str]| {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/init"))
            .args(arguments)
            .env("COUNTERSIGN_DIR", place.path().join("local"))
            .env("COUNTERSIGN_ENV", place.path().join("env"))
            .output()
            .unwrap()
    };
    assert_eq!(init(&["--name", "Har\"bour", "--number", "+447700900999"]).status.code(), Some(2));
    let given = ["--name", "Harbour", "--number", "+447700900999", "--callback-url", "https://app.example.org/hooks"];
    let made = init(&given);
    assert!(made.status.success(), "{made:?}");
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    assert_eq!(configuration::faults(&read("local/config/config.toml")), Vec::<String>::new());
    // What it drew is what the daemon wants, too.
    assert_eq!(
        configuration::faults_with(&read("local/config/config.toml"), &place.path().join("local/secrets")),
        Vec::<String>::new()
    );
    let said = String::from_utf8(made.stdout).unwrap();
    let token = said.lines().find_map(|line| line.strip_prefix("API token, shown only now: ")).unwrap();
    let digest = countersign::config::credentials::token_digest(token);
    assert!(read("local/config/config.toml").contains(&digest), "{digest}");
    assert_eq!(init(&given).status.code(), Some(1), "it overwrites nothing");
}
