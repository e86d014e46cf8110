//! What is valid in a configuration but probably not meant.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::misplaced::reference_keys;

/// Variables that commands read, which are not configuration.
const COMMAND_VARIABLES: &[&str] = &["URL", "INSTANCE", "TOKEN", "CONFIG", "OPERATOR_URL", "CALLBACK_SECRET"];

/// Sentences for the operator. `files` are those that the configuration names.
pub fn warnings(files: &[PathBuf], environment: impl IntoIterator<Item = (String, String)>) -> Vec<String> {
    let mut found: Vec<String> = environment.into_iter().filter_map(|(name, _)| near_miss(&name)).collect();
    found.extend(files.iter().filter(|file| holds_secret(file)).filter(|file| others_can_read(file)).map(|file| {
        let file = file.display();
        format!("{file} holds a secret, and every user of this machine can read it: chmod 600 {file}")
    }));
    found
}

/// `COUNTERSIGN_STORE_URL`, which nothing reads, for `COUNTERSIGN__STORE__URL`.
fn near_miss(name: &str) -> Option<String> {
    let rest = name.strip_prefix("COUNTERSIGN_").filter(|rest| !rest.starts_with('_'))?;
    if COMMAND_VARIABLES.contains(&rest) {
        return None;
    }
    let dotted = |(table, name): (String, String)| if table.is_empty() { name } else { format!("{table}.{name}") };
    let flat = |key: &str| key.replace('.', "_").to_uppercase();
    let outside = reference_keys().into_iter().filter(|(table, _)| !table.starts_with("instance"));
    let key = outside.map(dotted).find(|key| flat(key) == rest.replace("__", "_"))?;
    Some(format!(
        "the environment variable {name} is ignored: for the key {key}, write COUNTERSIGN__{}",
        key.replace('.', "__").to_uppercase()
    ))
}

/// Whether the file is none of those that are public: included configurations, the `GeoIP` database and certificates.
fn holds_secret(file: &Path) -> bool {
    if file.extension().is_some_and(|extension| extension == "mmdb" || extension == "toml") {
        return false;
    }
    let text = std::fs::read_to_string(file).unwrap_or_default();
    !text.contains("-----BEGIN CERTIFICATE-----") || text.contains("PRIVATE KEY-----")
}

fn others_can_read(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_no_secrets_and_keys_are() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
            path
        };
        let certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n";
        let public = [file("ca.pem", certificate), file("places.mmdb", ""), file("pier.toml", "")];
        let secret = [file("key.pem", key), file("both.pem", &format!("{certificate}{key}")), file("token", "a")];
        assert_eq!(warnings(&public, []), Vec::<String>::new());
        assert_eq!(warnings(&secret, []).len(), secret.len());
    }

    #[test]
    fn variables_with_one_underscore_are_recognised() {
        for (name, key) in [
            ("COUNTERSIGN_PUBLIC_URL", "COUNTERSIGN__PUBLIC_URL"),
            ("COUNTERSIGN_STORE_URL", "COUNTERSIGN__STORE__URL"),
            ("COUNTERSIGN_STORE__URL", "COUNTERSIGN__STORE__URL"),
            ("COUNTERSIGN_LOG_LEVEL", "COUNTERSIGN__LOG__LEVEL"),
        ] {
            let warning = near_miss(name).unwrap_or_default();
            assert!(warning.ends_with(key), "{name}: {warning:?}");
        }
        for name in ["COUNTERSIGN_URL", "COUNTERSIGN__STORE__URL", "COUNTERSIGN_SAMPLES", "PUBLIC_URL"] {
            assert_eq!(near_miss(name), None, "{name}");
        }
    }
}
