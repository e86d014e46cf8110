//! Real OpenID clients, each configured as its documentation says, log in at `countersign dev` through the fake phone.
//!
//! `COUNTERSIGN_CLIENTS` names the directory into which the clients are installed; without it nothing is run, because
//! they come from npm, `PyPI`, Debian and crates.io.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use countersign::egress::{Egress, Policy};
use http::{Request, Response};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

/// How long a client may take to start, on a machine that is busy with others.
const TIMEOUT: Duration = Duration::from_secs(120);
const PHONE: &str = "+447700900123";

/// A client library in an app.
struct ClientApp {
    name: &'static str,
    /// In `apps`; the word before the dot says what runs it.
    file: &'static str,
    package: &'static str,
    /// Starts the login.
    login: &'static str,
    callback: &'static str,
}

const APPS: &[ClientApp] = &[
    ClientApp { name: "openid-client", file: "openid_client.mjs", package: "", login: "/login", callback: "/callback" },
    ClientApp { name: "oauth4webapi", file: "oauth4webapi.mjs", package: "", login: "/login", callback: "/callback" },
    ClientApp { name: "Auth.js", file: "auth_js.mjs", package: "", login: "", callback: "/auth/callback/countersign" },
    ClientApp {
        name: "passport-openidconnect",
        file: "passport.mjs",
        package: "",
        login: "/login",
        callback: "/callback",
    },
    ClientApp { name: "Authlib", file: "authlib_flask.py", package: "", login: "/login", callback: "/callback" },
    ClientApp {
        name: "mozilla-django-oidc",
        file: "django_app.py",
        package: "mozilla_django_oidc",
        login: "/oidc/authenticate/",
        callback: "/oidc/callback/",
    },
    ClientApp {
        name: "social-auth",
        file: "django_app.py",
        package: "social_django",
        login: "/login",
        callback: "/complete/oidc/",
    },
    ClientApp {
        name: "mod_auth_openidc",
        file: "apache.conf",
        package: "",
        login: "/protected/index.html",
        callback: "/protected/callback",
    },
    ClientApp { name: "openidconnect", file: "rust", package: "", login: "/login", callback: "/callback" },
];

/// A process that ends with the test.
struct ClientProcess(Child);

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn apps() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/apps")
}

/// `countersign dev` with these redirect URIs, and the line that it prints.
fn dev(home: &Path, callbacks: &[String]) -> (ClientProcess, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["dev", "--json", "--data"]).arg(home);
    for callback in callbacks {
        command.args(["--redirect-url", callback]);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (ClientProcess(child), serde_json::from_str(&line).unwrap())
}

