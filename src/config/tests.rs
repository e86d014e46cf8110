//! Whole configurations: what is read from them, and which faults are reported.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

pub(crate) const GOOD: &str = r#"
public_url = "https://wa.example.org"
key = "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="
[store]
url = "redis://127.0.0.1/0"
[[instance]]
id = "5f0c2a90-0000-4000-8000-000000000001"
name = "Harbour"
number = "+447700900999"
tokens = ["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]
callback_secrets = ["whsec_R2bYkVe+NKb7Q2JVKQIeWFnDBZOD/X5UH/WLMwaJHhc="]
[instance.gateway]
kind = "waha"
"#;

fn parse(text: &str, environment: &[(&str, &str)]) -> (Option<Config>, Vec<String>) {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    match load_text(text, environment, &[]).into_result() {
        Ok(config) => (Some(config), Vec::new()),
        Err(faults) => (None, faults.iter().map(|fault| format!("{}: {}", fault.key, fault.problem)).collect()),
    }
}

#[test]
fn a_short_file_is_enough_and_defaults_fill_the_rest() {
    let (config, faults) = parse(GOOD, &[]);
    assert_eq!(faults, Vec::<String>::new());
    let config = config.unwrap();
    assert_eq!(config.instances[0].expires, 1800);
    assert_eq!(config.instances[0].limits.mint.unwrap().burst(), 5000);
    assert_eq!(config.shutdown.drain_delay, Duration::from_secs(5));
}

#[test]
fn the_environment_wins_over_the_file() {
    let (config, faults) = parse(GOOD, &[("COUNTERSIGN__STORE__URL", "embedded:/tmp/x"), ("OTHER", "x")]);
    assert_eq!(faults, Vec::<String>::new());
    assert!(matches!(config.unwrap().store, StoreConfig::Embedded { directory } if directory.as_os_str() == "/tmp/x"));
}

#[test]
fn the_url_of_the_store_can_stand_in_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "redis://:a-password@redis/0\n").unwrap();
    let named = GOOD.replace("url = \"redis://127.0.0.1/0\"", &format!("url_file = {:?}", file.path()));
    let (config, faults) = parse(&named, &[]);
    assert_eq!(faults, Vec::<String>::new());
    assert!(matches!(config.unwrap().store, StoreConfig::Redis { .. }));
    let (_, faults) = parse(&named.replace("url_file", "url = \"redis://x/0\"\nurl_file"), &[]);
    assert_eq!(faults, ["store.url: is given together with url_file; remove one of the two"]);
}

#[test]
fn people_are_met_over_https_or_on_this_machine_alone() {
    let at = |url: &str| parse(&GOOD.replace("https://wa.example.org", url), &[]).1;
    for good in ["https://wa.example.org/otp", "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"] {
        assert_eq!(at(good), Vec::<String>::new(), "{good}");
    }
    for bad in ["http://wa.example.org", "http://10.0.0.1", "http://localhost.example.org", "http://127.0.0.1.nip.io"] {
        assert!(at(bad)[0].starts_with("public_url: is not encrypted"), "{bad}: {:?}", at(bad));
    }
}

#[test]
fn every_fault_is_reported_at_once_with_its_key_and_a_cure() {
    let bad = GOOD
        .replace("public_url", "publik_url")
        .replace("redis://127.0.0.1/0", "mysql://x")
        .replace("quJI", "qu")
        .replace("+447700900999", "12")
        .replace("sha256:e3", "sha256:zz")
        .replace("whsec_", "whsec-")
        .replace("name = \"Harbour\"", "completion = \"somewhere\"\nnmae = \"Harbour\"\ncode_length = 7");
    let (_, faults) = parse(&bad, &[]);
    for expected in [
        "public_url: is missing",
        "publik_url: is not a key; did you mean public_url?",
        "store.url: expected embedded:DIR, redis://",
        "key: line 1: expected 32 bytes in base64",
        "instance.0.number: expected an international phone number",
        "instance.0.tokens.0: expected \"sha256:\"",
        "instance.0.callback_secrets.0: expected whsec_",
        "instance.0.completion: \"somewhere\" is not one of same_browser, prove_phone, anywhere",
        "instance.0.name: is missing",
        "instance.0.nmae: is not a key; did you mean name?",
        "instance.0.code_length: expected a whole number from 8 to 16",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}\n{faults:#?}");
    }
}

