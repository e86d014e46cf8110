//! Clients of the hosted APIs, with only the base URL changed. What they send is accepted as it is, or refused in
//! words that they show.

use http::Request;
use serde_json::{Value, json};

use crate::daemon::{Daemon, InstanceBlock, ReceivedResponse, TOKEN, TestStore, WAHA, World};

type Headers<'a> = &'a [(&'a str, &'a str)];

async fn post(daemon: &Daemon, operation: &str, headers: Headers<'_>, body: &[u8]) -> ReceivedResponse {
    let mut request = Request::post(format!("{}/api/otp/v2/{WAHA}/{operation}", daemon.base));
    for (name, value) in [("authorization", format!("Bearer {TOKEN}").as_str())].iter().chain(headers) {
        request = request.header(*name, *value);
    }
    daemon.send(request.body(body.to_vec()).unwrap()).await
}

fn warnings(answer: &ReceivedResponse) -> Vec<String> {
    let list = answer.json["data"]["warnings"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
    list.iter().map(|warning| warning["code"].as_str().unwrap().to_owned()).collect()
}

/// The PHP client has the parameters `array $message, array $callback`, and PHP encodes an empty one as `[]`.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_array_of_php_is_an_empty_object() {
    let daemon = World::new(TestStore::directory()).start().await;
    let body = br#"{"chatId":"447700900123","expires":1800,"name":"x","message":[],"callback":[]}"#;
    let minted = post(&daemon, "generate-link", &[("content-type", "application/json")], body).await;
    assert_eq!(minted.status, 200, "{}", minted.text);
    let filled = post(&daemon, "generate-link", &[("content-type", "application/json")], br#"{"message":["a"]}"#).await;
    assert_eq!((filled.status, &filled.json["errors"][0]["detail"]), (422, &json!("expected an object")));
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_unlabelled_json_and_whole_floats_are_read() {
    let daemon = World::new(TestStore::directory()).start().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let fields = "chatId=%2B44+7700+900123&expires=600.0&message%5Bsuccess%5D=Own+%3Clink%3E&message[failed]=No&qr=0";
    let json = br#"{"chatId":"+44 7700 900123","expires":600.0,"message":{"success":"Own <link>","failed":"No"}}"#;
    let with_bom = [b"\xef\xbb\xbf".as_slice(), json].concat();
    let cases: [(Headers<'_>, &[u8]); 5] = [
        (&[form], fields.as_bytes()),
        (&[form], json),
        (&[], json),
        (&[("content-type", "application/json")], &with_bom),
        (&[("content-type", "application/json; charset=utf-8"), ("content-encoding", "identity")], json),
    ];
    for (headers, body) in cases {
        let minted = post(&daemon, "generate-link", headers, body).await;
        assert_eq!(minted.status, 200, "{headers:?} {}", minted.text);
        assert_eq!(minted.json["data"]["chat_id"], "+44 7700 900123", "{headers:?} {}", minted.text);
    }
    for (headers, body, expected) in
        [(&[form][..], "message=a&message[failed]=b", "message"), (&[form], "chatId=1&chatId=2", "chatId")]
    {
        let refused = post(&daemon, "generate-link", headers, body.as_bytes()).await;
        assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!(expected)), "{}", refused.text);
    }
    let zipped = post(&daemon, "generate-link", &[("content-encoding", "gzip")], b"\x1f\x8b\x08").await;
    assert_eq!((zipped.status, &zipped.json["code"]), (415, &json!("unsupported_media_type")));
    assert!(zipped.text.contains("without `Content-Encoding`"), "{}", zipped.text);
    daemon.finish().await;
}

/// The old clients read `message` and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn message_names_the_first_fault() {
    let daemon = World::new(TestStore::directory()).start().await;
    let json = [("content-type", "application/json")];
    let refused = post(&daemon, "request-code", &json, b"{}").await;
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.starts_with("chatId is missing"), "{message}");
    let refused = post(&daemon, "generate-link", &json, br#"{"expires":"soon"}"#).await;
    let message = refused.json["message"].as_str().unwrap();
    assert!(message.starts_with("expires: expected a whole number"), "{message}");
    let unknown = post(&daemon, "redeem", &json, br#"{"token":"nothing"}"#).await;
    assert_eq!(unknown.json["message"], unknown.json["title"]);
    daemon.finish().await;
}

/// Links are counted as opened even if the app uses `whatsapp_link` alone, as older clients do.
#[tokio::test(flavor = "multi_thread")]
async fn whatsapp_link_can_lead_through_the_daemon() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "link_style = \"go\"\ncompletions_allowed = [\"anywhere\"]".to_owned();
    let daemon = world.start().await;
    let minted = daemon.mint(json!({"completion": "anywhere"})).await;
    let link = minted.text_of("whatsapp_link");
    let path = link.strip_prefix("http://127.0.0.1:1").unwrap();
    assert!(path.starts_with("/l/") && path.ends_with("/go"), "{link}");
    let opened = daemon.get(path).await;
    assert_eq!(opened.status, 303, "{}", opened.text);
    let text = minted.text_of("text").replace(' ', "%20");
    let there = opened.header("location");
    assert!(there.starts_with("https://wa.me/447700900999?text=") && there.contains(&text[..20]), "{there}");
    daemon.finish().await;
}

