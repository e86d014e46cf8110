//! The OpenID provider from outside: clients, browsers and chats over real sockets.

mod attacks;
mod conformance;
mod crash;
mod keys;
mod luring;
mod provider;

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign::{config::credentials::token_digest, egress::Egress, hash::sha256};
use http::Request;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::{
    daemon::{Daemon, ReceivedResponse, TestStore, WAHA, World, client, message, signed_waha},
    login_flow::link_in,
};

pub(crate) const SECRET: &str = "secret-of-the-shop-0123456789abcdef";
pub(crate) const SHOP: &str = "https://shop.example.org/in";
pub(crate) const SPA: &str = "https://spa.example.org/in";
pub(crate) const PHONE: &str = "447700900123";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const SUBJECT_KEY: &str = "2t8eG0qY5r1l0q3m9Jm8b7uHc6nT4sD2xk1vWz0pQyI=";

/// A file of the fixtures.
fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/oidc/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// `[oidc]` with these keys.
pub(crate) fn oidc(keys: &[&str], more: &str) -> String {
    let keys: Vec<String> = keys.iter().map(|name| fixture(name)).collect();
    format!("[oidc]\nsigning_key_files = {keys:?}\nsubject_key = \"{SUBJECT_KEY}\"\n{more}\n")
}

/// A world whose instances are issuers with the clients `shop`, `spa`, `blog` and `bank`.
pub(crate) fn world(ground: TestStore) -> World {
    let mut world = World::new(ground);
    world.top_level_lines = oidc(&["rs256.pem", "es256.pem"], "");
    let digest = token_digest(SECRET);
    world.instance_lines = format!(
        r#"
[[instance.client]]
id = "shop"
name = "Shop"
secrets = ["{digest}"]
redirect_uris = ["{SHOP}", "https://shop.example.org/in?tenant=1"]
scopes = ["phone", "profile"]
[[instance.client]]
id = "spa"
redirect_uris = ["{SPA}"]
subject = "public"
id_token_alg = "ES256"
[[instance.client]]
id = "blog"
secrets = ["{digest}"]
redirect_uris = ["https://blog.example.org/in"]
sector = "shop.example.org"
allow_hidden = true
[[instance.client]]
id = "bank"
secrets = ["{digest}"]
redirect_uris = ["https://bank.example.org/in"]
purpose = "Transfer 5"
login_hint = true
"#
    );
    world
}

/// A server under test: one daemon or one process.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) base: String,
    client: std::sync::Arc<Egress>,
}

impl Server {
    pub(crate) fn at(base: &str) -> Self {
        Self { base: base.to_owned(), client: client().into() }
    }

    pub(crate) fn of(daemon: &Daemon) -> Self {
        Self::at(&daemon.base)
    }

    /// The issuer's path.
    fn path(tail: &str) -> String {
        format!("/oidc/{WAHA}/{tail}")
    }

    async fn try_send(&self, request: http::request::Builder, body: Vec<u8>) -> Option<ReceivedResponse> {
        self.client.send(request.body(body).unwrap()).await.ok().map(ReceivedResponse::from)
    }

    pub(crate) async fn get(&self, tail: &str) -> ReceivedResponse {
        self.try_send(Request::get(format!("{}{}", self.base, Self::path(tail))), Vec::new()).await.unwrap()
    }

    pub(crate) async fn try_post(
        &self,
        tail: &str,
        authorization: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Option<ReceivedResponse> {
        let mut request = Request::post(format!("{}{}", self.base, Self::path(tail)))
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        self.try_send(request, encoded(fields).into_bytes()).await
    }

    /// A token request of `shop` for its first redirect URI.
    pub(crate) async fn exchange(&self, code: &str) -> ReceivedResponse {
        self.try_exchange(code).await.unwrap()
    }

    pub(crate) async fn try_exchange(&self, code: &str) -> Option<ReceivedResponse> {
        let fields = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", SHOP)];
        self.try_post("token", Some(&basic("shop", SECRET)), &fields).await
    }

    pub(crate) async fn user_info(&self, access_token: &str) -> ReceivedResponse {
        let url = format!("{}{}", self.base, Self::path("userinfo"));
        let request = Request::get(url).header("authorization", format!("Bearer {access_token}"));
        self.try_send(request, Vec::new()).await.unwrap()
    }

    pub(crate) async fn says(&self, number: &str, id: &str, text: &str) -> ReceivedResponse {
        let now = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
        let request = signed_waha(&self.base, &message(number, id, text, now));
        self.client.send(request).await.unwrap().into()
    }
}

pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{id}:{secret}")))
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes()))
}

/// A request of `shop`, with these parameters added or replaced; an empty one is removed.
pub(crate) fn request<'a>(changes: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let plain = [
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", SHOP),
        ("scope", "openid phone profile"),
        ("state", "st 1"),
        ("nonce", "n-0S6_WzA2Mj"),
    ];
    let kept = plain.into_iter().filter(|(name, _)| changes.iter().all(|(other, _)| other != name));
    kept.chain(changes.iter().copied()).filter(|(_, value)| !value.is_empty()).collect()
}

/// A browser with a cookie.
#[derive(Clone)]
pub(crate) struct OidcBrowser {
    server: Server,
    pub(crate) cookie: Option<String>,
}

impl OidcBrowser {
    pub(crate) fn new(server: &Server) -> Self {
        Self { server: server.clone(), cookie: None }
    }

