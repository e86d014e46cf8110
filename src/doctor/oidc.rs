//! `doctor --oidc`: what an OpenID provider tells everybody, and how it answers requests that it must refuse. Needs no
//! configuration; with a client, its authorization requests are checked as well. Nothing is stored there.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode, header};
use serde_json::Value;
use url::{Host, Url, form_urlencoded};

use super::report::Report;
use crate::egress::{Egress, Policy};

const CONFIG: &str = "configuration";
const KEYS: &str = "keys";
const REFUSALS: &str = "refusals";
const CLIENT: &str = "client";

/// A client that the operator names.
#[derive(Clone, Copy)]
pub(super) struct KnownClient<'a> {
    pub(super) id: &'a str,
    pub(super) redirect_uri: &'a str,
}

struct Provider {
    issuer: String,
    egress: Egress,
    metadata: Value,
}

/// Runs all checks of the provider with this issuer.
pub(super) async fn run_all(issuer: &str, client: Option<KnownClient<'_>>, report: &mut Report) {
    let egress = Egress::new(Policy { any_address: true, allow_http: true, ..Policy::default() });
    let issuer = issuer.trim_end_matches('/').to_owned();
    let encrypted = Url::parse(&issuer).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url));
    report.add(CONFIG, "the issuer is https://", encrypted, "https://, or a loopback address", &issuer);
    let mut provider = Provider { issuer, egress, metadata: Value::Null };
    let url = format!("{}/.well-known/openid-configuration", provider.issuer);
    match provider.json(&url).await {
        Ok((metadata, _)) => provider.metadata = metadata,
        Err(error) => {
            report.add(CONFIG, "the configuration is readable", false, "200 with JSON", error);
            report.advice.push(format!("{url} must be reachable, and the instance needs [[instance.client]]"));
            return;
        }
    }
    provider.check_metadata(report);
    provider.check_keys(report).await;
    provider.check_refusals(report).await;
    if let Some(client) = client {
        provider.check_client(client, report).await;
    } else {
        report.notes.push("give --client-id and --redirect-uri to check the requests of a client".to_owned());
    }
    report.leaves.push("nothing".to_owned());
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The value of a header, empty if there is none.
fn value_of(response: &Response<Vec<u8>>, name: header::HeaderName) -> &str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

impl Provider {
    fn endpoint(&self, name: &str) -> String {
        self.metadata[name].as_str().unwrap_or_default().to_owned()
    }

    async fn send(&self, request: http::request::Builder, body: Vec<u8>) -> Result<Response<Vec<u8>>, String> {
        let request = request.body(body).map_err(|_| "no URL that a request can be sent to".to_owned())?;
        self.egress.send(request).await.map_err(|error| error.to_string())
    }

