//! The operator's pages: access, contents, and what they never show.

use std::time::Duration;

use countersign::{
    config::{self, Password},
    domain::{Partition, VerificationId, keys::KeyRing},
    random,
    store::{Change, CommitOutcome, Index, RecordChange},
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TestStore, WAHA, World, message},
    login_flow::{form_field, on_both_stores},
};

on_both_stores! {
    without_a_password_the_pages_are_disabled
    the_root_says_what_the_listener_has
    nothing_is_shown_without_a_login
    only_the_password_logs_in_and_attempts_are_limited
    attempts_are_limited_over_all_addresses
    a_forged_or_expired_cookie_is_refused
    a_changed_password_ends_every_session
    a_form_must_come_from_a_page_of_the_session
    foreign_text_is_escaped_and_secrets_are_hidden
    the_list_is_filtered_and_paged_over_all_tenants
    a_search_says_how_far_it_went
    a_request_is_canceled_and_a_callback_replayed
    a_message_is_explained
    the_overview_has_the_funnel_and_what_is_weak
    dead_callbacks_are_listed_and_replayed
    attempts_are_shown_with_cause_and_answer
    actions_are_recorded_under_the_operator_s_name
    a_logout_ends_one_session
}

const PASSWORD: &str = "correct horse battery";
/// The digest of [`PASSWORD`], computed with Python's `hashlib.pbkdf2_hmac`.
const DIGEST: &str = "$pbkdf2-sha256$i=100000$MDEyMzQ1Njc4OWFiY2RlZg$hLne8TouGCTQgICXM2UlnguGPFJk6wzUwaafCbSR+18";
const UUID: &str = "0192f2a0-0000-7000-8000-000000000000";

fn world(test_store: TestStore) -> World {
    let mut world = World::new(test_store);
    world.top_level_lines = format!("operator_password = \"{DIGEST}\"");
    world
}

struct OperatorBrowser<'a> {
    daemon: &'a Daemon,
    cookie: String,
}

impl<'a> OperatorBrowser<'a> {
    fn new(daemon: &'a Daemon) -> Self {
        Self { daemon, cookie: String::new() }
    }

    async fn logged_in(daemon: &'a Daemon) -> Self {
        let mut browser = Self::new(daemon);
        let answer = browser.log_in(PASSWORD).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/requests/overview"), "{}", answer.text);
        browser.cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        browser
    }

    async fn log_in(&self, password: &str) -> ReceivedResponse {
        self.post("/requests/login", &[("password", password)], &[]).await
    }

    async fn get(&self, path: &str) -> ReceivedResponse {
        let request = http::Request::get(format!("{}{path}", self.daemon.operator)).header("cookie", &self.cookie);
        self.daemon.send(request.body(Vec::new()).unwrap()).await
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.text
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> ReceivedResponse {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = http::Request::post(format!("{}{path}", self.daemon.operator))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("cookie", &self.cookie);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.daemon.send(request.body(body.into_bytes()).unwrap()).await
    }
}

fn gets() -> [String; 8] {
    [
        "/requests".to_owned(),
        "/requests/overview".to_owned(),
        format!("/requests/callbacks?instance={WAHA}"),
        format!("/requests?instance={WAHA}"),
        format!("/requests/explain?instance={WAHA}&q=1234"),
        format!("/requests/{WAHA}/{UUID}"),
        "/requests/".to_owned(),
        "/requests/no/such/page".to_owned(),
    ]
}

fn posts() -> [String; 4] {
    let request = format!("/requests/{WAHA}/{UUID}");
    [
        format!("{request}/cancel"),
        format!("{request}/replay"),
        "/requests/callbacks".to_owned(),
        "/requests/logout".to_owned(),
    ]
}

async fn without_a_password_the_pages_are_disabled(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::new(&daemon);
    for path in gets().iter().map(String::as_str).chain(["/requests/login"]) {
        let answer = browser.get(path).await;
        assert_eq!((answer.status, answer.text.as_str()), (404, ""), "{path}");
    }
    for path in posts().iter().map(String::as_str).chain(["/requests/login"]) {
        assert_eq!(browser.post(path, &[("password", "")], &[]).await.status, 404, "{path}");
    }
    assert_eq!(daemon.get("/requests").await.status, 404, "nor on the public listener");
    daemon.finish().await;
}

async fn the_root_says_what_the_listener_has(test_store: TestStore) {
    let ask = async |daemon: &Daemon, path: &str| {
        daemon.send(http::Request::get(format!("{}{path}", daemon.operator)).body(Vec::new()).unwrap()).await
    };
    let mut world = world(test_store);
    let daemon = world.start().await;
    let home = ask(&daemon, "/").await;
    assert_eq!((home.status, home.header("content-type")), (200, "text/html; charset=utf-8"));
    for path in ["/status", "/metrics", "/readyz", "/livez", "/requests"] {
        assert!(home.text.contains(&format!("href=\"{path}\"")), "{path}: {}", home.text);
    }
    let nowhere = ask(&daemon, "/nowhere").await;
    assert!(nowhere.status == 404 && nowhere.text.contains("Page not found"), "{}", nowhere.text);
    daemon.finish().await;
    world.top_level_lines = String::new();
    let daemon = world.start().await;
    let home = ask(&daemon, "/").await;
    assert!(home.status == 200 && !home.text.contains("href=\"/requests\""), "{}", home.text);
    daemon.finish().await;
}

async fn nothing_is_shown_without_a_login(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"client_ref": "a-secret-cart"})).await;
    let browser = OperatorBrowser::new(&daemon);
    let known = format!("/requests/{WAHA}/{}", link.uuid);
    for path in gets().iter().map(String::as_str).chain([known.as_str(), "/requests/%6cogin", "/requests/login/"]) {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert!(answer.text.contains("type=\"password\"") && !answer.text.contains("a-secret-cart"), "{path}");
    }
    for path in posts().iter().map(String::as_str).chain([format!("{known}/cancel").as_str()]) {
        assert_eq!(browser.post(path, &[], &[]).await.status, 401, "{path}");
    }
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    let page = browser.get("/requests/login").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("script-src 'none'"), "{policy}");
    assert_eq!((page.header("cache-control"), page.header("x-content-type-options")), ("no-store", "nosniff"));
    assert_eq!(daemon.get(&format!("/requests/{WAHA}/{}", link.uuid)).await.status, 404, "nor on the public listener");
    daemon.finish().await;
}

