//! Checks the Kubernetes manifests in `deploy/`: every field is known to an API server, the pods are hardened, the
//! objects refer to each other correctly, and the daemon accepts the contained configuration.
//!
//! Covers `deploy/kubernetes.yaml` and every file in the directory `COUNTERSIGN_RENDERS`.
#![cfg(test)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../deploy/configuration.rs"]
#[allow(dead_code, reason = "the tests of Compose use the rest")]
mod configuration;
mod manifest;
mod posture;
mod wiring;

use std::path::{Path, PathBuf};

use crate::manifest::Manifest;

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifests() -> Vec<Manifest> {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes.yaml")];
    if let Some(renders) = std::env::var_os("COUNTERSIGN_RENDERS") {
        let renders: Vec<PathBuf> = std::fs::read_dir(renders)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .collect();
        assert!(!renders.is_empty(), "the directory COUNTERSIGN_RENDERS contains no rendered manifests");
        paths.extend(renders);
    }
    paths.iter().map(|path| Manifest::read(path)).collect()
}

#[test]
fn the_daemon_accepts_every_configuration_in_the_manifests() {
    for manifest in manifests() {
        let text = manifest.configuration();
        assert_eq!(configuration::faults(text), Vec::<String>::new(), "{}", manifest.name);
        let broken = text.replace("public_url", "publik_url");
        assert_eq!(configuration::faults(&broken).len(), 2, "{}: a misspelled key is reported", manifest.name);
    }
}
