//! Authenticated webhooks that are damaged: not quite JSON, or readable only in part.

use std::time::Duration;

use countersign::gateway::{Gateway, IgnoreReason, Webhook, WebhookEvent};
use http::{HeaderMap, Method};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, TOKEN, TestStore, WAHA, World},
    gateways::{all_cases, build, cases, headers},
    login_flow::on_both_stores,
};

on_both_stores! {
    what_could_not_be_parsed_is_kept_for_a_day_and_erased_on_request
}

fn parse(gateway: &dyn Gateway, headers: &HeaderMap, body: &[u8]) -> Vec<WebhookEvent> {
    let now = Timestamp::from_second(1_788_256_803).unwrap();
    let webhook = Webhook { method: &Method::POST, path_suffix: None, query: "", headers, body, now };
    gateway.parse(&webhook).unwrap_or_else(|why| vec![WebhookEvent::malformed(&why)])
}

/// Recorded webhooks with something that strict parsers refuse, in a field that nothing depends on.
#[test]
fn one_bad_value_costs_no_message() {
    let mut messages = 0;
    for (kind, case) in all_cases().filter(|(_, case)| case.body.starts_with(b"{")) {
        let (gateway, headers) = (build(kind, &case.expect), headers(&case.expect));
        let genuine = parse(&*gateway, &headers, &case.body);
        messages += genuine.iter().filter(|event| event.ignored.is_none()).count();
        let with = |field: &[u8]| [b"{\"added\":", field, b",", &case.body[1..]].concat();
        let spoiled: Vec<Vec<u8>> = vec![
            [b"\xef\xbb\xbf", &case.body[..]].concat(),
            [&case.body[..], b"\0\0\n"].concat(),
            with(br#""half an emoji \ud83d""#),
            with(br#""\ude00 first""#),
            with(b"\"a byte \xff of another encoding\""),
            with(b"\"CESU-8 \xed\xa0\xbd\xed\xb8\x80\""),
            with(b"\"a control character \x01 and a line\nbreak\""),
            with(b"NaN"),
            with(b"[-Infinity, 1e999]"),
            with(format!("{}1{}", "[".repeat(200), "]".repeat(200)).as_bytes()),
        ];
        for body in spoiled {
            assert_eq!(parse(&*gateway, &headers, &body), genuine, "{}", String::from_utf8_lossy(&body));
        }
    }
    assert!(messages > 40, "{messages}");
}

/// A person whose name holds half an emoji, with every gateway that posts names.
#[test]
fn half_an_emoji_in_a_name_is_replaced() {
    let mut names = 0;
    for (kind, case) in all_cases().filter(|(_, case)| case.body.starts_with(b"{") && case.expect["auth"] == "accept") {
        let (gateway, headers) = (build(kind, &case.expect), headers(&case.expect));
        let genuine = parse(&*gateway, &headers, &case.body);
        let Some(name) = genuine.first().and_then(|event| event.push_name.clone()) else { continue };
        let quoted = json!(name).to_string();
        let body =
            String::from_utf8_lossy(&case.body).replace(&quoted, &format!("{}\\ud83d\"", &quoted[..quoted.len() - 1]));
        // Some fixtures have the name in escapes.
        if body.as_bytes() == case.body {
            continue;
        }
        names += 1;
        let event = parse(&*gateway, &headers, body.as_bytes()).remove(0);
        assert_eq!(event.push_name, Some(format!("{name}\u{fffd}")), "{}", case.name);
        assert_eq!((event.text, event.sender), (genuine[0].text.clone(), genuine[0].sender.clone()));
    }
    assert!(names > 40, "{names}");
}

/// Of a batch, what cannot be read costs itself alone.
#[test]
fn one_bad_message_of_a_batch_costs_no_other() {
    let batches = [("whapi", "/messages"), ("infobip", "/results"), ("evolution", "/data")];
    for (kind, list) in batches {
        let case = cases(kind).into_iter().find(|case| {
            let (gateway, headers) = (build(kind, &case.expect), headers(&case.expect));
            parse(&*gateway, &headers, &case.body).first().is_some_and(|event| event.ignored.is_none())
        });
        let case = case.unwrap_or_else(|| panic!("{kind} has no message"));
        let (gateway, headers) = (build(kind, &case.expect), headers(&case.expect));
        let mut body: Value = serde_json::from_slice(&case.body).unwrap();
        let items = body.pointer_mut(list).unwrap();
        let good = if items.is_array() { items[0].clone() } else { items.clone() };
        let mut bad = good.clone();
        for field in ["id", "messageId", "message_id", "key", "from_me", "direction"] {
            bad.as_object_mut().unwrap().remove(field);
        }
        *items = json!([bad, good, bad]);
        let events = parse(&*gateway, &headers, body.to_string().as_bytes());
        let why: Vec<Option<IgnoreReason>> = events.iter().map(|event| event.ignored).collect();
        let bad = Some(IgnoreReason::Malformed);
        assert_eq!(why, [bad, None, bad], "{kind}");
        assert!(events[0].fault.is_some() && events[1].fault.is_none(), "{kind}");
    }
}

async fn what_could_not_be_parsed_is_kept_for_a_day_and_erased_on_request(store: TestStore) {
    let world = World::new(store);
    let daemon = world.start().await;
    let ask = async |daemon: &Daemon| daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q=malformed")).await;
    let nothing = ask(&daemon).await;
    assert!(nothing.text.contains("could be parsed"), "{}", nothing.text);
    let without_id = json!({ "event": "message", "payload": { "from": "447700900123@c.us", "body": "[ABCDEFGH]" } });
    assert_eq!(daemon.post_waha(&without_id).await.status, 200);
    assert_eq!(daemon.post_waha(&json!("no object")).await.status, 200);
    let kept = ask(&daemon).await;
    let messages = kept.data("messages").as_array().unwrap();
    assert_eq!(messages.len(), 2, "{}", kept.text);
    assert!(messages[1]["meaning"].as_str().unwrap().contains("has no id"), "{}", kept.text);
    assert!(messages[1]["webhook"].as_str().unwrap().contains("447700900123"), "{}", kept.text);
    assert!(messages[0]["webhook"].as_str().unwrap().contains("no object"), "{}", kept.text);
    let metrics = http::Request::get(format!("{}/metrics", daemon.operator)).body(Vec::new()).unwrap();
    assert!(daemon.send(metrics).await.text.contains("result=\"malformed\""));
    let erase = http::Request::delete(format!("{}/api/otp/v2/{WAHA}/subjects/447700900123", daemon.base));
    let erase = erase.header("authorization", format!("Bearer {TOKEN}")).body(Vec::new()).unwrap();
    let erased = daemon.send(erase).await;
    assert_eq!(erased.status, 200, "{}", erased.text);
    assert_eq!(ask(&daemon).await.data("messages").as_array().unwrap().len(), 1);
    daemon.advance(Duration::from_hours(25)).await;
    assert!(ask(&daemon).await.data("messages").as_array().unwrap().is_empty());
    daemon.finish().await;
}
