//! `doctor` passes for every kind of gateway against a running daemon, and fails if secrets differ or a proxy
//! interferes.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::{Map, Value};

use crate::{
    daemon::{TOKEN, client},
    every_gateway::{SETUPS, Serve, file, id, index_of, instances, lines, secret, secret_of},
    fakes::RecordingServer,
};

mod live;
mod proxy;

use self::proxy::{ProxyBehavior, RequestEdit, ReverseProxy};

/// Runs the command with `--json`.
async fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("doctor").args(arguments).arg("--json").env_remove("COUNTERSIGN_TOKEN");
    // A link is created only with a token and a phone.
    if arguments.contains(&"--phone") {
        command.env("COUNTERSIGN_TOKEN", TOKEN);
    }
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn checks<'a>(report: &'a Value, group: &str) -> Vec<&'a Value> {
    report["checks"].as_array().unwrap().iter().filter(|check| check["group"] == group).collect()
}

fn failed(report: &Value) -> Vec<String> {
    let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["passed"] == false);
    failed.map(|check| format!("{}: {} got {}", check["group"], check["name"], check["got"])).collect()
}

#[tokio::test]
async fn it_passes_for_every_kind_and_leaves_nothing() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let mut kinds = BTreeSet::new();
    for (index, setup) in SETUPS.iter().enumerate() {
        let output = doctor(&[&id(index), "--config", config]).await;
        let report = report(&output);
        let name = setup.name();
        assert_eq!(failed(&report), Vec::<String>::new(), "{name}: {report}");
        assert_eq!((output.status.code(), &report["passed"]), (Some(0), &Value::Bool(true)), "{name}");
        assert_eq!(report["gateway"], setup.kind);
        let forged = checks(&report, "forged").len();
        assert!(forged >= 60, "{name}: only {forged} forgeries");
        let harmless = checks(&report, "harmless").len();
        assert!(checks(&report, "genuine").len() >= 5, "{name}: {report}");
        // Twilio has neither groups nor timestamps.
        assert!(
            harmless >= if setup.kind == "twilio" { 3 } else { 4 } || name.ends_with(" sms"),
            "{name}: {harmless} {report}"
        );
        kinds.insert(setup.kind);
    }
    assert_eq!(kinds.len(), countersign::gateway::kinds().count());
    assert!(gateway.requests().is_empty(), "no message was sent");
    for index in 0..SETUPS.len() {
        let url = format!("{}/api/otp/v2/{}/requests", serve.base, id(index));
        let request = http::Request::get(url).header("authorization", format!("Bearer {TOKEN}"));
        let answer = client().send(request.body(Vec::new()).unwrap()).await.unwrap();
        let list: Value = serde_json::from_slice(answer.body()).unwrap();
        assert!(answer.status().is_success() && !list.to_string().contains("uuid"), "{list}");
    }
}

