//! `dev.toml`: created on the first run, edited by the developer afterwards. Values that change with each run, such as
//! ports, override it in memory.

use std::{io, net::TcpListener, path::PathBuf};

use anyhow::{Context as _, anyhow};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{data_dir::DataDir, phone::PhoneIdentity, ports::Ports};
use crate::{
    app::{self, ConfigSource, exit::CommandError},
    config::{self, Config, ConfigFiles, credentials::token_digest},
    gateway::Purpose,
    random,
    reader::{Faults, Table},
    service::Instances,
};

mod first;

/// The key of the OpenID provider. `serve` refuses it.
const SIGNING_KEY: &str = include_str!("../../templates/dev/oidc-rs256.pem");
/// The secret of the client for the developer's own app, on loopback only.
pub(super) const CLIENT_SECRET: &str = "countersign-dev-client-secret";
/// The client for the developer's own app.
pub(super) const CLIENT_ID: &str = "app";

/// Everything that `dev` needs to start.
pub(super) struct DevSetup {
    pub(super) config: Config,
    pub(super) instances: Instances,
    pub(super) phone: PhoneIdentity,
    pub(super) listener: TcpListener,
    pub(super) token: SecretString,
    pub(super) reload: SettingsReader,
}

/// Reads the settings as `serve` reads its configuration, with the simulator allowed and with the addresses, the token
/// and the redirect URLs of this run.
#[derive(Clone)]
pub(super) struct SettingsReader {
    file: PathBuf,
    /// The fake phone's.
    origin: String,
    digest: String,
    redirect_urls: Vec<Url>,
    overrides: Vec<(&'static str, String)>,
}

pub(super) fn prepare(
    data_dir: &DataDir,
    ports: &Ports,
    new_token: bool,
    redirect_urls: &[Url],
    mode: super::RunMode,
) -> Result<DevSetup, CommandError> {
    let found = data_dir.read_settings()?;
    let before = found.as_deref().map(phone_port).transpose()?.flatten();
    let listener = ports.bind_phone(before, mode)?;
    let origin = format!("http://{}", listener.local_addr().context("the fake phone has no address")?);
    let text = match found {
        Some(text) => text,
        None => {
            let text = first::settings(&origin);
            data_dir.write_settings(&text)?;
            text
        }
    };
    let token = data_dir.token(new_token)?;
    let oidc_key = data_dir.secret_file("oidc-rs256.pem", || SIGNING_KEY.to_owned())?;
    let subject_key = data_dir.secret_file("oidc-subject-key", || STANDARD.encode(random::bytes::<32>()))?;
    let reload = SettingsReader {
        file: data_dir.settings_file(),
        digest: token_digest(token.expose_secret()),
        redirect_urls: redirect_urls.to_vec(),
        overrides: vec![
            ("oidc.signing_key_files", oidc_key.display().to_string()),
            ("oidc.subject_key_file", subject_key.display().to_string()),
            ("public_url", format!("http://{}/", ports.public)),
            ("listen", ports.public.to_string()),
            ("operator_listen", ports.operator.to_string()),
            ("store.url", data_dir.store_url()),
        ],
        origin,
    };
    let (config, instances) = reload.load(&text).map_err(|faults| {
        let file = reload.file.display();
        CommandError { error: anyhow!("{file} is invalid; fix or delete it:\n{faults}"), ..CommandError::from(faults) }
    })?;
    let phone = phone_identity(&config, &reload.origin)?;
    Ok(DevSetup { config, instances, phone, listener, token, reload })
}

impl SettingsReader {
    /// Of the environment, only `COUNTERSIGN__LOG__…` is used: settings for production must not affect `dev`.
    fn load(&self, text: &str) -> Result<(Config, Instances), Faults> {
        let layered = with_overrides(text, &self.origin, &self.digest, &self.redirect_urls)
            .map_err(|error| Faults::of("dev.toml", format!("{error:#}")))?;
        let environment = config::environment().filter(|(name, _)| name.starts_with("COUNTERSIGN__LOG__"));
        let files = ConfigFiles::from_text(&layered, environment)?;
        config::load(&files, &self.overrides)
            .and(|config| app::build_instances(config, Purpose::Develop))
            .into_result()
            .map_err(config::explain_misplaced)
    }

