//! `verify-signature`: checks the signature of a callback, and explains a mismatch.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use crate::{app::exit::CommandError, clock::Clock, domain::standard_webhooks, telemetry::stdout::print};

const SECRET_VARIABLE: &str = "COUNTERSIGN_CALLBACK_SECRET";

/// The callback as it was received.
#[derive(Debug, Args)]
pub(super) struct VerifyOptions {
    /// A file with the secret, `whsec_…`. Default: the environment variable
    /// `COUNTERSIGN_CALLBACK_SECRET`.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The header `webhook-id`.
    #[arg(long)]
    id: String,
    /// The header `webhook-timestamp`.
    #[arg(long)]
    timestamp: i64,
    /// The header `webhook-signature`.
    #[arg(long)]
    signature: String,
    /// Seconds by which the timestamp may differ from now; 0: no limit.
    #[arg(long, default_value_t = 300)]
    tolerance: i64,
    /// A file with the exact bytes of the body.
    body: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit status 0 if the callback is genuine, else 1.
pub(super) fn run(options: &VerifyOptions) -> Result<ExitCode, CommandError> {
    let secret = match &options.secret_file {
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => super::environment_secret(SECRET_VARIABLE)
            .with_context(|| format!("set {SECRET_VARIABLE}, or give --secret-file"))?,
    };
    let body = std::fs::read(&options.body).with_context(|| format!("cannot read {}", options.body.display()))?;
    let age = Clock::default().wall().as_second() - options.timestamp;
    let result = verify(secret.trim(), options, &body, age);
    match &result {
        outcome if options.json => {
            print(json!({ "genuine": outcome.is_ok(), "age_seconds": age, "reason": outcome.as_ref().err() }))?;
        }
        Ok(()) => print(format_args!("genuine: signed with this secret over exactly this body, {age} s ago"))?,
        Err(why) => print(format_args!("not genuine: {why}"))?,
    }
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify(secret: &str, options: &VerifyOptions, body: &[u8], age: i64) -> Result<(), String> {
    if standard_webhooks::key(secret).is_none() {
        return Err("the secret is not `whsec_` followed by base64".to_owned());
    }
    let signed = |body: &[u8]| {
        let secret = SecretString::from(secret.to_owned());
        let timestamp = options.timestamp.to_string();
        standard_webhooks::verify(&[secret], &options.id, &timestamp, body, &options.signature)
    };
    if signed(body) {
        return if options.tolerance > 0 && age.abs() > options.tolerance {
            Err(format!(
                "the signature is correct, but the timestamp differs from now by {age} s: a replay, or a wrong clock"
            ))
        } else {
            Ok(())
        };
    }
    if !options.signature.split(' ').any(|entry| entry.starts_with("v1,")) {
        return Err("the header contains no `v1,` entry".to_owned());
    }
    let trimmed = body.strip_suffix(b"\n").unwrap_or(body);
    let trimmed = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
    if trimmed.len() < body.len() && signed(trimmed) {
        return Err(
            "the body has a line break at its end that was not sent; without it the signature is correct".to_owned()
        );
    }
    let compact = serde_json::from_slice::<serde_json::Value>(body).map(|json| json.to_string().into_bytes());
    if compact.is_ok_and(|compact| signed(&compact)) {
        return Err("the body was parsed and serialised again; verify the raw bytes before parsing them".to_owned());
    }
    Err("the secret, the webhook-id or the webhook-timestamp is wrong, or the body was changed".to_owned())
}