async fn only_the_password_logs_in_and_attempts_are_limited(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::new(&daemon);
    let right = browser.log_in(PASSWORD).await;
    assert_eq!(right.status, 303);
    let cookie = right.header("set-cookie");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/requests", "Max-Age=3600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "a browser would not send it back over plain HTTP");
    let https = browser.post("/requests/login", &[("password", PASSWORD)], &[("x-forwarded-proto", "https")]).await;
    assert!(https.header("set-cookie").ends_with("; Secure"));
    for wrong in ["", "correct horse batterz", "Correct horse battery", DIGEST] {
        let answer = browser.log_in(wrong).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""), "{wrong}");
        assert!(answer.text.contains("Wrong password"));
    }
    let tries = (0..12).map(async |guess| browser.log_in(&format!("guess {guess}")).await.status);
    let answers = futures_util::future::join_all(tries).await;
    let compared = answers.iter().filter(|status| **status == 401).count();
    assert!((4..=5).contains(&compared), "ten tries in all, and one more each minute: {answers:?}");
    let refused = browser.log_in(PASSWORD).await;
    assert_eq!(refused.status, 429, "the right password as well, or the response would reveal it");
    assert!((1..=600).contains(&refused.header("retry-after").parse().unwrap_or(0)), "{:?}", refused.headers);
    daemon.clock.advance(Duration::from_secs(61));
    assert_eq!(browser.log_in(PASSWORD).await.status, 303, "one more each minute");
    assert!(daemon.services.env.metrics.render().contains("limit=\"operator_login\""));
    daemon.finish().await;
}

/// The common limit holds for any number of addresses. Attempts refused by an address's own limit do not count for it.
async fn attempts_are_limited_over_all_addresses(test_store: TestStore) {
    let mut world = World::new(test_store);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), PASSWORD).unwrap();
    let path = file.path().display();
    world.top_level_lines = format!("operator_password_file = \"{path}\"\ntrusted_proxies = [\"127.0.0.0/8\"]");
    let daemon = world.start().await;
    let browser = OperatorBrowser::new(&daemon);
    let start = std::time::Instant::now();
    let tries = async |from: &str, count: usize| {
        let fields = [("password", "a guess")];
        let mut compared = 0;
        for _ in 0..count {
            let answer = browser.post("/requests/login", &fields, &[("x-forwarded-for", from)]).await;
            assert!([401, 429].contains(&answer.status), "{}", answer.text);
            compared += usize::from(answer.status == 401);
        }
        compared
    };
    // One attempt is added each minute; a slow machine may see some of them.
    let back = || usize::try_from(start.elapsed().as_secs()).unwrap() / 60;
    let first = tries("2001:db8:1:2::1", 20).await + tries("2001:db8:1:2::2", 20).await;
    assert!((10..=10 + back()).contains(&first), "{first}");
    let mut all = first;
    for index in 0..6 {
        all += tries(&format!("203.0.113.{index}"), 12).await;
    }
    assert!((60..=60 + back()).contains(&all), "{all}");
    let response =
        browser.post("/requests/login", &[("password", PASSWORD)], &[("x-forwarded-for", "198.51.100.1")]).await;
    assert!(response.status == 429 || back() > 0, "{}", response.text);
    daemon.clock.advance(Duration::from_secs(61));
    let response =
        browser.post("/requests/login", &[("password", PASSWORD)], &[("x-forwarded-for", "198.51.100.1")]).await;
    assert_eq!(response.status, 303, "{}", response.text);
    daemon.finish().await;
}

async fn a_forged_or_expired_cookie_is_refused(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    browser.page("/requests").await;
    let status = async |cookie: String| OperatorBrowser { daemon: &daemon, cookie }.get("/requests").await.status;
    for at in "cs-operator=".len()..browser.cookie.len() - 1 {
        let mut forged = browser.cookie.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        assert_eq!(status(String::from_utf8(forged).unwrap()).await, 401, "character {at}");
    }
    let value = browser.cookie.strip_prefix("cs-operator=").unwrap();
    for cookie in ["", "x", &value[..20], &format!("{value}AAAA")] {
        assert_eq!(status(format!("cs-operator={cookie}")).await, 401);
    }
    assert_eq!(status(format!("cs-other={value}")).await, 401);
    assert_eq!(status(format!("other=1; cs-operator=x; {}", browser.cookie)).await, 200, "beside other cookies");
    assert_eq!(status(format!("name=Jürgen; cs-operator=ü; {}", browser.cookie)).await, 200, "whatever bytes they are");
    daemon.clock.advance(Duration::from_secs(3500));
    browser.page("/requests").await;
    daemon.clock.advance(Duration::from_secs(101));
    assert_eq!(browser.get("/requests").await.status, 401, "an hour is over");
    daemon.finish().await;
}

