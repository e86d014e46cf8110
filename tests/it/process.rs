//! The daemon as a process: races between replicas, `kill -9` at any moment, signals, the command line, and what it
//! writes to the log and to disk.

use std::{
    collections::{HashMap, HashSet},
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use countersign::egress::Egress;
use serde_json::{Value, json};

use crate::{
    daemon::{InstanceBlock, ReceivedResponse, TOKEN, TestStore, WAHA, World, client, message, signed_waha},
    redis_server::{free_port, signal},
    wait::{until, until_or},
};

/// A process that runs `serve`.
pub(crate) struct Process {
    child: Child,
    pub(crate) base: String,
    /// The operator listener.
    pub(crate) operator: String,
    pub(crate) client: Egress,
    output: Arc<Mutex<Vec<u8>>>,
    /// Threads that end when the process closes its output.
    collectors: Vec<JoinHandle<()>>,
    pub(crate) config: tempfile::NamedTempFile,
}

impl Process {
    pub(crate) async fn start(world: &World) -> Self {
        let (port, operator) = (free_port(), free_port());
        let text = world.config(&format!("127.0.0.1:{port}"), &format!("127.0.0.1:{operator}"));
        Self::with(port, operator, &text, &[]).await
    }

    /// With a configuration that listens on these ports.
    pub(crate) async fn with(port: u16, operator: u16, text: &str, environment: &[(&str, &str)]) -> Self {
        let this = Self::spawn(port, operator, text, environment);
        this.wait_until_ready().await;
        this
    }

    /// Does not wait until it is ready.
    pub(crate) fn spawn(port: u16, operator: u16, text: &str, environment: &[(&str, &str)]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_countersign")), port, operator, text, environment)
    }

    /// With a limit of open files.
    pub(crate) fn spawn_with_files(files: u16, port: u16, operator: u16, text: &str) -> Self {
        Self::spawn_after(&format!("ulimit -n {files}"), port, operator, text)
    }

    /// Started by a shell after the command `prepare`.
    pub(crate) fn spawn_after(prepare: &str, port: u16, operator: u16, text: &str) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{prepare}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_countersign")]);
        Self::run(shell, port, operator, text, &[])
    }

    fn run(mut command: Command, port: u16, operator: u16, text: &str, environment: &[(&str, &str)]) -> Self {
        let config = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(config.path(), text).unwrap();
        let mut child = command
            .args(["serve", "--config"])
            .arg(config.path())
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(Vec::new()));
        let collectors =
            vec![collect(child.stdout.take().unwrap(), &output), collect(child.stderr.take().unwrap(), &output)];
        let (base, operator) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{operator}"));
        Self { child, base, operator, client: client(), output, collectors, config }
    }

    pub(crate) async fn wait_until_ready(&self) {
        until_or(
            || format!("ready: {}", self.output()),
            async || {
                let request = http::Request::get(format!("{}/readyz", self.operator)).body(Vec::new()).unwrap();
                self.client.send(request).await.is_ok_and(|response| response.status().is_success())
            },
        )
        .await;
    }

    /// A page of the operator listener.
    pub(crate) async fn operator(&self, path: &str) -> ReceivedResponse {
        let request = http::Request::get(format!("{}{path}", self.operator)).body(Vec::new()).unwrap();
        self.client.send(request).await.unwrap().into()
    }

    /// One series of `/metrics`, such as `countersign_ready`; 0 if it does not exist.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = self.operator("/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a series satisfies the predicate.
    pub(crate) async fn until_metric(&self, series: &str, as_wanted: impl Fn(f64) -> bool) {
        let seen = Mutex::new(0.0);
        until_or(
            || format!("{series} is {}: {}", seen.lock().unwrap(), self.output()),
            async || {
                let value = self.metric(series).await;
                *seen.lock().unwrap() = value;
                as_wanted(value)
            },
        )
        .await;
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    pub(crate) async fn mint(&self, body: Value) -> Option<ReceivedResponse> {
        let request = http::Request::post(format!("{}/api/otp/v2/{WAHA}/generate-link", self.base))
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes())
            .unwrap();
        self.client.send(request).await.ok().map(ReceivedResponse::from).filter(|answer| answer.status == 200)
    }

    pub(crate) async fn send_message(&self, number: &str, id: &str, text: &str) -> bool {
        let now = countersign::clock::Clock::default().wall().as_second();
        let request = signed_waha(&self.base, &message(number, id, text, now));
        self.client.send(request).await.is_ok_and(|response| response.status().as_u16() == 200)
    }

    /// A file of `/proc/<pid>`, such as `status`.
    pub(crate) fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    /// Peak resident memory in KiB.
    pub(crate) fn peak_rss_kib(&self) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Whether it has the connection that comes from this port.
    pub(crate) fn connects_from(&self, port: u16) -> bool {
        let connections = self.proc("net/tcp");
        let inode = connections.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&format!(":{port:04X}")).then(|| format!("socket:[{}]", fields[9]))
        });
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let mut targets = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        inode.is_some_and(|inode| targets.any(|target| target.to_str() == Some(&inode)))
    }

    /// Seconds of processor time; Linux counts in hundredths.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and waits. Exit status, time taken, and output.
    pub(crate) fn terminate(self) -> (Option<i32>, Duration, String) {
        self.signal("-TERM");
        self.wait_for_exit()
    }

    /// Waits for the exit. Exit status, time taken, and output.
    pub(crate) fn wait_for_exit(mut self) -> (Option<i32>, Duration, String) {
        let start = Instant::now();
        let status = self.child.wait().unwrap();
        let took = start.elapsed();
        for collector in self.collectors.drain(..) {
            collector.join().unwrap();
        }
        (status.code(), took, self.output())
    }

    pub(crate) fn output(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl std::io::Read + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 8192];
        while let Ok(read) = pipe.read(&mut buffer) {
            if read == 0 {
                return;
            }
            into.lock().unwrap().extend_from_slice(&buffer[..read]);
        }
    })
}

