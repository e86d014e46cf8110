//! Checks `deploy/`: the daemon accepts the configuration of the Compose files, and dashboard and alerts use metrics
//! that the daemon exposes. `tests/kubernetes` checks the manifests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod compose;
mod configuration;
mod watching;

use std::path::Path;

/// A file of the repository.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
