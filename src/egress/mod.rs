//! The only place that opens outgoing connections.
//!
//! Addresses are judged when the connection is made; deadline and size cover everything from the name's resolution to
//! the last byte; redirects are not followed; proxies of the environment are ignored; nothing is decompressed.

mod connect;
mod metered;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderValue, Request, Response, Uri,
    header::{ACCEPT, AUTHORIZATION, USER_AGENT},
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;
use rustls::RootCertStore;
use url::{Host, Url};

use self::connect::Connector;
pub use self::connect::{Resolver, System};
use crate::address::permits;

/// For the name, the connection and TLS.
const CONNECT: Duration = Duration::from_secs(3);
/// From the name's resolution to the last byte read.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// What is read of an answer; the rest is not even received.
const LARGEST_ANSWER: usize = 64 * 1024;
/// The largest head of an answer.
const LARGEST_HEAD: usize = 64 * 1024;
/// All heads, sizes of chunks, and what was received ahead of the last byte that is read.
const BESIDES: usize = 256 * 1024;
/// A pooled connection skips name resolution, so it must not live long.
const IDLE: Duration = Duration::from_secs(30);

/// Where a client may connect to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Any address: the operator wrote the URL himself.
    pub anywhere: bool,
    /// Plain http, beside https.
    pub http: bool,
    /// Private networks that are open.
    pub networks: Vec<IpNet>,
    /// Host and port of our own listeners and of the store.
    pub closed: Vec<(String, u16)>,
}

/// Why there is no answer. The word is stored with the attempt and shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[error("{}", self.word())]
pub enum EgressError {
    Forbidden,
    Dns,
    Connect,
    Tls,
    Timeout,
    Broken,
}

impl EgressError {
    pub const fn word(self) -> &'static str {
        match self {
            // One word for every forbidden target, so that answers map nobody's network.
            Self::Forbidden => "forbidden_target",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
        }
    }
}

/// Sends requests within one [`Policy`].
#[derive(Clone)]
pub struct Egress {
    client: Client<Connector, Full<Bytes>>,
    connector: Connector,
    largest: usize,
    deadline: Duration,
}

impl Egress {
    /// Roots are in the binary: an empty container has none.
    pub fn new(policy: Policy) -> Self {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        Self::with(policy, Arc::new(System), roots)
    }

    /// With names and authorities other than the world's.
    pub fn with(policy: Policy, resolver: Arc<dyn Resolver>, roots: RootCertStore) -> Self {
        let most = LARGEST_ANSWER + BESIDES;
        let connector = Connector { policy: Arc::new(policy), resolver, tls: connect::tls(roots), most };
        Self { client: client(&connector), connector, largest: LARGEST_ANSWER, deadline: DEADLINE }
    }

    /// For answers of our own listeners, such as metrics of many instances: reads up to `largest` bytes.
    #[must_use]
    pub fn reading(self, largest: usize) -> Self {
        let connector = Connector { most: largest + BESIDES, ..self.connector };
        Self { client: client(&connector), connector, largest, ..self }
    }

    /// For whoever has longer than [`DEADLINE`].
    #[must_use]
    pub fn waiting(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sends, and reads at most 64 KiB of the answer, unless told otherwise.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, EgressError> {
        let (mut head, body) = request.into_parts();
        let mut url = Url::parse(&head.uri.to_string()).map_err(|_| EgressError::Forbidden)?;
        self.judge(&url)?;
        if let Some(credentials) = take_credentials(&mut url) {
            head.headers.entry(AUTHORIZATION).or_insert(credentials);
        }
        head.uri = Uri::try_from(url.as_str()).map_err(|_| EgressError::Forbidden)?;
        head.headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        let agent = HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION")));
        head.headers.entry(USER_AGENT).or_insert(agent);
        let request = Request::from_parts(head, Full::from(body));
        match tokio::time::timeout(self.deadline, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(EgressError::Timeout),
        }
    }

    /// What can be said before anything is resolved.
    fn judge(&self, url: &Url) -> Result<(), EgressError> {
        let policy = &self.connector.policy;
        let speaks = url.scheme() == "https" || (url.scheme() == "http" && (policy.http || policy.anywhere));
        let reaches = policy.anywhere
            || match url.host() {
                Some(Host::Ipv4(v4)) => permits(v4.into(), &policy.networks),
                Some(Host::Ipv6(v6)) => permits(v6.into(), &policy.networks),
                Some(Host::Domain(_)) => true,
                None => false,
            };
        if speaks && reaches { Ok(()) } else { Err(EgressError::Forbidden) }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Vec<u8>>, EgressError> {
        let answer = self.client.request(request).await.map_err(|error| classify(&error))?;
        // Nobody asked for another protocol.
        if answer.status().is_informational() {
            return Err(EgressError::Broken);
        }
        let (head, mut stream) = answer.into_parts();
        let mut body = Vec::new();
        while body.len() < self.largest
            && let Some(frame) = stream.frame().await
        {
            let frame = frame.map_err(|error| classify(&error))?;
            if let Some(chunk) = frame.data_ref() {
                let room = self.largest - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
        }
        Ok(Response::from_parts(head, body))
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place")]
fn client(connector: &Connector) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(LARGEST_HEAD)
        .build(connector.clone())
}

/// What stands before the `@`, as the header that it means.
fn take_credentials(url: &mut Url) -> Option<HeaderValue> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let plain = |text: &str| percent_decode(text);
    let pair = [plain(url.username()), plain(url.password().unwrap_or_default())].join(&b':');
    let _ = (url.set_username(""), url.set_password(None));
    let mut header = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn percent_decode(text: &str) -> Vec<u8> {
    // A form's decoder also reads `+` as a space.
    let text = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(text.as_bytes()).flat_map(|(_, value)| value.into_owned().into_bytes()).collect()
}

/// By the types in the chain of causes, never by their text.
fn classify(error: &(dyn std::error::Error + 'static)) -> EgressError {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(ours) = current.downcast_ref::<EgressError>() {
            return *ours;
        }
        let inner = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(ours) = inner.and_then(|inner| inner.downcast_ref::<EgressError>()) {
            return *ours;
        }
        if current.is::<rustls::Error>()
            || inner.is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        {
            return EgressError::Tls;
        }
        cause = current.source();
    }
    EgressError::Broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_a_url_become_a_header_and_leave_it() {
        let basic = |text: &str| {
            let mut url = Url::parse(text).unwrap();
            let header = take_credentials(&mut url);
            (header.map(|header| header.to_str().unwrap().to_owned()), url.to_string())
        };
        let bare = "https://gateway.example/x".to_owned();
        assert_eq!(basic(&bare), (None, bare.clone()));
        for (written, meant) in [("a:b", "a:b"), ("a", "a:"), (":b", ":b"), ("%c3%a4:b+c%2B%26=%25", "\u{e4}:b+c+&=%")]
        {
            let expected = (Some(format!("Basic {}", STANDARD.encode(meant))), bare.clone());
            assert_eq!(basic(&format!("https://{written}@gateway.example/x")), expected, "{written}");
        }
    }
}