/// Callbacks of verified links: their ids and bodies, by link.
pub(crate) fn callbacks_by_link(world: &World) -> HashMap<String, HashSet<(String, Vec<u8>)>> {
    let mut callbacks: HashMap<String, HashSet<(String, Vec<u8>)>> = HashMap::new();
    for callback in world.receiver.requests() {
        let body = callback.json();
        if body["type"] == "link.verified" {
            let uuid = body["data"]["uuid"].as_str().unwrap().to_owned();
            callbacks.entry(uuid).or_default().insert((callback.header("webhook-id").to_owned(), callback.body));
        }
    }
    callbacks
}

/// Ten codes, a thousand senders each, three processes: ten successes.
#[tokio::test(flavor = "multi_thread")]
async fn ten_codes_sent_by_a_thousand_senders_succeed_ten_times() {
    let world = World::new(TestStore::redis());
    let processes = [Process::start(&world).await, Process::start(&world).await, Process::start(&world).await];
    let mut links = Vec::new();
    for _ in 0..10 {
        let minted = processes[0].mint(json!({})).await.unwrap();
        links.push((minted.text_of("uuid"), minted.text_of("text")));
    }
    let now = countersign::clock::Clock::default().wall().as_second();
    let requests: Vec<_> = (0..10_000u32)
        .map(|index| {
            let (_, text) = &links[(index % 10) as usize];
            let sender = format!("4477{:08}", index / 10);
            let base = &processes[(index / 10 % 3) as usize].base;
            signed_waha(base, &message(&sender, &format!("M{index}"), text, now))
        })
        .collect();
    let queue = Arc::new(Mutex::new(requests));
    let client = client();
    let mut senders = Vec::new();
    for _ in 0..64 {
        let (queue, client) = (Arc::clone(&queue), client.clone());
        senders.push(tokio::spawn(async move {
            let mut delivered = 0;
            loop {
                let Some(request) = queue.lock().unwrap().pop() else { return delivered };
                // A gateway retries a webhook without a 200.
                for _ in 0..100 {
                    if client.send(request.clone()).await.is_ok_and(|response| response.status().is_success()) {
                        delivered += 1;
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }));
    }
    let mut delivered = 0;
    for sender in senders {
        delivered += sender.await.unwrap();
    }
    assert_eq!(delivered, 10_000);
    let winners = || {
        let replies = world.gateway.requests();
        replies.iter().filter(|reply| reply.json()["text"].as_str().unwrap().contains("/o/")).count()
    };
    until("the ten have a callback and a reply", async || callbacks_by_link(&world).len() >= 10 && winners() >= 10)
        .await;
    for process in processes {
        process.terminate();
    }
    let callbacks = callbacks_by_link(&world);
    assert_eq!(callbacks.len(), 10);
    assert!(links.iter().all(|(uuid, _)| callbacks.get(uuid).is_some_and(|ids| ids.len() == 1)));
    let verified = world.receiver.requests().iter().filter(|c| c.json()["type"] == "link.verified").count();
    assert_eq!(verified, 10, "without faults there is one callback each");
    let winners =
        world.gateway.requests().iter().filter(|reply| reply.json()["text"].as_str().unwrap().contains("/o/")).count();
    assert_eq!(winners, 10);
}

/// Every message that got a 200 before a kill has a callback after it, under one id, and a reply in the chat.
async fn no_accepted_message_is_lost(test_store: TestStore) {
    let world = World::new(test_store);
    let mut accepted: HashMap<String, String> = HashMap::new();
    let mut process = Process::start(&world).await;
    for round in 0..4u64 {
        let mut work = tokio::task::JoinSet::new();
        let shared = Arc::new(process);
        let taken = Arc::new(AtomicU64::new(0));
        for worker in 0..8u64 {
            let (process, taken) = (Arc::clone(&shared), Arc::clone(&taken));
            work.spawn(async move {
                let mut accepted = Vec::new();
                for index in 0..10_000u64 {
                    let Some(minted) = process.mint(json!({})).await else { break };
                    let number = format!("4477{:08}", round * 1_000_000 + worker * 100_000 + index);
                    if !process
                        .send_message(&number, &format!("K{round}-{worker}-{index}"), &minted.text_of("text"))
                        .await
                    {
                        break;
                    }
                    accepted.push((minted.text_of("uuid"), number));
                    taken.fetch_add(1, Ordering::Relaxed);
                }
                accepted
            });
        }
        // During the work, at another moment in each round.
        until("people log in", async || taken.load(Ordering::Relaxed) > 10 + 17 * round).await;
        signal(&shared.child, "-KILL");
        while let Some(part) = work.join_next().await {
            accepted.extend(part.unwrap());
        }
        Arc::into_inner(shared).unwrap().kill();
        process = Process::start(&world).await;
    }
    let without_callback = || {
        let callbacks = callbacks_by_link(&world);
        accepted.keys().filter(|uuid| !callbacks.contains_key(*uuid)).count()
    };
    let without_reply = || {
        let replies = world.gateway.requests();
        let chats: HashSet<String> = replies.iter().map(|reply| reply.json()["chatId"].to_string()).collect();
        accepted.values().filter(|number| !chats.contains(&format!("\"{number}@c.us\""))).count()
    };
    let lost = || {
        format!("of {} logins {} have no callback, {} no reply", accepted.len(), without_callback(), without_reply())
    };
    until_or(
        || format!("all have a callback and a reply: {}", lost()),
        async || without_callback() + without_reply() == 0,
    )
    .await;
    assert!(callbacks_by_link(&world).values().all(|ids| ids.len() == 1), "a repeated callback has its first id");
    process.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_loses_nothing_on_the_embedded_store() {
    no_accepted_message_is_lost(TestStore::directory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_loses_nothing_on_redis() {
    no_accepted_message_is_lost(TestStore::redis()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_attempts_in_flight() {
    let world = World::new(TestStore::directory());
    world.receiver.delay(Duration::from_millis(700));
    let process = Process::start(&world).await;
    let minted = process.mint(json!({})).await.unwrap();
    assert!(process.send_message("447700900123", "T1", &minted.text_of("text")).await);
    let (status, took, written) = process.terminate();
    assert_eq!(status, Some(0), "{written}");
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert_eq!(world.receiver.requests().len(), 1);
    // The attempt was settled, so a restart has nothing to repeat.
    world.receiver.delay(Duration::ZERO);
    let process = Process::start(&world).await;
    let other = process.mint(json!({})).await.unwrap();
    assert!(process.send_message("447700900124", "T2", &other.text_of("text")).await);
    let callbacks = world.receiver.wait_for(2).await;
    assert_eq!(
        callbacks[1].json()["data"]["uuid"],
        other.text_of("uuid"),
        "the later callback is sent, and the delivered one is not repeated"
    );
    process.terminate();
    assert_eq!(world.receiver.requests().len(), 2);
}

/// At trace level, through the whole flow and through refusals, the log contains no code, token, secret or phone
/// number.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_contains_no_secret() {
    for test_store in [TestStore::directory(), TestStore::redis()] {
        let world = World::new(test_store);
        let process = Process::start(&world).await;
        let minted = process.mint(json!({"chatId": "447700900123", "client_ref": "canary-ref"})).await.unwrap();
        let (code, text) = (minted.text_of("code"), minted.text_of("text"));
        assert!(process.send_message("447700900155", "CANARYMSG0", &text).await);
        assert!(process.send_message("447700900123", "CANARYMSG1", &text).await);
        let replies = world.gateway.wait_for(2).await;
        let texts: Vec<String> =
            replies.iter().map(|reply| reply.json()["text"].as_str().unwrap().to_owned()).collect();
        let reply = texts.iter().find(|text| text.contains("/o/")).unwrap();
        let path = crate::login_flow::link_in(reply);
        let request = |method: &str, path: &str, body: String| {
            http::Request::builder()
                .method(method)
                .uri(format!("{}{path}", process.base))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.into_bytes())
                .unwrap()
        };
        let page = process.client.send(request("GET", &path, String::new())).await.unwrap();
        let field = crate::login_flow::form_field(&String::from_utf8_lossy(page.body()));
        let tapped = process.client.send(request("POST", &path, format!("form={field}"))).await.unwrap();
        let location = url::Url::parse(tapped.headers()["location"].to_str().unwrap()).unwrap();
        let redeem = location.query_pairs().find(|(name, _)| name == "token").unwrap().1.into_owned();
        // Refusals, too: a forged webhook, malformed input, a token in a query.
        for body in [json!({"payload": {"body": code}}).to_string(), format!("{{\"code\": {code}")] {
            let request = request("POST", &format!("/webhooks/{WAHA}?token={code}"), body);
            assert_eq!(process.client.send(request).await.unwrap().status().as_u16(), 401);
        }
        world.receiver.wait_for(1).await;
        // As Wawp does: credentials, number and code in the query.
        let credentials = format!("instance_id={WAHA}&access_token={TOKEN}&chatId=447700900166");
        let sent = request("GET", &format!("/v2/auth/otp/send?{credentials}"), String::new());
        assert_eq!(process.client.send(sent).await.unwrap().status().as_u16(), 200);
        let otp = world.gateway.wait_for(3).await[2].json()["text"].as_str().unwrap()[..6].to_owned();
        for (typed, status) in [("ABCDEF", 422), (otp.as_str(), 200), ("canary-guess", 409)] {
            let checked = request("GET", &format!("/v2/auth/otp/verify?{credentials}&code={typed}"), String::new());
            assert_eq!(process.client.send(checked).await.unwrap().status().as_u16(), status);
        }
        let (_, _, written) = process.terminate();
        assert!(written.contains("/v2/auth/otp/verify"), "{written}");
        for secret in [format!(" {otp} "), format!("={otp}"), "447700900166".into(), "canary-guess".into()] {
            assert!(!written.contains(&secret), "{secret} in\n{written}");
        }
        assert!(written.contains("/o/{token}") && written.contains("/webhooks/{instance}"), "{written}");
        let token = path.trim_start_matches("/o/").to_owned();
        for secret in [
            code.as_str(),
            token.as_str(),
            redeem.as_str(),
            field.as_str(),
            "447700900123",
            "447700900155",
            "CANARYMSG",
            "canary-ref",
            TOKEN,
            crate::daemon::CALLBACK_SECRET,
            crate::daemon::WAHA_KEY,
            crate::daemon::API_KEY,
            crate::daemon::KEY,
            "Mara",
        ] {
            assert!(!written.contains(secret), "{secret} in\n{written}");
        }
    }
}

/// The store's files contain no personal data, code or token in plain text.
#[tokio::test(flavor = "multi_thread")]
async fn data_at_rest_is_encrypted() {
    for test_store in [TestStore::directory(), TestStore::redis()] {
        let world = World::new(test_store);
        let process = Process::start(&world).await;
        world.receiver.fail(500, 100);
        let minted = process.mint(json!({"chatId": "447700900123", "name": "CanaryName"})).await.unwrap();
        assert!(process.send_message("447700900123", "CANARYMSG1", &minted.text_of("text")).await);
        world.receiver.wait_for(1).await;
        let mut bytes = Vec::new();
        match &world.test_store {
            TestStore::Directory(directory) => {
                for entry in std::fs::read_dir(directory.path()).unwrap() {
                    std::fs::File::open(entry.unwrap().path()).unwrap().read_to_end(&mut bytes).unwrap();
                }
            }
            TestStore::Redis(server) => {
                let mut connection = server.connection();
                let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
                assert!(keys.len() > 5);
                for key in keys {
                    bytes.extend(key.as_bytes());
                    let dump: Vec<u8> = redis::cmd("DUMP").arg(&key).query(&mut connection).unwrap();
                    bytes.extend(dump);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for secret in [minted.text_of("code").as_str(), "447700900123", "CANARYMSG", "CanaryName", "Mara"] {
            assert!(!text.contains(secret), "{secret}");
        }
        process.terminate();
    }
}

pub(crate) fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_countersign")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_faulty_configuration_ends_with_78_and_every_fault() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bad = "public_url = \"x\"\n[store]\nurl = \"embedded:/tmp/x\"\nurll = 1\n[[instance]]\nid = \"5f0c2a90-0000-4000-8000-000000000001\"\n\
               name = \"N\"\nnumber = \"+447700900999\"\ntokens = [\"plain\"]\ncallback_secrets = [\"whsec_c2hvcnQ=\"]\n[instance.gateway]\nkind = \"simulator\"\n";
    std::fs::write(file.path(), bad).unwrap();
    for command in ["serve", "check-config"] {
        let (status, _, error) = run(&[command, "--config", file.path().to_str().unwrap()]);
        assert_eq!(status, Some(78), "{error}");
        let name = file.path().display();
        for expected in [
            &*format!("{name}:1: public_url: expected an http"),
            &format!("{name}:4: store.urll: is not a key; did you mean url?"),
            "key_file: is missing",
            "instance.0.tokens.0: expected \"sha256:\"",
            "instance.0.callback_secrets.0: expected whsec_",
        ] {
            assert!(error.contains(expected), "{expected} in {error}");
        }
    }
    let (status, _, error) = run(&["serve", "--config", "/nonexistent"]);
    assert_eq!((status, error.contains("/nonexistent")), (Some(78), true));
}

#[tokio::test]
async fn a_configuration_comes_from_standard_input() {
    let world = World::new(TestStore::directory());
    let check = |text: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["check-config", "--config", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let good = world.config("127.0.0.1:0", "127.0.0.1:0");
    assert_eq!(check(good.clone()).0, Some(0));
    let (status, error) = check(format!("lissten = 1\n{good}"));
    assert!(status == Some(78) && error.contains("-:1: lissten: is not a key; did you mean listen?"), "{error}");
}

/// An `[[instance]]` block, with its secrets in files below `directory`.
pub(crate) fn fresh_instance(name: &str, directory: &std::path::Path) -> String {
    let secrets = directory.join("secrets");
    let arguments = ["new-instance", "--name", name, "--number", "+447700900999", "--gateway", "waha", "--secrets"];
    let (status, block, error) = run(&[&arguments[..], &[secrets.to_str().unwrap()]].concat());
    assert_eq!(status, Some(0), "{error}");
    block
}

#[test]
fn serve_refuses_a_gateway_without_authentication_and_the_simulator() {
    let directory = tempfile::tempdir().unwrap();
    let block = fresh_instance("Shop \"A\"", directory.path());
    let top = format!(
        "public_url = \"https://wa.example.org\"\nkey = \"{}\"\n[store]\nurl = \"embedded:/tmp/countersign-x\"\n",
        crate::daemon::KEY
    );
    let check = |text: String| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        run(&["check-config", "--config", file.path().to_str().unwrap()])
    };
    let (status, output, error) = check(format!("{top}{block}"));
    assert_eq!(status, Some(0), "{error}");
    assert!(output.contains("HMAC-SHA512"), "{output}");
    let unsigned = block.lines().filter(|line| !line.starts_with("webhook_secret")).collect::<Vec<_>>().join("\n");
    let (status, _, error) = check(format!("{top}{unsigned}"));
    assert!(status == Some(78) && error.contains("instance.0.gateway.webhook_secret: is missing"), "{error}");
    let weak = block.replace("webhook_secret_file = ", "webhook_secret = \"secret\" # ");
    assert!(check(format!("{top}{weak}")).2.contains("under 24 bytes"));
    let fake = block.replace("kind = \"waha\"", "kind = \"simulator\"");
    let (status, _, error) = check(format!("{top}{fake}"));
    assert!(status == Some(78) && error.contains("\"simulator\" is not one of cloud-api, "), "{error}");
}

/// What works and is unwise is reported before it starts, and when it does.
#[tokio::test(flavor = "multi_thread")]
async fn unencrypted_redirects_cause_a_warning() {
    let mut world = World::new(TestStore::directory());
    let open = ["http://app.example.org/in", "http://10.0.0.7/", "http://localhost.example.org/"];
    let harmless = ["https://app.example.org/in", "http://127.0.0.1:3000/", "http://localhost/", "http://[::1]:3000/"];
    world.redirects = format!("{:?}", open.iter().chain(&harmless).collect::<Vec<_>>());
    let warned = |written: &str| {
        let lines = written.lines().filter(|line| line.contains("redirect_urls holds an http:// address"));
        let said: Vec<&str> = lines.collect();
        for url in open {
            assert_eq!(said.iter().filter(|line| line.contains(url)).count(), 1, "{url} in {said:?}");
        }
        assert_eq!(said.len(), open.len(), "{said:?}");
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), world.config("127.0.0.1:0", "127.0.0.1:0")).unwrap();
    let (status, printed, error) = run(&["check-config", "--config", file.path().to_str().unwrap()]);
    assert_eq!(status, Some(0), "{error}");
    warned(&printed);
    let (_, _, written) = Process::start(&world).await.terminate();
    warned(&written);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgeable_senders_cause_a_warning() {
    let mut world = World::new(TestStore::directory());
    let secret = "webhook_secret = \"5d3f0c1a9e7b42688c4d1f6e\"";
    let sms = "channel = \"sms\"\nsms_verifies = true\nfrom = \"12025550142\"";
    let gateways = [
        format!("kind = \"twilio\"\naccount_sid = \"AC1\"\n{secret}\n{sms}"),
        format!("kind = \"vonage\"\napi_key = \"key\"\napi_secret = \"pass\"\n{secret}\n{sms}"),
        format!(
            "kind = \"chatwoot\"\nurl = \"https://chat.example.org\"\naccount_id = \"1\"\ninbox_id = \"3\"\n\
             trust_contact_phone = true\napi_key = \"key\"\n{secret}"
        ),
    ];
    let ids = ["a", "b", "c"].map(|last| format!("5f0c2a90-0000-4000-8000-00000000000{last}"));
    for (id, gateway) in ids.iter().zip(&gateways) {
        let block = InstanceBlock { id, name: "SMS", number: "+12025550142", token: id, lines: "", gateway };
        world.more_instances += &block.to_string();
    }
    let (_, _, written) = Process::start(&world).await.terminate();
    let warned: Vec<&str> = written.lines().filter(|line| line.contains("unauthenticated data")).collect();
    assert_eq!(warned.len(), ids.len(), "{warned:?}");
    for (id, why) in ids.iter().zip(["sms_verifies", "sms_verifies", "trust_contact_phone"]) {
        assert!(warned.iter().any(|line| line.contains(id.as_str()) && line.contains(why)), "{why} in {warned:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_of_the_graph_api_causes_a_warning() {
    let mut world = World::new(TestStore::directory());
    let secret = "webhook_secret = \"5d3f0c1a9e7b42688c4d1f6e\"";
    let urls = ["https://graph.facebook.com/v23.0", "https://graph.facebook.com/v26.0"];
    let ids = ["a", "b"].map(|last| format!("5f0c2a90-0000-4000-8000-00000000000{last}"));
    for (id, url) in ids.iter().zip(urls) {
        let gateway =
            format!("kind = \"cloud-api\"\nurl = \"{url}\"\nphone_number_id = \"1\"\naccess_token = \"t\"\n{secret}");
        let block = InstanceBlock { id, name: "Meta", number: "+12025550142", token: id, lines: "", gateway: &gateway };
        world.more_instances += &block.to_string();
    }
    let (_, _, written) = Process::start(&world).await.terminate();
    let warned: Vec<&str> =
        written.lines().filter(|line| line.contains("an old version of the gateway's API")).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].contains(&ids[0]) && warned[0].contains("v23.0 is older than v26.0"), "{warned:?}");
}

#[test]
fn a_store_with_other_keys_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let block = fresh_instance("Shop", &directory.path().join("secrets"));
    let config = |key: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (port, operator) = (free_port(), free_port());
        let text = format!(
            "public_url = \"https://wa.example.org\"\nkey = \"{key}\"\nlisten = \"127.0.0.1:{port}\"\noperator_listen = \"127.0.0.1:{operator}\"\n\
             [store]\nurl = \"embedded:{}\"\n{block}",
            directory.path().display()
        );
        std::fs::write(file.path(), text).unwrap();
        file
    };
    let first = config(crate::daemon::KEY);
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "--config", first.path().to_str().unwrap()])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = child.stderr.take().unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 1024];
    // The store is open, and names its keys, before the listeners are.
    while !String::from_utf8_lossy(&seen).contains("listening") {
        let read = log.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
    let (status, _, error) = run(&["serve", "--config", first.path().to_str().unwrap()]);
    assert_eq!(status, Some(75), "a second process on the same directory may be the first one's successor: {error}");
    child.kill().unwrap();
    child.wait().unwrap();
    let other = config("ZwMetrC/g9augPqGLXxCTvxnRb1LAQSjCvJ8dbRF/vk=");
    let (status, _, error) = run(&["serve", "--config", other.path().to_str().unwrap()]);
    assert!(status == Some(78) && error.contains("other keys"), "{error}");
}

/// From the command line, beside the running daemon.
#[tokio::test(flavor = "multi_thread")]
async fn backup_copies_the_store_of_a_running_daemon() {
    let world = World::new(TestStore::directory());
    let process = Process::start(&world).await;
    process.mint(json!({})).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    let file = target.path().join("copy.sqlite");
    let arguments = ["backup", "--config", process.config.path().to_str().unwrap(), file.to_str().unwrap()];
    let (status, printed, error) = run(&arguments);
    assert_eq!(status, Some(0), "{error}");
    assert!(printed.starts_with(&format!("{} holds the store: ", file.display())), "{printed}");
    let (status, _, error) = run(&arguments);
    assert_eq!(status, Some(1));
    assert!(error.contains("exists already"), "{error}");
    let redis = target.path().join("redis.toml");
    let text = std::fs::read_to_string(process.config.path()).unwrap();
    std::fs::write(&redis, text.replace(&world.test_store.url(), "redis://127.0.0.1/0")).unwrap();
    let (status, _, error) = run(&["backup", "--config", redis.to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(status, Some(78), "{error}");
    assert!(error.contains("its own tools"), "{error}");
}
