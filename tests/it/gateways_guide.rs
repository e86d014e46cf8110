//! Documents that list the kinds of gateway: the tables and sections of `templates/docs/guides/gateways.md`, the table of
//! `README.md` and the chart's schema are written from the kinds; every block of the guide works when pasted, and its
//! sample secrets are rejected.
//!
//! `COUNTERSIGN_BLESS=1 cargo test --test it -- gateways_guide` writes the documents anew.

use std::{fmt::Write as _, fs, process::Command};

use countersign::gateway::{self, GatewayKind, KindGroup};
use serde_json::Value;

use crate::every_gateway::file;

const GUIDE: &str = "templates/docs/guides/gateways.md";

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

fn blocks(guide: &str) -> Vec<&str> {
    let parts = guide.split("```toml\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

fn kind(block: &str) -> &str {
    block.split("kind = \"").nth(1).unwrap().split('"').next().unwrap()
}

/// The guide's placeholder for a secret.
const SAMPLE: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn every_block_passes_check_config_once_its_sample_secret_is_replaced() {
    let countersign = || Command::new(env!("CARGO_BIN_EXE_countersign"));
    let directory = tempfile::tempdir().unwrap();
    let fresh = crate::process::fresh_instance("Harbour", directory.path());
    let (instance, _) = fresh.split_once("[instance.gateway]").unwrap();
    let check = |block: &str| {
        let text =
            format!("public_url = \"https://wa.example.org\"\nkey = \"{}\"\n{instance}{block}", crate::daemon::KEY);
        let config = file(&text);
        let output = countersign().args(["check-config", "--config"]).arg(config.path()).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), printed)
    };
    let guide = read(GUIDE);
    for block in blocks(&guide) {
        let (good, printed) = check(block);
        assert!(
            !good && printed.contains("webhook_secret") && printed.contains("follows a pattern"),
            "{}: {printed}",
            kind(block)
        );
        let (good, printed) = check(&block.replace(SAMPLE, "d41d8cd98f00b204e9800998ecf8427e"));
        assert!(good, "{}: {printed}", kind(block));
        assert!(printed.contains(kind(block)), "{printed}");
    }
}

/// A file, and what its text becomes with all kinds.
type Document = (&'static str, fn(&str) -> String);

#[test]
fn the_documents_list_every_kind() {
    let documents: [Document; 3] =
        [(GUIDE, guide), ("README.md", readme), ("deploy/helm/countersign/values.schema.json", schema)];
    for (path, write) in documents {
        let (found, wanted) = (read(path), write(&read(path)));
        if std::env::var_os("COUNTERSIGN_BLESS").is_some() {
            fs::write(path, &wanted).unwrap();
        } else {
            let differs = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
            assert!(found == wanted, "{path} does not list the kinds; run this with COUNTERSIGN_BLESS=1: {differs:?}");
        }
    }
    assert_eq!(blocks(&read(GUIDE)).len(), gateway::kinds().count());
}

/// `text` with `part` instead of what is from the line that begins with `from` up to `to`.
fn replace(text: &str, from: &str, to: &str, part: &str) -> String {
    let (before, rest) = text.split_once(&format!("\n{from}")).unwrap_or_else(|| panic!("no line begins with {from}"));
    let after = rest.split_once(to).map_or(String::new(), |(_, after)| format!("{to}{after}"));
    format!("{before}\n{part}{after}")
}

fn links(kind: &GatewayKind) -> String {
    let name = kind.name;
    format!("[`{name}`](#{name})")
}

fn guide(text: &str) -> String {
    let mut proofs =
        "| kind | proof | ban risk | SMS | codes | button | delivery |\n|---|---|---|---|---|---|---|".to_owned();
    let mut numbers = "| kind | what is compared | with several numbers on one account |\n|---|---|---|".to_owned();
    let yes = |yes: bool| if yes { "yes" } else { "no" };
    for kind in gateway::kinds() {
        let (sms, button) = (yes(kind.sms), yes(kind.abilities().buttons));
        let (risk, codes) = (kind.ban_risk.describe(), kind.codes.describe());
        let cells = [&links(kind), kind.proof, risk, sms, codes, button, kind.delivery_reports];
        let _ = write!(proofs, "\n| {} |", cells.join(" | "));
        let _ = write!(numbers, "\n| `{}` | {} | {} |", kind.name, kind.compared, kind.several_numbers);
    }
    let mut sections = String::new();
    for (group, title) in [
        (KindGroup::Official, "Official"),
        (KindGroup::Unofficial, "Unofficial"),
        (KindGroup::Configured, "Anything else"),
    ] {
        let _ = writeln!(sections, "## {title}");
        for kind in gateway::kinds().filter(|kind| kind.group == group) {
            let _ = write!(sections, "\n### {}\n\n{}", kind.name, kind.setup);
        }
        sections += "\n";
    }
    let text = replace(text, "| kind | proof |", "\n\n", &proofs);
    let text = replace(&text, "| kind | what is compared |", "\n\n", &numbers);
    replace(&text, "## Official\n", "\0", &format!("{}\n", sections.trim_end()))
}

fn readme(text: &str) -> String {
    let mut table = "| gateways | kinds |\n|---|---|".to_owned();
    for (group, title) in [
        (KindGroup::Official, "WhatsApp's own API, directly or through a provider"),
        (KindGroup::Unofficial, "programs and providers that control a phone of yours"),
        (KindGroup::Configured, "any service that posts JSON"),
    ] {
        let kinds = gateway::kinds().filter(|kind| kind.group == group);
        let kinds: Vec<String> = kinds.map(|kind| format!("`{}`", kind.name)).collect();
        let _ = write!(table, "\n| {title} | {} |", kinds.join(", "));
    }
    let text = replace(text, "| gateways | kinds |", "\n\n", &table);
    // `generic` is not counted; the first sentence names four.
    let count = gateway::kinds().count() - 1;
    let text = with_number(&text, "Evolution API, [", count - 4);
    with_number(&text, "your own gateway, ", count)
}

/// `text` with another number after `before`.
fn with_number(text: &str, before: &str, number: usize) -> String {
    let (head, tail) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?}"));
    format!("{head}{before}{number}{}", tail.trim_start_matches(|c: char| c.is_ascii_digit()))
}