/// A text in one language does not replace the texts in the others.
#[tokio::test(flavor = "multi_thread")]
async fn own_texts_are_by_language() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines =
        "[instance.texts]\nprompt = \"Own prompt\"\n[instance.texts.de]\nprompt = \"Eigener Text\"".to_owned();
    let daemon = world.start().await;
    for (lang, expected) in
        [("en", "Own prompt"), ("de", "Eigener Text"), ("fr", "Je souhaite "), ("tlh", "Own prompt")]
    {
        let link = daemon.create_link(json!({"lang": lang})).await;
        assert!(link.text.starts_with(expected), "{lang}: {}", link.text);
    }
    let own = daemon.create_link(json!({"lang": "fr", "message": {"prompt": "From the request"}})).await;
    assert!(own.text.starts_with("From the request"), "{}", own.text);
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_text_does_not_say_is_warned_of() {
    let mut world = World::new(TestStore::directory());
    world.instance_lines = "completions_allowed = [\"anywhere\"]".to_owned();
    let daemon = world.start().await;
    for (message, expected) in [
        (json!({"failed": "Retry at {link}", "expired": "Again: {link}", "prompt": "Login {code}"}), 3),
        (json!({"success": "Hi {{link}}"}), 1),
        (json!({"success": "*<link>*"}), 1),
    ] {
        let body = json!({"message": message, "completion": "anywhere"});
        let minted = daemon.mint(body).await;
        assert_eq!(minted.status, 200, "{}", minted.text);
        let placeholders = warnings(&minted).into_iter().filter(|code| code == "unknown_placeholder").count();
        assert_eq!(placeholders, expected, "{}", minted.text);
    }
    let tag = daemon.mint(json!({"message": {"failed": "Retry at <link>"}})).await;
    assert_eq!(tag.status, 422, "our own spelling is an error: {}", tag.text);
    for (body, expected) in [
        (json!({"message": {"success": "You are in"}}), true),
        (json!({"message": {"success": "You are in"}, "completion": "anywhere"}), false),
        (json!({"message": {"success": "Tap {link}"}}), false),
        (Value::Object(serde_json::Map::new()), false),
    ] {
        let minted = daemon.mint(body.clone()).await;
        assert_eq!(warnings(&minted).contains(&"no_link".to_owned()), expected, "{body}: {}", minted.text);
    }
    daemon.finish().await;
}

/// A wa.me link to a number without WhatsApp leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_of_sms_mints_links_for_sms_or_none() {
    let mut world = World::new(TestStore::directory());
    let sms = |id, token, more: &str| {
        let gateway = format!(
            "kind = \"vonage\"\nurl = \"{}\"\nfrom = \"12025550143\"\napi_key = \"key\"\napi_secret = \"pass\"\n\
             webhook_secret = \"vonage-signature-secret-0123456789\"\nchannel = \"sms\"\n{more}",
            world.gateway.url
        );
        InstanceBlock { id, name: "Pier", number: "+12025550143", token, lines: "", gateway: &gateway }.to_string()
    };
    let (receives, sends) = ("5f0c2a90-0000-4000-8000-00000000000a", "5f0c2a90-0000-4000-8000-00000000000b");
    world.more_instances = sms(receives, "cst_token-of-the-sms-that-receives", "sms_verifies = true")
        + &sms(sends, "cst_token-of-the-sms-that-only-sends", "");
    let daemon = world.start().await;
    let mint = async |id: &str, token: &str| {
        let authorization = format!("Bearer {token}");
        let path = format!("/api/otp/v2/{id}/generate-link");
        daemon.post_with(&path, json!({}), &[("authorization", &authorization)]).await
    };
    let refused = mint(sends, "cst_token-of-the-sms-that-only-sends").await;
    assert_eq!((refused.status, &refused.json["errors"][0]["field"]), (422, &json!("instance")), "{}", refused.text);
    let minted = mint(receives, "cst_token-of-the-sms-that-receives").await;
    assert!(minted.json["data"].get("whatsapp_link").is_none(), "{}", minted.text);
    let url = minted.text_of("app_url");
    assert!(url.starts_with("sms:+12025550143?&body=Sign%20me%20in%20to%20Pier%20%5B"), "{url}");
    let path = minted.text_of("start_url").replacen("http://127.0.0.1:1", "", 1);
    let page = daemon.get(&path).await;
    assert!(
        page.text.contains("href=\"sms:+12025550143?&#38;body=") && page.text.contains("Open SMS"),
        "{}",
        page.text
    );
    assert!(!page.text.contains("WhatsApp") && !page.text.contains("wa.me"), "{}", page.text);
    daemon.finish().await;
}
