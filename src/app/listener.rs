//! The public and the operator listener: limits on connections, memory and time.
//!
//! A connection is admitted by the [`Budget`], becomes a [`Socket`], and is served by actix-web. [`track_request`]
//! marks where each request begins and ends, which the deadlines and the budget are based on.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZero,
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};

use actix_http::{HttpService, error::DispatchError};
use actix_service::{ServiceFactoryExt as _, map_config};
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{AppConfig, Server, ServiceRequest, ServiceResponse, fn_service},
    middleware::{Next, from_fn},
    rt::net::TcpStream,
    web::{Bytes, ServiceConfig},
};
use anyhow::Context as _;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use super::socket::{HEAD_TIMEOUT, ServedBody, Socket};
use crate::{
    config::Config,
    http::{budget::Budget, connection::Connection},
    metrics::Metrics,
};

/// Longer than the idle timeout of common ingresses, which would otherwise reuse connections that are already closed.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// After a response that came before the end of its request, how long the rest is still read: closing at once would
/// send a RST, which can discard the response.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of all header names and values and of the target. The parser allows four times as many.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// Enough for the operators and their monitoring.
const MAX_OPERATOR_CONNECTIONS: usize = 64;
/// Memory for each connection to the operator listener.
const OPERATOR_CONNECTION_BYTES: usize = 256 * 1024;
/// Bytes of a response that are buffered while the client does not read.
const WRITE_BUFFER_LEN: usize = 16 * 1024;
/// Bytes that the kernel buffers for each connection and direction.
const SOCKET_BUFFER_LEN: usize = 64 * 1024;

/// The two bound sockets of the daemon.
#[derive(Debug)]
pub struct Listeners {
    pub public: TcpListener,
    pub operator: TcpListener,
}

impl Listeners {
    /// Binds the addresses of the configuration.
    ///
    /// # Errors
    /// An address is in use, is not one of this host, or its port needs privileges.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self { public: bind(config.listen)?, operator: bind(config.operator_listen)? })
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// Accepted connections inherit the sizes. The default is up to megabytes for each.
fn limit_socket_buffers(listener: &TcpListener) -> anyhow::Result<()> {
    set_socket_recv_buffer_size(listener, SOCKET_BUFFER_LEN)
        .and(set_socket_send_buffer_size(listener, SOCKET_BUFFER_LEN))
        .context("cannot set the buffers of a listening socket")
}

/// The budget of the public listener: `bytes` of memory, and a number of connections that leaves file descriptors for
/// the store, for outgoing requests and for the operator listener.
pub(super) fn budget(bytes: usize, metrics: Arc<Metrics>) -> Arc<Budget> {
    // The last sixth is for evicted connections, which take a moment to close.
    Budget::new(bytes, max_connections(raise_file_limit()) / 6 * 5, Some(metrics))
}

/// Starts the public listener with one worker for each processor: every worker has its own memory.
pub(super) fn serve_public<F>(
    listener: TcpListener,
    grace: Duration,
    budget: Arc<Budget>,
    configure: F,
) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let workers = available_parallelism().map_or(1, NonZero::get);
    // More than the budget allows: the budget evicts the oldest stalled connection, while this limit would make new
    // connections wait.
    serve(listener, workers, (max_connections(raise_file_limit()) / workers).max(1), grace, budget, configure)
}

/// Starts the operator listener.
pub(super) fn serve_operator<F>(listener: TcpListener, configure: F) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let budget = Budget::new(MAX_OPERATOR_CONNECTIONS * OPERATOR_CONNECTION_BYTES, MAX_OPERATOR_CONNECTIONS, None);
    serve(listener, 1, MAX_OPERATOR_CONNECTIONS, Duration::from_secs(1), budget, configure)
}

/// Raises the soft limit of open files to the hard limit, and returns it. Many systems set the soft limit to 1024 for
/// programs that use select(2).
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Three quarters of the files, less those of the operator listener.
fn max_connections(files: usize) -> usize {
    (files / 4 * 3).saturating_sub(MAX_OPERATOR_CONNECTIONS)
}

fn serve<F>(
    listener: TcpListener,
    workers: usize,
    connections: usize,
    grace: Duration,
    budget: Arc<Budget>,
    configure: F,
) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let address = listener.local_addr()?;
    limit_socket_buffers(&listener)?;
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder
        .workers(workers)
        .max_concurrent_connections(connections)
        .disable_signals()
        .shutdown_timeout(grace.as_secs().max(1))
        .listen("http", listener, move || {
            let stopping = stopping.clone();
            let app = App::new().configure(configure.clone()).wrap(from_fn(track_request));
            let service = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HEAD_TIMEOUT)
                .client_disconnect_timeout(LINGER_TIMEOUT)
                .h1_write_buffer_size(WRITE_BUFFER_LEN)
                .local_addr(address)
                .on_connect_ext(|socket: &Socket<TcpStream>, data| {
                    data.insert(socket.connection());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            let budget = Arc::clone(&budget);
            fn_service(move |stream: TcpStream| {
                let admitted = budget.reserve_connection();
                async move {
                    // The connection is closed without a response, which costs less.
                    let share = admitted
                        .map_err(|_| DispatchError::Service(HttpResponse::ServiceUnavailable().finish().into()))?;
                    let peer = stream.peer_addr().ok();
                    // A response is one write, so Nagle's algorithm would only delay its last packet.
                    let _ = stream.set_nodelay(true);
                    Ok((Socket::new(stream, share), peer))
                }
            })
            .and_then(service)
        })?;
    Ok(server.run())
}

/// Marks on the connection where a request begins and where its response is written. Refuses a request whose head is
/// too large.
async fn track_request(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = request.conn_data::<Connection>().map(Connection::start_request);
    let response = if head_len(&request) > MAX_HEAD_LEN {
        request.into_response(HttpResponse::RequestHeaderFieldsTooLarge().force_close().finish())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    Ok(response.map_body(|_, body| ServedBody { body, rest: Bytes::new(), _request: begun }))
}

/// Bytes of the headers and the target.
fn head_len(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + headers.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}
