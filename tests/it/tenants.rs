//! Two tenants and every route of the API: ids of the other tenant get the response for unknown ids.

use countersign::http::{ROUTES, route::Access};
use serde_json::{Value, json};

use crate::{
    daemon::{Daemon, META, META_TOKEN, ReceivedResponse, TOKEN, TestStore, WAHA, World},
    login_flow::{form_field, link_in, on_both_stores, tap},
};

on_both_stores! {
    ids_of_another_tenant_are_answered_like_unknown_ids
}

/// Ids of things; the values in the path and in the body of a request.
#[derive(Clone)]
struct Ids {
    instance: String,
    uuid: String,
    callback: String,
    chat: String,
    redeem: String,
    code: String,
    client_ref: String,
}

/// Nothing has these.
fn unknown_ids() -> Ids {
    Ids {
        instance: "5f0c2a90-0000-4000-8000-0000000000ff".to_owned(),
        uuid: "0192f2a0-0000-7000-8000-000000000000".to_owned(),
        callback: "MC5ub25l".to_owned(),
        chat: "447700900555".to_owned(),
        redeem: format!("rdm_{}", "A".repeat(43)),
        code: "000000".to_owned(),
        client_ref: "nobody".to_owned(),
    }
}

/// Query and body of a route that names things, or `None` for one that this table does not know.
fn query_and_body(method: &str, path: &str, names: &Ids) -> Option<(String, Option<Value>)> {
    let path = path.strip_prefix("/api/otp/v2/{instance}")?;
    let Ids { uuid, chat, redeem, code, client_ref, .. } = names;
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
        // No value of a tenant is named; only the instance can be another tenant's.
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
    names: &Ids,
    query: &str,
    body: Option<Value>,
) -> ReceivedResponse {
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
fn comparable(answer: &ReceivedResponse, names: &Ids) -> (u16, Vec<String>, String) {
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
async fn other_tenants_ids(world: &World, daemon: &Daemon) -> Ids {
    let chat = "447700900123".to_owned();
    let link = daemon.create_link(json!({"chatId": chat, "client_ref": "cart"})).await;
    daemon.send_message(&chat, "T1", &link.text).await;
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
    // It is sent and its callback delivered, so nothing more happens without a request.
    daemon.settle().await;
    let (instance, client_ref) = (WAHA.to_owned(), "cart".to_owned());
    Ids { instance, uuid: link.uuid, callback, chat, redeem, code, client_ref }
}

async fn ids_of_another_tenant_are_answered_like_unknown_ids(test_store: TestStore) {
    let world = World::new(test_store);
    let daemon = world.start().await;
    let (theirs, nobodys) = (other_tenants_ids(&world, &daemon).await, unknown_ids());
    let before = snapshot(&daemon, &theirs).await;
    for entry in ROUTES {
        // A bearer token works for its holder, and a gateway authenticates with the secret of the instance.
        if entry.access != Access::ApiToken {
            continue;
        }
        if entry.path.starts_with("/v2/auth/") {
            check_wawp_routes(&daemon, entry.path, &theirs, &nobodys).await;
            continue;
        }
        for method in entry.methods.split(", ").filter(|method| *method != "OPTIONS" && *method != "HEAD") {
            let (query, body) = query_and_body(method, entry.path, &theirs).unwrap_or_else(|| {
                panic!("{method} {} is not in the table of tests/it/tenants.rs: say there what it names", entry.path)
            });
            let (other_query, other_body) = query_and_body(method, entry.path, &nobodys).unwrap();
            let place = format!("{method} {}", entry.path);

            let theirs_here = send(&daemon, method, entry.path, META, &theirs, &query, body.clone()).await;
            let nothing_here =
                send(&daemon, method, entry.path, META, &nobodys, &other_query, other_body.clone()).await;
            if !matches!(entry.path.rsplit('/').next(), Some("generate-link")) {
                assert_eq!(
                    comparable(&theirs_here, &theirs),
                    comparable(&nothing_here, &nobodys),
                    "{place}, through one's own instance"
                );
            }
            let their_instance = send(&daemon, method, entry.path, WAHA, &theirs, &query, body).await;
            let no_instance =
                send(&daemon, method, entry.path, &nobodys.instance, &nobodys, &other_query, other_body).await;
            assert_eq!(
                comparable(&their_instance, &theirs),
                comparable(&no_instance, &nobodys),
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
async fn check_wawp_routes(daemon: &Daemon, path: &str, theirs: &Ids, nobodys: &Ids) {
    let ask = async |names: &Ids| {
        let Ids { instance, chat, code, .. } = names;
        let query =
            format!("instance_id={instance}&access_token={META_TOKEN}&chatId={chat}&phone_number={chat}&otp={code}");
        let request = http::Request::get(format!("{}{path}?{query}&code={code}", daemon.base));
        comparable(&daemon.send(request.body(Vec::new()).unwrap()).await, names)
    };
    let (their_instance, no_instance) = (ask(theirs).await, ask(nobodys).await);
    assert_eq!(their_instance, no_instance, "{path}");
    assert!(their_instance.0 >= 400, "{path}: {their_instance:?}");
}

async fn snapshot(daemon: &Daemon, names: &Ids) -> Vec<String> {
    let mut seen = Vec::new();
    for path in [format!("requests/{}", names.uuid), "requests".to_owned(), "callbacks".to_owned()] {
        seen.push(daemon.get_as(TOKEN, &format!("/api/otp/v2/{WAHA}/{path}")).await.text);
    }
    seen
}
