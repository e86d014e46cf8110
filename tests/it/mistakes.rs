//! The usual mistakes in a configuration, and the sentence that each gets from `check-config`: what is wrong, where, and
//! how to correct it.

use std::process::Command;

const GOOD: &str = r#"public_url = "https://wa.example.org"
listen = "127.0.0.1:8080"
operator_listen = "127.0.0.1:9090"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
trusted_proxies = ["10.0.0.0/8"]
[store]
url = "redis://127.0.0.1/0"
[[instance]]
id = "5f0c2a90-0000-4000-8000-000000000001"
name = "Harbour"
number = "+447700900999"
tokens = ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
callback_secrets = ["whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc="]
callback_url = "https://app.example.org/hooks"
redirect_urls = ["https://app.example.org/in"]
lang = "en"
[instance.gateway]
kind = "waha"
url = "http://waha:3000"
api_key = "f2a9c4d1e8b7"
webhook_secret = "9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b"
"#;

/// What is replaced by what, and what `check-config` then says. Each of the texts must occur.
type Mistake = (&'static str, &'static str, &'static [&'static str]);

#[rustfmt::skip]
const REFUSED: &[Mistake] = &[
    // Addresses.
    ("public_url = \"https://wa.example.org\"", "", &["public_url: is missing: where people and gateways reach this daemon"]),
    ("public_url", "pubic_url", &["pubic_url: is not a key; did you mean public_url?", "public_url: is missing"]),
    ("https://wa.example.org", "http://wa.example.org", &["public_url: is not encrypted", "use https://"]),
    ("https://wa.example.org", "wa.example.org", &["public_url: expected an http:// or https:// URL"]),
    ("https://wa.example.org", "https://user:pw@wa.example.org", &["public_url: expected an http:// or https:// URL without credentials"]),
    ("https://wa.example.org", "https://wa.example.org/?x=1", &["public_url: has a query or a fragment", "scheme, host and path only"]),
    ("https://wa.example.org", "https://wa.example.org/#top", &["public_url: has a query or a fragment"]),
    ("https://wa.example.org", "ftp://wa.example.org", &["public_url: expected an http:// or https:// URL"]),
    ("listen = \"127.0.0.1:8080\"", "listen = \"8080\"", &["listen: expected an address and a port such as 127.0.0.1:8080"]),
    ("listen = \"127.0.0.1:8080\"", "listen = \"localhost:8080\"", &["listen: expected an address and a port"]),
    ("listen = \"127.0.0.1:8080\"", "listen = 8080", &["listen: "]),
    ("127.0.0.1:9090", "127.0.0.1:8080", &["operator_listen: is the address of listen"]),
    ("\"10.0.0.0/8\"", "\"10.0.0.0/33\"", &["trusted_proxies.0: "]),
    ("\"10.0.0.0/8\"", "\"my-proxy\"", &["trusted_proxies.0: "]),
    // Keys and the store.
    ("key = \"quJI", "key = \"", &["key: line 1: expected 32 bytes in base64"]),
    ("key = \"quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=\"", "", &["key_file: is missing: a file with 32 bytes in base64; make one with `openssl rand -base64 32`"]),
    ("quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", &["key: line 1: ", "openssl rand -base64 32"]),
    ("key = \"quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=\"", "key_file = \"/nowhere/key\"", &["key_file: cannot read /nowhere/key"]),
    ("key = \"quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=\"", "key_file = \"/tmp\"", &["key_file: cannot read /tmp"]),
    ("redis://127.0.0.1/0", "mysql://127.0.0.1/0", &["store.url: expected embedded:DIR, redis://HOST:PORT/DB"]),
    ("redis://127.0.0.1/0", "127.0.0.1:6379", &["store.url: expected embedded:DIR"]),
    ("redis://127.0.0.1/0", "embedded:", &["store.url: expected embedded:DIR"]),
    ("redis://127.0.0.1/0", "", &["store.url: is missing: expected embedded:DIR"]),
    ("redis://127.0.0.1/0", "redis://:pa#ss@h/0", &["store.url: ", "percent-encode", "or use the keys user and password"]),
    ("redis://127.0.0.1/0", "redis://:pa/ss@h/0", &["store.url: ", "percent-encode"]),
    ("redis://127.0.0.1/0", "redis://:pa?ss@h/0", &["store.url: ", "percent-encode"]),
    ("redis://127.0.0.1/0", "redis://h:99999/0", &["store.url: ", "a port is at most 65535"]),
    ("redis://127.0.0.1/0", "redis://", &["store.url: names no host"]),
    ("redis://127.0.0.1/0", "redis:///run/redis.sock", &["store.url: names no host; for a socket, write redis+unix:///PATH?db=DB"]),
    ("redis://127.0.0.1/0", "redis+unix://run/redis.sock", &["store.url: expected embedded:DIR", "redis+unix:///PATH?db=DB"]),
    ("redis://127.0.0.1/0", "redis://h/mydb", &["store.url: expected the number of a database after the host, such as /0"]),
    ("redis://127.0.0.1/0", "redis://h/0?timeout=5", &["store.url: has parameters after ?, which would be ignored"]),
    ("redis://127.0.0.1/0", "rediss://h/0#insecure", &["store.url: has a fragment", "certificates are always checked"]),
    ("redis://127.0.0.1/0", "redis+sentinel://h", &["store.url: expected embedded:DIR", "redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB"]),
    ("redis://127.0.0.1/0", "redis-cluster://", &["store.url: expected embedded:DIR"]),
    ("[store]\nurl", "[store]\nulr", &["store.ulr: is not a key; did you mean url?"]),
    ("[store]", "[sotre]", &["sotre: is not a key; did you mean store?"]),
    ("[store]\n", "[store]\ndurability = \"safe\"\n", &["store.durability: \"safe\" is not one of"]),
    // TOML itself.
    ("name = \"Harbour\"", "name = Harbour", &[":10 is not TOML: "]),
    ("listen = \"127.0.0.1:8080\"", "listen = \"127.0.0.1:8080", &[":2 is not TOML: "]),
    ("lang = \"en\"", "lang = \"en\"\nlang = \"es\"", &[":17 is not TOML: ", "duplicate key"]),
    ("[[instance]]", "[instance]", &["instance: ", "[[instance]]"]),
    ("webhook_secret = \"9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b\"", "webhook_secret = \"9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b\"\n[instance.gateway]\nkind = \"gowa\"", &[":22 is not TOML: "]),
    // Logs, included files, places.
    ("[store]", "[log]\nlevel = \"warning\"\n[store]", &["log.level: \"warning\" is not one of off, error, warn, info, debug, trace"]),
    ("[store]", "[log]\nlevel = \"Warn\"\n[store]", &["log.level: \"Warn\" is not one of", "did you mean warn?"]),
    ("[store]", "[log]\nlevel = \"countersign=verbos\"\n[store]", &["log.level: \"verbos\" is not one of"]),
    ("listen =", "include = [\"/nowhere/*.toml\"]\nlisten =", &["include: \"/nowhere/*.toml\" matches no file"]),
    ("listen =", "geoip_file = \"/nowhere.mmdb\"\nlisten =", &["geoip_file: ", "MaxMind DB"]),
    ("https://wa.example.org", "", &["public_url: is missing: where people and gateways reach this daemon"]),
    ("127.0.0.1:8080", "", &["listen: is missing: an address and a port such as 127.0.0.1:8080"]),
    // Keys that landed in another table.
    ("webhook_secret =", "trusted_proxies = []\nwebhook_secret =", &["instance.0.gateway.trusted_proxies: stands under [instance.gateway], where it is not a key; move it above the first [table]"]),
    ("api_key =", "redirect_urls = []\napi_key =", &["instance.0.gateway.redirect_urls: stands under [instance.gateway]", "to the keys of [[instance]]"]),
    ("[store]\n", "[store]\nproxy_header = \"forwarded\"\n", &["store.proxy_header: stands under [store]", "move it above the first [table]"]),
    ("listen = \"127.0.0.1:8080\"", "level = \"debug\"\nlisten = \"127.0.0.1:8080\"", &["level: stands before the first [table]", "move it under [log]"]),
    ("lang = \"en\"", "webhook_secret = \"x\"\nlang = \"en\"", &["instance.0.webhook_secret: stands under [[instance]]", "move it under [instance.gateway]"]),
    // The instance.
    ("id = \"5f0c2a90-0000-4000-8000-000000000001\"", "id = \"harbour\"", &["instance.0.id: expected a UUID"]),
    ("id = \"5f0c2a90-0000-4000-8000-000000000001\"\n", "", &["instance.0.id: is missing: a UUID; `countersign new-instance` makes one"]),
    ("name = \"Harbour\"\n", "", &["instance.0.name: is missing: the application's name in messages"]),
    ("name = \"Harbour\"", "nmae = \"Harbour\"", &["instance.0.nmae: is not a key; did you mean name?"]),
    ("+447700900999", "07700900999", &["instance.0.number: "]),
    ("+447700900999", "+44 (0) 7700 900999", &["instance.0.number: "]),
    ("+447700900999", "12", &["instance.0.number: expected an international phone number"]),
    ("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "cst_the-token-itself", &["instance.0.tokens.0: expected \"sha256:\""]),
    ("sha256:e3b0", "sha256:zzzz", &["instance.0.tokens.0: expected \"sha256:\""]),
    ("tokens = [\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]", "tokens = []", &["instance.0.tokens: is empty"]),
    ("whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=", "my callback secret", &["instance.0.callback_secrets.0: expected whsec_ and at least 24 bytes in base64; `countersign new-instance` makes one"]),
    ("whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc=", "whsec_c2hvcnQ=", &["instance.0.callback_secrets.0: expected whsec_"]),
    ("https://app.example.org/hooks", "http://app.example.org/hooks", &["instance.0.callback_url: is http://, which needs allow_http_callbacks = true"]),
    ("https://app.example.org/in", "/in", &["instance.0.redirect_urls.0: expected an http:// or https:// URL"]),
    ("https://app.example.org/in", "https://app.example.org/in?token=x", &["instance.0.redirect_urls.0: holds the parameter token"]),
    ("lang = \"en\"", "lang = \"english\"", &["instance.0.lang: \"english\" is not one of en, ar, "]),
    ("lang = \"en\"", "completion = \"link\"", &["instance.0.completion: \"link\" is not one of same_browser, prove_phone, anywhere"]),
    ("lang = \"en\"", "expires = 5", &["instance.0.expires: expected a whole number from 10 to 86400"]),
    ("lang = \"en\"", "expires = 7200", &["instance.0.expires: must lie between expires_min"]),
    ("lang = \"en\"", "retention = \"7 d\"\nlang = \"en\"", &["instance.0.retention: expected a duration"]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.texts]\nsuccess = \"Hi <lnk>\"", &["instance.0.texts.success: ", "<link>"]),
    ("+447700900999", "", &["instance.0.number: is missing: the WhatsApp number people write to"]),
    ("5f0c2a90-0000-4000-8000-000000000001", "", &["instance.0.id: is missing: a UUID"]),
    ("lang = \"en\"", "retention = \"100000000h\"\nlang = \"en\"", &["instance.0.retention: is longer than ten years (87600h)"]),
    ("lang = \"en\"", "link_style = \"short\"\nlang = \"en\"", &["instance.0.link_style: \"short\" is not one of wa.me, go"]),
    ("lang = \"en\"", "aliases = [\"a b\"]\nlang = \"en\"", &["instance.0.aliases.0: expected 1 to 64 letters, digits, - and _"]),
    ("lang = \"en\"", "callback_headers = [\"X-Key\"]\nlang = \"en\"", &["instance.0.callback_headers.0: expected \"Name: value\""]),
    ("lang = \"en\"", "callback_headers = [\"Content-Type: x\"]\nlang = \"en\"", &["instance.0.callback_headers.0: content-type is set by countersign itself"]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.callback_tls]\nca_file = \"/nowhere/ca.pem\"", &["instance.0.callback_tls.ca_file: cannot read /nowhere/ca.pem"]),
    ("lang = \"en\"", "lang = \"en\"\n[[instance.test_number]]\nnumber = \"+447911123456\"\ncode = \"123456\"\nuntil = \"2027-01-01\"", &["instance.0.test_number.0.number: may belong to a person: use a number that is reserved for fiction"]),
    // The gateway, also if something above it is wrong.
    ("kind = \"waha\"", "kind = \"wahah\"", &["instance.0.gateway.kind: \"wahah\" is not one of cloud-api", "did you mean waha?"]),
    ("kind = \"waha\"\n", "", &["instance.0.gateway.kind: is missing: one of cloud-api"]),
    ("kind = \"waha\"", "kind = \"simulator\"", &["instance.0.gateway.kind: \"simulator\" is not one of"]),
    ("url = \"http://waha:3000\"\n", "", &["instance.0.gateway.url: is missing: the URL of the gateway's API"]),
    ("url = \"http://waha:3000\"", "url = \"waha:3000\"", &["instance.0.gateway.url: expected an http:// or https:// URL"]),
    ("api_key = \"f2a9c4d1e8b7\"\n", "", &["instance.0.gateway.api_key: is missing: WAHA's X-Api-Key, to send replies"]),
    ("webhook_secret = \"9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b\"\n", "", &["instance.0.gateway.webhook_secret: is missing: without it, forged webhooks could verify any number; generate one with `openssl rand -hex 32`"]),
    ("9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b", "secret", &["instance.0.gateway.webhook_secret: ", "generate one with `openssl rand -hex 32`"]),
    ("9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b", "0123456789abcdef0123456789abcdef", &["instance.0.gateway.webhook_secret: ", "follows a pattern"]),
    ("https://wa.example.org\"", "wa.example.org\"\nfoo = 2", &["public_url: expected", "foo: is not a key"]),
];

