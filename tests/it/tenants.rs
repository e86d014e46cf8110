//! Two tenants, every route of the API, the other's ids: the answers are those for what does not exist.

use countersign::http::ROUTES;
use serde_json::{Value, json};

use crate::{
    daemon::{Answer, Daemon, Ground, META, META_TOKEN, TOKEN, WAHA, World},
    flow::{form_field, link_in, on_both_stores, tap},
};

on_both_stores! {
    another_tenants_things_are_things_that_do_not_exist
}

/// Names of things; the values in the path and in the body of a request.
#[derive(Clone)]
struct Names {
    instance: String,
    uuid: String,
    callback: String,
    chat: String,
    redeem: String,
    code: String,
    client_ref: String,
}

/// Nothing has these.
fn nobodys() -> Names {
    Names {
        instance: "5f0c2a90-0000-4000-8000-0000000000ff".to_owned(),
        uuid: "0192f2a0-0000-7000-8000-000000000000".to_owned(),
        callback: "MC5ub25l".to_owned(),
        chat: "447700900555".to_owned(),
        redeem: format!("rdm_{}", "A".repeat(43)),
        code: "000000".to_owned(),
        client_ref: "nobody".to_owned(),
    }
}

/// Paths that belong to no tenant, and why that is right.
const PUBLIC: &[(&str, &str)] = &[
    ("/webhooks/", "the gateway proves itself with the instance's own secret"),
    ("/l/", "the handle itself is the bearer"),
    ("/o/", "the token itself is the bearer"),
    ("/d/", "the token itself is the bearer"),
    ("/widget.js", "a file"),
    ("/openapi.json", "a file"),
    ("/docs", "a file"),
    ("/postman.json", "a file"),
    ("/llms.txt", "a file"),
];

/// Query and body of a route that names things, or `None` for one that this table does not know.
fn asked(method: &str, path: &str, names: &Names) -> Option<(String, Option<Value>)> {
    let path = path.strip_prefix("/api/otp/v2/{instance}")?;
    let Names { uuid, chat, redeem, code, client_ref, .. } = names;
    Some(match (method, path) {
        ("POST", "/request-code") => (String::new(), Some(json!({"chatId": chat, "length": 99}))),
        ("POST", "/validate-code") => (String::new(), Some(json!({"chatId": chat, "code": code}))),
        ("GET", "/requests") => (format!("?chat_id={chat}&client_ref={client_ref}"), None),
        ("GET", "/requests/{uuid}/events") => ("?wait=0".to_owned(), None),
        ("POST", "/redeem") => (String::new(), Some(json!({"token": redeem}))),
        ("GET", "/callbacks") => (format!("?uuid={uuid}"), None),
        (
            "POST",
            "/generate-link" | "/requests/{uuid}/cancel" | "/requests/{uuid}/resend" | "/callbacks/{id}/replay",
        ) => (String::new(), Some(json!({}))),
        // Nothing of anybody is named; only the instance can be another's.
        ("POST", "/callbacks/test") => (String::new(), Some(json!({"url": "ftp://x"}))),
        ("GET", "/explain") => (format!("?q={uuid}"), None),
        ("GET", "/requests/{uuid}" | "/callbacks/{id}") | ("DELETE", "/subjects/{chat_id}") => (String::new(), None),
        _ => return None,
    })
}

async fn send(
    daemon: &Daemon,
    method: &str,
    path: &str,
    instance: &str,
    names: &Names,
    query: &str,
    body: Option<Value>,
) -> Answer {
    let path = path
        .replace("{instance}", instance)
        .replace("{uuid}", &names.uuid)
        .replace("{id}", &names.callback)
        .replace("{chat_id}", &names.chat);
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("{}{path}{query}", daemon.base))
        .header("authorization", format!("Bearer {META_TOKEN}"));
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    daemon.send(request.body(body.map(|body| body.to_string().into_bytes()).unwrap_or_default()).unwrap()).await
}

/// An answer without what names the question, the exchange or the time.
fn told(answer: &Answer, names: &Names) -> (u16, Vec<String>, String) {
    let mut text = answer.text.clone();
    for name in [&names.instance, &names.uuid, &names.callback, &names.chat, &names.redeem, &names.code] {
        text = text.replace(name.as_str(), "…");
    }
    let volatile = ["x-request-id", "date", "connection", "content-length", "ratelimit", "retry-after"];
    let headers = answer.headers.iter().filter(|(name, _)| !volatile.contains(&name.as_str()));
    let mut headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value:?}")).collect();
    headers.sort();
    (answer.status, headers, text)
}

