//! What `dev` prints to standard output when it is ready.

use std::fmt::Display;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{
    data_dir::DataDir,
    phone::FakePhone,
    settings::{CLIENT_ID, CLIENT_SECRET},
};
use crate::{random, telemetry::stdout};

pub(super) struct ReadyInfo<'a> {
    pub(super) data_dir: &'a DataDir,
    pub(super) phone: &'a FakePhone,
    pub(super) operator: &'a str,
    pub(super) token: &'a SecretString,
}

impl ReadyInfo<'_> {
    fn callback_secret(&self) -> &str {
        self.phone.identity.callback_secrets.first().map_or("", ExposeSecret::expose_secret)
    }
}

/// The daemon runs on if the output is closed.
fn print(text: &dyn Display) {
    let _ = stdout::print(text);
}

/// Prints one line of JSON, for the test suite of an app.
pub(super) fn print_json(info: &ReadyInfo<'_>) {
    let ReadyInfo { phone, operator, token, .. } = info;
    let line = json!({
        "base_url": phone.daemon.base,
        "operator_url": operator,
        "instance": phone.identity.instance,
        "token": token.expose_secret(),
        "callback_secret": info.callback_secret(),
        "issuer": phone.daemon.issuer(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "webhook_url": phone.daemon.webhook_url(),
        "phone_url": phone.identity.origin,
        "webhook_secret": phone.identity.webhook_secret.expose_secret(),
    });
    print(&line);
    tracing::info!(url = phone.identity.origin, "fake phone ready");
}

/// Prints the addresses, the variables that every sample uses, and commands to paste.
pub(super) fn print_text(info: &ReadyInfo<'_>) {
    let ReadyInfo { data_dir, phone, operator, token } = info;
    let (base, instance) = (&phone.daemon.base, phone.identity.instance);
    let settings = data_dir.settings_file();
    print(&format!(
        "\ncountersign {version} dev: everything on this machine, no WhatsApp needed\n\n\
         \x20 Fake phone   {phone}/        <- open this in a browser and sign in\n\
         \x20 Guides       {base}/docs     how your app logs people in\n\
         \x20 Settings     {settings}   changes are applied within seconds\n\
         \x20 Operator     {operator}   /status /metrics\n\
         \x20 OpenID       {phone}/oidc    each step of a login\n\n\
         For your app, and for the samples of the guides:\n\n\
         \x20 export COUNTERSIGN_URL={base}\n\
         \x20 export COUNTERSIGN_INSTANCE={instance}\n\
         \x20 export COUNTERSIGN_TOKEN={token}\n\
         \x20 export COUNTERSIGN_CALLBACK_SECRET={secret}\n\n\
         An app that logs people in, for http://localhost:3000: python3 deploy/examples/login.py\n\n\
         An OpenID client: issuer {issuer}, client {CLIENT_ID}, secret {CLIENT_SECRET}, callback \
         http://localhost:3000/callback or --redirect-url\n\n\
         Or create a link by hand, and open its start_url:\n\n{curl}\n\n\
         Ctrl-C stops. Pending links continue at the next start.\n",
        version = env!("CARGO_PKG_VERSION"),
        phone = phone.identity.origin,
        settings = settings.display(),
        token = token.expose_secret(),
        secret = info.callback_secret(),
        issuer = phone.daemon.issuer(),
        curl = curl_command(),
    ));
}

/// A command to paste after the exports. Its `state` is random, as that of an app.
fn curl_command() -> String {
    let state = URL_SAFE_NO_PAD.encode(random::bytes::<9>());
    format!(
        "  curl -sS \"$COUNTERSIGN_URL/api/otp/v2/$COUNTERSIGN_INSTANCE/generate-link\" \\\n    \
         -H \"Authorization: Bearer $COUNTERSIGN_TOKEN\" -H \"Content-Type: application/json\" \\\n    \
         -d '{{\"name\":\"Harbour\",\"state\":\"{state}\"}}'"
    )
}
