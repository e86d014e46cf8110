//! The endpoints that are compatible with Wawp, on both stores.

use std::time::Duration;

use countersign::{domain::token::TokenKind, service::RequestContext};
use http::Request;
use serde_json::{Value, json};

use crate::{
    codes::wrong,
    daemon::{Daemon, InstanceBlock, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    fakes::ReceivedRequest,
    limits::assert_limited,
    login_flow::on_both_stores,
};

on_both_stores! {
    a_code_is_sent_and_verified_by_query
    five_wrong_codes_lock_for_fifteen_minutes
    one_code_per_recipient_and_minute
    a_person_approves
    a_person_rejects
    only_the_asked_chat_and_an_unchanged_answer_decide
    of_two_answers_at_once_one_decides
    an_unanswered_request_expires
    one_request_for_an_approval_per_recipient_and_minute
    a_question_is_kept_until_the_gateway_takes_it
}

const NUMBER: &str = "447700900123";

async fn by_query(daemon: &Daemon, path: &str, more: &[(&str, &str)], headers: &[(&str, &str)]) -> ReceivedResponse {
    ask(daemon, &format!("otp/{path}"), more, headers).await
}

async fn ask(daemon: &Daemon, path: &str, more: &[(&str, &str)], headers: &[(&str, &str)]) -> ReceivedResponse {
    let mut url = url::Url::parse(&format!("{}/v2/auth/{path}", daemon.base)).unwrap();
    url.query_pairs_mut().extend_pairs([("instance_id", WAHA), ("access_token", TOKEN), ("chatId", NUMBER)]);
    url.query_pairs_mut().extend_pairs(more);
    let mut request = Request::get(url.as_str());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    daemon.send(request.body(Vec::new()).unwrap()).await
}

async fn last_message(world: &World, count: usize) -> String {
    world.gateway.wait_for(count).await.last().unwrap().json()["text"].as_str().unwrap().to_owned()
}

/// The digits of a message in any language.
fn code_in(message: &str) -> String {
    message.chars().filter(char::is_ascii_digit).take(6).collect()
}

async fn a_code_is_sent_and_verified_by_query(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sent = by_query(&daemon, "send", &[("lang", "ar"), ("footer", "Harbour & Sons")], &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert_eq!(sent.header("cache-control"), "no-store");
    let mut members: Vec<&String> = sent.json.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["code", "expires_in", "job_id", "message"], "the code is not in the response");
    assert_eq!((&sent.json["code"], &sent.json["expires_in"]), (&json!("success"), &json!(300)));
    let message = last_message(&world, 1).await;
    assert!(message.contains("رمز التحقق") && message.ends_with("\n\nHarbour & Sons"), "{message}");
    let code = code_in(&message);
    let bad = by_query(&daemon, "verify", &[("code", &wrong(&code))], &[]).await;
    assert_eq!((bad.status, &bad.json["code"]), (422, &json!("code_wrong")));
    let good = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!(good.status, 200, "{}", good.text);
    assert_eq!((&good.json["code"], &good.json["verified"]), (&json!("success"), &json!(true)));
    let again = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!((again.status, &again.json["code"]), (409, &json!("code_used")));
    let uuid = sent.json["job_id"].as_str().unwrap();
    assert_eq!(daemon.status(uuid).await, "validated");
    daemon.finish().await;
}

async fn five_wrong_codes_lock_for_fifteen_minutes(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 1).await);
    for expected in ["code_wrong", "code_wrong", "code_wrong", "code_wrong", "attempts_exhausted"] {
        assert_eq!(by_query(&daemon, "verify", &[("code", &wrong(&code))], &[]).await.json["code"], expected);
    }
    daemon.advance_clock(Duration::from_secs(61)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 2).await);
    let locked = by_query(&daemon, "verify", &[("code", &code)], &[]).await;
    assert_eq!((locked.status, &locked.json["code"]), (429, &json!("rate_limited")), "a new code resets nothing");
    let wait: u64 = locked.header("retry-after").parse().unwrap();
    assert!((780..=840).contains(&wait), "fifteen minutes from the last try: {wait}");
    daemon.advance_clock(Duration::from_secs(wait)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    let code = code_in(&last_message(&world, 3).await);
    assert_eq!(by_query(&daemon, "verify", &[("code", &code)], &[]).await.status, 200);
    daemon.finish().await;
}