#[test]
fn a_secret_is_a_value_or_a_file_never_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        "ZwMetrC/g9augPqGLXxCTvxnRb1LAQSjCvJ8dbRF/vk=\nquJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU=\n",
    )
    .unwrap();
    let line = format!("key_file = {:?}\n", file.path());
    let (_, faults) = parse(&format!("{line}{GOOD}"), &[]);
    assert!(faults[0].contains("given together with key_file"), "{faults:?}");
    let only_file = format!("{line}{}", GOOD.replace("key = ", "# key = "));
    let (config, faults) = parse(&only_file, &[]);
    assert_eq!(faults, Vec::<String>::new());
    let keys: Vec<String> = config.unwrap().keys.0.iter().map(|key| STANDARD.encode(key)).collect();
    assert_eq!(keys, ["ZwMetrC/g9augPqGLXxCTvxnRb1LAQSjCvJ8dbRF/vk=", "quJISYQtcIK2b1fOgnC9BNosOf+5ffIoA8JwmDAyxOU="]);

    let (_, faults) = parse(&only_file.replace("key_file = \"", "key_file = \"/absent"), &[]);
    assert!(faults[0].starts_with("key_file: cannot read"), "{faults:?}");
}

/// In both directions: every key that the code reads is in the reference, and every key in the reference is read.
#[test]
fn the_reference_and_the_code_agree() {
    let reference: toml::Table = REFERENCE.parse().unwrap();
    assert!(reference.contains_key("instance_default"));
    let (_, faults) = parse(GOOD, &[]);
    assert_eq!(faults, Vec::<String>::new(), "a key of the reference that is never read would be a fault");
    let asked_at_top = ["public_url", "listen", "operator_listen", "trusted_proxies", "key_file"];
    for key in asked_at_top {
        assert!(REFERENCE.contains(&format!("{key} = ")), "{key}");
    }
}

#[test]
fn faulty_limits_say_what_they_may_be() {
    let bad = GOOD.replace(
        "[store]",
        "proxy_header = \"x-real-ip\"\n[limits]\npages_per_minute = -1\ntaps_per_second = 3\n[store]",
    );
    let bad = format!("{bad}\n[instance.limits]\nlinks_per_chat_10m = \"many\"\n");
    let (_, faults) = parse(&bad, &[]);
    for part in [
        "proxy_header: \"x-real-ip\" is not one of x-forwarded-for, forwarded",
        "limits.pages_per_minute: expected a whole number from 0 to 1000000",
        "limits.taps_per_second: ",
        "instance.0.limits.links_per_chat_10m: expected a whole number from 0 to 1000000",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(part)), "{part} in {faults:#?}");
    }
}

#[test]
fn debug_output_holds_no_secret() {
    let (config, _) = parse(GOOD, &[]);
    let shown = format!("{config:?}");
    for secret in ["MDEyMzQ1", "AQEB", "447700900999", "[1, 1, 1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_store_may_be_a_cluster_and_is_durable_where_there_are_replicas() {
    let at = |url: &str, lines: &str| {
        let text = GOOD.replace("url = \"redis://127.0.0.1/0\"", &format!("url = \"{url}\"\n{lines}"));
        let (config, faults) = parse(&text, &[]);
        match config.map(|config| config.store) {
            Some(StoreConfig::Redis { durability, .. }) => Ok(durability),
            _ => Err(faults.join(", ")),
        }
    };
    assert_eq!(at("redis://a/0", ""), Ok(Durability::Standard));
    assert_eq!(at("redis+sentinel://a/otp/0", ""), Ok(Durability::Durable));
    assert_eq!(at("redis-cluster://:p@a:7,b", ""), Ok(Durability::Durable));
    assert_eq!(at("rediss-cluster://a/0", "confirm = \"all\""), Ok(Durability::AllReplicas));
    assert_eq!(at("redis-cluster://a", "confirm = \"auto\""), Ok(Durability::Durable));
    assert_eq!(at("redis-cluster://a", "confirm = \"one\""), Ok(Durability::Durable));
    assert_eq!(at("redis://a/0", "confirm = \"all\""), Ok(Durability::Standard));
    assert_eq!(at("rediss-cluster://a", "durability = \"standard\""), Ok(Durability::Standard));
    for bad in ["redis-cluster://", "redis-cluster:a", "redis-cluster://secret@a/3", "redis-cluster://secret@a/otp/0"] {
        let faults = at(bad, "").unwrap_err();
        assert!(faults.starts_with("store.url: expected ") && faults.contains("without a database"), "{faults}");
        assert!(!faults.contains("secret"), "{faults}");
    }
}

/// An unset variable results in an empty text, which must not remove an instance or a setting.
#[test]
fn what_is_empty_is_missing_by_name() {
    for (line, fault) in [
        ("id = \"5f0c2a90-0000-4000-8000-000000000001\"", "instance.0.id: is missing: a UUID"),
        ("number = \"+447700900999\"", "instance.0.number: is missing: the WhatsApp number"),
        ("name = \"Harbour\"", "instance.0.name: is missing: "),
        ("public_url = \"https://wa.example.org\"", "public_url: is missing: "),
        ("url = \"redis://127.0.0.1/0\"", "store.url: is missing: expected embedded:DIR"),
    ] {
        let (key, _) = line.split_once(" = ").unwrap();
        let (config, faults) = parse(&GOOD.replace(line, &format!("{key} = \"\"")), &[]);
        assert!(config.is_none() && faults.len() == 1, "{key}: {faults:?}");
        assert!(faults[0].starts_with(fault), "{faults:?}");
    }
    for (name, fault) in [
        ("LISTEN", "listen: is missing: an address"),
        ("OPERATOR_LISTEN", "operator_listen: is missing: an address"),
        ("PUBLIC_URL", "public_url: is missing: "),
        ("STORE__URL", "store.url: is missing: "),
        ("SHUTDOWN__GRACE", "shutdown.grace: expected a duration"),
    ] {
        let (config, faults) = parse(GOOD, &[(&format!("COUNTERSIGN__{name}"), "")]);
        assert!(config.is_none() && faults.len() == 1, "{name}: {faults:?}");
        assert!(faults[0].starts_with(fault), "{faults:?}");
    }
}

#[test]
fn a_file_for_a_secret_holds_one() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(empty.path(), "\n  \n").unwrap();
    let path = empty.path().display();
    for name in ["key_file", "operator_password_file"] {
        let text = format!(
            "{name} = \"{path}\"\n{}",
            if name == "key_file" { GOOD.replace("key = ", "# ") } else { GOOD.to_owned() }
        );
        assert_eq!(parse(&text, &[]).1, [format!("{name}: {path} is empty")]);
    }
    let named = format!("{GOOD}[[operator]]\nname = \"alice\"\npassword_file = \"{path}\"\n");
    assert_eq!(parse(&named, &[]).1, [format!("operator.0.password_file: {path} is empty")]);
}