async fn a_changed_password_ends_every_session(test_store: TestStore) {
    let mut world = world(test_store);
    let daemon = world.start().await;
    let cookie = OperatorBrowser::logged_in(&daemon).await.cookie;
    daemon.finish().await;
    let daemon = world.start().await;
    assert_eq!(
        OperatorBrowser { daemon: &daemon, cookie: cookie.clone() }.get("/requests").await.status,
        200,
        "a restart does not"
    );
    daemon.finish().await;
    world.top_level_lines = world.top_level_lines.replace("MDEyMzQ1", "MDEyMzQ2");
    let daemon = world.start().await;
    assert_eq!(OperatorBrowser { daemon: &daemon, cookie }.get("/requests").await.status, 401);
    daemon.finish().await;
}

async fn a_form_must_come_from_a_page_of_the_session(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let path = format!("/requests/{WAHA}/{}", link.uuid);
    let (browser, other) = (OperatorBrowser::logged_in(&daemon).await, OperatorBrowser::logged_in(&daemon).await);
    let field = form_field(&browser.page(&path).await);
    let foreign_field = form_field(&other.page(&path).await);
    assert_ne!(field, foreign_field);
    for action in ["cancel", "replay"] {
        let target = format!("{path}/{action}");
        for wrong in ["", "0", &foreign_field, &"0".repeat(32)] {
            assert_eq!(browser.post(&target, &[("form", wrong)], &[]).await.status, 403, "{action} {wrong}");
        }
        assert_eq!(browser.post(&target, &[], &[]).await.status, 403, "{action}");
        for header in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let answer = browser.post(&target, &[("form", &field)], &[header]).await;
            assert_eq!(answer.status, 403, "{action} {header:?}");
        }
    }
    let login = browser.post("/requests/login", &[("password", PASSWORD)], &[("origin", "https://evil.example")]).await;
    assert_eq!((login.status, login.header("set-cookie")), (403, ""), "another site cannot log a browser in");
    assert_eq!(browser.post("/requests/logout", &[("form", &foreign_field)], &[]).await.status, 403);
    assert_eq!(daemon.status(&link.uuid).await, "pending");
    assert_eq!(browser.get(&format!("{path}/cancel")).await.status, 405, "GET changes nothing");
    let origin = daemon.operator.clone();
    let good = browser.post(&format!("{path}/cancel"), &[("form", &field)], &[("origin", &origin)]).await;
    assert_eq!(good.status, 303, "{}", good.text);
    let huge = "x".repeat(5000);
    assert_eq!(browser.post("/requests/logout", &[("form", &field), ("x", &huge)], &[]).await.status, 413);
    let out = browser.post("/requests/logout", &[("form", &field)], &[]).await;
    assert!(out.status == 303 && out.header("set-cookie").starts_with("cs-operator=; Path=/requests; Max-Age=0"));
    daemon.finish().await;
}

const SCRIPT: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>";

async fn foreign_text_is_escaped_and_secrets_are_hidden(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let link = daemon
        .create_link(json!({
            "name": "Bad <b>name</b>", "client_ref": SCRIPT, "purpose": "<i>purpose</i>", "metadata": {SCRIPT: SCRIPT},
        }))
        .await;
    let mut proof = message("447700900123", "P1", &link.text, daemon.clock.wall().as_second());
    proof["payload"]["_data"]["pushName"] = json!("<svg onload=alert(2)>");
    assert_eq!(daemon.post_waha(&proof).await.status, 200);
    let reply = world.gateway.wait_for(1).await.pop().unwrap();
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    let code = daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), json!({"chatId": "447700900123"})).await;
    daemon.settle().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let mut pages = vec![
        browser.page("/requests").await,
        browser.page(&format!("/requests?instance={WAHA}")).await,
        browser.page(&format!("/requests/{WAHA}/{}", link.uuid)).await,
        browser.page(&format!("/requests/{WAHA}/{}", code.text_of("uuid"))).await,
        browser.page(&format!("/requests/explain?instance={WAHA}&q=0123")).await,
        browser.page("/requests/overview").await,
        browser.page(&format!("/requests/callbacks?instance={WAHA}&status=delivered")).await,
    ];
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("client_ref", SCRIPT).finish();
    pages.push(browser.page(&format!("/requests?instance={WAHA}&{query}")).await);
    let faulty = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("phone_last", SCRIPT), ("since", SCRIPT), ("status", SCRIPT), ("cursor", SCRIPT)])
        .finish();
    pages.push(browser.get(&format!("/requests?{faulty}")).await.text);
    let question = url::form_urlencoded::byte_serialize(SCRIPT.as_bytes()).collect::<String>();
    pages.push(browser.page(&format!("/requests/explain?instance={WAHA}&q={question}")).await);
    let path = crate::login_flow::link_in(reply.json()["text"].as_str().unwrap());
    let token = path.trim_start_matches("/o/").to_owned();
    for page in &pages {
        assert_eq!(page.matches("<script").count(), 1, "our own: {page}");
        for raw in ["<script>alert", "<img", "<b>name", "<i>", "<svg onload"] {
            assert!(!page.contains(raw), "{raw} in {page}");
        }
        let otp = format!(">{}<", code.text_of("code"));
        for secret in [link.code.as_str(), &otp, "447700900123", &token, &link.text] {
            assert!(!page.contains(secret), "{secret} in {page}");
        }
    }
    let one = &pages[2];
    for shown in ["Bad &#60;b&#62;name", "alert(1)", "&#60;svg onload=alert(2)&#62;", "+44••••••••23", "link.verified"]
    {
        assert!(one.contains(shown), "{shown} in {one}");
    }
    assert!(pages[7].contains(&link.uuid), "found by its own reference");
    daemon.finish().await;
}

