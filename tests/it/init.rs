//! `init` and `new-instance`: a whole configuration, whose secrets only the owner can read.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).output().unwrap()
}

fn init(directory: &Path, kind: &str, more: &[&str]) -> Output {
    let arguments = [
        "init",
        directory.to_str().unwrap(),
        "--public-url",
        "https://wa.example.org/cs",
        "--name",
        "Harbour \"A\"",
        "--number",
        "+44 7700 900999",
        "--gateway",
        kind,
    ];
    run(&[&arguments[..], more].concat())
}

fn check(directory: &Path) -> (Option<i32>, String) {
    let config = directory.join("countersign.toml");
    let output = run(&["check-config", "--config", config.to_str().unwrap()]);
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn every_kind_gets_a_configuration_that_passes_once_the_gateways_secrets_are_in() {
    for kind in countersign::gateway::kinds().map(|kind| kind.name) {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("cs");
        let made = init(&home, kind, &[]);
        assert!(made.status.success(), "{kind}: {}", String::from_utf8_lossy(&made.stderr));
        let secrets: Vec<_> = fs::read_dir(home.join("secrets")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!((mode(&home.join("secrets")), mode(&home.join("countersign.toml"))), (0o700, 0o600), "{kind}");
        let config = fs::read_to_string(home.join("countersign.toml")).unwrap();
        let (status, printed) = check(&home);
        let empty: Vec<_> = secrets.iter().filter(|file| fs::read(file).unwrap().is_empty()).collect();
        for file in &empty {
            let name = file.file_name().unwrap().to_str().unwrap();
            assert!(
                status == Some(78) && printed.contains(&format!("{name}_file: ")) && printed.contains("is empty"),
                "{kind}: {printed}"
            );
            fs::write(file, "d41d8cd98f00b204e9800998ecf8427e\n").unwrap();
        }
        let (status, printed) = check(&home);
        assert_eq!(status, Some(0), "{kind}: {printed}");
        assert!(printed.contains("https://wa.example.org/cs/webhooks/"), "{printed}");
        assert!(!printed.contains("warning: /"), "no secret is readable by others: {printed}");
        for file in &secrets {
            assert_eq!(mode(file), 0o600, "{kind}: {}", file.display());
            let secret = fs::read_to_string(file).unwrap();
            assert!(!config.contains(secret.trim()), "{kind}: {} stands in the configuration", file.display());
        }
    }
}

#[test]
fn the_token_is_shown_once_and_never_on_standard_output() {
    let directory = tempfile::tempdir().unwrap();
    let made = init(&directory.path().join("a"), "waha", &[]);
    let (out, shown) = (String::from_utf8(made.stdout).unwrap(), String::from_utf8(made.stderr).unwrap());
    let token = shown.trim().rsplit_once("export COUNTERSIGN_TOKEN=").unwrap().1;
    assert!(token.starts_with("cst_") && !out.contains("cst_"), "{out} {shown}");
    for next in
        ["export COUNTERSIGN_URL=https://wa.example.org/cs\n", "export COUNTERSIGN_INSTANCE=", "under redirect_urls in"]
    {
        assert!(out.contains(next), "{next}: {out}");
    }
    let config = fs::read_to_string(directory.path().join("a/countersign.toml")).unwrap();
    assert!(!config.contains("cst_") && config.contains(&countersign::config::credentials::token_digest(token)));

    let file = directory.path().join("token");
    let made = init(&directory.path().join("b"), "waha", &["--token-file", file.to_str().unwrap(), "--json"]);
    assert!(made.status.success() && made.stderr.is_empty(), "{made:?}");
    let report: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(report["missing_secrets"], serde_json::json!([]));
    assert!(mode(&file) == 0o600 && fs::read_to_string(&file).unwrap().starts_with("cst_"));
}

#[test]
fn settings_are_given_by_name_and_secrets_by_file() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    fs::write(&key, "a9f7c1d2e3b4\n").unwrap();
    let api_key = format!("api_key=@{}", key.display());
    let home = directory.path().join("cs");
    let made = init(&home, "waha", &["--set", "url=http://10.0.0.7:3000", "--set", &api_key, "--store", "redis://h/0"]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = fs::read_to_string(home.join("countersign.toml")).unwrap();
    assert!(config.contains("url = \"http://10.0.0.7:3000\"") && config.contains("url = \"redis://h/0\""), "{config}");
    assert_eq!(fs::read_to_string(home.join("secrets/api_key")).unwrap(), "a9f7c1d2e3b4\n");
    assert_eq!(check(&home).0, Some(0));

    let inline = init(&directory.path().join("x"), "waha", &["--set", "api_key=a9f7c1d2e3b4"]);
    let printed = String::from_utf8_lossy(&inline.stderr);
    assert!(inline.status.code() == Some(2) && printed.contains("NAME=@FILE"), "{printed}");
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    assert!(init(directory.path(), "gowa", &[]).status.success());
    let before = fs::read(directory.path().join("secrets/key")).unwrap();
    let again = init(directory.path(), "gowa", &[]);
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && printed.contains("exists already; `countersign new-instance`"), "{printed}");
    fs::remove_file(directory.path().join("countersign.toml")).unwrap();
    let again = init(directory.path(), "gowa", &[]);
    let printed = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && printed.contains("existing files are not overwritten"), "{printed}");
    assert_eq!(fs::read(directory.path().join("secrets/key")).unwrap(), before);
}

#[test]
fn a_second_instance_is_appended() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    assert!(init(home, "waha", &[]).status.success());
    let secrets = home.join("secrets/shop");
    let arguments = ["new-instance", "--name", "Shop", "--number", "+447700900998", "--gateway", "gowa", "--secrets"];
    let more = run(&[&arguments[..], &[secrets.to_str().unwrap()]].concat());
    assert!(more.status.success() && !String::from_utf8_lossy(&more.stdout).contains("cst_"), "{more:?}");
    let config = home.join("countersign.toml");
    let text = [fs::read(&config).unwrap(), more.stdout].concat();
    fs::write(&config, text).unwrap();
    let (status, printed) = check(home);
    assert!(status == Some(0) && printed.contains("2 instances"), "{printed}");
}
