//! `deploy/gateways.md`: every block can be pasted as it stands, and every kind has one.

use std::{collections::BTreeSet, process::Command};

use crate::every_gateway::{EVERY, file};

const GUIDE: &str = include_str!("../../deploy/gateways.md");

fn blocks() -> Vec<&'static str> {
    let parts = GUIDE.split("```toml\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap()).collect()
}

fn kind(block: &str) -> &str {
    block.split("kind = \"").nth(1).unwrap().split('"').next().unwrap()
}

#[test]
fn every_block_passes_check_config_as_it_is_pasted() {
    let countersign = || Command::new(env!("CARGO_BIN_EXE_countersign"));
    let fresh = countersign().arg("new-instance").output().unwrap();
    let fresh = String::from_utf8(fresh.stdout).unwrap();
    let (instance, _) = fresh.split_once("[instance.gateway]").unwrap();
    for block in blocks() {
        let text = format!("public_url = \"https://wa.example.org\"\nkey = \"{}\"\n{instance}{block}", crate::app::KEY);
        let config = file(&text);
        let output = countersign().args(["check-config", "--config"]).arg(config.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", kind(block));
        assert!(said.contains(kind(block)), "{said}");
    }
}

#[test]
fn every_kind_has_a_block_a_row_and_a_link() {
    let known: BTreeSet<&str> = EVERY.iter().map(|(kind, _, _)| *kind).collect();
    let pasted: BTreeSet<&str> = blocks().into_iter().map(kind).collect();
    assert_eq!(pasted, known);
    for kind in known {
        assert!(GUIDE.contains(&format!("[`{kind}`](#{kind})")), "{kind} is missing in the table");
        assert!(GUIDE.contains(&format!("\n### {kind}\n")), "{kind} has no section");
    }
    assert!(include_str!("../../README.md").contains("deploy/gateways.md"), "README.md does not link the guide");
}