fn uuids(page: &str) -> Vec<String> {
    let rows = page.split("<th scope=\"row\"").skip(1);
    rows.map(|row| {
        row.split("href=\"").nth(1).unwrap().split('"').next().unwrap().rsplit('/').next().unwrap().to_owned()
    })
    .collect()
}

fn older_link(page: &str) -> Option<String> {
    let before = page.split("\" rel=\"next\"").next().filter(|before| before.len() < page.len())?;
    Some(before.rsplit("href=\"").next().unwrap().replace("&#38;", "&").replace("&amp;", "&"))
}

/// Adds records of the first instance that no page can read, each a millisecond older than the one before.
async fn add_unreadable(daemon: &Daemon, count: usize) {
    const TOGETHER: usize = 100;
    let (store, now) = (&daemon.services.env.store, daemon.services.env.store.now());
    let instance = WAHA.parse().unwrap();
    let write = async |number: usize| {
        let partition = Partition::from_byte(number.to_le_bytes()[0]);
        let mut change = Change::new(partition).starting();
        for place in 0..TOGETHER {
            let back = Duration::from_millis(u64::try_from(number * TOGETHER + place).unwrap() + 1000);
            let created_at = now - back;
            let millis = u64::try_from(created_at.as_millisecond()).unwrap();
            let id = VerificationId::new(millis, random::bytes()).in_partition(partition);
            let record = RecordChange::new(id, 0, vec![1; 400], now + Duration::from_hours(24));
            change.records.push(RecordChange { created_at, indexes: vec![Index::all(instance)], ..record });
        }
        assert!(matches!(store.commit(&change).await.unwrap(), CommitOutcome::Applied { .. }));
    };
    stream::iter(0..count / TOGETHER).for_each_concurrent(8, write).await;
}

async fn a_search_says_how_far_it_went(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let old = daemon.create_link(json!({"client_ref": "old"})).await;
    daemon.advance(Duration::from_secs(10)).await;
    add_unreadable(&daemon, 1100).await;
    let page = browser.page("/requests?status=pending").await;
    let text = words(&page);
    assert!(text.contains("No matches yet. Searched 1,000 requests, back to 20"), "{text}");
    assert!(text.contains("Older ones may match, too. Search further back") && uuids(&page).is_empty(), "{text}");
    let further = browser.page(&older_link(&page).unwrap()).await;
    assert_eq!((uuids(&further), older_link(&further)), (vec![old.uuid.clone()], None));
    assert!(!further.contains("Searched"), "{further}");
    let new = daemon.create_link(json!({"client_ref": "new"})).await;
    let page = browser.page("/requests?status=pending").await;
    assert!(uuids(&page) == [new.uuid] && words(&page).contains("Searched 1,000 requests"), "{page}");
    // A reference has a list of its own.
    let found = browser.page("/requests?client_ref=old").await;
    assert!(uuids(&found) == [old.uuid] && !found.contains("Searched"), "{found}");
    daemon.finish().await;
}

async fn the_list_is_filtered_and_paged_over_all_tenants(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let mut minted = Vec::new();
    for index in 0..30 {
        let chat = if index % 3 == 0 { "447700900123" } else { "447700900456" };
        minted.push(
            daemon.create_link(json!({"chatId": chat, "client_ref": format!("cart & {}", index % 2)})).await.uuid,
        );
    }
    let meta = daemon
        .post_with(
            &format!("/api/otp/v2/{META}/generate-link"),
            json!({}),
            &[("authorization", &format!("Bearer {META_TOKEN}"))],
        )
        .await;
    assert_eq!(meta.status, 200, "{}", meta.text);
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let all = async |query: &str| {
        let (mut path, mut seen, mut pages) = (format!("/requests?instance={WAHA}{query}"), Vec::new(), 0);
        loop {
            let page = browser.page(&path).await;
            seen.extend(uuids(&page));
            pages += 1;
            match older_link(&page) {
                Some(next) => path = next,
                None => return (seen, pages),
            }
        }
    };
    minted.reverse();
    assert_eq!(all("").await, (minted.clone(), 2), "newest first, without gap or repetition");
    assert_eq!(all("&phone_last=0123").await.0.len(), 10);
    assert_eq!(all("&client_ref=cart+%26+1").await.0.len(), 15);
    assert_eq!(all("&client_ref=cart+%26+1&phone_last=0123").await.0.len(), 5);
    assert_eq!(all("&status=verified").await.0.len(), 0);
    assert_eq!(all("&status=pending&since=2020-01-01T00%3A00").await, (minted.clone(), 2));
    assert_eq!(all("&since=2099-01-01T00%3A00").await.0.len(), 0);
    let other = browser.page(&format!("/requests?instance={META}")).await;
    assert_eq!(uuids(&other), [meta.text_of("uuid")], "the operator sees every tenant");
    for query in ["status=x", "phone_last=123", "phone_last=12345x", "since=yesterday", "cursor=!", "instance=nobody"] {
        let answer = browser.get(&format!("/requests?{query}")).await;
        assert_eq!(answer.status, 422, "{query}");
        assert!(answer.text.contains("role=\"alert\"") && uuids(&answer.text).is_empty(), "{query}");
    }
    assert_eq!(browser.get("/requests?status=pending&status=sent").await.status, 422);
    for missing in [
        format!("/requests/{META}/{}", minted[0]),
        format!("/requests/{WAHA}/{UUID}"),
        format!("/requests/{UUID}/{}", minted[0]),
        "/requests/x/y".to_owned(),
        "/requests/explain?instance=nobody&q=1234".to_owned(),
        "/requests/nothing".to_owned(),
    ] {
        assert_eq!(browser.get(&missing).await.status, 404, "{missing}");
    }
    daemon.finish().await;
}

