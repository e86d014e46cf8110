//! The apps of the guide *Log in* are run as they are printed: a person signs in, and another browser cannot.
//!
//! `COUNTERSIGN_APPS` names the frameworks. Their packages come from npm and the Python Package Index, into `COUNTERSIGN_TOOLS`.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use http::Request;

use crate::{
    browser::{Browser, reply},
    daemon::{Daemon, TOKEN, TestStore, WAHA, World, client},
    guide_blocks::blocks,
    wait::TIMEOUT,
};

const LOG_IN: &str = include_str!("../../templates/docs/guides/log-in.md");
const README: &str = include_str!("../../README.md");

struct ExampleApp(Child);

impl Drop for ExampleApp {
    fn drop(&mut self) {
        // Servers that reload have children in the same group.
        let _ = Command::new("kill").args(["--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

fn tools() -> PathBuf {
    let named = countersign::config::environment().find(|(name, _)| name == "COUNTERSIGN_TOOLS");
    named.map_or_else(std::env::temp_dir, |(_, path)| path.into()).join("apps")
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let printed = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&printed));
}

/// Installs what the app imports, and returns the command that runs `file` on `port`.
fn command(framework: &str, directory: &Path, file: &Path, port: u16) -> Command {
    let tools = tools();
    std::fs::create_dir_all(&tools).unwrap();
    let python = || {
        let venv = tools.join("venv");
        if !venv.join("bin/uvicorn").exists() {
            succeed(Command::new("python3").args(["-m", "venv"]).arg(&venv));
            let pip = ["-m", "pip", "install", "--quiet", "--no-input", "fastapi", "uvicorn", "httpx", "django"];
            succeed(Command::new(venv.join("bin/python3")).args(pip));
        }
        venv.join("bin")
    };
    match framework {
        "Express" => {
            succeed(Command::new("npm").args(["install", "--silent", "--no-audit", "express"]).current_dir(directory));
            let mut node = Command::new("node");
            node.arg(file);
            node
        }
        "Next.js" => {
            // Its compiler accepts no packages from outside of the directory.
            let install = ["install", "--silent", "--no-audit", "--no-fund", "next", "react", "react-dom"];
            succeed(Command::new("npm").args(install).current_dir(directory));
            let mut next = Command::new("node_modules/.bin/next");
            next.args(["dev", "--port", &port.to_string()]).env("NEXT_TELEMETRY_DISABLED", "1");
            next
        }
        "FastAPI" => {
            let mut uvicorn = Command::new(python().join("python3"));
            uvicorn.args(["-m", "uvicorn", "login:app", "--port", &port.to_string()]);
            uvicorn
        }
        "Django" => {
            let mut django = Command::new(python().join("python3"));
            django.arg(file).args(["runserver", "--noreload", &port.to_string()]);
            django
        }
        "PHP" => {
            let mut php = Command::new("php");
            php.args(["-S", &format!("localhost:{port}")]).arg(file);
            php
        }
        "Go" => {
            let mut go = Command::new("go");
            go.arg("run").arg(file);
            go
        }
        other => panic!("no test knows how to run {other}"),
    }
}

/// A visitor's browser at the app.
#[derive(Default)]
struct CookieClient {
    cookies: Vec<(String, String)>,
}

impl CookieClient {
    /// The status, the `Location` and the body.
    async fn get(&mut self, url: &str) -> (u16, String, String) {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::get(url).header("cookie", cookies.join("; ")).header("accept", "text/html");
        let answer = client().send(request.body(Vec::new()).unwrap()).await.unwrap();
        for set in answer.headers().get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() && value != "\"\"" {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        (status, location.unwrap_or_default(), String::from_utf8_lossy(&answer.into_body()).into_owned())
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until_it_answers(app: &str) {
    let deadline = Instant::now() + 2 * TIMEOUT;
    loop {
        let request = Request::get(app).body(Vec::new()).unwrap();
        if client().send(request).await.is_ok_and(|answer| answer.status() == 200) {
            return;
        }
        assert!(Instant::now() < deadline, "{app} does not answer");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// From the app's button to the redirect with the token.
async fn sign_in(world: &World, daemon: &Daemon, app: &str, visitor: &mut CookieClient) -> String {
    let (status, start, body) = visitor.get(&format!("{app}/login")).await;
    assert!((302..=307).contains(&status), "{status} {body}");
    let page = url::Url::parse(&start).unwrap().path().to_owned();
    let mut browser = Browser::default();
    browser.tap(daemon, &page, "here").await;
    let text = browser.get(daemon, &page).await.text;
    let text = text.split("id=\"text\" dir=\"auto\">").nth(1).unwrap().split('<').next().unwrap();
    daemon.send_message("447700900123", "M1", text).await;
    let reply_text = reply(world, 1).await;
    let link = &reply_text[reply_text.find("/o/").unwrap()..];
    let answer = browser.submit_link(daemon, link.split_whitespace().next().unwrap()).await;
    answer.header("location").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_app_signs_a_person_in_and_no_other_browser() {
    let wanted = countersign::config::environment().find(|(name, _)| name == "COUNTERSIGN_APPS");
    let wanted = wanted.map(|(_, names)| names).unwrap_or_default();
    for framework in wanted.split_whitespace() {
        let block = blocks(LOG_IN).into_iter().find(|block| block.word("tab=") == Some(framework)).unwrap();
        let port = free_port();
        let app = format!("http://localhost:{port}");
        let mut world = World::new(TestStore::directory());
        world.redirects = format!("[\"{app}/in\"]");
        let daemon = world.start().await;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(block.word("file=").unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &block.code).unwrap();
        let mut command = command(framework, directory.path(), &file, port);
        command
            .current_dir(directory.path())
            .env("COUNTERSIGN_URL", &daemon.base)
            .env("COUNTERSIGN_INSTANCE", WAHA)
            .env("COUNTERSIGN_TOKEN", TOKEN)
            .env("APP_URL", &app)
            .env("PORT", port.to_string())
            .stdout(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let running = ExampleApp(command.spawn().unwrap());
        until_it_answers(&app).await;

        let mut visitor = CookieClient::default();
        let (_, _, home) = visitor.get(&app).await;
        assert!(home.contains("Sign in with WhatsApp"), "{framework}: {home}");
        let landing = sign_in(&world, &daemon, &app, &mut visitor).await;
        assert!(landing.starts_with(&format!("{app}/in?")), "{framework}: {landing}");
        // Another browser, which got hold of the redirect: it is refused, and the token is not used up.
        let (status, _, body) = CookieClient::default().get(&landing).await;
        assert!(status == 403 || status == 422, "{framework}: {status} {body}");
        let (status, location, body) = visitor.get(&landing).await;
        assert!((302..=303).contains(&status) && location.ends_with('/'), "{framework}: {status} {location} {body}");
        let (_, _, home) = visitor.get(&app).await;
        assert!(home.contains("Hello") && home.contains("447700900123"), "{framework}: {home}");
        let (status, ..) = visitor.get(&landing).await;
        assert_ne!(status, 200, "{framework}: the redirect works once");
        println!("{framework}: signed in");
        drop(running);
        daemon.stop().await;
    }
}

/// The README's app is the guide's.
#[test]
fn the_readme_shows_the_app_of_the_guide() {
    let guide = blocks(LOG_IN).into_iter().find(|block| block.word("tab=") == Some("Express")).unwrap();
    let readme = blocks(README).into_iter().find(|block| block.language() == "js").unwrap();
    assert_eq!(guide.code.split_once('\n').unwrap().1, readme.code);
}

/// The reference and the guide show the same code, which `contract` and `interop` run.
#[test]
fn the_guide_verifies_as_the_reference_does() {
    let guide = include_str!("../../templates/docs/guides/callbacks.md");
    let tabs: Vec<_> = blocks(guide).into_iter().filter(|block| block.word("tab=").is_some()).collect();
    assert_eq!(tabs.len(), 5);
    for block in tabs {
        let file = block.word("file=").unwrap();
        let known = std::fs::read_to_string(format!("templates/docs/verify/{file}")).unwrap();
        assert_eq!(block.code.trim_end(), known.trim_end(), "{file}");
    }
}

/// A sample that no test runs says so in its first line.
#[test]
fn samples_that_are_not_executed_say_so() {
    let run = ["Express", "Next.js", "FastAPI", "Django", "PHP", "Go"];
    for block in blocks(LOG_IN).iter().filter(|block| block.word("tab=").is_some()) {
        let tab = block.word("tab=").unwrap();
        let marked = block.code.lines().take(2).any(|line| line.contains("not executed by the tests"));
        assert_eq!(marked, !run.contains(&tab), "{tab}");
    }
}
