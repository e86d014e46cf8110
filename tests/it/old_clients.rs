//! Clients of the hosted APIs as programs, with only the base URL, the id and the token changed: Wawp's documented
//! requests in Node, and the calls of Hypersender's Laravel package in PHP.
//!
//! `COUNTERSIGN_SAMPLES` names the languages, as for the samples of the documentation.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::{
    contract::samples::selected_languages,
    daemon::{Daemon, TOKEN, TestStore, WAHA, World},
    wawp::answers_in,
};

const WAWP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/old_clients/wawp.mjs");
const HYPERSENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/old_clients/hypersender.php");
/// As Wawp writes an id; the instance has it as an alias.
const WAWP_ID: &str = "6A1B2C3D4E5F";

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn is_selected(language: &str) -> bool {
    let selected = selected_languages().iter().any(|known| known == language);
    if !selected {
        println!("skipped: COUNTERSIGN_SAMPLES does not name {language}");
    }
    selected
}

fn printed(output: &Output) -> Value {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"))
}

fn wawp(daemon: &Daemon, endpoint: &str, method: &str, parameters: &Value) -> Value {
    let mut command = Command::new("node");
    command.args([WAWP, endpoint, method, &parameters.to_string()]);
    command.env("BASE_URL", &daemon.base).env("INSTANCE_ID", WAWP_ID).env("ACCESS_TOKEN", TOKEN);
    printed(&command.output().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn wawp_in_node() {
    if !is_selected("Node") {
        return;
    }
    let mut world = World::new(TestStore::directory());
    world.redirects = format!("[]\naliases = [\"{WAWP_ID}\"]");
    let daemon = world.start().await;
    let last_message = async |count| -> String {
        world.gateway.wait_for(count).await.pop().unwrap().json()["text"].as_str().unwrap().to_owned()
    };
    for (index, method) in ["GET", "POST"].into_iter().enumerate() {
        let (chat, earlier) = (format!("44770090012{index}"), 3 * index);
        let parameters = json!({"chatId": chat, "lang": "ar", "footer": "Secured by Harbour"});
        let sent = wawp(&daemon, "/v2/auth/otp/send", method, &parameters);
        assert_eq!((&sent["ok"]["code"], &sent["ok"]["expires_in"]), (&json!("success"), &json!(300)), "{sent}");
        let message = last_message(earlier + 1).await;
        assert!(message.ends_with("\n\nSecured by Harbour"), "{message}");
        let code: String = message.chars().filter(char::is_ascii_digit).take(6).collect();
        let again = wawp(&daemon, "/v2/auth/otp/send", method, &parameters);
        assert_eq!((&again["status"], &again["reason"]), (&json!(429), &json!("Rate Limit Exceeded")), "{again}");
        let verified =
            wawp(&daemon, "/v2/auth/otp/verify", method, &json!({"chatId": chat, "code": code, "list_id": "45"}));
        assert_eq!(verified["ok"], json!({"code": "success", "message": verified["ok"]["message"], "verified": true}));
        let listed = json!({"chatId": chat, "title": "Login", "item1": "Yes", "item2": "No", "button": "Verify"});
        let listed = wawp(&daemon, "/v2/auth/list/send", method, &listed);
        assert_eq!((&listed["ok"]["code"], &listed["ok"]["expires_in"]), (&json!("success"), &json!(900)), "{listed}");
        let [yes, _] = answers_in(&last_message(earlier + 2).await);
        let asked = json!({"auth_id": listed["ok"]["auth_id"]});
        let state = || wawp(&daemon, "/v2/auth/list/verify", method, &asked)["ok"]["status"].clone();
        assert_eq!(state(), "pending");
        assert_eq!(daemon.send_message(&chat, &format!("A{index}"), &yes).await.status, 200);
        last_message(earlier + 3).await;
        assert_eq!(state(), "approved");
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hypersender_in_php() {
    if !is_selected("PHP") {
        return;
    }
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "code_in_response = true".to_owned();
    let daemon = world.start().await;
    let mut command = Command::new("php");
    command.arg(HYPERSENDER).env("OTP_BASE_URL", format!("{}/api/otp/v2", daemon.base));
    let output = command.env("OTP_INSTANCE_ID", WAHA).env("OTP_API_KEY", TOKEN).output().unwrap();
    let report = printed(&output);
    let data = |call: &str, name: &str| report[call]["json"]["data"][name].clone();
    for call in ["requested", "right", "empty", "full"] {
        assert_eq!(
            (&report[call]["status"], &report[call]["json"]["success"]),
            (&json!(200), &json!(true)),
            "{report}"
        );
    }
    assert_eq!(data("requested", "code").as_str().map(str::len), Some(6));
    assert_eq!((data("right", "uuid"), data("right", "status")), (data("requested", "uuid"), json!("validated")));
    assert_eq!((&report["wrong"], &report["again"], &report["bad"]), (&json!(422), &json!(409), &json!(422)));
    assert_eq!(report["wrong_reason"], "The code is wrong");
    assert_eq!(report["again_reason"], "The code has already been used");
    assert!(report["bad_reason"].as_str().unwrap().starts_with("chatId"), "{report}");
    let link = data("full", "whatsapp_link");
    assert!(link.as_str().unwrap().starts_with("https://wa.me/447700900999?text=Sign%20me%20in%20%E2%80%93%20Harbour"));
    daemon.finish().await;
}
