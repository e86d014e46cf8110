//! An HTTP client of the daemon: as an app, as the gateway, and as a browser.

use std::time::{Duration, Instant};

use http::{Request, Response, request::Builder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::{
    domain::InstanceId,
    egress::{Cause, Egress, EgressError, Policy},
};

/// A client of one instance.
#[derive(Clone)]
pub(super) struct DaemonClient {
    egress: Egress,
    /// Without a trailing slash.
    pub(super) base: String,
    pub(super) instance: InstanceId,
    /// Valid for this process only.
    token: SecretString,
}

/// A response, with the time it took.
pub(super) struct DaemonResponse {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) location: Option<String>,
    pub(super) elapsed: Duration,
}

impl DaemonResponse {
    /// The body as JSON; `null` if it is not JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl DaemonClient {
    pub(super) fn new(base: String, instance: InstanceId, token: SecretString) -> Self {
        let egress = Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() });
        Self { egress, base, instance, token }
    }

    pub(super) fn api_url(&self) -> String {
        format!("{}/api/otp/v2/{}", self.base, self.instance)
    }

    /// The issuer that the instance is.
    pub(super) fn issuer(&self) -> String {
        format!("{}/oidc/{}", self.base, self.instance)
    }

    pub(super) fn webhook_url(&self) -> String {
        format!("{}/webhooks/{}", self.base, self.instance)
    }

    /// GETs a path of the instance's API.
    pub(super) async fn get(&self, path: &str) -> Result<DaemonResponse, EgressError> {
        self.send(self.authorized(Request::get(format!("{}{path}", self.api_url()))), Vec::new()).await
    }

    /// POSTs JSON to a path of the instance's API.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<DaemonResponse, EgressError> {
        let request = Request::post(format!("{}{path}", self.api_url())).header("content-type", "application/json");
        self.send(self.authorized(request), body.to_string().into_bytes()).await
    }

    /// Posts a webhook, as the gateway.
    pub(super) async fn post_webhook(
        &self,
        body: &[u8],
        headers: &[(&'static str, String)],
    ) -> Result<DaemonResponse, EgressError> {
        let request = Request::post(self.webhook_url()).header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        self.send(request, body.to_vec()).await
    }

    /// GETs a page, as a browser.
    pub(super) async fn get_page(&self, url: &str) -> Result<DaemonResponse, EgressError> {
        self.send(Request::get(url), Vec::new()).await
    }

    /// Submits a form of a page of the daemon, as a browser.
    pub(super) async fn submit_form(&self, url: &str, form: String) -> Result<DaemonResponse, EgressError> {
        let request = Request::post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("origin", &self.base)
            .header("sec-fetch-site", "same-origin");
        self.send(request, form.into_bytes()).await
    }

    fn authorized(&self, request: Builder) -> Builder {
        request.header("authorization", format!("Bearer {}", self.token.expose_secret()))
    }

    async fn send(&self, request: Builder, body: Vec<u8>) -> Result<DaemonResponse, EgressError> {
        let request = request.body(body).map_err(|_| Cause::Incomplete)?;
        let start = Instant::now();
        let response: Response<Vec<u8>> = self.egress.send(request).await?;
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        Ok(DaemonResponse { status, location, elapsed: start.elapsed(), body: response.into_body() })
    }
}
