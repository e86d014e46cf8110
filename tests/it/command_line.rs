//! Commands against a running daemon.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use countersign::config::password::PasswordDigest;
use serde_json::json;

use crate::daemon::{CALLBACK_SECRET, Daemon, TOKEN, TestStore, WAHA, World};

fn run(arguments: &[&str], token: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).env("COUNTERSIGN_TOKEN", token).env("COUNTERSIGN_CALLBACK_SECRET", CALLBACK_SECRET);
    command.output().unwrap()
}

/// Runs the command on another thread, beside the daemon of this process.
async fn against(daemon: &Daemon, command: &[&str], token: &str) -> (bool, String) {
    let mut arguments: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
    arguments.extend(["--url", &daemon.base, "--instance", WAHA].map(str::to_owned));
    let token = token.to_owned();
    let output =
        tokio::task::spawn_blocking(move || run(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &token));
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_create_a_link_explain_it_and_replay_its_callback() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let (ok, minted) = against(&daemon, &["mint", "--name", "Harbour", "--chat", "447700900123"], TOKEN).await;
    assert!(ok && minted.contains("https://wa.me/447700900999?text="), "{minted}");
    let field = |name: &str| {
        let line = minted.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let (uuid, code) = (field("uuid"), field("code"));
    world.receiver.fail(410, 1);
    daemon.send_message("447700900123", "C1", &format!("[{code}]")).await;
    world.receiver.wait_for(1).await;
    daemon.settle().await;
    let (ok, explained) = against(&daemon, &["explain", &uuid], TOKEN).await;
    assert!(ok && explained.contains("is verified") && explained.contains("link.verified was given up"), "{explained}");
    assert!(explained.lines().any(|line| line.starts_with("  2") && line.contains(": created")), "{explained}");
    let (ok, listed) = against(&daemon, &["callbacks", "list", "--status", "dead"], TOKEN).await;
    assert!(ok && listed.contains("dead") && listed.contains("410"), "{listed}");
    let (ok, replayed) = against(&daemon, &["callbacks", "replay", "--all-dead"], TOKEN).await;
    assert!(ok && replayed.contains("queued again"), "{replayed}");
    world.receiver.wait_for(2).await;
    daemon.settle().await;
    let (ok, tested) = against(&daemon, &["send-test-callback"], TOKEN).await;
    assert!(ok && tested.contains("delivered") && tested.contains("callback.test"), "{tested}");
    world.receiver.fail(500, 1);
    let (ok, tested) = against(&daemon, &["send-test-callback"], TOKEN).await;
    let host = world.receiver.url.trim_start_matches("http://");
    assert!(!ok && tested.contains(&format!("({host}: status 500)")), "{tested}");
    assert!(tested.contains("it answered 500") && tested.contains("content-type: application/json"), "{tested}");
    assert!(tested.contains("true_447700900123@c.us_REPLY"), "{tested}");

    let (ok, refused) = against(&daemon, &["explain", &uuid], "wrong").await;
    assert!(!ok && refused.contains("unauthenticated") && !refused.contains("wrong token here"), "{refused}");
    let (ok, refused) = against(&daemon, &["mint", "--expires", "5"], TOKEN).await;
    assert!(!ok && refused.contains("expires: expected a whole number"), "{refused}");
    for text in [&minted, &explained, &listed] {
        assert!(!text.contains(TOKEN));
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_signature_explains_a_mismatch() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    daemon.post(&format!("/api/otp/v2/{WAHA}/callbacks/test"), json!({})).await;
    let callback = world.receiver.wait_for(1).await.remove(0);
    daemon.settle().await;
    let directory = tempfile::tempdir().unwrap();
    let verify = |body: &[u8], timestamp: &str, signature: &str| {
        let file = directory.path().join("body");
        std::fs::write(&file, body).unwrap();
        let file = file.to_str().unwrap();
        let id = callback.header("webhook-id");
        let arguments = ["verify-signature", "--id", id, "--timestamp", timestamp, "--signature", signature, file];
        let output = run(&arguments, TOKEN);
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let (timestamp, signature) = (callback.header("webhook-timestamp"), callback.header("webhook-signature"));
    let (ok, text) = verify(&callback.body, timestamp, signature);
    assert!(ok && text.starts_with("genuine"), "{text}");
    let with_newline = [callback.body.as_slice(), b"\n"].concat();
    let pretty = format!("{:#}", callback.json()).into_bytes();
    for (body, timestamp, signature, why) in [
        (&with_newline, timestamp, signature, "line break"),
        (&pretty, timestamp, signature, "raw bytes"),
        (&callback.body, "1", signature, "the secret"),
        (&callback.body, timestamp, "v2,abc", "no `v1,` entry"),
        (&b"{}".to_vec(), timestamp, signature, "the secret"),
    ] {
        let (ok, text) = verify(body, timestamp, signature);
        assert!(!ok && text.contains(why), "{why}: {text}");
    }
    daemon.finish().await;
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell], TOKEN);
        assert!(output.status.success() && String::from_utf8(output.stdout).unwrap().contains("send-test-callback"));
    }
}

