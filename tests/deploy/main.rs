//! What stands in `deploy/`: whether Kubernetes would take it whole, whether its pods are as closed as they claim,
//! whether the daemon takes the configuration in it, and whether dashboard and alerts watch what it tells.
//!
//! Checks `deploy/kubernetes.yaml`, and every file in the directory that `COUNTERSIGN_RENDERS` names.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod compose;
mod configuration;
mod kubernetes;
mod posture;
mod watching;
mod wiring;

use std::path::{Path, PathBuf};

use crate::kubernetes::Manifest;

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifests() -> Vec<Manifest> {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes.yaml")];
    if let Some(renders) = std::env::var_os("COUNTERSIGN_RENDERS") {
        let renders: Vec<PathBuf> = std::fs::read_dir(renders)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| is_yaml(path))
            .collect();
        assert!(!renders.is_empty(), "COUNTERSIGN_RENDERS names a directory without renders");
        paths.extend(renders);
    }
    paths.iter().map(|path| Manifest::read(path)).collect()
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml")
}