/// Further valid settings: kind, keys, webhook secret.
fn further_instances() -> [(&'static str, Map<String, Value>, String); 4] {
    let settings = |name: &str, without: &[&str], with: &[(&str, &str)]| {
        let setup = SETUPS.iter().find(|setup| setup.name().trim_end() == name).unwrap();
        let mut settings = setup.settings.clone();
        settings.retain(|key, _| !without.contains(&key.as_str()));
        settings.extend(with.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
        settings
    };
    let secret = |index: usize| secret_of(&SETUPS[index_of("generic")], 60 + index);
    let of_hmac = ["webhook_header", "webhook_prefix", "webhook_signed", "webhook_timestamp_header"];
    [
        ("twilio", settings("twilio sms", &["sms_verifies"], &[]), secret(0)),
        ("vonage", settings("vonage sms", &["sms_verifies"], &[]), secret(1)),
        ("generic", settings("generic", &[], &[("channel", "sms")]), secret(2)),
        (
            "generic",
            settings("generic", &of_hmac, &[("webhook_auth", "standard-webhooks")]),
            "whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=".to_owned(),
        ),
    ]
}

/// For instances that ignore received SMS, the report says so.
#[tokio::test]
async fn it_passes_for_instances_that_only_send_and_for_lists_of_signatures() {
    let gateway = RecordingServer::start();
    let mut blocks = String::new();
    for (index, (kind, settings, secret)) in further_instances().iter().enumerate() {
        let block = crate::daemon::InstanceBlock {
            id: &id(index),
            name: kind,
            number: "+12025550142",
            token: TOKEN,
            lines: "",
            gateway: &format!("kind = \"{kind}\"\nwebhook_secret = \"{secret}\"\n{}", lines(settings, &gateway.url)),
        };
        blocks.push_str(&block.to_string());
    }
    let serve = Serve::start(&blocks).await;
    let config = serve.config.path().to_str().unwrap();
    let arguments = ["--config", config, "--phone", "+447700900555"];
    for (index, (kind, ..)) in further_instances().iter().enumerate() {
        let output = doctor(&[&[id(index).as_str()][..], &arguments].concat()).await;
        let report = report(&output);
        assert_eq!(failed(&report), Vec::<String>::new(), "{kind} {index}: {report}");
        assert_eq!(output.status.code(), Some(0), "{kind} {index}");
        let only_sends = index < 3;
        assert_eq!(report["notes"].to_string().contains("sms_verifies"), only_sends, "{kind} {index}: {report}");
        assert_eq!(checks(&report, "matched").is_empty(), only_sends, "{kind} {index}: {report}");
        assert!(checks(&report, "forged").len() >= 60, "{kind} {index}");
    }
}

/// Every run uses another sender, so that repeated runs, as while configuring a proxy, are not limited.
#[tokio::test]
async fn ten_runs_in_a_row_are_not_limited() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = index_of("waha");
    for run in 0..10 {
        let arguments = ["--config", config, "--phone", "+447700900555"];
        let report = report(&doctor(&[&[id(waha).as_str()][..], &arguments].concat()).await);
        assert_eq!(failed(&report), Vec::<String>::new(), "run {run}");
        assert!(
            !report.to_string().contains("rate_limited") && checks(&report, "matched").len() >= 5,
            "run {run}: {report}"
        );
    }
}

#[tokio::test]
async fn a_used_up_limit_of_wrong_codes_is_noted_and_is_not_a_failure() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "[instance.limits]\nguesses_per_10m = 1", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = index_of("waha");
    let report = report(&doctor(&[&id(waha), "--config", config]).await);
    assert_eq!(failed(&report), Vec::<String>::new());
    assert!(report["notes"].to_string().contains("guesses_per_10m"), "{report}");
}

