use super::*;

const THEN: &str = "http://127.0.0.1:4001";
const NOW: &str = "http://127.0.0.1:4002";

fn first() -> (String, String) {
    first::settings(THEN)
}

#[test]
fn what_the_first_run_writes_is_understood() {
    let (text, token) = first();
    assert!(!text.contains(&token) && text.contains(&token_digest(&token)));
    assert_eq!(phone_port(&text).unwrap(), Some(4001));
    let overrides = [("public_url", "http://127.0.0.1:1/".to_owned())];
    let config = config::load(Some(&text), [], &overrides).into_result().unwrap();
    app::build_instances(&config, Purpose::Develop).into_result().unwrap();
    assert_eq!(identity(&config, THEN).unwrap().name, "Harbour demo");
    let faults = app::build_instances(&config, Purpose::Serve).into_result().err().unwrap();
    assert!(faults.iter().any(|fault| fault.key == "instance.0.gateway.kind"), "serve takes a simulator");
}

#[test]
fn a_phone_that_moved_takes_its_addresses_along_and_leaves_others() {
    let text =
        first().0.replace(&format!("callback_url = \"{THEN}/inbox\""), "callback_url = \"http://127.0.0.1:40011/x\"");
    let layered = layer(&text, NOW, "sha256:00", &["http://localhost:3000/".parse().unwrap()]).unwrap();
    assert_eq!(layered.matches(&format!("url = \"{NOW}\"")).count(), 2, "the SMS gateway moves along");
    assert!(!layered.contains("127.0.0.1:4001\"") && !layered.contains("127.0.0.1:4001/"));
    assert!(layered.contains("127.0.0.1:40011/x") && layered.contains(&format!("{NOW}/landed")));
    assert!(layered.contains("http://localhost:3000/") && layered.contains("sha256:00"));
}

#[test]
fn another_token_is_added_and_comments_stay() {
    let (text, token) = first();
    let more = with_token(&text, "sha256:11").unwrap();
    assert!(more.contains("sha256:11") && more.contains(&token_digest(&token)) && more.contains("# Digests only"));
    let one_line = "[[instance]]\ntokens = [\"sha256:00\"]\ngateway = { kind = \"simulator\" }";
    assert!(with_token(one_line, "sha256:11").is_ok());
    let another_first = format!("[[instance]]\ntokens = []\ngateway = {{ kind = \"waha\" }}\n{one_line}");
    assert!(with_token(&another_first, "sha256:11").is_err());
    assert!(with_token("key = 1", "sha256:11").is_err());
}