async fn one_code_per_recipient_and_minute(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sends = futures_util::future::join_all((0..8).map(|_| by_query(&daemon, "send", &[], &[]))).await;
    assert_eq!(sends.iter().filter(|answer| answer.status == 200).count(), 1, "however many ask at once");
    for refused in sends.iter().filter(|answer| answer.status != 200) {
        assert_eq!((refused.status, &refused.json["code"]), (429, &json!("rate_limited")), "{}", refused.text);
        assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
    }
    let spelled = daemon.post_with("/v2/auth/otp/send", body(&format!("{NUMBER}@c.us")), &[]).await;
    assert_eq!(spelled.status, 429, "however it is spelled");
    daemon.advance_clock(Duration::from_secs(60)).await;
    assert_eq!(by_query(&daemon, "send", &[], &[]).await.status, 200);
    daemon.settle().await;
    assert_eq!(world.gateway.requests().len(), 2);
    daemon.finish().await;
}

/// A request for an approval.
const QUESTION: [(&str, &str); 6] = [
    ("title", "Log in to Harbour"),
    ("description", "From a new device\nin Hamburg"),
    ("item1", "Yes, it's me"),
    ("item2", "No"),
    ("button", "Answer"),
    ("footer", "Harbour & Sons"),
];

/// The two messages that the links of a question open.
pub(crate) fn answers_in(question: &str) -> [String; 2] {
    let links =
        question.split_whitespace().filter(|word| word.starts_with("https://")).map(|word| word.parse().unwrap());
    let text = |link: url::Url| {
        assert_eq!(link.host_str(), Some("wa.me"), "{question}");
        link.query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned()
    };
    links.map(text).collect::<Vec<_>>().try_into().unwrap_or_else(|links| panic!("{links:?} in {question}"))
}