/// Valid, but probably not meant.
#[rustfmt::skip]
const WARNED: &[Mistake] = &[
    ("https://app.example.org/in", "http://app.example.org/in", &["warning: redirect_urls holds an http:// address", "use https://"]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.texts]\nsuccess = \"*<link>*\"", &["warning: ", "texts.success in the language en: \"<link>*\"", "leave a space"]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.texts.ar]\nsuccess = \"<link>now\"", &["texts.success in the language ar: \"<link>n\""]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.texts]\nsuccess = \"Hi {{link}}\"", &["texts.success in the language en: ", "{{link}}"]),
    ("lang = \"en\"", "lang = \"en\"\n[instance.texts]\nsuccess = \"Hi { link }\"", &["texts.success in the language en: ", "{ link }"]),
    ("webhook_secret = \"9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b\"", "webhook_secret_file = \"WORLD_READABLE\"", &["every user of this machine can read it: chmod 600"]),
];

fn check(text: &str, environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["check-config", "--config"]).arg(file.path()).envs(environment.iter().copied());
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

/// An OpenID provider whose client has these keys, with these texts.
fn with_client(client: &str, texts: &str) -> String {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/oidc/rs256.pem");
    let provider = format!(
        "[oidc]\nsigning_key_files = [\"{key}\"]\nsubject_key = \"2t8eG0qY5r1l0q3m9Jm8b7uHc6nT4sD2xk1vWz0pQyI=\"\n[store]"
    );
    let client = format!(
        "[[instance.client]]\nid = \"shop\"\nredirect_uris = [\"https://shop.example.org/in\"]\n{client}\n\
         [instance.texts]\n{texts}\n[instance.gateway]"
    );
    GOOD.replacen("[store]", &provider, 1).replacen("[instance.gateway]", &client, 1)
}