async fn a_request_is_canceled_and_a_callback_replayed(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({})).await;
    let path = format!("/requests/{WAHA}/{}", link.uuid);
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let page = browser.page(&path).await;
    let field = form_field(&page);
    assert!(page.contains("Cancel request") && page.contains("No callbacks are stored"), "{page}");
    let canceled = browser.post(&format!("{path}/cancel"), &[("form", &field)], &[]).await;
    assert_eq!((canceled.status, canceled.header("location")), (303, &*format!("{path}?done=canceled")));
    let first = world.receiver.wait_for(1).await.pop().unwrap();
    daemon.settle().await;
    let page = browser.page(canceled.header("location")).await;
    assert!(page.contains("The request was canceled.") && !page.contains("Cancel request"), "{page}");
    assert!(page.contains("link.canceled") && page.contains("delivered"), "{page}");
    assert_eq!(daemon.status(&link.uuid).await, "canceled");
    let again = browser.post(&format!("{path}/cancel"), &[("form", &field)], &[]).await;
    assert_eq!(again.status, 303, "harmless");
    let callback = page.split("name=\"callback\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let target = format!("{path}/replay");
    let replayed = browser.post(&target, &[("form", &field), ("callback", callback)], &[]).await;
    assert_eq!((replayed.status, replayed.header("location")), (303, &*format!("{path}?done=replayed")));
    let second = world.receiver.wait_for(2).await.pop().unwrap();
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    daemon.settle().await;
    for id in ["", "x", "MC5ub25l"] {
        let answer = browser.post(&target, &[("form", &field), ("callback", id)], &[]).await;
        assert_eq!(answer.status, 404, "{id}");
    }
    daemon.finish().await;
}

async fn a_message_is_explained(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let link = daemon.create_link(json!({"chatId": "447700900123"})).await;
    daemon.send_message("447700900123", "E1", &link.text).await;
    daemon.settle().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let page = browser.page(&format!("/requests/explain?instance={WAHA}&q={}", link.uuid)).await;
    assert!(page.contains("is verified") && uuids(&page) == [link.uuid.clone()], "{page}");
    let never = browser.page(&format!("/requests/explain?instance={WAHA}&q=NEVER")).await;
    assert!(never.contains("did not reach this instance") && uuids(&never).is_empty(), "{never}");
    let ending = browser.page(&format!("/requests/explain?instance={WAHA}&q=0123")).await;
    assert_eq!(uuids(&ending), [link.uuid]);
    for query in ["", "&q=", &format!("&q={}", "x".repeat(513))] {
        assert_eq!(browser.get(&format!("/requests/explain?instance={WAHA}{query}")).await.status, 422, "{query}");
    }
    daemon.finish().await;
}

