//! `doctor` passes for every kind of gateway against a running daemon, and fails when something is wrong.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use countersign::{
    clock::Clock,
    doctor as dialects,
    gateway::{self, Purpose, Sample, Who},
    reader::Table,
};
use serde_json::{Value, json};

use crate::{
    daemon::{TOKEN, client},
    every_gateway::{EVERY, GENERIC, Serve, file, id, instances, secret},
    fakes::Fake,
};

/// The command as a person would type it.
async fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("doctor").args(arguments).arg("--json");
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn card(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn checks<'a>(card: &'a Value, group: &str) -> Vec<&'a Value> {
    card["checks"].as_array().unwrap().iter().filter(|check| check["group"] == group).collect()
}

fn failed(card: &Value) -> Vec<String> {
    let failed = card["checks"].as_array().unwrap().iter().filter(|check| check["passed"] == false);
    failed.map(|check| format!("{}: {} got {}", check["group"], check["name"], check["got"])).collect()
}

#[tokio::test]
async fn it_passes_for_every_kind_and_leaves_nothing() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let mut kinds = BTreeSet::new();
    for (index, (kind, variant, _)) in EVERY.iter().enumerate() {
        let output = doctor(&[&id(index), "--config", config]).await;
        let card = card(&output);
        let name = format!("{kind} {variant}");
        assert_eq!(failed(&card), Vec::<String>::new(), "{name}: {card}");
        assert_eq!((output.status.code(), &card["passed"]), (Some(0), &Value::Bool(true)), "{name}");
        assert_eq!(card["gateway"], *kind);
        let forged = checks(&card, "forged").len();
        assert!(forged >= 60, "{name}: only {forged} forgeries");
        let harmless = checks(&card, "harmless").len();
        assert!(checks(&card, "genuine").len() >= 5, "{name}: {card}");
        // Twilio tells neither groups nor times; the rest know nearly everything.
        assert!(harmless >= if *kind == "twilio" { 3 } else { 4 } || *variant == "sms", "{name}: {harmless} {card}");
        kinds.insert(*kind);
    }
    assert_eq!(kinds.len(), 21);
    assert!(gateway.arrived().is_empty(), "nothing was sent to anybody");
    for index in 0..EVERY.len() {
        let url = format!("{}/api/otp/v2/{}/requests", serve.base, id(index));
        let request = http::Request::get(url).header("authorization", format!("Bearer {TOKEN}"));
        let answer = client().send(request.body(Vec::new()).unwrap()).await.unwrap();
        let list: Value = serde_json::from_slice(answer.body()).unwrap();
        assert!(answer.status().is_success() && !list.to_string().contains("uuid"), "{list}");
    }
}

/// Further settings that a right configuration can have: kind, keys, webhook secret.
fn further() -> [(&'static str, String, String); 4] {
    const TWILIO: &str = "url = \"{url}\"\naccount_sid = \"AC1\"\nfrom = \"+12025550142\"";
    const VONAGE: &str =
        "url = \"{url}\"\nfrom = \"12025550142\"\napi_key = \"key\"\napi_secret = \"pass\"\nchannel = \"sms\"";
    let standard = GENERIC
        .replace("webhook_auth = \"hmac\"", "webhook_auth = \"standard-webhooks\"")
        .lines()
        .filter(|line| {
            !["webhook_header", "webhook_prefix", "webhook_signed", "webhook_timestamp_header"]
                .contains(&line.split(' ').next().unwrap())
        })
        .collect::<Vec<_>>()
        .join("\n");
    let secret = |index: usize| secret("", 60 + index);
    [
        ("twilio", TWILIO.to_owned(), secret(0)),
        ("vonage", VONAGE.to_owned(), secret(1)),
        ("generic", GENERIC.replacen("account =", "channel = \"sms\"\naccount =", 1), secret(2)),
        ("generic", standard, "whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=".to_owned()),
    ]
}

/// Of those that take no SMS it also says so.
#[tokio::test]
async fn it_passes_for_instances_that_only_send_and_for_lists_of_signatures() {
    let gateway = Fake::start();
    let mut blocks = String::new();
    for (index, (kind, table, secret)) in further().iter().enumerate() {
        let block = crate::daemon::Block {
            id: &id(index),
            name: kind,
            number: "+12025550142",
            token: TOKEN,
            lines: "",
            gateway: &format!(
                "kind = \"{kind}\"\nwebhook_secret = \"{secret}\"\n{}",
                table.replacen("{url}", &gateway.url, 1)
            ),
        };
        blocks.push_str(&block.to_string());
    }
    let serve = Serve::start(&blocks).await;
    let config = serve.config.path().to_str().unwrap();
    let arguments = ["--config", config, "--phone", "+447700900555", "--token", TOKEN];
    for (index, (kind, ..)) in further().iter().enumerate() {
        let output = doctor(&[&[id(index).as_str()][..], &arguments].concat()).await;
        let card = card(&output);
        assert_eq!(failed(&card), Vec::<String>::new(), "{kind} {index}: {card}");
        assert_eq!(output.status.code(), Some(0), "{kind} {index}");
        let only_sends = index < 3;
        assert_eq!(card["notes"].to_string().contains("sms_verifies"), only_sends, "{kind} {index}: {card}");
        assert_eq!(checks(&card, "matched").is_empty(), only_sends, "{kind} {index}: {card}");
        assert!(checks(&card, "forged").len() >= 60, "{kind} {index}");
    }
}

/// As somebody does who changes a proxy and tries again: every run uses another sender, so none meets a limit.
#[tokio::test]
async fn ten_runs_in_a_row_find_no_limit_and_leave_no_lock() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = EVERY.iter().position(|(kind, _, _)| *kind == "waha").unwrap();
    for run in 0..10 {
        let arguments = ["--config", config, "--phone", "+447700900555", "--token", TOKEN];
        let card = card(&doctor(&[&[id(waha).as_str()][..], &arguments].concat()).await);
        assert_eq!(failed(&card), Vec::<String>::new(), "run {run}");
        assert!(!card.to_string().contains("rate_limited") && checks(&card, "matched").len() >= 5, "run {run}: {card}");
    }
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_told_and_is_no_fault() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "[instance.limits]\nguesses_per_10m = 1", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = EVERY.iter().position(|(kind, _, _)| *kind == "waha").unwrap();
    let card = card(&doctor(&[&id(waha), "--config", config]).await);
    assert_eq!(failed(&card), Vec::<String>::new());
    assert!(card["notes"].to_string().contains("guesses_per_10m"), "{card}");
}

