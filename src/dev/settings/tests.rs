//! The configuration that `dev` writes and changes.

use super::*;

const OLD_ORIGIN: &str = "http://127.0.0.1:4001";
const NEW_ORIGIN: &str = "http://127.0.0.1:4002";

fn first_settings() -> String {
    first::settings(OLD_ORIGIN)
}

#[test]
fn the_settings_of_the_first_run_are_valid() {
    let text = first_settings();
    assert_eq!(phone_port(&text).unwrap(), Some(4001));
    let digest = token_digest("cst_x");
    let text = with_overrides(&text, OLD_ORIGIN, &digest, &[]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let overrides = [
        ("public_url", "http://127.0.0.1:1/".to_owned()),
        ("oidc.signing_key_files", file("key", SIGNING_KEY)),
        ("oidc.subject_key_file", file("subject", &STANDARD.encode(random::bytes::<32>()))),
    ];
    let config = config::load_text(&text, [], &overrides).into_result().unwrap();
    app::build_instances(&config, Purpose::Develop).into_result().unwrap();
    assert_eq!(phone_identity(&config, OLD_ORIGIN).unwrap().name, "Harbour demo");
    let faults = app::build_instances(&config, Purpose::Serve).into_result().err().unwrap();
    assert!(faults.iter().any(|fault| fault.key == "instance.0.gateway.kind"), "serve accepts a simulator");
}

#[test]
fn urls_of_the_fake_phone_follow_its_port_and_others_stay() {
    let text = first_settings()
        .replace(&format!("callback_url = \"{OLD_ORIGIN}/inbox\""), "callback_url = \"http://127.0.0.1:40011/x\"");
    let layered = with_overrides(&text, NEW_ORIGIN, "sha256:00", &["http://localhost:3000/".parse().unwrap()]).unwrap();
    assert_eq!(layered.matches(&format!("url = \"{NEW_ORIGIN}\"")).count(), 2, "both gateways");
    assert!(!layered.contains("127.0.0.1:4001\"") && !layered.contains("127.0.0.1:4001/"));
    assert!(layered.contains("127.0.0.1:40011/x") && layered.contains(&format!("{NEW_ORIGIN}/landed")));
    assert!(layered.contains("http://localhost:3000/") && layered.contains("sha256:00"));
}
