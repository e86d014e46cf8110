//! A login through the proxies of the guide, with its blocks, below a path.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    browser::field,
    daemon::{TOKEN, TestStore, WAHA, World, signed_waha},
    process::Process,
    redis_server::free_port,
    wait::until,
};

const GUIDE: &str = include_str!("../../templates/docs/guides/proxies.md");

/// The first block of the guide in this language, with the ports of a test.
fn block(language: &str, port: u16, upstream: u16) -> String {
    let start = GUIDE.split(&format!("```{language}\n")).nth(1).unwrap_or_else(|| panic!("no block for {language}"));
    let block = start.split("```").next().unwrap().replace("127.0.0.1:8080", &format!("127.0.0.1:{upstream}"));
    match language {
        "haproxy" => block.replace("bind :80", &format!("bind 127.0.0.1:{port}")),
        "caddyfile" => block.replace("http://wa.example.org", &format!("http://127.0.0.1:{port}")),
        "apache" => block.replace("*:80", &format!("127.0.0.1:{port}")),
        _ => block,
    }
}

/// A proxy that ends with its owner.
struct ProxyProcess {
    child: Child,
    _directory: TempDir,
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `None` if the program is not installed.
fn start(name: &str, port: u16, upstream: u16) -> Option<ProxyProcess> {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let write = |text: String| {
        let file = home.join("configuration");
        std::fs::write(&file, text).unwrap();
        file
    };
    let mut command = match name {
        "nginx" => {
            let block = block("nginx", port, upstream);
            let temporary =
                ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {kind};\n"));
            let file = write(format!(
                "daemon off; pid pid; error_log stderr; events {{}}\nhttp {{\naccess_log off;\n{}server {{\nlisten 127.0.0.1:{port};\n{block}}}\n}}\n",
                temporary.concat()
            ));
            let mut command = Command::new("nginx");
            command.arg("-p").arg(home).arg("-c").arg(file).args(["-g", "master_process off;"]);
            command
        }
        "haproxy" => {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(write(block("haproxy", port, upstream)));
            command
        }
        "caddy" => {
            let text = format!("{{\n    admin off\n    auto_https off\n}}\n{}", block("caddyfile", port, upstream));
            let mut command = Command::new("caddy");
            command.env("HOME", home).args(["run", "--adapter", "caddyfile", "--config"]).arg(write(text));
            command
        }
        _ => {
            let modules = "/usr/lib/apache2/modules";
            let load = ["mpm_event", "authz_core", "headers", "proxy", "proxy_http"]
                .map(|module| format!("LoadModule {module}_module {modules}/mod_{module}.so\n"));
            let file = write(format!(
                "ServerName test\nServerRoot {0}\nPidFile {0}/pid\nErrorLog {0}/log\nListen 127.0.0.1:{port}\n{1}{2}",
                home.display(),
                load.concat(),
                block("apache", port, upstream)
            ));
            let mut command = Command::new("apache2");
            command.args(["-D", "FOREGROUND", "-f"]).arg(file);
            command
        }
    };
    // Debian's directories, since /usr/sbin is not on every user's PATH.
    let program = ["/usr/sbin", "/usr/bin"].map(|directory| Path::new(directory).join(command.get_program()));
    let found = program.iter().any(|program| program.exists());
    command.env("PATH", "/usr/sbin:/usr/bin").stdout(Stdio::null()).stderr(Stdio::null());
    found.then(|| ProxyProcess { child: command.spawn().unwrap(), _directory: directory })
}

async fn log_in_through(name: &str) -> Option<()> {
    let (port, upstream) = (free_port(), free_port());
    let _proxy = start(name, port, upstream)?;
    let mut world = World::new(TestStore::directory());
    world.public_url = format!("http://127.0.0.1:{port}/otp");
    world.top_level_lines = "trusted_proxies = [\"127.0.0.0/8\"]\n[limits]\npages_per_minute = 20\n".to_owned();
    let operator = free_port();
    let text = world.config(&format!("127.0.0.1:{upstream}"), &format!("127.0.0.1:{operator}"));
    let process = Process::with(upstream, operator, &text, &[]).await;
    let base = &world.public_url;
    let request = |method: &str, url: &str| {
        http::Request::builder().method(method).uri(url).header("authorization", format!("Bearer {TOKEN}"))
    };
    let send = async |request: http::Request<Vec<u8>>| -> crate::daemon::ReceivedResponse {
        process.client.send(request).await.unwrap().into()
    };
    until("the proxy serves", async || {
        let request = request("GET", &format!("{base}/llms.txt")).body(Vec::new()).unwrap();
        process.client.send(request).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    let url = format!("{base}/api/otp/v2/{WAHA}/generate-link");
    let minted =
        send(request("POST", &url).header("content-type", "application/json").body(b"{}".to_vec()).unwrap()).await;
    assert_eq!(minted.status, 200, "{name}: {}", minted.text);

    // The waiting page's stream brings its first event at once.
    let start = Instant::now();
    let events = format!("{}/events?now", minted.text_of("start_url"));
    assert_eq!(send(request("GET", &events).body(Vec::new()).unwrap()).await.json["state"], "pending");
    assert!(start.elapsed() < Duration::from_secs(5), "{name}");

    // A signed webhook, with a large body and doubled slashes in a value that must not be touched.
    let message = json!({
        "id": "evt_1", "event": "message", "session": "default",
        "payload": {
            "id": "false_447700900123@c.us_M1", "timestamp": world.clock.wall().as_second(), "from": "447700900123@c.us",
            "fromMe": false, "body": minted.text_of("text"), "_data": { "pushName": "Mara", "pad": "//%2F é".repeat(300_000) },
        },
    });
    let webhook = signed_waha(base, &message);
    let taken = send(webhook).await;
    assert_eq!(taken.status, 200, "{name}: {}", taken.text);
    let said = world.gateway.wait_for(1).await[0].json()["text"].as_str().unwrap().to_owned();
    let link =
        said.split_whitespace().find(|word| word.starts_with(base)).unwrap_or_else(|| panic!("{said}")).to_owned();
    let page = send(request("GET", &link).body(Vec::new()).unwrap()).await;
    let tap = request("POST", &link)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("form={}", field(&page.text)).into_bytes())
        .unwrap();
    let done = send(tap).await;
    assert_eq!(done.status, 303, "{name}: {}", done.text);
    assert!(done.header("location").starts_with("https://app.example.org/in?"), "{name}");

    // A client cannot choose the address that is counted.
    let guesses = (0..30).map(|index| {
        let request =
            request("GET", &format!("{base}/llms.txt")).header("x-forwarded-for", format!("203.0.113.{index}"));
        send(request.body(Vec::new()).unwrap())
    });
    let limited = join_all(guesses).await.iter().filter(|answer| answer.status == 429).count();
    assert!(limited >= 5, "{name}: {limited} of 30");
    Some(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx, HAProxy, Caddy and Apache: ./tests/run --long proxies"]
async fn a_login_passes_the_proxies_of_the_guide() {
    let mut ran = Vec::new();
    for name in ["nginx", "haproxy", "caddy", "apache2"] {
        match log_in_through(name).await {
            Some(()) => ran.push(name),
            None => eprintln!("skipped: {name} is not installed"),
        }
    }
    println!("logged in through {}", ran.join(", "));
    assert!(ran.contains(&"nginx") && ran.contains(&"haproxy"), "{ran:?}");
}