/// The template that carries codes is looked up at the gateway, in every language of the instance.
#[tokio::test]
async fn the_template_of_codes_is_checked_at_the_gateway() {
    let gateway = RecordingServer::start();
    let table = |kind: &str, keys: &str| {
        format!(
            "kind = \"{kind}\"\nurl = \"{}\"\nwebhook_secret = \"webhook-secret-of-a-template\"\ntemplate = \"login_code\"\n{keys}",
            gateway.url
        )
    };
    let meta =
        table("cloud-api", "phone_number_id = \"777\"\naccess_token = \"token-1\"\nbusiness_account_id = \"555\"");
    let dialog = table("360dialog", "api_key = \"key-1\"\ntemplate_lang = \"pt_BR\"");
    let gupshup = table("gupshup-v3", "app_id = \"app-1\"\napi_key = \"key-2\"");
    let mut blocks = String::new();
    let arabic = "[instance.texts.ar]\nsuccess = \"<link>\"\n";
    for (index, (gateway, lines)) in [(&meta, ""), (&dialog, arabic), (&gupshup, arabic)].into_iter().enumerate() {
        let block = crate::daemon::InstanceBlock {
            id: &id(index),
            name: "N",
            number: "+12025550142",
            token: TOKEN,
            lines,
            gateway,
        };
        blocks.push_str(&block.to_string());
    }
    let serve = Serve::start(&blocks).await;
    let config = serve.config.path().to_str().unwrap();
    let template = |language: &str, category: &str, status: &str| {
        serde_json::json!({ "name": "login_code", "language": language, "category": category, "status": status,
            "components": [{ "type": "BODY" }, { "type": "BUTTONS", "buttons": [{ "type": "URL" }] }] })
    };
    let mut without_button = template("en", "AUTHENTICATION", "APPROVED");
    without_button["components"] = serde_json::json!([{ "type": "BODY" }]);
    let of_gupshup = |language: &str, category: &str, status: &str| serde_json::json!({ "elementName": "login_code", "languageCode": language, "category": category, "status": status });
    for (index, list, wanted) in [
        (0, vec![template("en", "AUTHENTICATION", "APPROVED"), template("de", "AUTHENTICATION", "APPROVED")], None),
        (0, vec![], Some("there is no template login_code")),
        (0, vec![template("de", "AUTHENTICATION", "APPROVED")], Some("login_code is not in en, but in de")),
        (0, vec![template("en", "UTILITY", "APPROVED")], Some("category UTILITY")),
        (0, vec![template("en", "AUTHENTICATION", "PAUSED")], Some("status PAUSED")),
        (0, vec![without_button], Some("no button")),
        (1, vec![template("pt_BR", "AUTHENTICATION", "approved")], None),
        (1, vec![template("en", "AUTHENTICATION", "approved")], Some("login_code is not in pt_BR, but in en")),
        (2, vec![of_gupshup("en", "AUTHENTICATION", "APPROVED"), of_gupshup("ar", "AUTHENTICATION", "APPROVED")], None),
        (2, vec![of_gupshup("en", "AUTHENTICATION", "APPROVED")], Some("login_code is not in ar, but in en")),
        (
            2,
            vec![of_gupshup("en", "UTILITY", "APPROVED"), of_gupshup("ar", "AUTHENTICATION", "REJECTED")],
            Some("login_code in ar has the status REJECTED; login_code in en has the category UTILITY"),
        ),
    ] {
        gateway.answer(serde_json::json!({ ["data", "waba_templates", "templates"][index]: list }));
        let output = doctor(&[&id(index), "--config", config]).await;
        let report = report(&output);
        let checks = checks(&report, "codes");
        assert_eq!(checks.len(), 1, "{report}");
        assert_eq!(
            (checks[0]["passed"].as_bool(), output.status.code()),
            (Some(wanted.is_none()), Some(i32::from(wanted.is_some()))),
            "{report}"
        );
        let got = checks[0]["got"].as_str().unwrap();
        assert!(got.contains(wanted.unwrap_or("approved in ")), "{got}");
    }
    let asked = gateway.requests();
    assert!(asked[0].path.starts_with("/555/message_templates?name=login_code&"), "{}", asked[0].path);
    assert_eq!(asked[0].header("authorization"), "Bearer token-1");
    let dialog = asked.iter().find(|one| one.path == "/v1/configs/templates?limit=1000").unwrap();
    assert_eq!(dialog.header("d360-api-key"), "key-1");
    let last = asked.last().unwrap();
    assert_eq!((last.path.as_str(), last.header("authorization")), ("/partner/app/app-1/templates", "key-2"));
}

#[tokio::test]
async fn it_fails_if_the_daemon_has_other_secrets() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", |index| secret_of(&SETUPS[index], index + 40))).await;
    let text = std::fs::read_to_string(serve.config.path()).unwrap();
    for (index, setup) in SETUPS.iter().enumerate().step_by(3) {
        let here = text.replace(&secret_of(setup, index + 40), &secret(index));
        assert_ne!(here, text);
        let config = file(&here);
        let output = doctor(&[&id(index), "--config", config.path().to_str().unwrap()]).await;
        let report = report(&output);
        assert_eq!((output.status.code(), &report["passed"]), (Some(1), &Value::Bool(false)), "{}", setup.kind);
        assert!(
            checks(&report, "genuine").iter().filter(|check| check["got"].as_str().unwrap().starts_with("401")).count()
                >= 5
        );
        let advice = report["advice"].to_string();
        assert!(advice.contains("arrive unchanged") && advice.contains("has other secrets"), "{report}");
    }
}

