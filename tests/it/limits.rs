//! Limits of API tokens, instances, chats and senders, and their response headers; on both stores.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all, stream};
use serde_json::{Value, json};
use sfv::{BareItem, GenericBareItem, List, ListEntry, Parser};

use crate::{
    codes::{CHAT, code, request, validate, wrong},
    daemon::{
        API_KEY, CALLBACK_SECRET, Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, WAHA_KEY, World,
        message,
    },
    login_flow::on_both_stores,
    process::Process,
};

on_both_stores! {
    each_token_has_its_own_limit
    an_instance_has_one_limit_for_all_its_tokens
    links_per_chat_are_limited
    codes_per_chat_are_limited
    validation_has_its_own_limit
    only_unknown_codes_count_as_guesses
    disabled_limits_have_no_effect
    a_repeated_request_is_not_limited
}

const THIRD: &str = "5f0c2a90-0000-4000-8000-000000000003";
const TOKENS: [&str; 2] = ["cst_one-token-of-the-third-instance", "cst_another-token-of-the-third-instance"];

/// One item of both headers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LimitHeaders {
    pub(crate) name: String,
    pub(crate) quota: i64,
    pub(crate) window: i64,
    pub(crate) left: i64,
    pub(crate) reset: i64,
}

fn items(field: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let list: List = Parser::new(field).parse().unwrap_or_else(|error| panic!("{field}: {error}"));
    let item = |entry: ListEntry| {
        let ListEntry::Item(item) = entry else { panic!("{field}") };
        let BareItem::String(name) = item.bare_item else { panic!("{field}") };
        let number = |value: BareItem| match value {
            GenericBareItem::Integer(number) => i64::from(number),
            _ => panic!("{field}"),
        };
        let parameters = item.params.into_iter().map(|(key, value)| (key.as_str().to_owned(), number(value)));
        (name.as_str().to_owned(), parameters.collect())
    };
    list.into_iter().map(item).collect()
}

/// What an answer says about limits, read as structured fields.
pub(crate) fn limit_headers(answer: &ReceivedResponse) -> Vec<LimitHeaders> {
    let (policies, lefts) = (items(answer.header("ratelimit-policy")), items(answer.header("ratelimit")));
    assert_eq!(policies.len(), lefts.len());
    let both = policies.into_iter().zip(lefts);
    both.map(|((name, policy), (same, left))| {
        assert_eq!(name, same);
        let ([(q, quota), (w, window)], [(r, left), (t, reset)]) = (&policy[..], &left[..]) else { panic!("{name}") };
        assert_eq!([q, w, r, t], ["q", "w", "r", "t"]);
        LimitHeaders { name, quota: *quota, window: *window, left: *left, reset: *reset }
    })
    .collect()
}

pub(crate) fn limit_header(answer: &ReceivedResponse, name: &str) -> LimitHeaders {
    let all = limit_headers(answer);
    all.iter().find(|header| header.name == name).unwrap_or_else(|| panic!("no {name} in {all:?}")).clone()
}

/// A refusal by one limit that is honest about it.
pub(crate) fn assert_limited(answer: &ReceivedResponse, name: &str) {
    assert_eq!((answer.status, &answer.json["code"]), (429, &json!("rate_limited")), "{}", answer.text);
    let header = limit_header(answer, name);
    let wait: i64 = answer.header("retry-after").parse().unwrap();
    assert!(wait >= 1 && header.reset == wait && header.left == 0 && wait <= header.window, "{header:?}, {wait}");
}

fn with_third(world: &mut World, limits: &str) {
    let tokens = TOKENS.map(countersign::config::credentials::token_digest);
    let (gateway, receiver) = (&world.gateway.url, &world.receiver.url);
    world.more_instances = format!(
        r#"
[[instance]]
id = "{THIRD}"
name = "Third"
number = "+447700900998"
tokens = ["{}", "{}"]
callback_secrets = ["{CALLBACK_SECRET}"]
callback_url = "{receiver}/third"
allow_http_callbacks = true
callback_allow_networks = ["127.0.0.0/8"]
[instance.limits]
{limits}
[instance.gateway]
kind = "waha"
url = "{gateway}"
api_key = "{API_KEY}"
webhook_secret = "{WAHA_KEY}"
"#,
        tokens[0], tokens[1]
    );
}