    async fn json(&self, url: &str) -> Result<(Value, String), String> {
        let response = self.send(Request::get(url), Vec::new()).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{} of {url}", response.status()));
        }
        let cache = value_of(&response, header::CACHE_CONTROL).to_owned();
        let value = serde_json::from_slice(response.body()).map_err(|_| format!("no JSON at {url}"))?;
        Ok((value, cache))
    }

    fn check_metadata(&self, report: &mut Report) {
        let issuer = self.metadata["issuer"].as_str().unwrap_or_default();
        report.add(CONFIG, "issuer is this URL", issuer == self.issuer, &self.issuer, issuer);
        for name in ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri"] {
            let url = self.endpoint(name);
            report.add(CONFIG, name, url.starts_with(&self.issuer), format!("below {}", self.issuer), url);
        }
        for (name, wanted) in [
            ("response_types_supported", "code"),
            ("subject_types_supported", "pairwise"),
            ("id_token_signing_alg_values_supported", "RS256"),
            ("code_challenge_methods_supported", "S256"),
            ("scopes_supported", "openid"),
        ] {
            let listed = self.metadata[name].as_array().is_some_and(|list| list.iter().any(|one| one == wanted));
            report.add(CONFIG, format!("{name} lists {wanted}"), listed, wanted, self.metadata[name].to_string());
        }
        let iss = &self.metadata["authorization_response_iss_parameter_supported"];
        report.add(CONFIG, "responses name the issuer (RFC 9207)", *iss == true, "true", iss.to_string());
    }

    async fn check_keys(&self, report: &mut Report) {
        let (keys, cache) = match self.json(&self.endpoint("jwks_uri")).await {
            Ok(found) => found,
            Err(error) => return report.add(KEYS, "the key set is readable", false, "200 with JSON", error),
        };
        let keys = keys["keys"].as_array().cloned().unwrap_or_default();
        report.add(KEYS, "clients may keep the key set", cache.contains("max-age="), "max-age", cache);
        let ids: HashSet<&str> = keys.iter().filter_map(|key| key["kid"].as_str()).collect();
        let named = ids.len() == keys.len() && !keys.is_empty();
        report.add(
            KEYS,
            "every key has an id of its own",
            named,
            "kid",
            format!("{} keys, {} ids", keys.len(), ids.len()),
        );
        let private = keys.iter().any(|key| ["d", "p", "q", "k"].iter().any(|part| key.get(part).is_some()));
        report.add(
            KEYS,
            "no key is private",
            !private,
            "public keys only",
            if private { "a private part" } else { "none" },
        );
        for key in &keys {
            let bits = key["n"].as_str().and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()).map(|n| n.len() * 8);
            let strong = match key["kty"].as_str() {
                Some("RSA") => bits.is_some_and(|bits| bits >= 2048),
                Some("EC") => key["crv"] == "P-256",
                _ => false,
            };
            let described = format!(
                "{} {}",
                key["alg"].as_str().unwrap_or("?"),
                bits.map_or(String::new(), |b| format!("{b} bits"))
            );
            let for_signing = key["use"] == "sig";
            report.add(KEYS, "a key for signatures", strong && for_signing, "RSA of 2048 bits, or P-256", described);
        }
    }

    async fn check_refusals(&self, report: &mut Report) {
        let query =
            "response_type=code&client_id=countersign-doctor&redirect_uri=https%3A%2F%2Fclient.invalid%2F&scope=openid";
        let page =
            self.send(Request::get(format!("{}?{query}", self.endpoint("authorization_endpoint"))), Vec::new()).await;
        let (passed, got) = match &page {
            Ok(page) => {
                let location = value_of(page, header::LOCATION);
                (
                    page.status() == StatusCode::BAD_REQUEST && location.is_empty(),
                    format!("{} {location}", page.status()),
                )
            }
            Err(error) => (false, error.clone()),
        };
        report.add(REFUSALS, "an unknown client gets a page, no redirect", passed, "400", got);
        if let Ok(page) = &page {
            let policy = value_of(page, header::CONTENT_SECURITY_POLICY);
            let unframed = policy.contains("frame-ancestors 'none'");
            report.add(REFUSALS, "no other site can frame the page", unframed, "frame-ancestors 'none'", policy);
        }
        let body = b"grant_type=authorization_code&code=x&redirect_uri=https%3A%2F%2Fclient.invalid%2F".to_vec();
        let request = Request::post(self.endpoint("token_endpoint"))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.send(request, body).await;
        let (passed, got) = answer.as_ref().map_or_else(
            |error| (false, error.clone()),
            |answer| {
                let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
                let uncached = value_of(answer, header::CACHE_CONTROL).contains("no-store");
                let error = body["error"].as_str().unwrap_or_default().to_owned();
                let passed = answer.status() == StatusCode::UNAUTHORIZED && error == "invalid_client" && uncached;
                (passed, format!("{} {error}", answer.status()))
            },
        );
        report.add(REFUSALS, "tokens require client authentication", passed, "401 invalid_client, no-store", got);
        let answer = self.send(Request::get(self.endpoint("userinfo_endpoint")), Vec::new()).await;
        let (passed, got) = answer.as_ref().map_or_else(
            |error| (false, error.clone()),
            |answer| {
                let challenge = value_of(answer, header::WWW_AUTHENTICATE);
                let passed = answer.status() == StatusCode::UNAUTHORIZED && challenge.starts_with("Bearer");
                (passed, format!("{} {challenge}", answer.status()))
            },
        );
        report.add(REFUSALS, "claims require a token", passed, "401 Bearer", got);
    }

    async fn check_client(&self, client: KnownClient<'_>, report: &mut Report) {
        let plain = [
            ("response_type", "code"),
            ("client_id", client.id),
            ("redirect_uri", client.redirect_uri),
            ("scope", "openid"),
            ("state", "doctor"),
            ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
            ("code_challenge_method", "S256"),
        ];
        let page = self.authorize(&plain).await;
        let (passed, got) = page.map_or_else(
            |error| (false, error),
            |page| {
                (page.status() == StatusCode::OK, format!("{} {}", page.status(), value_of(&page, header::LOCATION)))
            },
        );
        report.add(CLIENT, "a request gets the page", passed, "200", got);
        let other = format!("{}/other", client.redirect_uri);
        let changed = plain.map(|(name, value)| (name, if name == "redirect_uri" { other.as_str() } else { value }));
        let page = self.authorize(&changed).await;
        let (passed, got) = page.map_or_else(
            |error| (false, error),
            |page| {
                (
                    page.status() == StatusCode::BAD_REQUEST,
                    format!("{} {}", page.status(), value_of(&page, header::LOCATION)),
                )
            },
        );
        report.add(CLIENT, "another redirect URI gets a page, no redirect", passed, "400", got);
        for (parameter, error) in [
            (("prompt", "none"), "login_required"),
            (("request", "e30.e30."), "request_not_supported"),
            (("request_uri", "https://client.invalid/"), "request_uri_not_supported"),
        ] {
            let page = self.authorize(&[&plain[..], &[parameter]].concat()).await;
            let location = page.map_or_else(|error| error, |page| value_of(&page, header::LOCATION).to_owned());
            let returned: Vec<(String, String)> =
                Url::parse(&location).map(|url| url.query_pairs().into_owned().collect()).unwrap_or_default();
            let has = |name: &str, value: &str| returned.iter().any(|(own, given)| own == name && given == value);
            let passed = location.starts_with(client.redirect_uri)
                && has("error", error)
                && has("state", "doctor")
                && has("iss", &self.issuer);
            report.add(CLIENT, format!("{}= returns {error}", parameter.0), passed, "error, state and iss", location);
        }
    }

    async fn authorize(&self, parameters: &[(&str, &str)]) -> Result<Response<Vec<u8>>, String> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.send(Request::get(format!("{}?{query}", self.endpoint("authorization_endpoint"))), Vec::new()).await
    }
}
