//! API tokens: permissions, expiry, and where their ids appear.

use std::time::Duration;

use countersign::domain::time::rfc3339;
use serde_json::{Value, json};

use crate::{
    browser::{Browser, redirect_parameters, reply, start_path},
    daemon::{Daemon, META_TOKEN, TOKEN, TestStore, WAHA, World, message, token_entry},
    login_flow::{link_in, on_both_stores},
    process::{Process, run},
};

on_both_stores! {
    codes_and_links_are_shown_only_with_read_secrets
    a_token_expires_at_the_end_of_its_last_day
    actions_appear_in_the_timeline_and_the_audit_stream
}

const SECRET: [&str; 6] = ["code", "whatsapp_link", "app_url", "text", "start_url", "qr_url"];

fn path(rest: &str) -> String {
    format!("/api/otp/v2/{WAHA}/{rest}")
}

async fn post_as(daemon: &Daemon, token: &str, rest: &str, body: Value) -> crate::daemon::ReceivedResponse {
    daemon.post_with(&path(rest), body, &[("authorization", &format!("Bearer {token}"))]).await
}

async fn codes_and_links_are_shown_only_with_read_secrets(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.more_token_entries = token_entry("cst_sees", "id = \"sees\", scopes = [\"read\", \"read_secrets\"]")
        + &token_entry("cst_reads", "id = \"reads\", scopes = [\"read\", \"admin\"]");
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"client_ref": "cart 7"})).await;
    let sent = daemon.post(&path("request-code"), json!({"chatId": "447700900123"})).await;
    let code = sent.text_of("code");
    for (token, shown) in [(TOKEN, true), ("cst_sees", true), ("cst_reads", false)] {
        let list = daemon.get_as(token, &path("requests")).await;
        let one = daemon.get_as(token, &path(&format!("requests/{}", link.uuid))).await;
        let news = daemon.get_as(token, &path(&format!("requests/{}/events?wait=0", link.uuid))).await;
        for answer in [&list, &one, &news] {
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.text.contains(&link.code), shown, "{token}: {}", answer.text);
            assert!(answer.text.contains(&link.uuid));
        }
        assert_eq!(list.text.contains(&code), shown, "{token}: {}", list.text);
        for name in SECRET {
            assert_eq!(one.data(name).is_string(), shown, "{token} {name}");
        }
        assert_eq!(one.data("poll_token").is_string(), shown, "{token}");
        let asked = daemon.get_as(token, &path(&format!("explain?q={}", link.uuid))).await;
        assert!(!asked.text.contains(&link.code), "{token}");
    }
    let canceled = post_as(&daemon, "cst_reads", &format!("requests/{}/cancel", link.uuid), json!({})).await;
    assert!(canceled.status == 200 && !canceled.text.contains(&link.code), "{}", canceled.text);
    let wawp = |token: &str| format!("/v2/auth/otp/send?instance_id={WAHA}&access_token={token}&chatId=447700900123");
    assert_eq!(daemon.get_as("", &wawp("cst_reads")).await.json["code"], "insufficient_scope");
    daemon.finish().await;
}

async fn a_token_expires_at_the_end_of_its_last_day(test_store: TestStore) {
    let mut world = World::new(test_store);
    let end = world.clock.wall() + Duration::from_secs(3600);
    world.more_token_entries = token_entry("cst_short", &format!("id = \"trial\", until = \"{}\"", rfc3339(end)))
        + &token_entry("cst_old", "until = \"2020-12-31\"");
    let daemon = world.start().await;
    assert_eq!(daemon.get_as("cst_short", &path("requests")).await.status, 200);
    let old = daemon.get_as("cst_old", &path("requests")).await;
    assert_eq!((old.status, &old.json["code"]), (401, &json!("unauthenticated")));
    daemon.clock.advance(Duration::from_secs(3601));
    let ended = daemon.get_as("cst_short", &path("requests")).await;
    assert_eq!(ended.status, 401);
    assert!(ended.text.contains("the token \\\"trial\\\" has reached its end date"), "{}", ended.text);
    let elsewhere = daemon.get_as("cst_short", &format!("/api/otp/v2/{}/requests", crate::daemon::META)).await;
    assert_eq!(elsewhere.text, ended.text, "it is of every instance here");
    assert_eq!(daemon.get_as(META_TOKEN, &path("requests")).await.status, 404, "another one's, as before");
    daemon.finish().await;
}