/// Asks, and returns the `auth_id` and the two answers. `count` messages are in the chat then.
async fn question(world: &World, daemon: &Daemon, count: usize) -> (String, [String; 2]) {
    let sent = ask(daemon, "list/send", &QUESTION, &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    (sent.json["auth_id"].as_str().unwrap().to_owned(), answers_in(&last_message(world, count).await))
}

async fn state(daemon: &Daemon, auth_id: &str) -> String {
    let answer = ask(daemon, "list/verify", &[("auth_id", auth_id)], &[]).await;
    assert_eq!((answer.status, &answer.json["code"]), (200, &json!("success")), "{}", answer.text);
    let state = answer.json["status"].as_str().unwrap().to_owned();
    assert_eq!(answer.json["verified"], state == "approved");
    state
}

async fn callback(world: &World, count: usize) -> (Value, Value) {
    let body = world.receiver.wait_for(count).await.last().unwrap().json();
    (body["type"].clone(), body["data"].clone())
}

async fn a_person_approves(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sent = ask(&daemon, "list/send", &QUESTION, &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert_eq!(sent.header("cache-control"), "no-store");
    let mut members: Vec<&String> = sent.json.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(members, ["auth_id", "code", "expires_in", "job_id", "message"], "the code is not in the response");
    assert_eq!((&sent.json["code"], &sent.json["expires_in"]), (&json!("success"), &json!(900)));
    let auth_id = sent.json["auth_id"].as_str().unwrap();

    let asked = world.gateway.wait_for(1).await.remove(0).json();
    assert_eq!(asked["chatId"], format!("{NUMBER}@c.us"));
    let asked = asked["text"].as_str().unwrap();
    let [yes, no] = answers_in(asked);
    let code = &yes[yes.find('[').unwrap()..];
    assert_eq!((code.len(), yes.as_str(), no.as_str()), (16, &*format!("Yes, it's me {code}"), &*format!("No {code}")));
    let code = code.trim_matches(['[', ']']);
    let link = |text: &str| format!("https://wa.me/447700900999?text={text}%20%5B{code}%5D");
    let (yes_link, no_link) = (link("Yes%2C%20it%27s%20me"), link("No"));
    assert_eq!(
        asked,
        format!(
            "Log in to Harbour\n\nFrom a new device\nin Hamburg\n\nYes, it's me: {yes_link}\n\nNo: {no_link}\n\nHarbour & Sons"
        )
    );

    assert_eq!(state(&daemon, auth_id).await, "pending");
    assert_eq!(daemon.send_message(NUMBER, "A1", &yes).await.status, 200);
    assert_eq!(state(&daemon, auth_id).await, "approved");
    let reply = last_message(&world, 2).await;
    assert_eq!(reply, "You have approved this request of Harbour.\n\nFor: Log in to Harbour");
    let (event, data) = callback(&world, 1).await;
    assert_eq!((event, &data["uuid"], &data["status"]), (json!("link.verified"), &json!(auth_id), &json!("verified")));
    assert_eq!((&data["purpose"], &data["subject"]["value"]), (&json!("Log in to Harbour"), &json!("+447700900123")));
    assert_eq!(data["completion"], json!({"mode": "prove_phone", "state": null}));

    // Delivered again, tapped again, and the other answer.
    for (id, text, messages) in [("A1", &yes, 2), ("A2", &yes, 3), ("A3", &no, 4)] {
        assert_eq!(daemon.send_message(NUMBER, id, text).await.status, 200);
        assert_eq!(last_message(&world, messages).await, reply, "{id}");
        assert_eq!(state(&daemon, auth_id).await, "approved", "{id}");
    }
    daemon.settle().await;
    assert_eq!((world.gateway.count(), world.receiver.count()), (4, 1));

    // There is nothing to finish: no page leads to it, and nobody can dispute it.
    assert_no_page(&daemon, auth_id).await;
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{auth_id}")).await;
    assert_eq!((shown.data("start_url"), shown.data("text")), (&Value::Null, &json!(yes)), "{}", shown.text);
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q={auth_id}")).await;
    assert!(explained.text_of("sentence").contains("is verified; the person approved it."), "{}", explained.text);
    let read = |token: &str, instance: &str| {
        format!("list/verify?instance_id={instance}&access_token={token}&auth_id={auth_id}")
    };
    let foreign = daemon.get_as("", &format!("/v2/auth/{}", read(META_TOKEN, META))).await;
    assert_eq!((foreign.status, &foreign.json["code"]), (404, &json!("not_found")), "another tenant");
    daemon.finish().await;
}

/// Its tokens open nothing, as if they had never been issued.
async fn assert_no_page(daemon: &Daemon, auth_id: &str) {
    let cx = RequestContext::background(&daemon.services.env.store);
    let instance = daemon.services.env.instances.get(WAHA.parse().unwrap()).unwrap();
    let record = daemon.services.shared.verifications.get(&cx, &instance, auth_id.parse().unwrap()).await.unwrap();
    for (kind, path) in [(TokenKind::Handle, "l"), (TokenKind::Link, "o"), (TokenKind::Dispute, "d")] {
        let token = record.token(&daemon.services.env.keys, kind).unwrap();
        assert_eq!(
            daemon.get(&format!("/{path}/{token}")).await.status,
            410,
            "{path}: as for a token that was never issued"
        );
    }
}

async fn a_person_rejects(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (auth_id, [yes, no]) = question(&world, &daemon, 1).await;
    assert_eq!(daemon.send_message(NUMBER, "R1", &no).await.status, 200);
    assert_eq!(state(&daemon, &auth_id).await, "rejected");
    let reply = last_message(&world, 2).await;
    let expected = "You have rejected this request of Harbour. Nothing was approved.\n\nFor: Log in to Harbour";
    assert_eq!(reply, expected);
    let (event, data) = callback(&world, 1).await;
    assert_eq!((event, &data["status"], &data["reason"]), (json!("link.failed"), &json!("failed"), &json!("rejected")));
    for (id, text, messages) in [("R1", &no, 2), ("R2", &yes, 3), ("R3", &no, 4)] {
        assert_eq!(daemon.send_message(NUMBER, id, text).await.status, 200);
        assert_eq!(last_message(&world, messages).await, reply, "{id}");
        assert_eq!(state(&daemon, &auth_id).await, "rejected", "{id}");
    }
    // Another chat is not told what was decided.
    assert_eq!(daemon.send_message("447700900124", "R4", &yes).await.status, 200);
    assert!(last_message(&world, 5).await.starts_with("This code did not work."));
    let explained = daemon.get(&format!("/api/otp/v2/{WAHA}/explain?q={auth_id}")).await;
    assert!(explained.text_of("sentence").contains("is failed (rejected)"), "{}", explained.text);
    daemon.settle().await;
    assert_eq!(world.receiver.count(), 1);
    daemon.finish().await;
}

async fn only_the_asked_chat_and_an_unchanged_answer_decide(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (auth_id, [yes, no]) = question(&world, &daemon, 1).await;
    let code = &yes[yes.find('[').unwrap()..];
    for (id, text) in [("O1", &yes), ("O2", &no)] {
        assert_eq!(daemon.send_message("447700900124", id, text).await.status, 200);
        assert_eq!(state(&daemon, &auth_id).await, "pending", "another sender");
    }
    assert!(last_message(&world, 3).await.starts_with("This code did not work."));
    for (count, text) in
        [code, &format!("Yes, it's me, for once {code}"), &format!("Not {code}")].into_iter().enumerate()
    {
        assert_eq!(daemon.send_message(NUMBER, &format!("C{count}"), text).await.status, 200);
        assert_eq!(state(&daemon, &auth_id).await, "pending", "{text}");
        let reply = last_message(&world, 4 + count).await;
        assert!(reply.starts_with("Your message is neither of the two answers"), "{reply}");
        assert!(!reply.contains("http"), "nothing leads to one of the answers: {reply}");
    }
    assert!(world.receiver.requests().is_empty(), "nothing is decided");
    assert_eq!(daemon.send_message(NUMBER, "O3", &no.to_lowercase()).await.status, 200);
    assert_eq!(state(&daemon, &auth_id).await, "rejected", "case does not matter");
    let reply = last_message(&world, 7).await;
    assert!(reply.starts_with("You have rejected"), "answered, although the failure replies are used up: {reply}");
    daemon.finish().await;
}

async fn of_two_answers_at_once_one_decides(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines =
        "[instance.limits]\ncodes_per_chat_10m = 0\nfailure_replies_per_10m = 0\nsuccess_replies_per_10m = 0\ncodes_per_prefix_10m = 0\n"
            .to_owned();
    let daemon = world.start().await;
    let mut seen = 0;
    for round in 0..8 {
        let (auth_id, [yes, no]) = question(&world, &daemon, seen + 1).await;
        let ids = ["Y1", "N1", "Y2", "N2", "N1", "Y1"].map(|id| format!("{id}-{round}"));
        let taps = ids.iter().map(|id| daemon.send_message(NUMBER, id, if id.starts_with('Y') { &yes } else { &no }));
        for answer in futures_util::future::join_all(taps).await {
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        daemon.settle().await;
        let decided = state(&daemon, &auth_id).await;
        assert!(decided == "approved" || decided == "rejected", "{decided}");
        let replies: Vec<String> = world.gateway.requests()[seen + 1..]
            .iter()
            .map(|one| one.json()["text"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(replies.len(), 4, "each message is answered once: {replies:?}");
        let told = format!("You have {decided} this request");
        assert!(replies.iter().all(|reply| reply.starts_with(&told)), "{decided}: {replies:?}");
        let events: Vec<Value> = world.receiver.requests().iter().map(ReceivedRequest::json).collect();
        let own: Vec<&Value> = events.iter().filter(|event| event["data"]["uuid"] == auth_id.as_str()).collect();
        let event = if decided == "approved" { "link.verified" } else { "link.failed" };
        assert_eq!(own.iter().map(|own| &own["type"]).collect::<Vec<_>>(), [event]);
        seen = world.gateway.count();
        daemon.advance_clock(Duration::from_secs(60)).await;
    }
    daemon.finish().await;
}

async fn an_unanswered_request_expires(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (auth_id, [yes, _]) = question(&world, &daemon, 1).await;
    daemon.advance(Duration::from_secs(899)).await;
    assert_eq!(state(&daemon, &auth_id).await, "pending");
    daemon.clock.advance(Duration::from_secs(2));
    assert_eq!(state(&daemon, &auth_id).await, "expired", "whether or not that has been stored");
    assert_eq!(daemon.send_message(NUMBER, "E1", &yes).await.status, 200);
    assert!(last_message(&world, 2).await.starts_with("This code is too old."));
    assert_eq!(state(&daemon, &auth_id).await, "expired");
    assert_eq!(callback(&world, 1).await.0, "link.expired");

    let (canceled, [yes, _]) = question(&world, &daemon, 3).await;
    daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{canceled}/cancel"), json!({})).await;
    assert_eq!(state(&daemon, &canceled).await, "expired", "Wawp has no word for it");
    assert_eq!(daemon.send_message(NUMBER, "E2", &yes).await.status, 200);
    assert_eq!(state(&daemon, &canceled).await, "expired");
    daemon.finish().await;
}

async fn one_request_for_an_approval_per_recipient_and_minute(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let sends = futures_util::future::join_all((0..8).map(|_| ask(&daemon, "list/send", &QUESTION, &[]))).await;
    assert_eq!(sends.iter().filter(|answer| answer.status == 200).count(), 1, "however many ask at once");
    for refused in sends.iter().filter(|answer| answer.status != 200) {
        assert_limited(refused, "cooldown");
        assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 60);
    }
    let question = json!({"chatId": format!("{NUMBER}@c.us"), "item1": "Yes", "item2": "No"});
    let spelled = daemon.post_with("/v2/auth/list/send", question, &[("x-instance-id", WAHA)]).await;
    assert_eq!(spelled.status, 429, "however it is spelled: {}", spelled.text);
    daemon.advance_clock(Duration::from_secs(60)).await;
    assert_eq!(ask(&daemon, "list/send", &QUESTION, &[]).await.status, 200);
    daemon.settle().await;
    assert_eq!(world.gateway.count(), 2);
    daemon.finish().await;
}

async fn a_question_is_kept_until_the_gateway_takes_it(test_store: TestStore) {
    let world = World::new(test_store);
    world.gateway.fail(503, u64::MAX);
    let daemon = world.start().await;
    let sent = ask(&daemon, "list/send", &QUESTION, &[]).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    daemon.settle().await;
    let tried = world.gateway.count();
    assert!(tried >= 1);
    daemon.stop().await;
    world.gateway.fail(200, 0);
    let daemon = world.start().await;
    daemon.advance(Duration::from_secs(60)).await;
    let [yes, _] = answers_in(&last_message(&world, tried + 1).await);
    assert_eq!(daemon.send_message(NUMBER, "K1", &yes).await.status, 200);
    assert_eq!(state(&daemon, sent.json["auth_id"].as_str().unwrap()).await, "approved");
    daemon.finish().await;
}

/// The message starts a conversation with a text of the app, and is answered by a message that proves its sender.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_cannot_ask_is_refused_with_the_reason() {
    const THIRD: &str = "5f0c2a90-0000-4000-8000-000000000003";
    let mut world = World::new(TestStore::directory());
    let gateway = format!(
        "kind = \"generic\"\nchannel = \"sms\"\nwebhook_auth = \"url-secret\"\nwebhook_secret = \"sms-webhook-secret-0123456789\"\n\
         [instance.gateway.mapping]\nmessage_id = \"/id\"\nchat_id = \"/from\"\nsender = \"/from\"\ntext = \"/text\"\nfrom_me = \"never\"\n\
         [instance.gateway.send]\nurl = \"{}\"\nbody = '{{\"to\": \"{{chat_id}}\", \"text\": \"{{text}}\"}}'",
        world.gateway.url
    );
    let number = "+12025550143";
    let block = InstanceBlock { id: THIRD, name: "Sms", number, token: TOKEN, lines: "", gateway: &gateway };
    world.more_instances = block.to_string();
    let daemon = world.start().await;
    for (instance, token, why) in [(META, META_TOKEN, "approved template"), (THIRD, TOKEN, "sends SMS")] {
        let question =
            json!({"instance_id": instance, "access_token": token, "chatId": NUMBER, "item1": "Yes", "item2": "No"});
        let refused = daemon.post_with("/v2/auth/list/send", question, &[]).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("instance_id")), "{instance}");
        let detail = refused.json["errors"][0]["detail"].as_str().unwrap();
        assert!(detail.contains(why) && detail.contains("send a code (auth/otp)"), "{detail}");
    }
    daemon.settle().await;
    assert!(world.gateway.requests().is_empty());
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_must_be_distinct_as_they_are_compared() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let send = async |item1: &str, item2: &str| {
        let question = json!({"instance_id": WAHA, "chatId": NUMBER, "item1": item1, "item2": item2});
        let answer = daemon.post_with("/v2/auth/list/send", question, &[]).await;
        let fields = answer.json["errors"].as_array().cloned().unwrap_or_default();
        (answer.status, fields.iter().map(|fault| fault["field"].as_str().unwrap().to_owned()).collect::<Vec<_>>())
    };
    for (item1, item2, faulty) in [
        ("", "", vec!["item1", "item2"]),
        ("✅", "❌", vec!["item1", "item2"]),
        ("Yes", "YES!", vec!["item2"]),
        ("*Yes*", "[Yes]", vec!["item2"]),
        (&"y".repeat(61), "No", vec!["item1"]),
    ] {
        let faulty: Vec<String> = faulty.into_iter().map(str::to_owned).collect();
        assert_eq!(send(item1, item2).await, (422, faulty), "{item1} {item2}");
    }
    assert_eq!(send("✅ [Yes]", "❌ نعم").await, (200, vec![]));
    let [yes, no] = answers_in(&last_message(&world, 1).await);
    assert!(yes.starts_with("✅ Yes [") && no.starts_with("❌ نعم ["), "{yes} {no}");
    for (parameters, field) in
        [(vec![], "auth_id"), (vec![("auth_id", "1")], "auth_id"), (vec![("code", "1")], "auth_id")]
    {
        let refused = ask(&daemon, "list/verify", &parameters, &[]).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!(field)), "{}", refused.text);
    }
    let link = daemon.create_link(json!({})).await;
    assert_eq!(ask(&daemon, "list/verify", &[("auth_id", &link.uuid)], &[]).await.status, 404, "no approval");
    daemon.finish().await;
}