#[tokio::test]
async fn other_secrets_in_the_daemon_turn_it_red() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", |kind, index| secret(kind, index + 40))).await;
    let text = std::fs::read_to_string(serve.config.path()).unwrap();
    for index in [0, 4, 6, 8, 11, 15, 16, 17, 23, 27] {
        let here = text.replace(&secret(EVERY[index].0, index + 40), &secret(EVERY[index].0, index));
        assert_ne!(here, text);
        let config = file(&here);
        let output = doctor(&[&id(index), "--config", config.path().to_str().unwrap()]).await;
        let card = card(&output);
        assert_eq!((output.status.code(), &card["passed"]), (Some(1), &Value::Bool(false)), "{}", EVERY[index].0);
        assert!(
            checks(&card, "genuine").iter().filter(|check| check["got"].as_str().unwrap().starts_with("401")).count()
                >= 5
        );
        assert!(card["advice"].to_string().contains("genuine webhooks are refused"), "{card}");
    }
}

/// What stands between the gateway and the daemon in a real installation.
struct Proxy {
    url: String,
    handle: ServerHandle,
}

type Spoil = fn(&mut Vec<(String, String)>, &mut Vec<u8>);

impl Proxy {
    fn start(to: &str, spoil: Option<Spoil>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let to = Arc::new(to.to_owned());
        let server = HttpServer::new(move || {
            let to = Arc::clone(&to);
            App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let to = Arc::clone(&to);
                async move { forward(&to, &request, &body, spoil).await }
            }))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, handle }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn forward(to: &str, request: &HttpRequest, body: &[u8], spoil: Option<Spoil>) -> HttpResponse {
    let Some(spoil) = spoil else { return HttpResponse::Ok().finish() };
    let headers = request.headers().iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()));
    let mut headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let mut body = body.to_vec();
    spoil(&mut headers, &mut body);
    let mut out = http::Request::builder().method(request.method().as_str()).uri(format!("{to}{}", request.uri()));
    for (name, value) in headers {
        out = out.header(name, value);
    }
    let answer = client().send(out.body(body).unwrap()).await.unwrap();
    HttpResponse::build(actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap())
        .body(answer.into_body())
}

#[tokio::test]
async fn a_proxy_that_meddles_turns_it_red_and_an_honest_one_does_not() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = EVERY.iter().position(|(kind, _, _)| *kind == "waha").unwrap();
    let url_secret = EVERY.iter().position(|(kind, _, _)| *kind == "wppconnect").unwrap();
    let honest: Spoil = |_, _| {};
    let strips: Spoil = |headers, _| headers.retain(|(name, _)| !name.starts_with("x-"));
    let rewrites: Spoil = |_, body| {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            *body = serde_json::to_vec_pretty(&value).unwrap();
        }
    };
    let latin: Spoil = |_, body| {
        *body = String::from_utf8_lossy(body)
            .chars()
            .map(|c| if c.is_ascii() { c } else { '?' })
            .collect::<String>()
            .into();
    };
    for (name, spoil, index, green) in [
        ("honest", Some(honest), waha, true),
        ("strips headers", Some(strips), waha, false),
        ("writes bodies anew", Some(rewrites), waha, false),
        ("loses letters", Some(latin), waha, false),
        ("says yes to everything", None, waha, false),
        ("says yes to everything", None, url_secret, false),
    ] {
        let proxy = Proxy::start(&serve.base, spoil);
        let output = doctor(&[&id(index), "--config", config, "--url", &proxy.url]).await;
        let card = card(&output);
        assert_eq!(card["passed"], green, "{name}: {:?}", failed(&card));
        assert_eq!(output.status.code(), Some(i32::from(!green)), "{name}");
        let forged = checks(&card, "forged").iter().filter(|check| check["passed"] == false).count();
        assert_eq!(forged > 50, spoil.is_none(), "{name}: {forged} forgeries passed");
    }
}