/// Starts the app; `None` if what runs it is not installed.
fn start(app: &ClientApp, port: u16, ready: &Value, tools: &Path, home: &Path) -> Option<ClientProcess> {
    let text = |name: &str| ready[name].as_str().unwrap().to_owned();
    let mut command = match app.file.rsplit_once('.').map_or(app.file, |(_, kind)| kind) {
        "mjs" => {
            let script = tools.join(app.file);
            fs::copy(apps().join(app.file), &script).unwrap();
            let mut command = Command::new("node");
            command.arg(script);
            command
        }
        "py" => {
            let mut command = Command::new(tools.join("venv/bin/python"));
            command.arg(apps().join(app.file));
            command
        }
        "conf" => {
            let modules = Path::new("/usr/lib/apache2/modules");
            if !modules.join("mod_auth_openidc.so").exists() {
                return None;
            }
            let directory = home.join("apache");
            fs::create_dir_all(directory.join("www/protected")).unwrap();
            // Apache's workers give up root.
            fs::set_permissions(home, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(directory.join("www/protected/index.html"), "protected").unwrap();
            let mut conf = fs::read_to_string(apps().join(app.file)).unwrap();
            for (name, value) in [
                ("HOME", directory.display().to_string()),
                ("PORT", port.to_string()),
                ("MODULES", modules.display().to_string()),
                ("ISSUER", text("issuer")),
                ("CLIENT_ID", text("client_id")),
                ("CLIENT_SECRET", text("client_secret")),
            ] {
                conf = conf.replace(&format!("${{{name}}}"), &value);
            }
            fs::write(directory.join("apache.conf"), conf).unwrap();
            let mut command = Command::new("apache2");
            command.arg("-f").arg(directory.join("apache.conf")).args(["-D", "FOREGROUND"]);
            command
        }
        _ => Command::new(tools.join("rust/bin/countersign-openidconnect")),
    };
    command
        .current_dir(tools)
        .env("PORT", port.to_string())
        .env("PACKAGE", app.package)
        .env("ISSUER", text("issuer"))
        .env("CLIENT_ID", text("client_id"))
        .env("CLIENT_SECRET", text("client_secret"));
    let log = fs::File::create(home.join(format!("{}.log", app.name))).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    Some(ClientProcess(command.spawn().unwrap_or_else(|error| panic!("{}: {error}", app.name))))
}

/// A browser: cookies by origin, and redirects are followed one by one.
struct FollowingBrowser {
    client: Egress,
    cookies: HashMap<String, HashMap<String, String>>,
}

impl FollowingBrowser {
    fn new() -> Self {
        let client = Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() });
        Self { client: client.with_timeout(TIMEOUT), cookies: HashMap::new() }
    }

    async fn try_send(&mut self, url: &Url, form: Option<&[(&str, &str)]>) -> Option<Response<Vec<u8>>> {
        let origin = url.origin().ascii_serialization();
        let mut request = match form {
            Some(_) => Request::post(url.as_str())
                .header("content-type", "application/x-www-form-urlencoded")
                .header("origin", &origin),
            None => Request::get(url.as_str()),
        };
        let jar = self.cookies.entry(origin).or_default();
        let cookies: Vec<String> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let request =
            request.header("accept", "text/html").header("user-agent", "Mozilla/5.0 (X11; Linux) Firefox/140.0");
        let body = form.map(|form| form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
        let response = self.client.send(request.body(body.unwrap_or_default().into_bytes()).unwrap()).await.ok()?;
        for set in response.headers().get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            jar.insert(name.to_owned(), value.to_owned());
        }
        Some(response)
    }

    /// Follows redirects until a page: its URL and its response.
    async fn go(&mut self, url: Url, form: Option<&[(&str, &str)]>) -> (Url, Response<Vec<u8>>) {
        let (mut url, mut response) = (url.clone(), self.try_send(&url, form).await.unwrap());
        for _ in 0..20 {
            let Some(location) = response.headers().get("location").filter(|_| response.status().is_redirection())
            else {
                return (url, response);
            };
            url = url.join(location.to_str().unwrap()).unwrap();
            response = self.try_send(&url, None).await.unwrap_or_else(|| panic!("no answer from {url}"));
        }
        panic!("redirects without end at {url}");
    }
}

fn text_of(response: &Response<Vec<u8>>) -> String {
    String::from_utf8_lossy(response.body()).into_owned()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}")).1;
    rest.split_once(after).unwrap().0
}