fn body(chat: &str) -> Value {
    json!({"instance_id": WAHA, "access_token": TOKEN, "chatId": chat})
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_accepted_in_every_place_that_wawp_allows() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let url = format!("{}/v2/auth/otp/send", daemon.base);
    let form = |chat: &str| format!("instance_id={WAHA}&access_token={TOKEN}&chatId={chat}").into_bytes();
    let bearer = format!("Bearer {TOKEN}");
    let headers = |name: &str, value: &str, chat: &str| {
        Request::post(&url)
            .header(name, value)
            .header("x-instance-id", WAHA)
            .header("content-type", "application/json")
            .body(json!({"chatId": chat}).to_string().into_bytes())
            .unwrap()
    };
    let requests = [
        Request::post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form("447700900101"))
            .unwrap(),
        Request::post(&url)
            .header("content-type", "application/json")
            .body(body("447700900102").to_string().into_bytes())
            .unwrap(),
        headers("authorization", &bearer, "447700900103"),
        headers("access-token", TOKEN, "447700900104"),
    ];
    for request in requests {
        let answer = daemon.send(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for (instance, token, status) in
        [(WAHA, "wrong", 401), (WAHA, "", 401), (META, TOKEN, 422), ("nonsense", TOKEN, 422)]
    {
        let body = json!({"instance_id": instance, "access_token": token, "chatId": NUMBER});
        let answer = daemon.post_with("/v2/auth/otp/send", body, &[("authorization", "")]).await;
        assert_eq!(answer.status, status, "{instance} {}", answer.text);
    }
    for chat in ["", "abc", "120363000000000017@g.us"] {
        let answer = daemon.post_with("/v2/auth/otp/send", body(chat), &[]).await;
        assert_eq!((answer.status, &answer.json["errors"][0]["field"]), (422, &json!("chatId")));
    }
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_by_a_browser_automatically_are_rejected() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    for header in [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("purpose", "prefetch"),
        ("x-moz", "prefetch"),
        ("sec-fetch-site", "cross-site"),
    ] {
        for path in ["otp/send", "otp/verify", "list/send", "list/verify"] {
            let parameters = [&QUESTION[..], &[("code", "123456")]].concat();
            let refused = ask(&daemon, path, &parameters, &[header]).await;
            assert_eq!((refused.status, &refused.json["code"]), (403, &json!("cross_site")), "{header:?}");
        }
    }
    let head = Request::head(format!(
        "{}/v2/auth/otp/send?instance_id={WAHA}&access_token={TOKEN}&chatId={NUMBER}",
        daemon.base
    ));
    assert_eq!(daemon.send(head.body(Vec::new()).unwrap()).await.status, 405);
    daemon.settle().await;
    assert!(world.gateway.requests().is_empty());
    assert_eq!(by_query(&daemon, "send", &[], &[("sec-fetch-site", "none")]).await.status, 200);
    daemon.finish().await;
}

/// Clients of Wawp know their instance by an id of another form, or send the token alone.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_aliases_and_a_token_of_one_instance_needs_none() {
    let mut world = World::new(TestStore::directory());
    world.redirects = "[]\naliases = [\"6A1B2C3D4E\"]".to_owned();
    let daemon = world.start().await;
    let ask = async |parameters: &[(&str, &str)]| {
        let mut url = url::Url::parse(&format!("{}/v2/auth/otp/send", daemon.base)).unwrap();
        url.query_pairs_mut().append_pair("chatId", NUMBER).extend_pairs(parameters);
        daemon.send(Request::get(url.as_str()).body(Vec::new()).unwrap()).await
    };
    let by_alias = ask(&[("instance_id", "6A1B2C3D4E"), ("access_token", TOKEN)]).await;
    assert_eq!(by_alias.status, 200, "{}", by_alias.text);
    daemon.advance_clock(Duration::from_secs(61)).await;
    let by_token = ask(&[("access_token", TOKEN)]).await;
    assert_eq!(by_token.status, 200, "{}", by_token.text);
    let foreign = ask(&[("instance_id", "another"), ("access_token", TOKEN)]).await;
    assert_eq!((foreign.status, &foreign.json["errors"][0]["field"]), (422, &json!("instance_id")));
    let unauthenticated = ask(&[("instance_id", "6A1B2C3D4E")]).await;
    assert_eq!(unauthenticated.status, 401);
    assert!(unauthenticated.json["detail"].as_str().unwrap().contains("access_token"), "{}", unauthenticated.text);
    let path = daemon.post("/api/otp/v2/6A1B2C3D4E/generate-link", json!({})).await;
    assert_eq!(path.status, 200, "{}", path.text);
    let wrong = daemon.post("/api/otp/v2/6A1B2C3D4F/generate-link", json!({})).await;
    assert_eq!(wrong.status, 404);
    daemon.finish().await;
}