#[test]
fn every_mistake_gets_its_sentence() {
    assert_eq!(check(GOOD, &[]).0, Some(0), "{}", check(GOOD, &[]).1);
    assert!(REFUSED.len() >= 60, "{}", REFUSED.len());
    let mut missing = Vec::new();
    for (find, replace, expected) in REFUSED {
        assert!(GOOD.contains(find), "{find}");
        let (status, printed) = check(&GOOD.replacen(find, replace, 1), &[]);
        let all = expected.iter().all(|part| printed.contains(part));
        if status != Some(78) || !all {
            missing.push(format!("{find:?} -> {replace:?}: {expected:?}\n  {status:?} {printed}"));
        }
        // A fault names its key, and no secret.
        assert!(!printed.contains("9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b") && !printed.contains("quJISYQ"), "{printed}");
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn what_is_valid_but_unwise_is_a_warning() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "9c4d1e8b7a6f5e3d2c1b0a9f8e7d6c5b\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(secret.path(), mode).unwrap();
    for (find, replace, expected) in WARNED {
        let replace = replace.replace("WORLD_READABLE", secret.path().to_str().unwrap());
        let (status, printed) = check(&GOOD.replacen(find, &replace, 1), &[]);
        assert!(status == Some(0) && expected.iter().all(|part| printed.contains(part)), "{find}: {printed}");
    }
    let provider = with_client("allow_hidden = true\nscopes = [\"phone\"]", "success = \"You are in.\"");
    for (text, about) in [
        (
            "the success text has no <link>: a person who logs in at an OpenID client",
            "texts.success in the language en",
        ),
        ("allow_hidden and the scope phone: people whose number is hidden have no phone_number", ": shop"),
    ] {
        let (status, printed) = check(&provider, &[]);
        let warned = printed.lines().any(|line| line.contains(text) && line.ends_with(about));
        assert!(status == Some(0) && warned, "{text}: {printed}");
    }
    let (status, printed) = check(&with_client("allow_hidden = true", "success = \"Finish: <link>\""), &[]);
    assert!(status == Some(0) && !printed.contains("OpenID client"), "{printed}");
    let own = GOOD.replacen("[instance.gateway]", "[instance.texts]\nsuccess = \"Hi\"\n[instance.gateway]", 1);
    let (status, printed) = check(&own, &[]);
    assert!(status == Some(0) && !printed.contains("<link>"), "not without clients: {printed}");
    let (status, printed) = check(GOOD, &[("COUNTERSIGN__INSTANCE__0__NAME", "Pier")]);
    let expected = "COUNTERSIGN__INSTANCE__0__NAME: instances are not read from variables; write a file";
    assert!(status == Some(78) && printed.contains(expected), "{printed}");
    for text in [format!("\u{feff}{GOOD}"), GOOD.replace('\n', "\r\n")] {
        assert_eq!(check(&text, &[]).0, Some(0));
    }
    let list = [("COUNTERSIGN__TRUSTED_PROXIES", "10.0.0.0/8,192.168.0.0/16")];
    assert_eq!(check(GOOD, &list).0, Some(0));
    let (status, printed) = check(GOOD, &[("COUNTERSIGN_PUBLIC_URL", "https://x.example")]);
    let expected = "COUNTERSIGN_PUBLIC_URL is ignored: for the key public_url, write COUNTERSIGN__PUBLIC_URL";
    assert!(status == Some(0) && printed.contains(expected), "{printed}");
}

#[test]
fn the_same_faults_are_json_for_programs() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), GOOD.replace("kind = \"waha\"", "kind = \"wahah\"")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    let output = command.args(["check-config", "--json", "--config"]).arg(file.path()).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["valid"]), (Some(78), &serde_json::json!(false)));
    assert_eq!(report["faults"][0]["key"], "instance.0.gateway.kind");
}