#[tokio::test]
async fn where_strangers_are_answered_it_asks_for_a_number_first() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "reply_to_unknown = true", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = EVERY.iter().position(|(kind, _, _)| *kind == "waha").unwrap();
    let refused = doctor(&[&id(waha), "--config", config]).await;
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--phone"));
    assert!(gateway.arrived().is_empty());
    let allowed = doctor(&[&id(waha), "--config", config, "--phone", "+447700900555"]).await;
    assert_eq!(failed(&card(&allowed)), Vec::<String>::new());
    for arrived in gateway.arrived() {
        let chat = arrived.json()["chatId"].as_str().unwrap().to_owned();
        assert!(chat == "447700900555@c.us" || chat.ends_with("@lid"), "{chat}");
    }
}

#[tokio::test]
async fn with_a_token_a_link_is_minted_and_matched_once() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    for kind in ["waha", "cloud-api", "generic", "twilio"] {
        let index = EVERY.iter().position(|(one, _, _)| *one == kind).unwrap();
        let arguments = ["--phone", "+447700900555", "--token", TOKEN];
        let output = doctor(&[&[id(index).as_str(), "--config", config][..], &arguments].concat()).await;
        let card = card(&output);
        assert_eq!(failed(&card), Vec::<String>::new(), "{kind}");
        assert!(checks(&card, "matched").len() >= 5, "{kind}: {card}");
    }
    let replies = gateway.arrived();
    assert_eq!(replies.len(), 4);
    assert!(replies.iter().all(|reply| String::from_utf8_lossy(&reply.body).contains("447700900555")));
}

#[tokio::test]
async fn nobody_there_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let (text, ..) = crate::every_gateway::configuration(&directory, &instances("http://127.0.0.1:1", "", secret));
    let config = file(&text);
    let output = doctor(&[&id(0), "--config", config.path().to_str().unwrap()]).await;
    let card = card(&output);
    assert_eq!((output.status.code(), failed(&card).len()), (Some(1), 1));
    assert!(card["advice"].to_string().contains("is it running"), "{card}");
}

/// Writes through one WAHA what somebody would send from a phone.
async fn sends(base: &str, index: usize, text: &str) {
    let now = Clock::default().wall();
    let table = json!({ "kind": "waha", "webhook_secret": secret("waha", index) });
    let table = Table::new("gateway", table.as_object().unwrap().clone());
    let gateway = gateway::build(&table, Purpose::Inspect, "").unwrap();
    let (text, id_of_message, lid) = (text.to_owned(), "3EB0AA".to_owned(), "190000000000117".to_owned());
    let phone = "447700900321".to_owned();
    let sample =
        Sample { who: Who::Person, id: id_of_message, text, at: now.as_second(), phone, to: String::new(), lid };
    let mut draft = dialects::compose(&*gateway, &table, &sample).unwrap();
    gateway.proof().sign(&mut draft, now);
    let mut request = http::Request::post(format!("{base}/webhooks/{}", id(index)));
    for (name, value) in &draft.headers {
        request = request.header(name, value);
    }
    assert_eq!(client().send(request.body(draft.body).unwrap()).await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_a_message_from_a_real_phone_and_hides_whose_it_was() {
    let gateway = Fake::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let waha = EVERY.iter().position(|(kind, _, _)| *kind == "waha").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["doctor", &id(waha), "--wait", "120", "--json", "--config"])
        .arg(serve.config.path())
        .env("COUNTERSIGN_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let link = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended without a link");
        if line.contains("https://wa.me/") {
            break line.trim().to_owned();
        }
    };
    let text = url::Url::parse(&link).unwrap().query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned();
    sends(&serve.base, waha, &text).await;
    let (mut said, mut out) = (String::new(), String::new());
    lines.read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said} {out}");
    let card: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((checks(&card, "real phone").len(), failed(&card).len()), (2, 0), "{card}");
    for written in [said, out] {
        assert!(!written.contains("447700900321"), "{written}");
    }
    assert_eq!(gateway.arrived().len(), 1);
}