async fn mint_as(daemon: &Daemon, instance: &str, token: &str, body: Value) -> ReceivedResponse {
    let bearer = format!("Bearer {token}");
    daemon.post_with(&format!("/api/otp/v2/{instance}/generate-link"), body, &[("authorization", &bearer)]).await
}

/// Many at once: as many as the bucket held are served, and what came back meanwhile.
async fn burst(daemon: &Daemon, token: &str, size: usize) -> usize {
    let start = Instant::now();
    let answers = join_all((0..size * 10).map(|_| mint_as(daemon, THIRD, token, json!({})))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    let back = usize::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!((size..=size + back).contains(&served), "{served} of {size}, {back} came back");
    let mut left: Vec<i64> = answers.iter().filter(|a| a.status == 200).map(|a| limit_headers(a)[0].left).collect();
    left.sort_unstable();
    assert_eq!(left.last(), Some(&(i64::try_from(size).unwrap() - 1)), "what remains goes down from the whole");
    assert_eq!(left.first(), Some(&0));
    served
}

async fn each_token_has_its_own_limit(test_store: TestStore) {
    let mut world = World::new(test_store);
    with_third(&mut world, "mint_per_second = 1\nmint_burst = 8\ninstance_mint_per_second = 0");
    let daemon = world.start().await;
    assert!(burst(&daemon, TOKENS[0], 8).await < 80);
    assert_limited(&exhausted(&daemon, THIRD, TOKENS[0]).await, "mint");
    let other = mint_as(&daemon, THIRD, TOKENS[1], json!({})).await;
    assert_eq!((other.header("ratelimit-policy"), other.header("ratelimit")), ("\"mint\";q=8;w=8", "\"mint\";r=7;t=1"));
    let default = daemon.mint(json!({})).await;
    assert_eq!(default.header("ratelimit-policy"), "\"mint\";q=5000;w=25, \"instance\";q=5000;w=25");
    assert_eq!(default.header("ratelimit"), "\"mint\";r=4999;t=1, \"instance\";r=4999;t=1");
    daemon.finish().await;
}

/// Asks until it is refused; on a slow machine a unit comes back now and then.
async fn exhausted(daemon: &Daemon, instance: &str, token: &str) -> ReceivedResponse {
    for _ in 0..50 {
        let answers = join_all((0..20).map(|_| mint_as(daemon, instance, token, json!({})))).await;
        if let Some(refused) = answers.into_iter().find(|answer| answer.status == 429) {
            return refused;
        }
    }
    panic!("nothing is ever refused");
}

async fn an_instance_has_one_limit_for_all_its_tokens(test_store: TestStore) {
    let mut world = World::new(test_store);
    let limits = "mint_per_second = 1\nmint_burst = 1000\ninstance_mint_per_second = 1\ninstance_mint_burst = 5";
    with_third(&mut world, limits);
    let daemon = world.start().await;
    let start = Instant::now();
    let first = mint_as(&daemon, THIRD, TOKENS[0], json!({})).await;
    assert_eq!(first.header("ratelimit-policy"), "\"mint\";q=1000;w=1000, \"instance\";q=5;w=5");
    for _ in 0..5 {
        exhausted(&daemon, THIRD, TOKENS[0]).await;
    }
    let refused = exhausted(&daemon, THIRD, TOKENS[0]).await;
    assert_limited(&refused, "instance");
    let served = 5 + i64::try_from(start.elapsed().as_secs()).unwrap() + 1;
    assert!(limit_header(&refused, "mint").left >= 1000 - served, "what was refused took nothing from the token's own");
    assert_limited(&exhausted(&daemon, THIRD, TOKENS[1]).await, "instance");
    assert_eq!(daemon.mint(json!({})).await.status, 200, "another instance is free");
    daemon.finish().await;
}

async fn links_per_chat_are_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines =
        "[instance.limits]\nlinks_per_chat_10m = 2\nmint_per_second = 0\ninstance_mint_per_second = 0".to_owned();
    let daemon = world.start().await;
    let first = daemon.mint(json!({"chatId": CHAT})).await;
    assert_eq!(first.header("ratelimit-policy"), "\"links\";q=2;w=600");
    assert_eq!(first.header("ratelimit"), "\"links\";r=1;t=300");
    let second = daemon.mint(json!({"chatId": "+447700900123"})).await;
    assert_eq!(second.header("ratelimit"), "\"links\";r=0;t=300");
    for uuid in [first.text_of("uuid"), second.text_of("uuid")] {
        let canceled = daemon.post(&format!("/api/otp/v2/{WAHA}/requests/{uuid}/cancel"), json!({})).await;
        assert_eq!(canceled.status, 200);
    }
    for spelling in [CHAT, "447700900123", "+447700900123", "447700900123@s.whatsapp.net"] {
        assert_limited(&daemon.mint(json!({"chatId": spelling})).await, "links");
    }
    assert_eq!(daemon.mint(json!({"chatId": "447700900124"})).await.status, 200, "another chat is free");
    assert_eq!(daemon.mint(json!({})).await.status, 200, "a link without a chatId is not counted for a chat");
    assert_eq!(
        mint_as(&daemon, META, META_TOKEN, json!({"chatId": CHAT})).await.status,
        200,
        "another instance is free"
    );
    assert_eq!(request(&daemon, json!({"chatId": CHAT})).await.status, 200, "codes are counted apart");
    daemon.advance_clock(Duration::from_mins(5)).await;
    assert_eq!(daemon.mint(json!({"chatId": CHAT})).await.status, 200, "one comes back in five minutes");
    assert_limited(&daemon.mint(json!({"chatId": CHAT})).await, "links");
    daemon.finish().await;
}