    /// Applies changes of the file while the daemon runs.
    pub(super) fn watch(self) -> io::Result<ConfigSource> {
        Ok(ConfigSource::new(&self.file)?.read_with(Purpose::Develop, move |path| {
            let unreadable = |error| Faults::of("dev.toml", format!("cannot read {}: {error}", path.display()));
            self.load(&std::fs::read_to_string(path).map_err(unreadable)?)
        }))
    }
}

fn parse(text: &str) -> anyhow::Result<toml::Table> {
    text.parse().context("dev.toml is not TOML; fix or delete it")
}

/// The instances whose gateway is the simulator.
fn simulated_instances(table: &mut toml::Table) -> impl Iterator<Item = &mut toml::Table> {
    let instances = table.get_mut("instance").and_then(toml::Value::as_array_mut).into_iter().flatten();
    instances.filter_map(toml::Value::as_table_mut).filter(|table| {
        let kind = table.get("gateway").and_then(|gateway| gateway.get("kind"));
        kind.and_then(toml::Value::as_str) == Some("simulator")
    })
}

/// The instance of the fake phone: the first with the simulator.
fn fake_phone_instance(table: &mut toml::Table) -> anyhow::Result<&mut toml::Table> {
    simulated_instances(table)
        .next()
        .context("dev.toml has no [[instance]] with gateway kind \"simulator\"; delete it to start over")
}

fn phone_origin(instance: &toml::Table) -> Option<String> {
    let url = instance.get("gateway")?.get("url")?.as_str()?;
    Some(url.trim_end_matches('/').to_owned())
}

fn phone_port(text: &str) -> anyhow::Result<Option<u16>> {
    let mut table = parse(text)?;
    let origin = phone_origin(fake_phone_instance(&mut table)?);
    Ok(origin.and_then(|origin| Url::parse(&origin).ok()?.port()))
}

/// Replaces the fake phone's URL of an earlier run by the current one, and adds the token and the redirect URLs.
fn with_overrides(text: &str, origin: &str, digest: &str, redirect_urls: &[Url]) -> anyhow::Result<String> {
    let mut table = parse(text)?;
    for instance in simulated_instances(&mut table) {
        if let Some(before) = phone_origin(instance) {
            for value in instance.iter_mut().map(|(_, value)| value) {
                replace_origin(value, &before, origin);
            }
        }
    }
    let instance = fake_phone_instance(&mut table)?;
    let list = |instance: &mut toml::Table, name: &str, more: Vec<toml::Value>| {
        let entry = instance.entry(name).or_insert_with(|| toml::Value::Array(Vec::new()));
        if let toml::Value::Array(values) = entry {
            values.extend(more);
        }
    };
    list(instance, "tokens", vec![digest.into()]);
    list(instance, "redirect_urls", redirect_urls.iter().map(|url| url.as_str().into()).collect());
    let configured = instance.get("client").and_then(toml::Value::as_array).into_iter().flatten();
    let configured: Vec<String> =
        configured.filter_map(|client| Some(client.get("id")?.as_str()?.to_owned())).collect();
    let clients = clients(origin, redirect_urls).into_iter();
    let missing = clients.filter(|client| !configured.iter().any(|id| client["id"].as_str() == Some(id)));
    list(instance, "client", missing.map(toml::Value::Table).collect());
    Ok(toml::to_string(&table).expect("what was read as TOML can be written as TOML"))
}

/// The clients of the OpenID provider: the page on the fake phone, and the developer's own app.
fn clients(origin: &str, redirect_urls: &[Url]) -> [toml::Table; 2] {
    let client = |id: &str, name: &str, redirect_uris: Vec<String>| {
        let mut table = toml::Table::new();
        table.insert("id".to_owned(), id.into());
        table.insert("name".to_owned(), name.into());
        table.insert("sector".to_owned(), id.into());
        table.insert("scopes".to_owned(), vec!["phone", "profile"].into());
        table.insert("redirect_uris".to_owned(), redirect_uris.into());
        table
    };
    let demo = ["127.0.0.1", "localhost"].map(|host| format!("{}/oidc", origin.replace("127.0.0.1", host)));
    let callbacks = ["http://localhost:3000/callback", "http://127.0.0.1:3000/callback"].map(str::to_owned);
    let callbacks = redirect_urls.iter().map(|url| url.as_str().to_owned()).chain(callbacks).collect();
    let mut app = client(CLIENT_ID, "Your app", callbacks);
    app.insert("secrets".to_owned(), vec![token_digest(CLIENT_SECRET)].into());
    [client("demo", "Demo app", demo.to_vec()), app]
}

fn replace_origin(value: &mut toml::Value, before: &str, now: &str) {
    match value {
        toml::Value::String(text) => {
            if let Some(rest) = text.strip_prefix(before)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = format!("{now}{rest}");
            }
        }
        toml::Value::Array(values) => values.iter_mut().for_each(|value| replace_origin(value, before, now)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| replace_origin(value, before, now)),
        _ => {}
    }
}

/// The fake phone's identity and secrets, from the configuration.
fn phone_identity(config: &Config, origin: &str) -> anyhow::Result<PhoneIdentity> {
    let kind_of = |table: &Table| table.text("kind");
    let instance = config.instances.iter().find(|instance| kind_of(&instance.gateway).as_deref() == Some("simulator"));
    let instance = instance.context("no instance has the gateway \"simulator\"")?;
    let sms_api_key = instance.codes.sms_instance.and_then(|id| {
        let other = config
            .instances
            .iter()
            .find(|other| other.id == id && kind_of(&other.gateway) == kind_of(&instance.gateway))?;
        other.gateway.reader().secret("api_key")
    });
    let secret = |name: &str| instance.gateway.reader().secret(name).unwrap_or_default();
    Ok(PhoneIdentity {
        instance: instance.id,
        name: instance.name.clone(),
        number: instance.number.clone(),
        origin: origin.to_owned(),
        api_key: secret("api_key"),
        sms_api_key,
        webhook_secret: secret("webhook_secret").expose_secret().into(),
        callback_secrets: instance.callback_secrets.clone(),
    })
}

#[cfg(test)]
mod tests;
