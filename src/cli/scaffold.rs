//! Writes new instances: a block for the configuration, secrets in files that only the owner can read, and an API token
//! that is shown once.

use std::{
    fmt::Write as _,
    fs::{DirBuilder, OpenOptions},
    io::{Write as _, stderr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, builder::PossibleValuesParser};
use url::Url;

use crate::{
    app::exit::CommandError,
    config::credentials::{InstanceCredentials, token_digest},
    domain::{Phone, phone_input, redirect},
    gateway::{self, GatewayKind},
    random,
};

/// Settings of gateways that are secrets, and are read from files.
const SECRETS: &[&str] =
    &["webhook_secret", "api_key", "access_token", "api_secret", "access_key", "basic_auth", "verify_token"];
/// Secrets that the operator chooses, whatever the kind.
const CHOSEN_EVERYWHERE: &[&str] = &["verify_token"];

/// What the new instance is.
#[derive(Debug, Args)]
pub(super) struct InstanceOptions {
    /// The application's name in messages.
    #[arg(long)]
    pub(super) name: String,
    /// The WhatsApp number that people write to, in international format.
    #[arg(long, value_parser = phone_input::parse_phone)]
    number: Phone,
    /// The kind of gateway. The guide /docs/gateways describes the setup of each.
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(gateway::kinds().map(|kind| kind.name)))]
    pub(super) gateway: String,
    /// A setting of the gateway as NAME=VALUE, or a secret as NAME=@FILE; can be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Where people may land after a login; can be repeated.
    #[arg(long = "redirect-url", value_name = "URL", value_parser = parse_redirect)]
    redirect_urls: Vec<Url>,
    /// The URL of the app that receives callbacks.
    #[arg(long, value_name = "URL")]
    callback_url: Option<Url>,
    /// Write the API token into this new file instead of showing it.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Print what was made as JSON, without secrets.
    #[arg(long)]
    pub(super) json: bool,
}

fn parse_setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if SECRETS.contains(&name) && !value.starts_with('@') {
        return Err("is a secret, which arguments would show to every user of this machine; write it into a file and \
                    name that: NAME=@FILE");
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_redirect(text: &str) -> Result<Url, &'static str> {
    redirect::parse_target(text)
        .ok_or("expected an http:// or https:// URL without credentials, or one of a native app")
}

/// A new instance, whose secrets are written.
pub(super) struct NewInstance {
    pub(super) id: String,
    pub(super) token: String,
    /// TOML for the configuration.
    pub(super) block: String,
    /// Files that hold a generated secret.
    pub(super) written: Vec<PathBuf>,
    /// Files into which the operator has to write a secret of the gateway.
    pub(super) empty: Vec<PathBuf>,
    /// Settings that still have the value of the guide's example.
    pub(super) examples: Vec<String>,
    pub(super) has_no_redirect_url: bool,
}

/// A new, private directory for secrets. Existing files in it are never overwritten.
pub(super) struct SecretDir(PathBuf);

impl SecretDir {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let why = || format!("cannot use the directory {}", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(why)?;
        // The configuration may be read from another working directory.
        Ok(Self(path.canonicalize().with_context(why)?))
    }

    /// Creates a file that only the owner can read.
    pub(super) fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        write_new(&path, content)?;
        Ok(path)
    }
}

/// Creates a file that only the owner can read.
pub(super) fn write_new(path: &Path, content: &str) -> anyhow::Result<()> {
    let why = || format!("cannot create {}; existing files are not overwritten", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).with_context(why)?;
    file.write_all(content.as_bytes()).and_then(|()| file.sync_all()).with_context(why)
}

/// A random key in base64, as `key_file` has.
pub(super) fn master_key() -> String {
    format!("{}\n", STANDARD.encode(random::bytes::<32>()))
}

/// Generates credentials, writes the secrets into `secrets`, and composes the block of the instance.
pub(super) fn instance(options: &InstanceOptions, secrets: &SecretDir) -> Result<NewInstance, CommandError> {
    let InstanceCredentials { id, token, callback_secret, .. } = InstanceCredentials::generate();
    let callbacks = secrets.write("callback_secrets", &format!("{callback_secret}\n"))?;
    let mut made = NewInstance {
        id: id.to_string(),
        block: String::new(),
        written: vec![callbacks.clone()],
        empty: Vec::new(),
        examples: Vec::new(),
        has_no_redirect_url: options.redirect_urls.is_empty(),
        token,
    };
    let urls: Vec<&str> = options.redirect_urls.iter().map(Url::as_str).collect();
    let mut block = format!(
        "[[instance]]\nid = \"{id}\"\nname = {name}\nnumber = \"{number}\"\n\
         # The digest of the API token; `countersign new-token` makes more.\ntokens = [\"{digest}\"]\n\
         callback_secrets_file = {callbacks}\n",
        name = toml::Value::from(options.name.as_str()),
        number = options.number.e164(),
        digest = token_digest(&made.token),
        callbacks = quoted(&callbacks),
    );
    let callback_url = options.callback_url.as_ref().map(|url| format!("callback_url = \"{url}\""));
    let callback_url = callback_url.unwrap_or_else(|| "# callback_url = \"https://app.example.org/hooks\"".to_owned());
    let _ = writeln!(
        block,
        "{callback_url}\n# Where people may land after a login: an address, or everything below one that ends in /.\n\
         redirect_urls = {}\n",
        toml::Value::from(urls)
    );
    gateway_table(options, secrets, &mut made, &mut block)?;
    made.block = block;
    Ok(made)
}