/// The text of a page without its markup, in single spaces.
fn words(page: &str) -> String {
    let body = page.split("<main").nth(1).unwrap();
    let text: String = body
        .split('<')
        .map(|part| part.split_once('>').map_or("", |(_, text)| text))
        .fold(String::new(), |all, text| all + " " + text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

async fn the_overview_has_the_funnel_and_what_is_weak(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let empty = words(&browser.page("/requests/overview").await);
    assert!(empty.contains("Minted 0 0 Clicked 0 0 Sent 0 0 Verified 0 0 Redeemed 0 0"), "{empty}");
    assert!(empty.contains("No links verified.") && empty.contains("no dead callbacks"), "{empty}");
    let mut links = Vec::new();
    for _ in 0..3 {
        links.push(daemon.create_link(json!({"chatId": "447700900123", "max_attempts": 1})).await);
    }
    daemon.send_message("447700900123", "O1", &links[0].text).await;
    daemon.send_message("447700900456", "O2", &links[1].text).await;
    daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), json!({"chatId": "447700900123"})).await;
    daemon.settle().await;
    daemon.services.shared.funnel.flush().await.unwrap();
    let page = browser.page("/requests/overview").await;
    let text = words(&page);
    for shown in [
        "Harbour waha: enabled",
        "Minted 3 3 Clicked 0 0 Sent 2 2 Verified 1 1 Redeemed 0 0",
        "Link: sender mismatch 1 1",
        "under 5 s 1 1",
        "Requested 1 1 Sent by WhatsApp 1 1 Validated 0 0",
        "Each replica saves its counts every 10 s; if it or the store crashes, the last 10 s are lost.",
        "Meta cloud-api: enabled",
        "callbacks go to an http:// address: anyone on the network path reads numbers and metadata Fix: write https://",
        "operators share one name and password",
        "no audit stream is written Fix: set [audit] path",
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    let policy = browser.get("/requests/overview").await;
    let policy = policy.header("content-security-policy");
    assert!(policy.contains("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(browser.get("/requests/overview?page=1").await.status, 404);
    assert_eq!(browser.get("/requests/overview?page=x").await.status, 404);
    daemon.finish().await;
}

/// Two callbacks die, each as its receiver wants no more of them.
async fn dead_callbacks_are_listed_and_replayed(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    world.receiver.fail(410, 2);
    for id in ["D1", "D2"] {
        let link = daemon.create_link(json!({})).await;
        daemon.send_message("447700900123", id, &link.text).await;
        daemon.settle().await;
    }
    let path = format!("/requests/callbacks?instance={WAHA}");
    let page = browser.page(&path).await;
    assert_eq!(page.matches(">link.verified</code>").count(), 2, "{page}");
    assert!(page.contains("gone: status 410") && page.contains("Replay all"), "{page}");
    let text = words(&browser.page("/requests/overview").await);
    assert!(text.contains("Harbour has 2 dead callbacks"), "{text}");
    let field = form_field(&page);
    let callback = page.split("name=\"callback\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let post = async |fields: &[(&str, &str)]| browser.post("/requests/callbacks", fields, &[]).await;
    let one = [("form", field.as_str()), ("instance", WAHA), ("callback", callback)];
    for wrong in [&one[1..], &[("form", "0"), one[1], one[2]], &[("form", ""), one[1], ("all", "1")]] {
        assert_eq!(post(wrong).await.status, 403, "{wrong:?}");
    }
    assert_eq!(post(&[one[0], ("instance", META), one[2]]).await.status, 404, "of another instance");
    assert_eq!(post(&[one[0], ("instance", "nobody"), ("all", "1")]).await.status, 404);
    assert_eq!(world.receiver.count(), 2, "nothing was replayed");
    let replayed = post(&one).await;
    assert_eq!(replayed.status, 303, "{}", replayed.text);
    daemon.settle().await;
    assert!(browser.page(replayed.header("location")).await.contains("1 callback was queued again."));
    assert_eq!(browser.page(&path).await.matches(">link.verified</code>").count(), 1);
    let all = post(&[one[0], one[1], ("all", "1")]).await;
    assert_eq!(all.header("location"), format!("{path}&status=dead&replayed=1"));
    daemon.settle().await;
    assert_eq!(world.receiver.count(), 4);
    assert!(browser.page(&path).await.contains("No dead callbacks."));
    let delivered = browser.page(&format!("{path}&status=delivered")).await;
    assert_eq!(delivered.matches(">link.verified</code>").count(), 2, "{delivered}");
    assert!(browser.page(&format!("{path}&status=pending")).await.contains("No callbacks are waiting."));
    for wrong in ["status=x", "cursor=!", "instance=nobody"] {
        assert_eq!(browser.get(&format!("/requests/callbacks?{wrong}")).await.status, 404, "{wrong}");
    }
    daemon.finish().await;
}

async fn attempts_are_shown_with_cause_and_answer(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    world.receiver.fail(503, 1);
    let unreachable = format!("http://127.0.0.1:{}/x", crate::redis_server::free_port());
    let (answered, unanswered) =
        (daemon.create_link(json!({})).await, daemon.create_link(json!({"callback": {"success": unreachable}})).await);
    for (id, link) in [("A1", &answered), ("A2", &unanswered)] {
        daemon.send_message("447700900123", id, &link.text).await;
    }
    daemon.settle().await;
    daemon.advance(Duration::from_secs(60)).await;
    let browser = OperatorBrowser::logged_in(&daemon).await;
    let page = browser.page(&format!("/requests/{WAHA}/{}", answered.uuid)).await;
    assert!(page.contains("Failed attempts in the last 24 hours") && page.contains("<b>status 503</b>"), "{page}");
    assert!(page.contains("delivered") && page.contains("class=\"cross\""), "{page}");
    let page = browser.page(&format!("/requests/{WAHA}/{}", unanswered.uuid)).await;
    assert!(page.matches("<b>connect").count() >= 2 && !page.contains("status 0"), "{page}");
    let path = format!("/api/otp/v2/{WAHA}/callbacks?uuid={}", unanswered.uuid);
    let id = daemon.get(&path).await.data("callbacks")[0]["id"].as_str().unwrap().to_owned();
    let shown = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks/{id}")).await;
    assert!(shown.data("last_answer").is_null(), "there was none: {}", shown.text);
    daemon.stop().await;
}

fn password_of(lines: &str) -> Result<Option<Password>, String> {
    let mut world = World::new(TestStore::directory());
    world.top_level_lines = lines.to_owned();
    let config = config::load_text(&world.config("127.0.0.1:0", "127.0.0.1:0"), [], &[]).into_result();
    let operators = config.map_err(|faults| faults.to_string())?.access.operators;
    Ok(operators.into_iter().next().map(|one| one.password))
}

#[tokio::test]
async fn a_password_is_a_digest_or_read_from_a_file() {
    assert!(password_of("").unwrap().is_none());
    assert!(password_of(&format!("operator_password = \"{DIGEST}\"")).unwrap().unwrap().is(PASSWORD));
    for (lines, problem) in [
        ("operator_password = \"correct horse battery\"", "countersign hash-password"),
        ("operator_password = \"$argon2id$v=19$m=1,t=1,p=1$c2FsdA$aGFzaA\"", "expected $pbkdf2-sha256$"),
        ("operator_password_file = \"/absent\"", "cannot read /absent"),
    ] {
        let fault = password_of(lines).unwrap_err();
        assert!(fault.contains(problem) && !fault.contains("correct horse"), "{fault}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = format!("operator_password_file = {:?}", file.path());
    std::fs::write(file.path(), format!("{PASSWORD}\n")).unwrap();
    let plain = password_of(&line).unwrap().unwrap();
    assert!(plain.is(PASSWORD) && !plain.is("") && !plain.is("correct horse batter"));
    assert!(!format!("{plain:?}").contains("horse"));
    std::fs::write(file.path(), DIGEST).unwrap();
    assert!(password_of(&line).unwrap().unwrap().is(PASSWORD));
    std::fs::write(file.path(), "x".repeat(1025)).unwrap();
    assert!(password_of(&line).unwrap_err().contains("over 1024 bytes"));
    std::fs::write(file.path(), "short\n").unwrap();
    assert!(password_of(&line).unwrap_err().contains("under 12 characters"));
}

#[test]
fn a_session_outlives_the_rotation_of_the_key() {
    let parts: &[&[u8]] = &[b"cookie", b"1"];
    let before = KeyRing::new(&[[1; 32]]).unwrap();
    let after = KeyRing::new(&[[2; 32], [1; 32]]).unwrap();
    assert!(after.verify_session(parts, before.session_mac(parts)));
    assert!(!KeyRing::new(&[[2; 32]]).unwrap().verify_session(parts, before.session_mac(parts)));
    assert!(!after.verify_session(&[b"cookie1", b""], before.session_mac(parts)), "parts do not run together");
}

/// Two operators, the second with a password in a file.
fn world_with_operators(test_store: TestStore) -> (World, tempfile::TempDir) {
    let mut world = World::new(test_store);
    let directory = tempfile::tempdir().unwrap();
    let (password, audit) = (directory.path().join("bob"), directory.path().join("audit.jsonl"));
    std::fs::write(&password, "another password of twelve\n").unwrap();
    world.more_instances = format!(
        "[[operator]]\nname = \"alice\"\npassword = \"{DIGEST}\"\n[[operator]]\nname = \"bob\"\npassword_file = \"{}\"\n\
         [audit]\npath = \"{}\"\n",
        password.display(),
        audit.display(),
    );
    (world, directory)
}

async fn actions_are_recorded_under_the_operator_s_name(test_store: TestStore) {
    let (world, directory) = world_with_operators(test_store);
    let daemon = world.start().await;
    let mut browser = OperatorBrowser::new(&daemon);
    let login = async |name: &str, password: &str| {
        OperatorBrowser::new(&daemon).post("/requests/login", &[("username", name), ("password", password)], &[]).await
    };
    assert!(browser.page("/requests/login").await.contains("Name</label>"));
    for (name, password) in [
        ("bob", PASSWORD),
        ("alice", "another password of twelve"),
        ("mallory", PASSWORD),
        ("", PASSWORD),
        ("operator", PASSWORD),
        ("Alice", PASSWORD),
    ] {
        let answer = login(name, password).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (401, ""), "{name} {password}");
    }
    let entered = login("alice", PASSWORD).await;
    assert_eq!(entered.status, 303, "{}", entered.text);
    browser.cookie = entered.header("set-cookie").split(';').next().unwrap().to_owned();
    assert_eq!(login("bob", "another password of twelve").await.status, 303);

    let (link, verified) = (daemon.create_link(json!({})).await, daemon.create_link(json!({})).await);
    assert_eq!(daemon.send_message("447700900123", "N1", &verified.text).await.status, 200);
    daemon.settle().await;
    let path = |uuid: &str| format!("/requests/{WAHA}/{uuid}");
    let page = browser.page(&path(&link.uuid)).await;
    assert!(page.contains("<p class=\"zone\">alice</p>"), "{page}");
    let field = form_field(&page);
    let canceled = browser.post(&format!("{}/cancel", path(&link.uuid)), &[("form", &field)], &[]).await;
    assert_eq!(canceled.status, 303);
    let page = browser.page(&path(&verified.uuid)).await;
    let callback = page.split("name=\"callback\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let fields = [("form", field.as_str()), ("callback", &callback)];
    assert_eq!(browser.post(&format!("{}/replay", path(&verified.uuid)), &fields, &[]).await.status, 303);
    assert!(browser.page(&path(&link.uuid)).await.contains("by operator:alice"));
    let record = daemon.get(&format!("/api/otp/v2/{WAHA}/requests/{}", link.uuid)).await;
    let timeline = record.data("timeline").as_array().unwrap();
    assert_eq!(timeline.last().unwrap()["by"], "operator:alice", "{timeline:?}");

    daemon.services.env.audit.flush();
    let written = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<String> = lines
        .iter()
        .filter(|line| line["did"].as_str().unwrap().starts_with("POST /requests"))
        .map(|line| format!("{} {}", line["by"].as_str().unwrap(), line["did"].as_str().unwrap()))
        .collect();
    assert_eq!(
        acts,
        [
            "operator:alice POST /requests/login",
            "operator:bob POST /requests/login",
            "operator:alice POST /requests/{instance}/{uuid}/cancel",
            "operator:alice POST /requests/{instance}/{uuid}/replay",
        ]
    );
    let act = |did: &str| lines.iter().find(|line| line["did"].as_str().unwrap().ends_with(did)).unwrap();
    assert_eq!((&act("cancel")["uuid"], &act("cancel")["instance"]), (&json!(link.uuid), &json!(WAHA)));
    assert_eq!((&act("replay")["uuid"], &act("replay")["callback"]), (&json!(verified.uuid), &json!(callback)));
    daemon.finish().await;
}

async fn a_logout_ends_one_session(test_store: TestStore) {
    let world = world(test_store);
    let daemon = world.start().await;
    let (browser, other) = (OperatorBrowser::logged_in(&daemon).await, OperatorBrowser::logged_in(&daemon).await);
    let field = form_field(&browser.page("/requests").await);
    let stolen = OperatorBrowser { daemon: &daemon, cookie: browser.cookie.clone() };
    let left = browser.post("/requests/logout", &[("form", &field)], &[]).await;
    assert_eq!((left.status, left.header("location")), (303, "/requests/login"));
    assert!(left.header("set-cookie").starts_with("cs-operator=; "));
    assert_eq!(stolen.get("/requests").await.status, 401, "the cookie is no longer valid");
    other.page("/requests").await;
    let cookie = stolen.cookie;
    daemon.finish().await;
    let daemon = world.start().await;
    let again = OperatorBrowser { daemon: &daemon, cookie };
    assert_eq!(again.get("/requests").await.status, 401, "nor after a restart, nor at another replica");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_outside_public_dns_and_configured_ones_are_answered() {
    let mut world = world(TestStore::directory());
    world.top_level_lines += "\noperator_hosts = [\"ops.example.org\"]";
    let daemon = world.start().await;
    let port = daemon.operator.rsplit_once(':').unwrap().1;
    let asked = async |path: &str, host: String| {
        let request = http::Request::get(format!("{}{path}", daemon.operator)).header("host", host);
        daemon.send(request.body(Vec::new()).unwrap()).await
    };
    for path in ["/livez", "/readyz", "/metrics", "/status", "/requests/login"] {
        for host in ["localhost", "countersign", "10.0.0.7", "ops.example.org"] {
            assert_eq!(asked(path, format!("{host}:{port}")).await.status, 200, "{path} {host}");
        }
        let strange = asked(path, format!("evil.example:{port}")).await;
        assert_eq!(strange.status, 421, "{path}");
        assert!(strange.text.contains("operator_hosts") && !strange.text.contains("countersign_"), "{}", strange.text);
    }
    daemon.finish().await;
}

#[tokio::test]
async fn invalid_and_duplicate_operators_are_refused() {
    let faults = |lines: &str| {
        let mut world = World::new(TestStore::directory());
        world.more_instances = lines.to_owned();
        let config = config::load_text(&world.config("127.0.0.1:0", "127.0.0.1:0"), [], &[]).into_result();
        config.err().map(|faults| faults.to_string()).unwrap_or_default()
    };
    let one = |name: &str| format!("[[operator]]\nname = \"{name}\"\npassword = \"{DIGEST}\"\n");
    assert_eq!(faults(&(one("alice") + &one("bob"))), "");
    for (lines, fault) in [
        (one("alice") + &one("alice"), "operator.1.name: \"alice\" occurs twice"),
        (one("the boss"), "operator.0.name: expected 1 to 32 letters"),
        ("[[operator]]\nname = \"alice\"\n".to_owned(), "operator.0.password: is missing: a digest"),
        ("[[operator]]\nname = \"alice\"\npassword = \"plain\"\n".to_owned(), "operator.0.password: expected a digest"),
    ] {
        let reported = faults(&lines);
        assert!(reported.contains(fault), "{lines}: {reported}");
    }
}

/// Prints how long the pages take beside a million records: `cargo test --test it -- --ignored --nocapture a_million`.
/// A page reads at most the newest thousand, so only these are real.
mod measurement {
    use std::{collections::BTreeMap, time::Instant};

    use countersign::store::{Hour, HourlyCounts};

    use super::*;

    const RECORDS: usize = 1_000_000;
    const REAL: usize = 1100;
    const LOADS: usize = 21;

    async fn fill(daemon: &Daemon) {
        add_unreadable(daemon, RECORDS).await;
        let (store, now) = (&daemon.services.env.store, daemon.services.env.store.now());
        let instance = WAHA.parse().unwrap();
        let hour = Hour::of(now);
        let names: Vec<String> = (0..10).map(|bound| format!("within:{bound}")).collect();
        let names = names.iter().map(String::as_str).chain(["minted", "clicked", "sent", "verified", "redeemed"]);
        let counts: BTreeMap<String, u64> = names.map(|name| (name.to_owned(), 1000)).collect();
        for back in 0..168 {
            let hourly = HourlyCounts { instance, hour: hour.before(back), counts: counts.clone() };
            store.add_counts(&[hourly]).await.unwrap();
        }
        for _ in 0..REAL {
            daemon.create_link(json!({"client_ref": "cart 7"})).await;
        }
    }

    #[expect(clippy::print_stdout, reason = "the figures of the measurement")]
    async fn a_million_records(test_store: TestStore) {
        let mut world = world(test_store);
        world.instance_lines = "[instance.limits]\nmint_per_second = 0\ninstance_mint_per_second = 0\n".to_owned();
        let daemon = world.start().await;
        let start = Instant::now();
        fill(&daemon).await;
        println!("filled in {:.0?}", start.elapsed());
        let browser = OperatorBrowser::logged_in(&daemon).await;
        let list = browser.page("/requests").await;
        let one = format!("/requests/{WAHA}/{}", uuids(&list)[0]);
        for path in [
            "/requests/overview",
            "/requests",
            "/requests?status=verified",
            "/requests?client_ref=cart+7",
            &format!("/requests/callbacks?instance={WAHA}"),
            &one,
        ] {
            let mut times = Vec::new();
            for _ in 0..LOADS {
                let start = Instant::now();
                browser.page(path).await;
                times.push(start.elapsed());
            }
            times.sort();
            println!("{path}: median {:.1?}, longest {:.1?}", times[LOADS / 2], times[LOADS - 1]);
        }
        daemon.finish().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a measurement, which takes minutes"]
    async fn a_million_in_a_directory() {
        a_million_records(TestStore::directory()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a measurement, which takes minutes"]
    async fn a_million_in_redis() {
        a_million_records(TestStore::redis()).await;
    }
}
