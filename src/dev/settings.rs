//! `dev.toml`: made on the first run, the developer's own afterwards. What changes from run to run is laid
//! over it in memory.

use std::net::TcpListener;

use anyhow::{Context as _, anyhow, bail};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{home::Home, phone::Identity, ports::Ports};
use crate::{
    app::{self, exit::Failure},
    config::{
        self, Config,
        credentials::{generate_token, token_digest},
    },
    gateway::Purpose,
    reader::Table,
    service::Instances,
};

mod first;

/// Everything that `dev` needs to start.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) instances: Instances,
    pub(super) phone: Identity,
    pub(super) listener: TcpListener,
    /// Known to this process alone, and gone with it.
    pub(super) token: SecretString,
    /// Stored as a digest just now, so this is the only chance to show it.
    pub(super) new_token: Option<SecretString>,
    pub(super) first_run: bool,
}

pub(super) fn prepare(
    home: &Home,
    ports: &Ports,
    new_token: bool,
    redirect_urls: &[Url],
    mode: super::Mode,
) -> Result<Prepared, Failure> {
    let found = home.read_settings()?;
    let first_run = found.is_none();
    let before = found.as_deref().map(phone_port).transpose()?.flatten();
    let listener = ports.phone(before, mode)?;
    let origin = format!("http://{}", listener.local_addr().context("the fake phone has no address")?);
    let mut shown = None;
    let text = match found {
        Some(text) if new_token => {
            let token = generate_token();
            let text = with_token(&text, &token_digest(&token))?;
            home.write_settings(&text)?;
            shown = Some(token);
            text
        }
        Some(text) => text,
        None => {
            let (text, token) = first::settings(&origin);
            home.write_settings(&text)?;
            shown = Some(token);
            text
        }
    };
    let token = generate_token();
    let layered = layer(&text, &origin, &token_digest(&token), redirect_urls)?;
    let (config, instances) = load(&layered, home, ports)?;
    let phone = identity(&config, &origin)?;
    let new_token = shown.map(SecretString::from);
    Ok(Prepared { config, instances, phone, listener, token: token.into(), new_token, first_run })
}

/// Reads it as `serve` would, but for the simulator, and with the addresses of this run. Of the environment
/// only the log's keys count: what stands there for production must not reach a toy.
fn load(text: &str, home: &Home, ports: &Ports) -> Result<(Config, Instances), Failure> {
    let overrides = [
        ("public_url", format!("http://{}/", ports.public)),
        ("listen", ports.public.to_string()),
        ("operator_listen", ports.operator.to_string()),
        ("store.url", home.store_url()),
    ];
    let environment = config::environment().filter(|(name, _)| name.starts_with("COUNTERSIGN__LOG__"));
    let built = config::load(Some(text), environment, &overrides)
        .and(|config| app::build_instances(config, Purpose::Develop))
        .into_result();
    built.map_err(|faults| {
        let file = home.settings_file();
        let error = anyhow!("{} has faults; mend or delete it:\n{faults}", file.display());
        Failure { error, ..Failure::from(faults) }
    })
}

fn parse(text: &str) -> anyhow::Result<toml::Table> {
    text.parse().context("dev.toml is not TOML; mend or delete it")
}

/// Every instance whose gateway is the fake phone.
fn all_simulated(table: &mut toml::Table) -> impl Iterator<Item = &mut toml::Table> {
    let instances = table.get_mut("instance").and_then(toml::Value::as_array_mut).into_iter().flatten();
    instances.filter_map(toml::Value::as_table_mut).filter(|table| {
        let kind = table.get("gateway").and_then(|gateway| gateway.get("kind"));
        kind.and_then(toml::Value::as_str) == Some("simulator")
    })
}

/// The instance that the fake phone serves: the first. Others may stand beside it.
fn simulated(table: &mut toml::Table) -> anyhow::Result<&mut toml::Table> {
    all_simulated(table)
        .next()
        .context("dev.toml has no [[instance]] with gateway kind \"simulator\"; delete it to start over")
}

fn phone_origin(instance: &toml::Table) -> Option<String> {
    let url = instance.get("gateway")?.get("url")?.as_str()?;
    Some(url.trim_end_matches('/').to_owned())
}

fn phone_port(text: &str) -> anyhow::Result<Option<u16>> {
    let mut table = parse(text)?;
    let origin = phone_origin(simulated(&mut table)?);
    Ok(origin.and_then(|origin| Url::parse(&origin).ok()?.port()))
}

/// Moves everything that points at the fake phone to where it is now; adds what only this process may use.
fn layer(text: &str, origin: &str, digest: &str, redirect_urls: &[Url]) -> anyhow::Result<String> {
    let mut table = parse(text)?;
    for instance in all_simulated(&mut table) {
        if let Some(before) = phone_origin(instance) {
            for value in instance.iter_mut().map(|(_, value)| value) {
                repoint(value, &before, origin);
            }
        }
    }
    let instance = simulated(&mut table)?;
    let list = |instance: &mut toml::Table, name: &str, more: Vec<toml::Value>| {
        let entry = instance.entry(name).or_insert_with(|| toml::Value::Array(Vec::new()));
        if let toml::Value::Array(values) = entry {
            values.extend(more);
        }
    };
    list(instance, "tokens", vec![digest.into()]);
    list(instance, "redirect_urls", redirect_urls.iter().map(|url| url.as_str().into()).collect());
    Ok(toml::to_string(&table).expect("what was read as TOML can be written as TOML"))
}

fn repoint(value: &mut toml::Value, before: &str, now: &str) {
    match value {
        toml::Value::String(text) => {
            if let Some(rest) = text.strip_prefix(before)
                && (rest.is_empty() || rest.starts_with('/'))
            {
                *text = format!("{now}{rest}");
            }
        }
        toml::Value::Array(values) => values.iter_mut().for_each(|value| repoint(value, before, now)),
        toml::Value::Table(table) => table.iter_mut().for_each(|(_, value)| repoint(value, before, now)),
        _ => {}
    }
}

/// Textual, so that the developer's comments stay.
fn with_token(text: &str, digest: &str) -> anyhow::Result<String> {
    let (head, tail) = text
        .split_once("\ntokens = [")
        .context("dev.toml has no line that begins `tokens = [`, so --new-token cannot add to it")?;
    let text = format!("{head}\ntokens = [\n  \"{digest}\",{tail}");
    let holds = |table: &toml::Table| {
        let tokens = table.get("tokens").and_then(toml::Value::as_array);
        tokens.is_some_and(|tokens| tokens.iter().any(|token| token.as_str() == Some(digest)))
    };
    match text.parse().ok().as_mut().map(simulated) {
        Some(Ok(instance)) if holds(instance) => Ok(text),
        _ => bail!("--new-token cannot find the fake phone's tokens in dev.toml; put its instance first"),
    }
}

/// What the fake phone must know to be one.
fn identity(config: &Config, origin: &str) -> anyhow::Result<Identity> {
    let kind_of = |table: &Table| table.text("kind");
    let instance = config.instances.iter().find(|instance| kind_of(&instance.gateway).as_deref() == Some("simulator"));
    let instance = instance.context("there is no instance with the simulator")?;
    let sms_api_key = instance.codes.sms_instance.and_then(|id| {
        let other = config
            .instances
            .iter()
            .find(|other| other.id == id && kind_of(&other.gateway) == kind_of(&instance.gateway))?;
        other.gateway.reader().secret("api_key")
    });
    let secret = |name: &str| instance.gateway.reader().secret(name).unwrap_or_default();
    Ok(Identity {
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