/// The example of the guide with new secrets and the given settings.
fn gateway_table(
    options: &InstanceOptions,
    secrets: &SecretDir,
    made: &mut NewInstance,
    out: &mut String,
) -> Result<(), CommandError> {
    let kind = gateway::kinds().find(|kind| kind.name == options.gateway).context("an unknown kind of gateway")?;
    let example = kind.example();
    let given = |name: &str| options.settings.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value);
    // Further settings belong to the first table.
    let (first, rest) = example.split_once("\n\n").map_or((example, ""), |(first, rest)| (first, rest));
    let mut known = Vec::new();
    for line in first.lines() {
        let Some((name, value)) = line.split_once(" = ").filter(|(name, _)| !name.starts_with('#')) else {
            let _ = writeln!(out, "{line}");
            continue;
        };
        known.push(name);
        if SECRETS.contains(&name) {
            let secret = secret(kind, name, value, given(name).map(String::as_str))?;
            let path = secrets.write(name, &secret)?;
            let _ = writeln!(out, "{name}_file = {}", quoted(&path));
            if secret.is_empty() { made.empty.push(path) } else { made.written.push(path) }
        } else if let Some(value) = given(name) {
            let _ = writeln!(out, "{name} = {}", toml::Value::from(value.as_str()));
        } else {
            let _ = writeln!(out, "{line}");
            if !["kind", "channel", "webhook_auth"].contains(&name) {
                made.examples.push(name.to_owned());
            }
        }
    }
    for (name, value) in options.settings.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
        match value.strip_prefix('@').filter(|_| SECRETS.contains(&name.as_str())) {
            Some(file) => {
                let path = secrets.write(name, &read_secret(file)?)?;
                let _ = writeln!(out, "{name}_file = {}", quoted(&path));
                made.written.push(path);
            }
            None => {
                let _ = writeln!(out, "{name} = {}", toml::Value::from(value.as_str()));
            }
        }
    }
    if !rest.is_empty() {
        let _ = writeln!(out, "\n{}", rest.trim_end());
    }
    Ok(())
}

/// The content of a secret's file: as given, else generated if the operator chooses it, else empty. `example` shows the
/// word that the gateway puts before it.
fn secret(kind: &GatewayKind, name: &str, example: &str, given: Option<&str>) -> Result<String, CommandError> {
    if let Some(file) = given.and_then(|value| value.strip_prefix('@')) {
        return read_secret(file);
    }
    let random = || random::bytes::<32>().iter().fold(String::new(), |out, byte| format!("{out}{byte:02x}"));
    if let Some((_, before)) = kind.shared_secrets.iter().find(|(known, _)| *known == name) {
        return Ok(format!("{before}{}\n", random()));
    }
    if CHOSEN_EVERYWHERE.contains(&name) || name == "webhook_secret" && !kind.issues_webhook_secret {
        let text = example.trim_start_matches('"');
        let before = ["Bearer ", "countersign:"].into_iter().find(|word| text.starts_with(word)).unwrap_or_default();
        return Ok(format!("{before}{}\n", random()));
    }
    Ok(String::new())
}

fn read_secret(file: &str) -> Result<String, CommandError> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| CommandError::arguments(format_args!("--set: cannot read {file}: {error}")))?;
    Ok(format!("{}\n", text.trim()))
}

fn quoted(path: &Path) -> toml::Value {
    toml::Value::from(path.display().to_string())
}

/// Shows the token on standard error, or writes it into a file. Never on standard output, which is often redirected into
/// a file that others can read.
pub(super) fn hand_over_token(token: &str, file: Option<&Path>) -> anyhow::Result<()> {
    if let Some(file) = file {
        return write_new(file, &format!("{token}\n"));
    }
    let text = format!("The API token, shown only now:\n\n  export COUNTERSIGN_TOKEN={token}\n");
    writeln!(stderr(), "{text}").context("cannot show the API token")
}

/// What the operator has left to do.
pub(super) fn next_steps(made: &NewInstance, kind: &str, config: &str) -> Vec<String> {
    let mut steps: Vec<String> =
        made.empty.iter().map(|file| format!("write the gateway's secret into {}", file.display())).collect();
    if !made.examples.is_empty() {
        steps.push(format!("check the settings {} of [instance.gateway] in {config}", made.examples.join(", ")));
    }
    let chosen: Vec<String> = made
        .written
        .iter()
        .filter(|file| !file.ends_with("callback_secrets"))
        .map(|file| file.display().to_string())
        .collect();
    let also = if chosen.is_empty() { String::new() } else { format!(" and the content of {}", chosen.join(", ")) };
    if made.has_no_redirect_url {
        steps.push(format!("list the address that receives your users after a login under redirect_urls in {config}"));
    }
    steps.push(format!("enter the webhook URL{also} at the gateway: /docs/gateways#{kind} says where"));
    steps
}

/// Refuses to write into a directory that has a configuration.
pub(super) fn ensure_new(config: &Path) -> anyhow::Result<()> {
    if config.exists() {
        bail!(
            "{} exists already; `countersign new-instance` makes another instance for it, and another directory takes \
             another configuration",
            config.display()
        );
    }
    Ok(())
}
