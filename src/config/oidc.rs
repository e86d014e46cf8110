//! The OpenID provider: its keys, and the clients of an instance.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    token::{digest, is_id},
    weak::weak_bytes,
};
use crate::{
    api::limits,
    domain::oidc::{Algorithm, ClaimScopes, Client, SubjectType, redirect_uri},
    jose::SigningKey,
    reader::Reader,
};

/// The key of `countersign dev`, which everybody has; `serve` refuses it.
pub const DEV_KEY_ID: &str = "LyyUh__u75zomceBDe4R-A7U1wU1vpMsypRHRqVfpTM";

/// Shortest time that clients may keep the key set: every client asks again after it.
const MIN_JWKS_CACHE: Duration = Duration::from_secs(1);
/// Longest one: a new key signs only after it.
const MAX_JWKS_CACHE: Duration = Duration::from_hours(24);

const SUBJECTS: &[(&str, SubjectType)] = &[("pairwise", SubjectType::Pairwise), ("public", SubjectType::Public)];
const ALGORITHMS: &[(&str, Algorithm)] = &[("RS256", Algorithm::Rs256), ("ES256", Algorithm::Es256)];

/// The settings of `[oidc]`.
#[derive(Clone)]
pub struct OidcConfig {
    /// In the order of the configuration: the first one of an algorithm that may sign does.
    pub signing_keys: Vec<Arc<SigningKey>>,
    pub subject_key: [u8; 32],
    /// How long clients may keep the key set.
    pub jwks_cache: Duration,
}

impl fmt::Debug for OidcConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signing_keys, subject_key: _, jwks_cache } = self;
        write!(f, "OidcConfig({signing_keys:?}, {jwks_cache:?})")
    }
}

impl OidcConfig {
    /// `None` if there is no `[oidc]`, or a fault in it.
    pub(super) fn read(s: &mut Reader<'_>) -> Option<Self> {
        let jwks_cache = s.duration("jwks_cache");
        if !(MIN_JWKS_CACHE..=MAX_JWKS_CACHE).contains(&jwks_cache) && !s.is_faulty("jwks_cache") {
            s.fault("jwks_cache", "must lie between 1s and 24h");
        }
        let files = s.texts("signing_key_files");
        let secret = s.secret("subject_key");
        if files.is_empty() && secret.is_none() && !s.is_faulty("subject_key_file") {
            return None;
        }
        let signing_keys = signing_keys(s, &files);
        let subject_key = subject_key(s, secret.as_ref().map(SecretString::expose_secret));
        Some(Self { signing_keys, subject_key: subject_key?, jwks_cache })
    }

    fn signs(&self, algorithm: Algorithm) -> bool {
        self.signing_keys.iter().any(|key| key.algorithm() == algorithm)
    }
}

fn signing_keys(s: &mut Reader<'_>, files: &[String]) -> Vec<Arc<SigningKey>> {
    let mut keys: Vec<Arc<SigningKey>> = Vec::new();
    for (index, file) in files.iter().enumerate() {
        let read = std::fs::read(file).map_err(|error| format!("cannot read {file}: {error}"));
        match read.and_then(|pem| SigningKey::from_pem(&pem).map_err(|error| format!("{file} {error}"))) {
            Ok(key) if keys.iter().any(|other| other.id() == key.id()) => {
                s.fault(&format!("signing_key_files.{index}"), format!("{file} holds the key of an earlier file"));
            }
            Ok(key) => keys.push(Arc::new(key)),
            Err(problem) => s.fault(&format!("signing_key_files.{index}"), problem),
        }
    }
    if files.is_empty() {
        s.fault(
            "signing_key_files",
            "is missing: make a key with `openssl genpkey -algorithm RSA -out oidc-rs256.pem`",
        );
    } else if keys.len() == files.len() && !keys.iter().any(|key| key.algorithm() == Algorithm::Rs256) {
        s.fault("signing_key_files", "names no RSA key: every provider must be able to sign with RS256");
    }
    keys
}

