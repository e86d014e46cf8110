//! What an error of Redis means for the operator, and how to fix it.

use std::{error::Error, io, sync::Arc, time::Duration};

use crate::{config::handshake_failure, store::StoreError};
use redis::{Client, ConnectionAddr, ErrorKind, RedisError};
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

/// A server that rejects the connection sends its error before the first command.
const PROBE_TIMEOUT: Duration = Duration::from_millis(300);

/// Errors whose text quotes neither keys nor addresses.
const QUOTABLE_CODES: [&str; 7] = ["READONLY", "OOM", "MISCONF", "NOREPLICAS", "LOADING", "MASTERDOWN", "CLUSTERDOWN"];
/// Characters quoted from such a text.
const MAX_QUOTED_CHARS: usize = 200;

/// Describes an error, with Redis' own text where that cannot quote a key or an address with a password.
pub(super) fn describe(error: &RedisError) -> String {
    match code(error) {
        Some(code) => {
            let meaning = hint(code).map_or_else(|| format!("{} ({code})", error.category()), str::to_owned);
            match error.detail().filter(|_| QUOTABLE_CODES.contains(&code)) {
                Some(sentence) => {
                    let sentence: String =
                        sentence.chars().filter(|c| !c.is_control()).take(MAX_QUOTED_CHARS).collect();
                    format!("{meaning}; Redis says: {sentence}")
                }
                None => meaning,
            }
        }
        None if super::endpoint::has_no_master(error) => {
            "no Sentinel in store.url knows a living master of the name in it".to_owned()
        }
        None if let Some(why) = tls_failure(error) => {
            format!("no TLS with the address in store.url: {why}; see store.tls.ca_file and client_certificate_file")
        }
        None if error.is_connection_refusal() => "nothing listens at the address in store.url".to_owned(),
        None if error.is_timeout() => "Redis does not answer in time".to_owned(),
        None => error.category().to_owned(),
    }
}

/// The reason why the TLS handshake failed, if that is the error.
fn tls_failure(error: &RedisError) -> Option<&'static str> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<rustls::Error>() {
            return Some(handshake_failure(error));
        }
        // Neither the client library's `Arc` nor `io::Error` returns the error it wraps as its source.
        let shared = current.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let io = shared.map_or(current, |shared| &**shared as &(dyn Error + 'static)).downcast_ref::<io::Error>();
        let inner = io.and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| current.source());
    }
    None
}

/// The error returned when retries have used up the request's store time.
pub(super) fn store_error(error: &RedisError, text: String) -> StoreError {
    match error.code() {
        Some("NOREPLICAS" | "MISCONF") => StoreError::Refused(text),
        _ => StoreError::Unavailable(text),
    }
}

/// The code of an error, or the one that describes it best.
pub(super) fn code(error: &RedisError) -> Option<&str> {
    // The client library keeps no code of a rejected AUTH or HELLO.
    if error.kind() == ErrorKind::AuthenticationFailed {
        return Some("WRONGPASS");
    }
    let code = error.code()?;
    let detail = error.detail().filter(|_| code == "ERR").unwrap_or_default();
    Some(match detail {
        // Before authentication, Redis reads only short commands.
        _ if detail.contains("unauthenticated") => "NOAUTH",
        _ if detail.contains("cluster support disabled") => "NOCLUSTER",
        // A permission that a command in a script lacks, in the words of Redis 7.0 and of later versions.
        _ if detail.contains("user executing the script") || detail.contains("ACL failure") => "NOPERM",
        _ => code,
    })
}

/// The fix for an error code.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "NOAUTH" => "Redis asks for a password, and store.url has none (NOAUTH): write redis://USER:PASSWORD@HOST",
        "WRONGPASS" => "Redis refuses the user or the password in store.url (WRONGPASS)",
        "NOPERM" => {
            "the user in store.url may not do what we need (NOPERM): ACL SETUSER … ~cs:* &cs:* +@read +@write \
             +@scripting +@pubsub +@connection +info +time +wait (and +cluster|info +cluster|slots \
             for a cluster)"
        }
        "DENIED" => {
            "Redis is in protected mode and takes connections from its own host alone (DENIED): give it a password \
             (requirepass) and write that into store.url"
        }
        "READONLY" => {
            "store.url leads to a replica, or to a master that was demoted (READONLY): let it lead to the master"
        }
        "OOM" => "Redis has used up its memory (OOM): raise maxmemory",
        "MISCONF" => "Redis cannot write to its disk and takes no writes (MISCONF): its own log says why; give it room",
        "LOADING" => "Redis is still reading its data from disk (LOADING): it serves when that is done",
        "NOREPLICAS" => "Redis has fewer replicas than its min-replicas-to-write (NOREPLICAS): bring them back",
        "MASTERDOWN" => "store.url leads to a replica that has lost its master (MASTERDOWN)",
        "MOVED" | "ASK" | "CROSSSLOT" => {
            "store.url leads to one node of a Redis Cluster: write redis-cluster://HOST:PORT,HOST:PORT"
        }
        "NOCLUSTER" => "store.url says redis-cluster://, and a Redis outside a cluster answers: write redis://",
        "CLUSTERDOWN" => {
            "some slots of the Redis Cluster have no master (CLUSTERDOWN): bring back its nodes, or wait until their \
             replicas take over"
        }
        "TRYAGAIN" => "slots of the Redis Cluster are on their way to another master for too long (TRYAGAIN)",
        _ => return None,
    })
}

/// Finds out why a server closes connections. In protected mode it sends the reason and closes, and the client library
/// reports only the close.
pub(super) async fn probe_denial(client: &Client) -> Option<String> {
    let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr() else { return None };
    let mut line = [0; 8];
    let read = async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.read_exact(&mut line).await
    };
    timeout(PROBE_TIMEOUT, read).await.ok()?.ok()?;
    if &line == b"-DENIED " { hint("DENIED").map(str::to_owned) } else { None }
}