/// `head` closes its standard input after a line; the command ends as if it had written everything.
#[test]
fn a_reader_that_closes_early_is_no_failure() {
    for command in [
        &["openapi"][..],
        &["print-config"],
        &["man"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["completions", "elvish"],
        &["--help"],
        &["dev", "--once"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(command)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("panicked"), "{command:?}: {:?} {said}", output.status);
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_examples() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(&["man", "--out", directory.path().to_str().unwrap()], TOKEN);
    assert!(output.status.success(), "{output:?}");
    for name in ["countersign", "countersign-init", "countersign-callbacks-replay", "countersign-serve"] {
        let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
        assert!(page.contains("Exit status") && page.contains(".SH"), "{name}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_sent_and_checked_from_the_command_line() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let (ok, sent) = against(&daemon, &["request-code", "+447700900123", "--json"], TOKEN).await;
    let code = serde_json::from_str::<serde_json::Value>(&sent).unwrap()["code"].as_str().unwrap().to_owned();
    assert!(ok, "{sent}");
    let wrong = if code == "000000" { "111111" } else { "000000" };
    let (ok, refused) = against(&daemon, &["validate-code", "+447700900123", wrong], TOKEN).await;
    assert!(!ok && refused.contains("code_wrong"), "{refused}");
    let (ok, accepted) = against(&daemon, &["validate-code", "+447700900123", &code], TOKEN).await;
    assert!(ok && accepted.contains("validated"), "{accepted}");
    daemon.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mint_takes_what_an_app_gives_and_draws_the_link() {
    let world = World::new(TestStore::directory());
    let daemon = world.start().await;
    let (ok, minted) = against(&daemon, &["mint", "--state", "s", "--lang", "es", "--qr"], TOKEN).await;
    assert!(ok && !minted.contains("warning"), "{minted}");
    let drawn = minted.lines().filter(|line| line.contains('█') || line.contains('▀')).count();
    assert!(drawn > 15, "{minted}");
    let (ok, refused) = against(&daemon, &["mint", "--redirect-url", "https://evil.example/"], TOKEN).await;
    assert!(!ok && refused.contains("redirect_url: is no entry of the instance's redirect_urls"), "{refused}");
    daemon.finish().await;
}

/// Without a daemon, and without a token.
#[test]
fn errors_name_the_next_step() {
    let instance = ["--instance", WAHA];
    let away = run(&[&["mint", "--url", "http://127.0.0.1:1"][..], &instance].concat(), TOKEN);
    let said = String::from_utf8_lossy(&away.stderr);
    assert!(said.contains("is the daemon running there? --url or COUNTERSIGN_URL names another"), "{said}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = command.args(["mint"]).args(instance).env_remove("COUNTERSIGN_TOKEN").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("set COUNTERSIGN_TOKEN, or name a file with --token-file"), "{said}");
    let nameless = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["explain", "0123"])
        .env("COUNTERSIGN_TOKEN", TOKEN)
        .env_remove("COUNTERSIGN_INSTANCE")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&nameless.stderr);
    assert!(said.contains("set COUNTERSIGN_INSTANCE or --instance; `countersign check-config` lists"), "{said}");
    // The configuration of the working directory, as `init` writes it.
    let here = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = command.arg("serve").current_dir(here.path()).env_remove("COUNTERSIGN_CONFIG").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no file countersign.toml: `countersign init` writes one"), "{said}");
    let missing = run(&["check-config", "-c", "/nowhere.toml"], TOKEN);
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(missing.status.code() == Some(78) && said.contains("`countersign init` writes one"), "{said}");
}

#[test]
fn hash_password_prints_a_digest_that_the_configuration_accepts() {
    let hash = |password: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = hash("correct horse battery\nand more");
    let digest: PasswordDigest = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!(digest.is_of("correct horse battery") && !digest.is_of("correct horse"));
    let long = hash(&"x".repeat(1025));
    assert!(
        !long.status.success() && String::from_utf8_lossy(&long.stderr).contains("more than 1024 bytes"),
        "never truncated"
    );
    let longest = format!("{}x", "ü".repeat(511));
    let digest: PasswordDigest = String::from_utf8(hash(&longest).stdout).unwrap().trim().parse().unwrap();
    assert!(digest.is_of(&longest));
    let short = hash("short\n");
    assert!(!short.status.success() && String::from_utf8_lossy(&short.stderr).contains("fewer than 12 characters"));
}
