use super::*;

const OLD_ORIGIN: &str = "http://127.0.0.1:4001";
const NEW_ORIGIN: &str = "http://127.0.0.1:4002";

fn first_settings() -> (String, String) {
    first::settings(OLD_ORIGIN)
}

#[test]
fn the_settings_of_the_first_run_are_valid() {
    let (text, token) = first_settings();
    assert!(!text.contains(&token) && text.contains(&token_digest(&token)));
    assert_eq!(phone_port(&text).unwrap(), Some(4001));
    let overrides = [("public_url", "http://127.0.0.1:1/".to_owned())];
    let config = config::load_text(&text, [], &overrides).into_result().unwrap();
    app::build_instances(&config, Purpose::Develop).into_result().unwrap();
    assert_eq!(phone_identity(&config, OLD_ORIGIN).unwrap().name, "Harbour demo");
    let faults = app::build_instances(&config, Purpose::Serve).into_result().err().unwrap();
    assert!(faults.iter().any(|fault| fault.key == "instance.0.gateway.kind"), "serve accepts a simulator");
}

#[test]
fn urls_of_the_fake_phone_follow_its_port_and_others_stay() {
    let text = first_settings()
        .0
        .replace(&format!("callback_url = \"{OLD_ORIGIN}/inbox\""), "callback_url = \"http://127.0.0.1:40011/x\"");
    let layered = with_overrides(&text, NEW_ORIGIN, "sha256:00", &["http://localhost:3000/".parse().unwrap()]).unwrap();
    assert_eq!(layered.matches(&format!("url = \"{NEW_ORIGIN}\"")).count(), 2, "both gateways");
    assert!(!layered.contains("127.0.0.1:4001\"") && !layered.contains("127.0.0.1:4001/"));
    assert!(layered.contains("127.0.0.1:40011/x") && layered.contains(&format!("{NEW_ORIGIN}/landed")));
    assert!(layered.contains("http://localhost:3000/") && layered.contains("sha256:00"));
}

#[test]
fn a_token_is_added_and_comments_stay() {
    let (text, token) = first_settings();
    let more = with_token(&text, "sha256:11").unwrap();
    assert!(more.contains("sha256:11") && more.contains(&token_digest(&token)) && more.contains("# Digests only"));
    let one_line = "[[instance]]\ntokens = [\"sha256:00\"]\ngateway = { kind = \"simulator\" }";
    assert!(with_token(one_line, "sha256:11").is_ok());
    let another_first = format!("[[instance]]\ntokens = []\ngateway = {{ kind = \"waha\" }}\n{one_line}");
    assert!(with_token(&another_first, "sha256:11").is_err());
    assert!(with_token("key = 1", "sha256:11").is_err());
}