/// Everything that a tenant can have.
async fn theirs(world: &World, daemon: &Daemon) -> Names {
    let chat = "447700900123".to_owned();
    let link = daemon.link(json!({"chatId": chat, "client_ref": "cart"})).await;
    daemon.says(&chat, "T1", &link.text).await;
    let reply = world.gateway.wait_for(1).await.pop().unwrap();
    let path = link_in(reply.json()["text"].as_str().unwrap());
    let field = form_field(&daemon.get(&path).await.text);
    let location = url::Url::parse(tap(daemon, &path, &field).await.header("location")).unwrap();
    let redeem = location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned();
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    let callbacks = daemon.get(&format!("/api/otp/v2/{WAHA}/callbacks")).await;
    let callback = callbacks.data("callbacks")[0]["id"].as_str().unwrap().to_owned();
    let code = daemon.post(&format!("/api/otp/v2/{WAHA}/request-code"), json!({"chatId": chat})).await;
    assert_eq!(code.status, 200, "{}", code.text);
    let code = code.text_of("code");
    // It is sent, and the app has heard so: nothing more happens by itself.
    daemon.settle().await;
    let (instance, client_ref) = (WAHA.to_owned(), "cart".to_owned());
    Names { instance, uuid: link.uuid, callback, chat, redeem, code, client_ref }
}

async fn another_tenants_things_are_things_that_do_not_exist(ground: Ground) {
    let world = World::new(ground);
    let daemon = world.start().await;
    let (theirs, nobodys) = (theirs(&world, &daemon).await, nobodys());
    let before = snapshot(&daemon, &theirs).await;
    for entry in ROUTES {
        if PUBLIC.iter().any(|(prefix, _)| entry.path.starts_with(prefix)) {
            continue;
        }
        if entry.path.starts_with("/v2/auth/otp/") {
            in_the_older_dialect(&daemon, entry.path, &theirs, &nobodys).await;
            continue;
        }
        for method in entry.methods.split(", ").filter(|method| *method != "OPTIONS" && *method != "HEAD") {
            let (query, body) = asked(method, entry.path, &theirs).unwrap_or_else(|| {
                panic!("{method} {} is not in the table of tests/it/tenants.rs: say there what it names", entry.path)
            });
            let (other_query, other_body) = asked(method, entry.path, &nobodys).unwrap();
            let place = format!("{method} {}", entry.path);

            let theirs_here = send(&daemon, method, entry.path, META, &theirs, &query, body.clone()).await;
            let nothing_here =
                send(&daemon, method, entry.path, META, &nobodys, &other_query, other_body.clone()).await;
            if !matches!(entry.path.rsplit('/').next(), Some("generate-link")) {
                assert_eq!(
                    told(&theirs_here, &theirs),
                    told(&nothing_here, &nobodys),
                    "{place}, through one's own instance"
                );
            }
            let their_instance = send(&daemon, method, entry.path, WAHA, &theirs, &query, body).await;
            let no_instance =
                send(&daemon, method, entry.path, &nobodys.instance, &nobodys, &other_query, other_body).await;
            assert_eq!(
                told(&their_instance, &theirs),
                told(&no_instance, &nobodys),
                "{place}, through the other's instance"
            );
            assert_eq!(their_instance.status, 404, "{place}: {}", their_instance.text);
        }
    }
    assert_eq!(snapshot(&daemon, &theirs).await, before, "and nothing of theirs has changed");
    let right = daemon
        .post(&format!("/api/otp/v2/{WAHA}/validate-code"), json!({"chatId": theirs.chat, "code": theirs.code}))
        .await;
    assert_eq!(right.status, 200, "a code is as good as before: {}", right.text);
    let redeemed = daemon.post(&format!("/api/otp/v2/{WAHA}/redeem"), json!({"token": theirs.redeem})).await;
    assert_eq!(redeemed.status, 200, "and so is a redeem token: {}", redeemed.text);
    daemon.stop().await;
}

/// There the instance is a parameter.
async fn in_the_older_dialect(daemon: &Daemon, path: &str, theirs: &Names, nobodys: &Names) {
    let ask = async |names: &Names| {
        let Names { instance, chat, code, .. } = names;
        let query =
            format!("instance_id={instance}&access_token={META_TOKEN}&chatId={chat}&phone_number={chat}&otp={code}");
        let request = http::Request::get(format!("{}{path}?{query}&code={code}", daemon.base));
        told(&daemon.send(request.body(Vec::new()).unwrap()).await, names)
    };
    let (their_instance, no_instance) = (ask(theirs).await, ask(nobodys).await);
    assert_eq!(their_instance, no_instance, "{path}");
    assert!(their_instance.0 >= 400, "{path}: {their_instance:?}");
}

async fn snapshot(daemon: &Daemon, names: &Names) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [format!("requests/{}", names.uuid), "requests".to_owned(), "callbacks".to_owned()] {
        seen.push(daemon.get_as(TOKEN, &format!("/api/otp/v2/{WAHA}/{path}")).await.text);
    }
    seen
}