#[test]
fn certificates_are_checked_when_they_are_read() {
    let file = |name: &str| format!("{}/tests/fixtures/tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let faults = |lines: &str| {
        let lines = lines.replace("CA", &file("trusted.pem")).replace("CERT", &file("client.pem"));
        let lines = lines.replace("KEY", &file("server.key")).replace("TEXT", &file("make"));
        let text = GOOD.replace("[[instance]]", &format!("[store.tls]\n{lines}\n[[instance]]"));
        parse(&text.replace("redis://127", "rediss://127"), &[]).1
    };
    let good = "ca_file = \"CA\"\nclient_certificate_file = \"CERT\"\nclient_key_file = \"KEY\"";
    assert_eq!(faults(good), Vec::<String>::new());
    for (lines, expected) in [
        ("ca_file = \"KEY\"", "store.tls.ca_file: expected a file in PEM with certificates"),
        ("ca_file = \"/none\"", "store.tls.ca_file: cannot read /none: "),
        ("client_key_file = \"KEY\"", "store.tls.client_certificate_file: is missing: client_key_file needs it"),
        (
            "client_certificate_file = \"CERT\"",
            "store.tls.client_key_file: is missing: client_certificate_file needs it",
        ),
        (
            "client_certificate_file = \"CERT\"\nclient_key_file = \"CERT\"",
            "store.tls.client_key_file: expected a private",
        ),
        (
            "client_certificate_file = \"TEXT\"\nclient_key_file = \"KEY\"",
            "store.tls.client_certificate_file: expected",
        ),
        ("client_certificate_file = \"CA\"\nclient_key_file = \"KEY\"", "store.tls.client_key_file: does not fit"),
    ] {
        let found = faults(lines);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{lines}: {found:?}");
    }
    let plain =
        GOOD.replace("[[instance]]", &format!("[store.tls]\nca_file = {:?}\n[[instance]]", file("trusted.pem")));
    assert_eq!(parse(&plain, &[]).1, ["store.tls: needs a url that begins with rediss, which means TLS"]);
}

#[test]
fn credentials_of_the_store_can_be_keys_of_their_own() {
    let url = |lines: &str| {
        let (config, faults) = parse(&GOOD.replace("url = \"redis://127.0.0.1/0\"", lines), &[]);
        match config.map(|config| config.store) {
            Some(StoreConfig::Redis { url, .. }) => url.expose_secret().to_owned(),
            _ => faults.join("; "),
        }
    };
    for (lines, expected) in [
        ("url = \"redis://h/0\"\npassword = \"p@s/s\"", "redis://:p%40s%2Fs@h/0"),
        ("url = \"redis-cluster://a,b:7\"\nuser = \"me\"\npassword = \"p\"", "redis-cluster://me:p@a,b:7"),
        (
            "url = \"redis+unix:///r.sock?db=1\"\nuser = \"m\"\npassword = \"p&\"",
            "redis+unix:///r.sock?db=1&user=m&pass=p%26",
        ),
        ("url = \"redis://h/0\"\nuser = \"me\"", "store.password: is missing: user needs it"),
        (
            "url = \"redis://:x@h/0\"\npassword = \"p\"",
            "store.password: is given, and url has credentials; remove one of the two",
        ),
        ("url = \"embedded:/x\"\npassword = \"p\"", "store.password: is for a Redis, and url names none"),
    ] {
        assert_eq!(url(lines), expected, "{lines}");
    }
}
