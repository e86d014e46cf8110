//! `countersign dev` as a process: `--once`, and codes on the fake phone.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::daemon::client;
use crate::process::run;
use crate::wait::TIMEOUT;

const NUMBER: &str = "+447700900123";

pub(crate) struct Dev {
    child: Child,
    pub(crate) ready: Value,
    _home: tempfile::TempDir,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Dev {
    pub(crate) fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["dev", "--json", "--data"])
            .arg(home.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, ready: serde_json::from_str(&line).unwrap(), _home: home }
    }

    fn phone(&self, path: &str) -> String {
        format!("{}{path}", self.ready["phone_url"].as_str().unwrap())
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
        let request = http::Request::post(self.phone(path)).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let answer = client().send(request.body(body.to_string().into_bytes()).unwrap()).await.unwrap();
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    /// The newest bubble that is a code, when there are `count` of them.
    async fn code(&self, count: usize) -> Value {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let answer =
                client().send(http::Request::get(self.phone("/state.json")).body(Vec::new()).unwrap()).await.unwrap();
            let state: Value = serde_json::from_slice(answer.body()).unwrap();
            let codes: Vec<&Value> =
                state["bubbles"].as_array().unwrap().iter().filter(|bubble| bubble["code"] == json!(true)).collect();
            if codes.len() == count {
                assert!(
                    !state["requests"].to_string().contains(&digits(codes[count - 1])),
                    "the code is only on the phone"
                );
                return codes[count - 1].clone();
            }
            assert!(Instant::now() < deadline, "{state}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn digits(bubble: &Value) -> String {
    let text = bubble["text"].as_str().unwrap();
    text.split(|letter: char| !letter.is_ascii_digit()).find(|word| word.len() == 6).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_phone_receives_codes_and_the_app_checks_them() {
    let dev = Dev::start();
    let (status, asked) = dev.post("/code", &[], json!({ "chatId": NUMBER })).await;
    assert_eq!((status, &asked["status"]), (200, &json!(200)), "{asked}");
    let bubble = dev.code(1).await;
    assert_eq!((&bubble["chat"], &bubble["sms"], &bubble["side"]), (&json!(NUMBER), &json!(false), &json!("business")));
    assert!(bubble["millis"].is_u64(), "{bubble}");
    let code = digits(&bubble);
    let check = async |code: &str| dev.post("/code/check", &[], json!({ "chatId": NUMBER, "code": code })).await.1;
    let wrong = if code == "000000" { "111111" } else { "000000" };
    assert_eq!(check(wrong).await["body"]["code"], "code_wrong");
    assert_eq!(check(&code).await["body"]["data"]["status"], "validated");
    assert_eq!(check(&code).await["body"]["code"], "code_used");
    let elsewhere = json!({ "chatId": "447700900456@c.us", "no_whatsapp": true });
    assert_eq!(dev.post("/code", &[], elsewhere).await.1["status"], 200);
    let bubble = dev.code(2).await;
    assert_eq!((&bubble["chat"], &bubble["sms"]), (&json!("+447700900456"), &json!(true)), "sent by SMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fake_phone_refuses_other_sites_and_unauthenticated_messages() {
    let dev = Dev::start();
    let foreign = [("origin", "https://evil.example")];
    assert_eq!(dev.post("/code", &foreign, json!({ "chatId": NUMBER })).await.0, 403);
    assert_eq!(dev.post("/code/check", &foreign, json!({ "chatId": NUMBER, "code": "1" })).await.0, 403);
    for channel in ["whatsapp", "sms", "carrier pigeon"] {
        let message = json!({ "to": NUMBER, "text": "123456 is your code", "channel": channel, "code": true });
        for header in ["Bearer ", "Bearer phone_", "phone"] {
            assert_eq!(dev.post("/messages", &[("authorization", header)], message.clone()).await.0, 401);
        }
        assert_eq!(dev.post("/messages", &[], message).await.0, 401, "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_an_issuer_that_doctor_checks_from_outside() {
    let dev = Dev::start();
    let issuer = dev.ready["issuer"].as_str().unwrap();
    let get = async |url: String| client().send(http::Request::get(url).body(Vec::new()).unwrap()).await.unwrap();
    let page = get(dev.phone("/oidc")).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    let base = dev.ready["base_url"].as_str().unwrap();
    assert!(policy.contains(&format!("connect-src 'self' {base};")), "{policy}");
    assert!(String::from_utf8_lossy(page.body()).contains(issuer));
    let doctor = |more: &[&str]| {
        let (status, output, error) = run(&[&["doctor", "--json", "--oidc"], more].concat());
        let report: Value = serde_json::from_str(&output).unwrap_or_else(|_| panic!("{error}"));
        let failed = report["checks"].as_array().unwrap().iter().filter(|check| check["passed"] == false);
        (status, failed.map(|check| check["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), report)
    };
    let (status, failed, report) = doctor(&[issuer]);
    assert_eq!((status, failed), (Some(0), Vec::new()), "{report}");
    let id = dev.ready["client_id"].as_str().unwrap();
    let of_client = [issuer, "--client-id", id, "--redirect-uri", "http://localhost:3000/callback"];
    let (status, failed, report) = doctor(&of_client);
    assert_eq!((status, failed), (Some(0), Vec::new()), "{report}");
    assert!(report["checks"].as_array().unwrap().len() >= 20, "{report}");
    // Another spelling of the issuer is another issuer, and what is no provider has no configuration.
    let (status, failed, report) = doctor(&[&issuer.replace("127.0.0.1", "localhost")]);
    assert_eq!(status, Some(1), "{report}");
    assert!(failed.iter().any(|name| name == "issuer is this URL"), "{failed:?}");
    let (status, failed, _) = doctor(&[&format!("{base}/oidc/5f0c2a90-0000-4000-8000-00000000000f")]);
    assert_eq!((status, failed), (Some(1), vec!["the configuration is readable".to_owned()]));
}

/// Runs `dev` as a person does, and returns what it prints.
struct DevProcess {
    child: Child,
    text: String,
}

impl Drop for DevProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(home: &std::path::Path) -> DevProcess {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["dev", "--listen", "127.0.0.1:0", "--data"])
        .arg(home)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    while !text.contains("Ctrl-C") {
        assert!(out.read_line(&mut text).unwrap() > 0, "{text}");
    }
    DevProcess { child, text }
}

impl DevProcess {
    fn exported(&self, name: &str) -> String {
        let line = self.text.lines().find(|line| line.contains(&format!("export {name}="))).unwrap();
        line.split_once('=').unwrap().1.to_owned()
    }
}

/// What `dev` prints is pasted: the exports, then the command. Its answer warns of nothing, and the start page leads to
/// the fake phone.
#[tokio::test(flavor = "multi_thread")]
async fn what_dev_prints_works_when_pasted_and_leads_to_the_fake_phone() {
    let home = tempfile::tempdir().unwrap();
    let dev = shown(home.path());
    for part in ["/docs", "Fake phone", "deploy/examples/login.py", "dev.toml"] {
        assert!(dev.text.contains(part), "{part} in {}", dev.text);
    }
    let (exports, rest) = dev.text.split_once("An app that logs people in").unwrap();
    let exports = exports.lines().filter(|line| line.trim().starts_with("export "));
    let curl = rest.split_once("start_url:").unwrap().1.split_once("Ctrl-C").unwrap().0;
    let script = format!("{}\n{curl}", exports.collect::<Vec<_>>().join("\n"));
    let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}\n{script}"));
    assert_eq!(answer["data"]["warnings"], json!([]), "{answer}");
    assert!(answer["data"]["whatsapp_link"].as_str().unwrap().starts_with("https://wa.me/"), "{answer}");
    let start = answer["data"]["start_url"].as_str().unwrap();
    let page = client().send(http::Request::get(start).body(Vec::new()).unwrap()).await.unwrap();
    let page = String::from_utf8(page.into_body()).unwrap();
    let phone = dev.text.split("Fake phone   ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(page.contains(&format!("href=\"{phone}?text=")) && page.contains("a fake phone stands in"), "{page}");
    assert!(!page.contains("wa.me"), "{page}");

    // An app of one's own, without further settings; and a site elsewhere, which is refused with a reason.
    let mint = async |redirect: &str| {
        let url = format!(
            "{}/api/otp/v2/{}/generate-link",
            dev.exported("COUNTERSIGN_URL"),
            dev.exported("COUNTERSIGN_INSTANCE")
        );
        let request = http::Request::post(url)
            .header("authorization", format!("Bearer {}", dev.exported("COUNTERSIGN_TOKEN")))
            .header("content-type", "application/json")
            .body(json!({ "state": "s", "redirect_url": redirect }).to_string().into_bytes());
        let answer = client().send(request.unwrap()).await.unwrap();
        (answer.status().as_u16(), String::from_utf8(answer.into_body()).unwrap())
    };
    for mine in ["http://localhost:3000/in", "http://127.0.0.1:5173/a/b?c=d", "http://[::1]:9/"] {
        assert_eq!(mint(mine).await.0, 200, "{mine}");
    }
    for other in ["https://app.example.org/", "http://localhost.evil.example/", "http://10.0.0.1/"] {
        let (status, answer) = mint(other).await;
        assert!(status == 422 && answer.contains("/landed"), "{other}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_kept_and_the_settings_are_taken_up_while_dev_runs() {
    let home = tempfile::tempdir().unwrap();
    let first = shown(home.path()).exported("COUNTERSIGN_TOKEN");
    let dev = shown(home.path());
    assert_eq!(dev.exported("COUNTERSIGN_TOKEN"), first);
    let settings = home.path().join("dev.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let changed = text.replace("redirect_urls = [", "redirect_urls = [\"https://app.example.org/in\", ");
    assert_ne!(text, changed);
    std::fs::write(&settings, changed).unwrap();
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        for name in ["COUNTERSIGN_URL", "COUNTERSIGN_INSTANCE", "COUNTERSIGN_TOKEN"] {
            command.env(name, dev.exported(name));
        }
        let output = command.args(["mint", "--redirect-url", "https://app.example.org/in"]).output().unwrap();
        if output.status.success() {
            break;
        }
        assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&output.stderr));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // SIGHUP requests a reload and does not end the process.
    let pid = dev.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let alive = Command::new("kill").args(["-0", &pid]).status().unwrap();
    assert!(alive.success(), "SIGHUP ended dev");
}

#[test]
fn once_runs_a_login_by_link_and_one_by_code_and_prints_each_step() {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).args(["dev", "--once"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let steps: Vec<&str> = stdout.lines().take_while(|line| !line.is_empty()).collect();
    let mut rest = steps.iter();
    for step in [
        "mints a link",
        "receives the subject",
        "replaying the first webhook has no effect",
        "requests a code",
        "code arrives in the chat",
        "wrong code is refused, and counted",
        "right code is accepted",
        "using it again is refused",
        "code.validated, signature valid",
        "arrives by SMS",
        "the code by SMS is accepted",
    ] {
        let line = rest.find(|line| line.contains(step)).unwrap_or_else(|| panic!("{step}\n{stdout}"));
        assert!(line.starts_with('✓') && line.contains(" ms  "), "{line}");
    }
    assert!(stdout.contains("all steps passed in "), "{stdout}");
}