    async fn send(&mut self, request: http::request::Builder, body: Vec<u8>) -> Option<ReceivedResponse> {
        let request = request.header("accept", "text/html");
        let request = match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        };
        let answer = self.server.try_send(request, body).await?;
        if let Some(set) = answer.headers.get("set-cookie") {
            self.cookie = Some(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        Some(answer)
    }

    pub(crate) async fn try_look(&mut self, path: &str) -> Option<ReceivedResponse> {
        self.send(Request::get(format!("{}{path}", self.server.base)), Vec::new()).await
    }

    pub(crate) async fn look(&mut self, path: &str) -> ReceivedResponse {
        self.try_look(path).await.unwrap()
    }

    pub(crate) async fn try_submit(&mut self, path: &str, fields: &[(&str, &str)]) -> Option<ReceivedResponse> {
        let request = Request::post(format!("{}{path}", self.server.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin");
        self.send(request, encoded(fields).into_bytes()).await
    }

    pub(crate) async fn submit(&mut self, path: &str, fields: &[(&str, &str)]) -> ReceivedResponse {
        self.try_submit(path, fields).await.unwrap()
    }

    pub(crate) async fn authorize(&mut self, parameters: &[(&str, &str)]) -> ReceivedResponse {
        self.look(&format!("{}?{}", Server::path("authorize"), encoded(parameters))).await
    }

    /// Opens the page of a request and taps: the path of the start page.
    pub(crate) async fn begin(&mut self, parameters: &[(&str, &str)]) -> String {
        let page = self.authorize(parameters).await;
        assert_eq!(page.status, 200, "{}", page.text);
        self.agree(&page.text).await
    }

    /// Taps on the page of a request: the path of the start page.
    pub(crate) async fn agree(&mut self, page: &str) -> String {
        let begun = self.submit(&Server::path("continue"), &[("request", &sealed(page))]).await;
        assert_eq!(begun.status, 303, "retry-after {:?}: {}", begun.header("retry-after"), begun.text);
        path_of(&begun)
    }

    /// Taps the link in a reply, or whatever page it is.
    pub(crate) async fn go_on(&mut self, path: &str) -> ReceivedResponse {
        let page = self.look(path).await;
        self.submit(path, &[("form", &crate::browser::field(&page.text))]).await
    }

    /// The whole login of a person who has `number`: the parameters that the client receives.
    pub(crate) async fn log_in(&mut self, world: &World, number: &str, parameters: &[(&str, &str)]) -> Returned {
        let start = self.begin(parameters).await;
        let page = self.look(&start).await;
        let count = world.gateway.count();
        let said = self.server.says(number, &format!("L{count}{number}"), &message_on(&page.text)).await;
        assert_eq!(said.status, 200, "{}", said.text);
        let link = link_in(&crate::browser::reply(world, count + 1).await);
        let done = self.go_on(&link).await;
        assert_eq!(done.status, 303, "{}", done.text);
        Returned::from(&done)
    }
}

/// A redirect to a client.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) to: Url,
    pub(crate) parameters: HashMap<String, String>,
}

impl Returned {
    pub(crate) fn from(answer: &ReceivedResponse) -> Self {
        assert_eq!(answer.status, 303, "{}", answer.text);
        let to = Url::parse(answer.header("location")).unwrap();
        let parameters: HashMap<String, String> = to.query_pairs().into_owned().collect();
        Self { to, parameters }
    }

    pub(crate) fn code(&self) -> &str {
        self.get("code")
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.parameters.get(name).unwrap_or_else(|| panic!("no {name} in {}", self.to))
    }
}

/// The sealed request of a page.
pub(crate) fn sealed(page: &str) -> String {
    let after = page.split("name=\"request\" value=\"").nth(1).unwrap_or_else(|| panic!("{page}"));
    after.split('"').next().unwrap().to_owned()
}

/// The prefilled message of a start page.
pub(crate) fn message_on(page: &str) -> String {
    let url = page.split("href=\"https://wa.me/").nth(1).unwrap_or_else(|| panic!("{page}"));
    let url = Url::parse(&format!("https://wa.me/{}", url.split('"').next().unwrap().replace("&#38;", "&"))).unwrap();
    url.query_pairs().find(|(name, _)| name == "text").unwrap().1.into_owned()
}

fn path_of(answer: &ReceivedResponse) -> String {
    Url::parse(answer.header("location")).unwrap().path().to_owned()
}

pub(crate) fn issuer() -> String {
    format!("http://127.0.0.1:1/oidc/{WAHA}")
}

fn part(encoded: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

/// Verifies an ID token with the published keys: its header and its claims.
pub(crate) async fn verified(server: &Server, token: &str) -> (Value, Value) {
    let keys = server.get("jwks").await.json;
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let (message, head) = (format!("{header}.{claims}"), part(header));
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == head["kid"]);
    let key = key.unwrap_or_else(|| panic!("{head} is in no key set: {keys}"));
    let member = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    match head["alg"].as_str().unwrap() {
        "RS256" => {
            let public = RsaPublicKeyComponents { n: member("n"), e: member("e") };
            public.verify(&RSA_PKCS1_2048_8192_SHA256, message.as_bytes(), &signature).unwrap();
        }
        "ES256" => {
            let point = [&[4][..], &member("x"), &member("y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message.as_bytes(), &signature).unwrap();
        }
        other => panic!("{other}"),
    }
    (head, part(claims))
}