fn schema(text: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap();
    let listed = &value["$defs"]["instance"]["properties"]["gateway"]["properties"]["kind"]["enum"];
    let indent = " ".repeat(16);
    let list = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>().join(&format!(",\n{indent}"));
    let old = list(&mut listed.as_array().unwrap().iter().map(Value::to_string));
    assert!(text.contains(&old), "the list of kinds is not one name on each line");
    text.replace(&old, &list(&mut gateway::kinds().map(|kind| format!("{:?}", kind.name))))
}

#[test]
fn the_command_line_lists_every_kind_and_prints_setups() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_countersign")).arg("gateways").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (table, list): (String, Value) = (run(&[]), serde_json::from_str(&run(&["--json"])).unwrap());
    let list = list.as_array().unwrap();
    assert_eq!((table.lines().count(), list.len()), (gateway::kinds().count() + 1, gateway::kinds().count()));
    for (kind, described) in gateway::kinds().zip(list) {
        assert_eq!(described["kind"], kind.name);
        assert!(table.lines().any(|line| line.starts_with(&format!("{} ", kind.name))), "{table}");
        assert_eq!(run(&[kind.name]).trim_end(), kind.setup.trim_end());
    }
    let of = |kind: &str| list.iter().find(|described| described["kind"] == kind).unwrap();
    assert_eq!((of("cloud-api")["button"].as_bool(), of("waha")["button"].as_bool()), (Some(true), Some(false)));
    assert_eq!((of("wuzapi")["message_id"].as_bool(), of("gowa")["message_id"].as_bool()), (Some(true), Some(false)));
    assert_eq!(
        (of("waha")["number_lookup"].as_bool(), of("gowa")["number_lookup"].as_bool()),
        (Some(true), Some(false))
    );
    assert_eq!((&of("waha")["ban_risk"], &of("twilio")["ban_risk"]), (&"yes".into(), &"none".into()));
    let one: Value = serde_json::from_str(&run(&["gowa", "--json"])).unwrap();
    assert!(one["example"].as_str().unwrap().contains("kind = \"gowa\""), "{one}");
}

/// `sms` of a kind is whether its configuration accepts `channel = "sms"`.
#[test]
fn kinds_that_send_sms_have_a_channel() {
    for kind in gateway::kinds() {
        let mut table = kind.example_table().values().clone();
        // The sender of the example is one of WhatsApp.
        table.retain(|name, _| name != "from");
        table.insert("channel".to_owned(), "sms".into());
        let table = countersign::reader::Table::new("gateway", table);
        let built = gateway::build(&table, gateway::Purpose::Inspect, "https://wa.example.org/");
        // Presets have the key of the generic gateway, but describe the gateway's API for WhatsApp.
        assert!(built.is_ok() == kind.sms || kind.is_preset(), "{}", kind.name);
    }
}