async fn codes_per_chat_are_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\ncodes_per_chat_10m = 3\nmint_per_second = 0\ninstance_mint_per_second = 0\ncodes_per_country_10m = 0\n\
                   codes_per_prefix_10m = 0"
        .to_owned();
    let daemon = world.start().await;
    let first = request(&daemon, json!({"chatId": CHAT})).await;
    assert_eq!(first.header("ratelimit-policy"), "\"codes\";q=3;w=600");
    assert_eq!(first.header("ratelimit"), "\"codes\";r=2;t=200");
    let resend = format!("/api/otp/v2/{WAHA}/requests/{}/resend", first.text_of("uuid"));
    let early = daemon.post(&resend, json!({})).await;
    assert_limited(&early, "cooldown");
    assert_eq!(early.header("ratelimit-policy"), "\"cooldown\";q=1;w=60");
    daemon.advance_clock(Duration::from_secs(61)).await;
    let again = daemon.post(&resend, json!({})).await;
    assert_eq!((again.status, limit_header(&again, "codes").left), (200, 1), "sending again is sending");
    assert_eq!(request(&daemon, json!({"chatId": CHAT})).await.status, 200);
    assert_limited(&request(&daemon, json!({"chatId": "+447700900123"})).await, "codes");
    assert_eq!(request(&daemon, json!({"chatId": "447700900124"})).await.status, 200, "another chat is free");
    daemon.finish().await;
}

async fn validation_has_its_own_limit(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines =
        "[instance.limits]\nmint_per_second = 1\nmint_burst = 40\nwrong_codes_per_chat_15m = 3".to_owned();
    let daemon = world.start().await;
    let (_, right) = code(&daemon, json!({"chatId": CHAT})).await;
    let missed = validate(&daemon, CHAT, &wrong(&right)).await;
    assert_eq!((missed.status, missed.header("ratelimit-policy")), (422, "\"validate\";q=40;w=40"));
    assert_eq!(missed.header("ratelimit"), "\"validate\";r=39;t=1", "asking for the code took nothing from it");
    for _ in 0..2 {
        assert_eq!(validate(&daemon, CHAT, &wrong(&right)).await.status, 422);
    }
    let locked = validate(&daemon, CHAT, &right).await;
    assert_limited(&locked, "wrong_codes");
    assert_eq!(limit_header(&locked, "wrong_codes").quota, 3);
    let answers: Vec<ReceivedResponse> =
        stream::iter(0..300).map(|_| validate(&daemon, "447700900124", "000000")).buffer_unordered(50).collect().await;
    let refused = answers.iter().find(|answer| answer.status == 429).expect("the token's budget ends");
    assert_limited(refused, "validate");
    assert_eq!(daemon.mint(json!({})).await.status, 200, "asking goes on");
    daemon.finish().await;
}