fn subject_key(s: &mut Reader<'_>, text: Option<&str>) -> Option<[u8; 32]> {
    let Some(text) = text else {
        if !s.is_faulty("subject_key_file") {
            s.fault(
                "subject_key_file",
                "is missing: a file with 32 bytes in base64; make it with `openssl rand -base64 32`",
            );
        }
        return None;
    };
    let key = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    match key {
        None => s.fault("subject_key", "expected 32 bytes in base64"),
        Some(key) => {
            if let Some(why) = weak_bytes(&key) {
                s.fault("subject_key", format!("{why}; make one with `openssl rand -base64 32`"));
            }
        }
    }
    key
}

/// Checks the clients of an instance against the keys of the provider. `at` is the key of the instance.
pub(super) fn check_clients(s: &mut Reader<'_>, at: &str, clients: &[Client], oidc: Option<&OidcConfig>) {
    let is_faulty = s.faults().iter().any(|fault| fault.key.starts_with("oidc."));
    for (index, client) in clients.iter().enumerate() {
        match oidc {
            None if !is_faulty => {
                s.fault(&format!("{at}.client.{index}"), "needs [oidc] with signing_key_files and subject_key_file");
            }
            Some(oidc) if !oidc.signs(client.algorithm) => {
                let problem = format!("{} needs a key of that kind in oidc.signing_key_files", client.algorithm);
                s.fault(&format!("{at}.client.{index}.id_token_alg"), problem);
            }
            None | Some(_) => {}
        }
    }
}

/// Reads `[[instance.client]]`.
pub(super) fn clients(s: &mut Reader<'_>) -> Vec<Client> {
    let clients: Vec<Client> = s.tables("client", client).into_iter().flatten().collect();
    for (index, client) in clients.iter().enumerate() {
        if clients[..index].iter().any(|other| other.id == client.id) {
            s.fault(&format!("client.{index}.id"), format!("{:?} occurs twice", client.id));
        }
    }
    clients
}

fn client(s: &mut Reader<'_>) -> Option<Client> {
    let id = s.required_text("id", "the client_id that the app sends");
    if id.as_deref().is_some_and(|id| !is_id(id)) {
        s.fault("id", "expected 1 to 32 letters, digits, dots, dashes and underscores");
    }
    let secrets = s.list("secrets", digest);
    let redirect_uris = s.required("redirect_uris", "where people return to, compared letter by letter", |s| {
        Some(s.list("redirect_uris", |text| redirect_uri(text).map(|()| text.to_owned())))
    });
    let redirect_uris = redirect_uris.unwrap_or_default();
    let subject = s.choice("subject", SUBJECTS).unwrap_or(SubjectType::Pairwise);
    let sector = sector(s, &redirect_uris, subject);
    let client = Client {
        id: id?,
        name: s.short_text("name", limits::APP_NAME),
        secrets,
        redirect_uris,
        scopes: scopes(s),
        subject,
        sector,
        login_hint: s.flag("login_hint", false),
        allow_hidden: s.flag("allow_hidden", false),
        algorithm: s.choice("id_token_alg", ALGORITHMS).unwrap_or(Algorithm::Rs256),
        purpose: s.short_text("purpose", limits::PURPOSE),
    };
    for (name, text) in [("name", &client.name), ("purpose", &client.purpose)] {
        if text.as_ref().is_some_and(|text| text.contains("://") || text.to_lowercase().contains("www.")) {
            s.fault(name, "holds an address; it is shown in messages and must not be a link");
        }
    }
    Some(client)
}

fn scopes(s: &mut Reader<'_>) -> ClaimScopes {
    let words = s.choices("scopes", &[("openid", "openid"), ("phone", "phone"), ("profile", "profile")]);
    ClaimScopes::named(&words.join(" "))
}

/// The sector: as configured, else the only host of the redirect URIs (OpenID Connect Core 1.0, 8.1).
fn sector(s: &mut Reader<'_>, redirect_uris: &[String], subject: SubjectType) -> String {
    if let Some(sector) = s.short_text("sector", 255) {
        return sector;
    }
    let host = |uri: &String| Url::parse(uri).ok().map(|url| url.host_str().unwrap_or(url.scheme()).to_owned());
    let hosts: BTreeSet<String> = redirect_uris.iter().filter_map(host).collect();
    if hosts.len() > 1 && subject == SubjectType::Pairwise {
        s.fault("sector", "is missing: the redirect URIs have several hosts, so name the one that subjects belong to");
    }
    hosts.into_iter().next().unwrap_or_default()
}
