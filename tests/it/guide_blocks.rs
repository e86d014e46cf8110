//! The shell blocks of the README and of the guides are executed, in the order in which they are printed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use countersign::http::guides::GUIDES;
use serde_json::Value;

use crate::{daemon::client, dev::Dev, wait::TIMEOUT};

/// A fenced block of a Markdown file, without its indentation.
pub(crate) struct GuideBlock {
    info: String,
    pub(crate) code: String,
}

impl GuideBlock {
    pub(crate) fn language(&self) -> &str {
        self.info.split(' ').next().unwrap()
    }

    /// The rest of the word of the first line that begins with `before`.
    pub(crate) fn word(&self, before: &str) -> Option<&str> {
        self.info.split(' ').find_map(|word| word.strip_prefix(before))
    }
}

pub(crate) fn blocks(markdown: &str) -> Vec<GuideBlock> {
    let mut found: Vec<GuideBlock> = Vec::new();
    let mut inside: Option<usize> = None;
    for line in markdown.lines() {
        let indent = line.len() - line.trim_start().len();
        match (inside, line.trim_start().strip_prefix("```")) {
            (None, Some(info)) => {
                found.push(GuideBlock { info: info.to_owned(), code: String::new() });
                inside = Some(indent);
            }
            (Some(_), Some(_)) => inside = None,
            (Some(cut), None) => {
                let code = &mut found.last_mut().unwrap().code;
                code.push_str(line.get(cut..).unwrap_or_default());
                code.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// What is expected of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Run {
    /// Beside `countersign dev`, with its exports.
    Dev,
    /// Beside the daemon of `countersign.toml`, which the guide *Configuration* has written.
    Serve,
    /// This block starts that daemon.
    Start,
    /// Run elsewhere, or not possible in a test; says where.
    Elsewhere(&'static str),
}

/// Every block, by its file and its first words.
const EXPECTED: &[(&str, &str, Run)] = &[
    ("README.md", "cargo run --locked -- dev", Run::Elsewhere("the smoke test of tests/run, and this test's own dev")),
    ("README.md", "./tests/run", Run::Elsewhere("CI")),
    ("configuration", "countersign init .", Run::Serve),
    ("configuration", "countersign serve", Run::Start),
    (
        "openid",
        "openssl genpkey",
        Run::Elsewhere("openssl is not on every machine; the keys of tests/fixtures/oidc are made so"),
    ),
    ("confirm-a-number", "curl", Run::Dev),
    ("second-factor", "curl", Run::Dev),
    ("codes", "curl", Run::Dev),
    ("migrate", "curl", Run::Dev),
    ("nothing-comes-back", "countersign explain", Run::Dev),
    ("nothing-comes-back", "countersign doctor --config countersign.toml\n", Run::Serve),
    (
        "nothing-comes-back",
        "countersign doctor --config countersign.toml --wait",
        Run::Elsewhere("tests/it/doctor/live.rs"),
    ),
    ("nothing-comes-back", "countersign send-test-callback", Run::Dev),
    ("api", "curl", Run::Dev),
    ("callbacks", "countersign", Run::Dev),
    ("gateways", "countersign doctor", Run::Serve),
];

fn shell_blocks() -> Vec<(&'static str, String)> {
    let mut all = vec![("README.md", include_str!("../../README.md"))];
    // The configuration is written before it is used.
    all.extend(GUIDES.iter().filter(|guide| guide.slug == "configuration").map(|guide| (guide.slug, guide.source)));
    all.extend(GUIDES.iter().filter(|guide| guide.slug != "configuration").map(|guide| (guide.slug, guide.source)));
    let mut found = Vec::new();
    for (name, text) in all {
        let shell = blocks(text).into_iter().filter(|block| block.language() == "sh");
        found.extend(shell.map(|block| (name, block.code)));
    }
    found
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell in `home`, with the binary under test as `countersign`.
fn shell(home: &Path, code: &str) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let (_, path) = countersign::config::environment().find(|(name, _)| name == "PATH").unwrap();
    let mut command = Command::new("sh");
    command.args(["-ec", code]).current_dir(home).env("PATH", format!("{}:{path}", bin.display()));
    for name in ["URL", "INSTANCE", "TOKEN", "CONFIG"] {
        command.env_remove(format!("COUNTERSIGN_{name}"));
    }
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shell_block_runs_in_the_order_in_which_it_is_printed() {
    let dev = Dev::start();
    let exported = |name: &str| dev.ready[name].as_str().unwrap().to_owned();
    let home = tempfile::tempdir().unwrap();
    let port = |_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let [listen, operator] = [0, 1].map(port);
    let base = format!("http://{listen}");
    let mut served = None;
    let mut expected = EXPECTED.iter();
    for (name, code) in shell_blocks() {
        let (known, begins, run) =
            expected.next().unwrap_or_else(|| panic!("{name}: no test runs this block:\n{code}"));
        assert!(name == *known && code.starts_with(begins), "{name}: {known} {begins:?} is expected, not\n{code}");
        // The addresses of this machine stand in for those of the guide.
        let code = code.replace("https://wa.example.org", &base);
        // The daemon takes the place of the shell, so that it is what `Served` ends.
        let exec = if matches!(run, Run::Start) { "exec " } else { "" };
        let mut command = shell(home.path(), &format!("{exec}{code}"));
        command.env("COUNTERSIGN__LISTEN", listen.to_string());
        command.env("COUNTERSIGN__OPERATOR_LISTEN", operator.to_string());
        match run {
            Run::Elsewhere(_) => continue,
            Run::Start => {
                command.stdout(Stdio::null()).stderr(Stdio::null());
                served = Some(Served(command.spawn().unwrap()));
                let ready = format!("http://{operator}/readyz");
                let deadline = Instant::now() + TIMEOUT;
                loop {
                    let request = http::Request::get(&ready).body(Vec::new()).unwrap();
                    if client().send(request).await.is_ok_and(|answer| answer.status() == 200) {
                        break;
                    }
                    assert!(Instant::now() < deadline, "the daemon of the guide is not ready");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                continue;
            }
            Run::Dev => {
                command
                    .env("COUNTERSIGN_URL", exported("base_url"))
                    .env("COUNTERSIGN_INSTANCE", exported("instance"))
                    .env("COUNTERSIGN_TOKEN", exported("token"))
                    .env("COUNTERSIGN_CALLBACK_SECRET", exported("callback_secret"));
            }
            Run::Serve => {}
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{name}: {code}\n{out}{error}");
        // `curl` succeeds whatever the status is. Only a wrong code is refused, as the guide says; Wawp's
        // answers have a `code` in any case.
        if code.starts_with("curl") {
            for answer in serde_json::Deserializer::from_str(&out).into_iter::<Value>() {
                let answer = answer.unwrap_or_else(|error| panic!("{name}: {code}\n{error}: {out}"));
                let problem = answer["code"].as_str();
                assert!(matches!(problem, None | Some("code_wrong" | "success")), "{name}: {code}\n{answer}");
                let warnings = answer["data"]["warnings"].as_array();
                assert!(warnings.is_none_or(Vec::is_empty), "{name}: {code}\n{answer}");
            }
        }
    }
    assert_eq!(expected.next().map(|(name, begins, _)| (name, begins)), None, "blocks that are gone");
    drop(served);
}

/// What a person reads first is short, and its pictures load on a slow connection.
#[test]
fn the_readme_is_short_and_its_pictures_are_small() {
    let readme = include_str!("../../README.md");
    assert!(readme.lines().count() <= 160, "{} lines", readme.lines().count());
    let pictures: Vec<&str> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let pictures: Vec<&str> =
        pictures.into_iter().filter(|file| [".svg", ".png", ".jpg"].iter().any(|kind| file.ends_with(kind))).collect();
    assert!((1..=4).contains(&pictures.len()), "{pictures:?}");
    let mut stored: Vec<String> = std::fs::read_dir("templates/docs/images")
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    stored.sort();
    let mut named: Vec<String> = pictures.iter().map(|&file| file.to_owned()).collect();
    named.sort();
    assert_eq!(named, stored, "every picture is used");
    let binary = std::fs::read(env!("CARGO_BIN_EXE_countersign")).unwrap();
    for file in pictures {
        let bytes = std::fs::read(file).unwrap();
        assert!(bytes.len() <= 60_000, "{file}: {} bytes", bytes.len());
        let sample = &bytes[bytes.len() / 2..][..64];
        assert!(memchr::memmem::find(&binary, sample).is_none(), "{file} is in the binary");
    }
}