async fn only_unknown_codes_count_as_guesses(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nguesses_per_10m = 2".to_owned();
    let daemon = world.start().await;
    let (link, next, last) =
        (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    let (sender, other) = ("447700900199", "447700900123");
    for time in 0..6 {
        assert_eq!(daemon.send_message(sender, &format!("G{time}"), &link.text).await.status, 200);
        assert_eq!(daemon.send_message(sender, &format!("H{time}"), "hello, is this the shop?").await.status, 200);
    }
    daemon.send_message(sender, "G10", "[AAAAAAAAAAAAA1]").await;
    daemon.send_message(sender, "G11", &next.text).await;
    assert_eq!(daemon.status(&next.uuid).await, "verified", "what is known, and chatter, is no guess");
    daemon.send_message(sender, "G12", "[AAAAAAAAAAAAA2]").await;
    daemon.send_message(sender, "G13", &last.text).await;
    assert_eq!(daemon.status(&last.uuid).await, "pending", "two guesses were allowed");
    daemon.send_message(other, "G14", &last.text).await;
    assert_eq!(daemon.status(&last.uuid).await, "verified", "another sender is free");
    daemon.finish().await;
}

async fn disabled_limits_have_no_effect(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.top_level_lines =
        "[limits]\npages_per_minute = 0\ntaps_per_minute = 0\nwrong_tokens_per_minute = 0\n".to_owned();
    world.instance_lines = "[instance.limits]\nmint_per_second = 0\ninstance_mint_per_second = 0\nlinks_per_chat_10m = 0\ncodes_per_chat_10m = 0\n\
        wrong_codes_per_chat_15m = 0\nguesses_per_10m = 0\nfailure_replies_per_10m = 0\n\
        success_replies_per_10m = 0\ncodes_per_client_ip_10m = 0\ncodes_per_country_10m = 0\ncodes_per_prefix_10m = 0"
        .to_owned();
    let daemon = world.start().await;
    let quiet = |answer: &ReceivedResponse| {
        let header = ["ratelimit", "ratelimit-policy", "retry-after"].map(|name| answer.headers.contains_key(name));
        assert_eq!(header, [false; 3]);
    };
    let (start, mut last) = (daemon.mint(json!({})).await.text_of("start_url"), String::new());
    let start = url::Url::parse(&start).unwrap().path().to_owned();
    for round in 0..70 {
        let minted = daemon.mint(json!({"chatId": CHAT})).await;
        assert_eq!(minted.status, 200, "{}", minted.text);
        let sent = request(&daemon, json!({"chatId": CHAT})).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        let missed = validate(&daemon, CHAT, &wrong(&sent.text_of("code"))).await;
        assert_eq!(missed.status, 422, "{}", missed.text);
        let forged = daemon.get_as("wrong", &format!("/api/otp/v2/{WAHA}/requests")).await;
        assert_eq!(forged.status, 401);
        let tapped = crate::login_flow::tap(&daemon, &start, "wrong").await;
        assert_eq!(tapped.status, 422, "{}", tapped.text);
        let looked = daemon.get(&start).await;
        assert_eq!(looked.status, 200);
        daemon.send_message("447700900123", &format!("O{round}"), &format!("[AAAAAAAAAAAA{round:02}]")).await;
        [minted, sent, missed, forged, tapped, looked].iter().for_each(quiet);
        last = round.to_string();
    }
    assert_eq!(last, "69");
    let link = daemon.create_link(json!({})).await;
    daemon.send_message("447700900123", "O99", &link.text).await;
    assert_eq!(
        daemon.status(&link.uuid).await,
        "verified",
        "a valid code is accepted from a sender who has used up the wrong ones"
    );
    daemon.finish().await;
}

async fn a_repeated_request_is_not_limited(test_store: TestStore) {
    let mut world = World::new(test_store);
    world.instance_lines = "[instance.limits]\nlinks_per_chat_10m = 1".to_owned();
    let daemon = world.start().await;
    let ask = async |key: &'static str| {
        let path = format!("/api/otp/v2/{WAHA}/generate-link");
        daemon.post_with(&path, json!({"chatId": CHAT}), &[("idempotency-key", key)]).await
    };
    let refusals = || {
        let text = daemon.services.env.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("countersign_limited_total{limit=\"links\"} "));
        line.unwrap().to_owned()
    };
    let first = ask("one").await;
    assert_eq!(limit_header(&first, "links").left, 0);
    for _ in 0..3 {
        let again = ask("one").await;
        assert_eq!((again.status, &again.json), (200, &first.json));
        assert_eq!((limit_header(&again, "links").left, again.headers.contains_key("retry-after")), (0, false));
    }
    assert_eq!(refusals(), "0");
    assert_limited(&ask("two").await, "links");
    assert_eq!(refusals(), "1");
    daemon.finish().await;
}

