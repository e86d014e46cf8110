//! What `dev` prints to standard output when it is ready.
#![expect(clippy::print_stdout, reason = "a command line tool answers on standard output")]

use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    data_dir::DataDir,
    phone::FakePhone,
    settings::{CLIENT_ID, CLIENT_SECRET},
};

pub(super) struct ReadyInfo<'a> {
    pub(super) data_dir: &'a DataDir,
    pub(super) phone: &'a FakePhone,
    pub(super) operator: &'a str,
    /// Valid for this process only.
    pub(super) token: &'a SecretString,
    /// A new token in the settings. Only its digest is stored, so it can be shown only now.
    pub(super) new_token: Option<SecretString>,
    pub(super) first_run: bool,
}

/// Prints one line of JSON, for the test suite of an app.
pub(super) fn print_json(info: &ReadyInfo<'_>) {
    let ReadyInfo { phone, operator, token, .. } = info;
    let callback_secret = phone.identity.callback_secrets.first().map(ExposeSecret::expose_secret);
    let line = json!({
        "base_url": phone.daemon.base,
        "operator_url": operator,
        "instance": phone.identity.instance,
        "token": token.expose_secret(),
        "callback_secret": callback_secret,
        "issuer": phone.daemon.issuer(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "webhook_url": phone.daemon.webhook_url(),
        "phone_url": phone.identity.origin,
        "webhook_secret": phone.identity.webhook_secret.expose_secret(),
    });
    println!("{line}");
    tracing::info!(url = phone.identity.origin, "fake phone ready");
}

pub(super) fn print_text(info: &ReadyInfo<'_>) {
    let ReadyInfo { data_dir, phone, operator, new_token, first_run, .. } = info;
    let settings = data_dir.settings_file();
    let settings = settings.display();
    println!(
        "\ncountersign dev: everything on this machine, no WhatsApp needed\n\n\
         \x20 Fake phone       {}/   <- open in a browser\n\
         \x20 API              {}\n\
         \x20 Operator         {operator}   /livez /readyz /metrics\n\
         \x20 OpenID issuer    {}   client {CLIENT_ID}, secret {CLIENT_SECRET}\n\
         \x20                  {}/oidc   each step of a login\n\
         \x20 Settings         {settings}\n\n\
         \x20 Instance         {}",
        phone.identity.origin,
        phone.daemon.api_url(),
        phone.daemon.issuer(),
        phone.identity.origin,
        phone.identity.instance,
    );
    match new_token {
        Some(token) => println!("  API token        {}   shown only now", token.expose_secret()),
        None => println!("  API token        shown when it was created; `countersign dev --new-token` creates another"),
    }
    match phone.identity.callback_secrets.first() {
        Some(secret) if *first_run => println!("  Callback secret  {}   also in the settings", secret.expose_secret()),
        _ => println!("  Callback secret  callback_secrets in the settings"),
    }
    println!("\nMint a link; it appears on the fake phone:\n\n{}\n", curl_command(phone, new_token.as_ref()));
    println!("Ctrl-C stops. Pending links continue at the next start.\n");
}

/// A command to paste. Without a token, it uses the shell variable `TOKEN`.
fn curl_command(phone: &FakePhone, token: Option<&SecretString>) -> String {
    let token = token.map_or("$TOKEN", ExposeSecret::expose_secret);
    format!(
        "  curl -sS {}/generate-link \\\n    -H \"Authorization: Bearer {token}\" \\\n    \
         -H \"Content-Type: application/json\" \\\n    -d '{{\"name\":\"Harbour demo\",\"expires\":600}}'",
        phone.daemon.api_url(),
    )
}
