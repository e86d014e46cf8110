//! `templates/docs/guides/gateways.md`: every block works when pasted, every kind has one, and the sample secrets are
//! rejected.

use std::{collections::BTreeSet, process::Command};

use crate::every_gateway::{GATEWAY_TABLES, file};

const GUIDE: &str = include_str!("../../templates/docs/guides/gateways.md");

fn blocks() -> Vec<&'static str> {
    let parts = GUIDE.split("```toml\n").skip(1);
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
    for block in blocks() {
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

#[test]
fn every_kind_has_a_block_a_row_and_a_link() {
    let known: BTreeSet<&str> = GATEWAY_TABLES.iter().map(|(kind, _, _)| *kind).collect();
    let pasted: BTreeSet<&str> = blocks().into_iter().map(kind).collect();
    assert_eq!(pasted, known);
    for kind in known {
        assert!(GUIDE.contains(&format!("[`{kind}`](#{kind})")), "{kind} is missing in the table");
        assert!(GUIDE.contains(&format!("\n### {kind}\n")), "{kind} has no section");
    }
}
