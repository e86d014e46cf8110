//! The `openidconnect` crate, as its documentation shows, behind a small HTTP server.

use std::{collections::HashMap, env};

use anyhow::Context as _;
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier,
    OAuth2TokenResponse as _, RedirectUrl, Scope, TokenResponse as _,
    core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata, CoreUserInfoClaims},
    reqwest::{blocking, redirect::Policy},
};
use tiny_http::{Header, Response, Server};
use url::Url;

fn main() -> anyhow::Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| name.to_owned());
    let port = variable("PORT")?;
    let base = Url::parse(&format!("http://127.0.0.1:{port}"))?;
    let http = blocking::Client::builder().redirect(Policy::none()).build()?;
    let metadata = CoreProviderMetadata::discover(&IssuerUrl::new(variable("ISSUER")?)?, &http)?;
    let client = CoreClient::from_provider_metadata(
        metadata,
        ClientId::new(variable("CLIENT_ID")?),
        Some(ClientSecret::new(variable("CLIENT_SECRET")?)),
    )
    .set_redirect_uri(RedirectUrl::new(base.join("/callback")?.to_string())?);
    let server = Server::http(("127.0.0.1", port.parse::<u16>()?)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut logins: HashMap<String, (PkceCodeVerifier, Nonce)> = HashMap::new();
    for request in server.incoming_requests() {
        let url = base.join(request.url())?;
        match url.path() {
            "/login" => {
                let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
                let (url, state, nonce) = client
                    .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
                    .add_scope(Scope::new("phone".to_owned()))
                    .add_scope(Scope::new("profile".to_owned()))
                    .set_pkce_challenge(challenge)
                    .url();
                logins.insert(state.secret().clone(), (verifier, nonce));
                let location = Header::from_bytes("location", url.as_str()).expect("a URL is a header");
                request.respond(Response::empty(303).with_header(location))?;
            }
            "/callback" => {
                let parameters: HashMap<String, String> = url.query_pairs().into_owned().collect();
                let parameter = |name: &str| parameters.get(name).cloned().context("a parameter is missing");
                let (verifier, nonce) = logins.remove(&parameter("state")?).context("an unknown state")?;
                let tokens =
                    client.exchange_code(AuthorizationCode::new(parameter("code")?))?.set_pkce_verifier(verifier).request(&http)?;
                let id_token = tokens.id_token().context("no ID token")?;
                let claims = id_token.claims(&client.id_token_verifier(), &nonce)?;
                let sub = claims.subject().clone();
                let info: CoreUserInfoClaims =
                    client.user_info(tokens.access_token().clone(), Some(sub.clone()))?.request(&http)?;
                let phone = info.phone_number().map(|phone| phone.as_str().to_owned()).unwrap_or_default();
                let name = info.name().and_then(|name| name.get(None)).map(|name| name.as_str().to_owned());
                let name = name.unwrap_or_default();
                let sub = sub.as_str();
                request.respond(Response::from_string(format!(r#"{{"sub":"{sub}","phone":"{phone}","name":"{name}"}}"#)))?;
            }
            _ => request.respond(Response::empty(404))?,
        }
    }
    Ok(())
}