/// The person presses Send: the path of the link in the reply.
async fn send_and_read(browser: &mut FollowingBrowser, ready: &Value, message: &str) -> String {
    let phone = ready["phone_url"].as_str().unwrap();
    let state: Url = format!("{phone}/state.json").parse().unwrap();
    let sent = json!({ "from": PHONE, "text": message, "push_name": "Ana" });
    let request = Request::post(format!("{phone}/send")).header("content-type", "application/json");
    let answer = browser.client.send(request.body(sent.to_string().into_bytes()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "{}", text_of(&answer));
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let answer = browser.try_send(&state, None).await.unwrap();
        let state: Value = serde_json::from_slice(answer.body()).unwrap();
        let bubbles = state["bubbles"].as_array().unwrap();
        let at = bubbles.iter().rposition(|bubble| bubble["text"] == message).unwrap();
        let reply = bubbles[at..].iter().filter_map(|bubble| bubble["text"].as_str()).find(|text| text.contains("/o/"));
        if let Some(reply) = reply {
            return format!("/o/{}", between(&format!("{reply} "), "/o/", " ").split_whitespace().next().unwrap());
        }
        assert!(Instant::now() < deadline, "{state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The login as a person sees it: what the app says about them.
async fn log_in(app: &ClientApp, port: u16, ready: &Value) -> Value {
    let home: Url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let mut browser = FollowingBrowser::new();
    let deadline = Instant::now() + TIMEOUT;
    while browser.try_send(&home, None).await.is_none() {
        assert!(Instant::now() < deadline, "{} does not start", app.name);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (consent, page) = if app.login.is_empty() {
        let csrf = browser.try_send(&home.join("/auth/csrf").unwrap(), None).await.unwrap();
        let csrf: Value = serde_json::from_slice(csrf.body()).unwrap();
        let fields = [("csrfToken", csrf["csrfToken"].as_str().unwrap()), ("callbackUrl", home.as_str())];
        browser.go(home.join("/auth/signin/countersign").unwrap(), Some(&fields)).await
    } else {
        browser.go(home.join(app.login).unwrap(), None).await
    };
    let page = text_of(&page);
    assert!(page.contains("Continue to Your app?"), "{}: {consent} {page}", app.name);
    let (sealed, action) =
        (between(&page, "name=\"request\" value=\"", "\""), between(&page, "<form method=\"post\" action=\"", "\""));
    let (start, page) = browser.go(action.parse().unwrap(), Some(&[("request", sealed)])).await;
    let page = text_of(&page);
    // In `dev`, the link leads to the fake phone instead of WhatsApp.
    let open = between(&page, "id=\"open\" href=\"", "\"").replace("&#38;", "&");
    let open: Url = open.parse().unwrap();
    let message = open.query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned();
    let link = start.join(&send_and_read(&mut browser, ready, &message).await).unwrap();
    let (_, page) = browser.go(link.clone(), None).await;
    let page = text_of(&page);
    let field = between(&page, "name=\"form\" value=\"", "\"");
    let (end, answer) = browser.go(link, Some(&[("form", field)])).await;
    let text = text_of(&answer);
    assert_eq!(answer.status(), 200, "{}: {end} {text}", app.name);
    let claim = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    match claim("x-claim-sub") {
        Some(sub) => json!({
            "sub": sub, "phone": claim("x-claim-phone"), "name": claim("x-claim-name"),
        }),
        None => serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}: {end} {text}", app.name)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn real_clients_log_in() {
    let Some(tools) = env::var_os("COUNTERSIGN_CLIENTS").map(PathBuf::from) else { return };
    let home = tempfile::tempdir().unwrap();
    let ports: Vec<u16> = APPS.iter().map(|_| free_port()).collect();
    let callbacks: Vec<String> =
        APPS.iter().zip(&ports).map(|(app, port)| format!("http://127.0.0.1:{port}{}", app.callback)).collect();
    let (_dev, ready) = dev(&home.path().join("dev"), &callbacks);
    let wanted = env::var_os("COUNTERSIGN_CLIENT").and_then(|name| name.into_string().ok());
    let mut subjects = Vec::new();
    for (app, &port) in APPS.iter().zip(&ports).filter(|(app, _)| wanted.as_ref().is_none_or(|name| name == app.name)) {
        let Some(_running) = start(app, port, &ready, &tools, home.path()) else {
            panic!("{} is not installed", app.name);
        };
        let person = log_in(app, port, &ready).await;
        eprintln!("{}: {person}", app.name);
        assert_eq!((&person["phone"], &person["name"]), (&json!(PHONE), &json!("Ana")), "{}", app.name);
        subjects.push(person["sub"].as_str().unwrap().to_owned());
    }
    assert!(subjects.iter().all(|sub| *sub == subjects[0] && sub.len() == 43), "one client, one person: {subjects:?}");
}