/// Counts are those of all processes together.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_every_limit() {
    let mut world = World::new(TestStore::redis());
    world.top_level_lines = "[limits]\npages_per_minute = 1\nwrong_tokens_per_minute = 1\n".to_owned();
    world.instance_lines =
        "[instance.limits]\nlinks_per_chat_10m = 5\ncodes_per_chat_10m = 4\nguesses_per_10m = 2".to_owned();
    let replicas = [Process::start(&world).await, Process::start(&world).await];
    let ask = async |index: usize, path: &str, token: &str, body: Option<Value>| -> ReceivedResponse {
        let replica = &replicas[index % 2];
        let request = http::Request::builder()
            .method(if body.is_some() { "POST" } else { "GET" })
            .uri(format!("{}{path}", replica.base))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        replica.client.send(request.body(body).unwrap()).await.unwrap().into()
    };
    let statuses = async |path: &str, token: &str, body: Option<Value>| {
        let answers = join_all((0..12).map(|index| ask(index, path, token, body.clone()))).await;
        let mut left: Vec<i64> =
            answers.iter().filter(|a| a.status != 429).map(|a| limit_headers(a).pop().unwrap().left).collect();
        left.sort_unstable();
        left
    };
    let api = format!("/api/otp/v2/{WAHA}");
    let chat = Some(json!({"chatId": CHAT}));
    assert_eq!(statuses(&format!("{api}/generate-link"), TOKEN, chat.clone()).await, [0, 1, 2, 3, 4]);
    assert_eq!(statuses(&format!("{api}/request-code"), TOKEN, chat).await, [0, 1, 2, 3]);
    assert_eq!(statuses("/llms.txt", TOKEN, None).await, [0]);
    assert_eq!(statuses(&format!("{api}/requests"), "wrong", None).await, [0]);

    let link = replicas[0].mint(json!({})).await.unwrap();
    let text = link.text_of("text");
    for (index, guess) in ["[AAAAAAAAAAAAA1]", "[AAAAAAAAAAAAA2]", &text].into_iter().enumerate() {
        assert!(replicas[index % 2].send_message("447700900199", &format!("R{index}"), guess).await);
    }
    let status = ask(1, &format!("{api}/requests/{}", link.text_of("uuid")), TOKEN, None).await;
    assert_eq!(status.text_of("status"), "pending", "one guess at each of two");
    let body = message("447700900123", "R9", &text, countersign::clock::Clock::default().wall().as_second());
    let other = crate::daemon::signed_waha(&replicas[1].base, &body);
    assert_eq!(replicas[1].client.send(other).await.unwrap().status(), 200);
    let status = ask(0, &format!("{api}/requests/{}", link.text_of("uuid")), TOKEN, None).await;
    assert_eq!(status.text_of("status"), "verified");
    let refused = replicas[0].metric("countersign_limited_total{limit=\"links\"}").await
        + replicas[1].metric("countersign_limited_total{limit=\"links\"}").await;
    assert!((refused - 7.0).abs() < f64::EPSILON, "{refused}");
}