#[tokio::test]
async fn it_fails_behind_a_proxy_that_changes_requests_and_passes_behind_any_other() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = index_of("waha");
    let url_secret = index_of("wppconnect");
    let transparent: RequestEdit = |_, _| {};
    let strips: RequestEdit = |headers, _| headers.retain(|(name, _)| !name.starts_with("x-"));
    let reformats: RequestEdit = |_, body| {
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            *body = serde_json::to_vec_pretty(&value).unwrap();
        }
    };
    let latin: RequestEdit = |_, body| {
        *body = String::from_utf8_lossy(body)
            .chars()
            .map(|c| if c.is_ascii() { c } else { '?' })
            .collect::<String>()
            .into();
    };
    for (name, behavior, index, advice) in [
        ("transparent", ProxyBehavior::Forward(transparent), waha, None),
        ("strips headers", ProxyBehavior::Forward(strips), waha, Some("drops a header")),
        ("reformats bodies", ProxyBehavior::Forward(reformats), waha, Some("changes bodies")),
        ("replaces non-ASCII characters", ProxyBehavior::Forward(latin), waha, Some("changes bodies")),
        ("accepts everything", ProxyBehavior::Answer(200), waha, Some("forged webhooks are accepted")),
        ("accepts everything", ProxyBehavior::Answer(200), url_secret, Some("forged webhooks are accepted")),
        ("redirects", ProxyBehavior::Answer(301), waha, Some("answers with a redirect (301)")),
        ("forbids", ProxyBehavior::Answer(403), waha, Some("allow POST /webhooks/")),
        ("knows nothing", ProxyBehavior::Answer(404), waha, Some("does not know this instance")),
        ("limits bodies", ProxyBehavior::Answer(413), waha, Some("allow bodies of 4 MiB")),
        ("reaches nothing", ProxyBehavior::Answer(502), waha, Some("it cannot reach the daemon")),
    ] {
        let green = advice.is_none();
        let proxy = ReverseProxy::start(&serve.base, behavior);
        let output = doctor(&[&id(index), "--config", config, "--url", &proxy.url]).await;
        let report = report(&output);
        let given = report["advice"].to_string();
        assert!(given.contains(advice.unwrap_or("[]")), "{name}: {given}");
        assert_eq!(report["passed"], green, "{name}: {:?}", failed(&report));
        assert_eq!(output.status.code(), Some(i32::from(!green)), "{name}");
        let forged = checks(&report, "forged").iter().filter(|check| check["passed"] == false).count();
        let refuses = !matches!(behavior, ProxyBehavior::Answer(200 | 301 | 502));
        assert_eq!(forged == 0, refuses, "{name}: {forged} forgeries were not refused");
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_named_with_its_cure() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let (port, received) = crate::egress_corpus::tls_server("localhost").await;
    let arguments = [&id(index_of("waha")), "--config", serve.config.path().to_str().unwrap()];
    let url = format!("https://localhost:{port}");
    let report = report(&doctor(&[&arguments[..], &["--url", &url]].concat()).await);
    let failed = failed(&report);
    assert!(failed.len() == 1 && failed[0].contains("tls: certificate from an unknown issuer"), "{failed:?}");
    let advice = report["advice"].to_string();
    for part in ["will not trust", "its whole chain", "nginx: ", "HAProxy: ", "Caddy: ", "Apache: ", "Envoy: "] {
        assert!(advice.contains(part), "{part}: {advice}");
    }
    assert_eq!(received.load(std::sync::atomic::Ordering::SeqCst), 0, "nothing was sent to it");
}

