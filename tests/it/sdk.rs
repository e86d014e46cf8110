//! The requests of Hypersender's official Laravel SDK, unchanged but for the base URL.

use http::Request;
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::on_both_stores,
};

on_both_stores! {
    the_laravel_sdk_works_unchanged
}

/// The SDK's headers and path; only `otp_base_url` is changed.
async fn call(daemon: &Daemon, path: &str, body: Value) -> ReceivedResponse {
    let request = Request::post(format!("{}/api/otp/v2/{WAHA}/{path}", daemon.base))
        .header("authorization", format!("Bearer {TOKEN}"))
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .header("user-agent", "Hypersender Laravel SDK");
    daemon.send(request.body(body.to_string().into_bytes()).unwrap()).await
}

/// `2026-11-20T10:10:00+00:00`
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == 25 && text.ends_with("+00:00") && text.parse::<jiff::Timestamp>().is_ok()
}

async fn the_laravel_sdk_works_unchanged(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let chat = "447700900123@c.us";

    // requestCode($chatId, $length, $useLetter, $useNumber, $allCapital, $name, $expires): all of them, always.
    let requested = call(
        &daemon,
        "request-code",
        json!({
            "chatId": chat, "length": 6, "useLetter": false, "useNumber": true, "allCapital": false,
            "name": "Harbour", "expires": 600,
        }),
    )
    .await;
    assert_eq!((requested.status, &requested.json["success"]), (200, &json!(true)), "{}", requested.text);
    assert_eq!(requested.json["message"], "OTP code generated and message queued successfully");
    let data = &requested.json["data"];
    assert_eq!(
        (&data["chat_id"], &data["status"], &data["otp_type"]),
        (&json!(chat), &json!("pending"), &json!("code"))
    );
    assert!(is_time(&data["expires_at"]) && is_time(&data["created_at"]) && data["uuid"].is_string());
    let seconds = |name: &str| data[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(seconds("expires_at") - seconds("created_at"), 600);
    let code = data["code"].as_str().unwrap();

    // validateCode($chatId, $code)
    let wrong = call(&daemon, "validate-code", json!({"chatId": chat, "code": "not it"})).await;
    assert!(wrong.status >= 400 && wrong.json["success"] == false && wrong.json["message"].is_string());
    let validated = call(&daemon, "validate-code", json!({"chatId": chat, "code": code})).await;
    assert_eq!((validated.status, &validated.json["success"]), (200, &json!(true)));
    assert_eq!(validated.json["message"], "OTP code validated successfully");
    let data = &validated.json["data"];
    assert_eq!((&data["uuid"], &data["chat_id"]), (&requested.json["data"]["uuid"], &json!(chat)));
    assert_eq!(data["status"], "validated");
    assert!(is_time(&data["validated_at"]));

    // generateLink($chatId, $expires, $name, $message, $callback)
    let link = call(
        &daemon,
        "generate-link",
        json!({
            "chatId": chat, "expires": 3600, "name": "Harbour",
            "message": {
                "prompt": "Sign me in to Harbour", "success": "Welcome to {name}: {link}",
                "failed": "That code did not work.", "expired": "Code {code} is too old, start again.",
            },
            "callback": {"success": "https://app.example.org/wa/ok", "failed": "https://app.example.org/wa/bad"},
        }),
    )
    .await;
    assert_eq!((link.status, &link.json["success"]), (200, &json!(true)), "{}", link.text);
    assert_eq!(link.json["message"], "OTP link request created successfully");
    let data = &link.json["data"];
    assert_eq!(
        (&data["chat_id"], &data["status"], &data["otp_type"]),
        (&json!(chat), &json!("pending"), &json!("link"))
    );
    assert!(is_time(&data["expires_at"]) && is_time(&data["created_at"]));
    let url = url::Url::parse(data["whatsapp_link"].as_str().unwrap()).unwrap();
    let text = url.query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned();
    let code = data["code"].as_str().unwrap();
    assert_eq!((url.host_str(), url.path()), (Some("wa.me"), "/447700900999"));
    assert_eq!(text, format!("Sign me in to Harbour [{code}] - DO NOT CHANGE THIS MESSAGE"));
    daemon.finish().await;
}
