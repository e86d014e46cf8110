//! The two listeners: how many connections they take, and how long these may do nothing.

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
    http::{budget::Budget, connection::Connection},
    metrics::Metrics,
};

/// An ingress that reuses idle connections must not find them closed: longer than its own idle time.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// So long is read, after an answer, what a client goes on sending: closed at once it might not see the answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Names and values of all headers, and the target: bytes. The parser itself holds four times as many.
const MAX_HEAD_LEN: usize = 32 * 1024;
/// Connections to a listener for one operator, beside his monitoring.
const MAX_OPERATOR_CONNECTIONS: usize = 64;
const OPERATOR_CONNECTION_BYTES: usize = 256 * 1024;
/// What is written at once, and so kept of an answer that is not read.
const WRITE_BUFFER_LEN: usize = 16 * 1024;
/// What the kernel keeps of an answer that is not read, and of a request that we do not read.
const SOCKET_BUFFER_LEN: usize = 64 * 1024;

pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    // Connections inherit them; without them the kernel buffers megabytes for each.
    let (read, written) = (
        set_socket_recv_buffer_size(&listener, SOCKET_BUFFER_LEN),
        set_socket_send_buffer_size(&listener, SOCKET_BUFFER_LEN),
    );
    read.and(written).with_context(|| format!("cannot set buffers on {address}"))?;
    Ok(listener)
}

/// What all connections together may use: `bytes` of memory, and as many files as leave some for the store, for
/// callbacks and for the operator.
pub(super) fn budget(bytes: usize, metrics: Arc<Metrics>) -> Arc<Budget> {
    // Those that had to make room take a moment to close.
    Budget::new(bytes, max_connections(raise_file_limit()) / 6 * 5, Some(metrics))
}

/// With as many workers as the machine has processors: each holds tables of its own.
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
    // More than the budget allows, which closes the oldest that is stalled, where this bound lets the newest wait.
    serve(listener, workers, (max_connections(raise_file_limit()) / workers).max(1), grace, budget, configure)
}

pub(super) fn serve_operator<F>(listener: TcpListener, configure: F) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let budget = Budget::new(MAX_OPERATOR_CONNECTIONS * OPERATOR_CONNECTION_BYTES, MAX_OPERATOR_CONNECTIONS, None);
    serve(listener, 1, MAX_OPERATOR_CONNECTIONS, Duration::from_secs(1), budget, configure)
}

/// How many files this process may open, after it has asked for as many as it is allowed to ask for: many systems
/// start processes with 1024 for the sake of those that use select(2).
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Three of four files, without those that are always open.
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
                    // Closed at once, which costs less than an answer.
                    let share = admitted
                        .map_err(|_| DispatchError::Service(HttpResponse::ServiceUnavailable().finish().into()))?;
                    let peer = stream.peer_addr().ok();
                    // An answer is one write; nothing is gained by holding its last packet back.
                    let _ = stream.set_nodelay(true);
                    Ok((Socket::new(stream, share), peer))
                }
            })
            .and_then(service)
        })?;
    Ok(server.run())
}

/// Tells the socket of a request when it begins and when its answer is written. One with too large a head is not let
/// in.
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

fn head_len(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + headers.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}