/// A diagnosis must not raise the alarms that it diagnoses.
#[tokio::test]
async fn its_webhooks_are_counted_apart() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = index_of("waha");
    let read = async |path: &str| {
        let request = http::Request::get(format!("{}{path}", serve.operator)).body(Vec::new()).unwrap();
        String::from_utf8(client().send(request).await.unwrap().into_body()).unwrap()
    };
    let status: Value = serde_json::from_str(&read("/status?format=json").await).unwrap();
    let seen = |status: &Value| {
        let last_inbound = status["gateways"].as_array().unwrap().iter().map(|one| one["last_inbound_at"].clone());
        (status["failures"].clone(), last_inbound.collect::<Vec<_>>())
    };
    let before = seen(&status);
    let output = doctor(&[&id(waha), "--config", config, "--phone", "+447700900555"]).await;
    assert_eq!(failed(&report(&output)), Vec::<String>::new());
    let metrics = || {
        let url = url::Url::parse(&format!("{}/metrics", serve.operator)).unwrap();
        String::from_utf8(crate::contract::get_bytes(&url, &[]).into_body()).unwrap()
    };
    let after = metrics();
    let lines = |family: &str| {
        let lines = after.lines().filter(|line| line.starts_with(family) && line.contains(&id(waha)));
        lines.filter(|line| !line.ends_with(" 0")).map(str::to_owned).collect::<Vec<_>>()
    };
    for family in
        ["webhooks_rejected_total", "attempts_failed_total", "messages_unmatched_total", "webhook_events_total"]
    {
        assert_eq!(lines(&format!("countersign_{family}{{")), Vec::<String>::new());
    }
    assert!(!lines("countersign_doctor_webhooks_rejected_total{").is_empty(), "{after}");
    assert!(!lines("countersign_doctor_webhook_events_total{").is_empty(), "{after}");
    let status: Value = serde_json::from_str(&read("/status?format=json").await).unwrap();
    assert_eq!(seen(&status), before, "{status}");

    // Only a holder of the key can make the mark, and a forgery with a copied one is refused all the same.
    let forge = http::Request::post(format!("{}/webhooks/{}", serve.base, id(waha)));
    let forge = forge.header("countersign-doctor", "1767225600.00.00").body(b"{}".to_vec()).unwrap();
    assert_eq!(client().send(forge).await.unwrap().status(), 401);
    assert!(metrics().contains("countersign_webhooks_rejected_total{"));
}

#[tokio::test]
async fn it_requires_a_phone_if_the_instance_replies_to_unknown_codes() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "reply_to_unknown = true", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    let waha = index_of("waha");
    let refused = doctor(&[&id(waha), "--config", config]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--phone"));
    assert!(gateway.requests().is_empty());
    let allowed = doctor(&[&id(waha), "--config", config, "--phone", "+447700900555"]).await;
    assert_eq!(failed(&report(&allowed)), Vec::<String>::new());
    for arrived in gateway.requests() {
        let chat = arrived.json()["chatId"].as_str().unwrap().to_owned();
        assert!(chat == "447700900555@c.us" || chat.ends_with("@lid"), "{chat}");
    }
}

#[tokio::test]
async fn with_a_token_a_link_is_minted_and_verified_once() {
    let gateway = RecordingServer::start();
    let serve = Serve::start(&instances(&gateway.url, "", secret)).await;
    let config = serve.config.path().to_str().unwrap();
    for kind in ["waha", "cloud-api", "generic", "twilio"] {
        let index = index_of(kind);
        let arguments = ["--phone", "+447700900555"];
        let output = doctor(&[&[id(index).as_str(), "--config", config][..], &arguments].concat()).await;
        let report = report(&output);
        assert_eq!(failed(&report), Vec::<String>::new(), "{kind}");
        assert!(checks(&report, "matched").len() >= 5, "{kind}: {report}");
    }
    let replies = gateway.requests();
    assert_eq!(replies.len(), 4);
    assert!(replies.iter().all(|reply| String::from_utf8_lossy(&reply.body).contains("447700900555")));
}

#[tokio::test]
async fn a_daemon_that_does_not_respond_is_one_failed_check() {
    let directory = tempfile::tempdir().unwrap();
    let (text, ..) = crate::every_gateway::configuration(&directory, &instances("http://127.0.0.1:1", "", secret));
    let config = file(&text);
    let output = doctor(&[&id(0), "--config", config.path().to_str().unwrap()]).await;
    let report = report(&output);
    assert_eq!((output.status.code(), failed(&report).len()), (Some(1), 1));
    assert!(report["advice"].to_string().contains("is it running"), "{report}");
}