async fn actions_appear_in_the_timeline_and_the_audit_stream(test_store: TestStore) {
    let mut world = World::new(test_store);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("audit.jsonl");
    world.more_instances = format!("[audit]\npath = \"{}\"\n", file.display());
    world.more_token_entries =
        token_entry("cst_shop", "id = \"shop\"") + &token_entry("cst_support", "id = \"support\"");
    let daemon = world.start().await;
    let minted = post_as(&daemon, "cst_shop", "generate-link", json!({})).await;
    let (uuid, text) = (minted.text_of("uuid"), minted.text_of("text"));
    let mut browser = Browser::default();
    browser.tap(&daemon, &start_path(&minted), "here").await;
    let now = daemon.clock.wall().as_second();
    assert_eq!(daemon.post_waha(&message("447700900123", "A1", &text, now)).await.status, 200);
    let went_on = browser.submit_link(&daemon, &link_in(&reply(&world, 1).await)).await;
    let landed = redirect_parameters(&went_on).unwrap()["token"].clone();
    let redeemed = post_as(&daemon, "cst_shop", "redeem", json!({"token": landed})).await;
    assert_eq!(redeemed.status, 200, "{}", redeemed.text);
    let plain = daemon.create_link(json!({})).await;
    let canceled = post_as(&daemon, "cst_support", &format!("requests/{}/cancel", plain.uuid), json!({})).await;
    assert_eq!(canceled.status, 200);
    assert_eq!(post_as(&daemon, "cst_wrong", "generate-link", json!({})).await.status, 401);
    daemon.get_as("cst_support", &path("requests?phone_last=0123")).await;

    let by = |answer: &crate::daemon::ReceivedResponse, event: &str| -> Value {
        let timeline = answer.data("timeline").as_array().unwrap().clone();
        let entry = timeline.iter().find(|entry| entry["event"] == event);
        entry.unwrap_or_else(|| panic!("{event} in {timeline:?}"))["by"].clone()
    };
    let one = daemon.get(&path(&format!("requests/{uuid}"))).await;
    for (event, name) in
        [("created", json!("token:shop")), ("redeemed", json!("token:shop")), ("completed", json!(null))]
    {
        assert_eq!(by(&one, event), name, "{event}");
    }
    assert_eq!(by(&canceled, "canceled"), "token:support");
    assert_eq!(by(&canceled, "created"), json!(null), "a token without an id has no name in a record");

    daemon.services.env.audit.flush();
    let written = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said =
        |line: &Value| format!("{} {} {}", line["by"].as_str().unwrap(), line["did"].as_str().unwrap(), line["status"]);
    let audit_lines: Vec<String> = lines.iter().map(said).collect();
    let plain_id = countersign::config::credentials::token_digest(TOKEN)[7..15].to_owned();
    let api = "/api/otp/v2/{instance}";
    assert_eq!(
        audit_lines,
        [
            format!("token:shop POST {api}/generate-link 200"),
            format!("token:shop POST {api}/redeem 200"),
            format!("token:{plain_id} POST {api}/generate-link 200"),
            format!("token:support POST {api}/requests/{{uuid}}/cancel 200"),
            format!("token:support GET {api}/requests 200"),
            format!("token:{plain_id} GET {api}/requests/{{uuid}} 200"),
        ]
    );
    for (line, about) in [(0, &uuid), (1, &uuid), (2, &plain.uuid), (3, &plain.uuid), (5, &uuid)] {
        assert_eq!((&lines[line]["uuid"], &lines[line]["instance"]), (&json!(about), &json!(WAHA)), "{line}");
        assert_eq!(lines[line]["ip"], "127.0.0.1");
    }
    for secret in [&plain.code, &landed, "447700900123", "0123\"", "cst_"] {
        assert!(!written.contains(secret), "{secret} in {written}");
    }
    // A line that cannot be written is counted.
    let lost = "countersign_audit_lines_lost_total";
    assert!(daemon.services.env.metrics.render().contains(&format!("{lost} 0\n")));
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    daemon.get_as("cst_support", &path("requests")).await;
    daemon.services.env.audit.flush();
    assert!(daemon.services.env.metrics.render().contains(&format!("{lost} 1\n")));
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_token() {
    let mut world = World::new(TestStore::directory());
    world.more_token_entries = token_entry("cst_shop", "id = \"shop\"");
    let process = Process::start(&world).await;
    let request = http::Request::get(format!("{}{}", process.base, path("requests")));
    let request = request.header("authorization", "Bearer cst_shop").body(Vec::new()).unwrap();
    assert_eq!(process.client.send(request).await.unwrap().status().as_u16(), 200);
    let (_, _, written) = process.terminate();
    assert!(written.lines().any(|line| line.contains("token:shop") && line.contains("/requests")), "{written}");
    assert!(!written.contains("cst_shop"));
}

#[tokio::test]
async fn the_output_of_new_token_is_valid_configuration() {
    let (status, printed, error) =
        run(&["new-token", "--id", "shop", "--scope", "mint", "--scope", "redeem", "--until", "2027-01-31"]);
    assert_eq!(status, Some(0), "{error}");
    let entry = printed;
    let token = error.trim().rsplit_once("=cst_").unwrap().1;
    assert!(token.len() > 40 && !entry.contains(token), "{entry}");
    let check = |tokens: &str| {
        let mut world = World::new(TestStore::directory());
        world.more_token_entries = format!(", {tokens}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), world.config("127.0.0.1:0", "127.0.0.1:0")).unwrap();
        run(&["check-config", "--config", file.path().to_str().unwrap()])
    };
    let (status, output, error) = check(entry.trim().trim_end_matches(','));
    assert_eq!(status, Some(0), "{error}");
    assert!(output.contains("    token shop: mint redeem, until 2027-02-01T00:00:00+00:00\n"), "{output}");

    let digest = countersign::config::credentials::token_digest("cst_x");
    for (faulty, fault) in [
        ("{ id = \"x\" }".to_owned(), "instance.0.tokens.1.digest: is missing"),
        (
            format!("{{ digest = \"{digest}\", scopes = [\"mnt\"] }}"),
            "tokens.1.scopes.0: \"mnt\" is not one of mint, send",
        ),
        (format!("{{ digest = \"{digest}\", scopes = [] }}"), "tokens.1.scopes: is empty"),
        (format!("{{ digest = \"{digest}\", scopes = [\"read_secrets\"] }}"), "name read, too"),
        (format!("{{ digest = \"{digest}\", until = \"soon\" }}"), "tokens.1.until: expected a day"),
        (format!("{{ digest = \"{digest}\", id = \"the shop\" }}"), "tokens.1.id: expected 1 to 32 letters"),
        (format!("{{ digest = \"{digest}\", ip = \"x\" }}"), "tokens.1.ip: is not a key; did you mean id?"),
        (format!("\"{digest}\", \"{digest}\""), "tokens.2: is the digest of an earlier token"),
        ("7".to_owned(), "tokens.1: expected \"sha256:"),
    ] {
        let (status, _, error) = check(&faulty);
        assert!(status == Some(78) && error.contains(fault), "{faulty}: {error}");
    }
    for bad in [&["--id", "a b"][..], &["--id", "a", "--scope", "all"], &["--id", "a", "--until", "never"]] {
        let (status, printed, _) = run(&[&["new-token"], bad].concat());
        assert_eq!((status, printed.as_str()), (Some(78), ""), "{bad:?}");
    }
}
