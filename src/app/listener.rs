//! The two listeners: how many connections they take, and how long these may do nothing.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZero,
    thread::available_parallelism,
    time::Duration,
};

use actix_http::HttpService;
use actix_service::{ServiceFactoryExt as _, map_config};
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{AppConfig, Server, ServiceRequest, ServiceResponse, fn_service},
    middleware::{Next, from_fn},
    rt::net::TcpStream,
    web::ServiceConfig,
};
use anyhow::Context as _;

use super::socket::{HEAD, Served, Serving, Socket};

/// An ingress that reuses idle connections must not find them closed: longer than its own idle time.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// So long is read, after an answer, what a client goes on sending: closed at once it might not see the answer.
const LINGER: Duration = Duration::from_secs(1);
/// Names and values of all headers, and the target: bytes. The parser itself holds four times as many.
const LARGEST_HEAD: usize = 32 * 1024;
/// Connections to a listener for one operator, beside his monitoring.
const OPERATOR: usize = 64;
/// Connections of one worker, however many files the process may open.
const MOST: usize = 25_000;

pub(super) fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}

/// With as many workers as the machine has processors: each holds tables of its own. Takes no more connections than
/// leave descriptors for the store, for callbacks and for the operator; others wait in the kernel.
pub(super) fn public<F>(listener: TcpListener, grace: Duration, configure: F) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    let workers = available_parallelism().map_or(1, NonZero::get);
    serve(listener, workers, (connections(files()) / workers).clamp(1, MOST), grace, configure)
}

pub(super) fn operator<F>(listener: TcpListener, configure: F) -> anyhow::Result<Server>
where
    F: Fn(&mut ServiceConfig) + Send + Clone + 'static,
{
    serve(listener, 1, OPERATOR, Duration::from_secs(1), configure)
}

/// How many files this process may open, after it has asked for as many as it is allowed to ask for: many systems
/// start processes with 1024 for the sake of those that use select(2).
fn files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Three of four files, without those that are always open.
fn connections(files: usize) -> usize {
    (files / 4 * 3).saturating_sub(OPERATOR)
}

fn serve<F>(
    listener: TcpListener,
    workers: usize,
    connections: usize,
    grace: Duration,
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
            let app = App::new().configure(configure.clone()).wrap(from_fn(observe));
            let service = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KEEP_ALIVE)
                .client_request_timeout(HEAD)
                .client_disconnect_timeout(LINGER)
                .local_addr(address)
                .on_connect_ext(|socket: &Socket<TcpStream>, data| {
                    data.insert(socket.serving());
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(async |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                // An answer is one write; nothing is gained by holding its last packet back.
                let _ = stream.set_nodelay(true);
                Ok((Socket::new(stream), peer))
            })
            .and_then(service)
        })?;
    Ok(server.run())
}

/// Tells the socket of a request when it begins and when its answer is written. One with too large a head is not let
/// in.
async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = request.conn_data::<Serving>().map(Serving::begin);
    let response = if head(&request) > LARGEST_HEAD {
        request.into_response(HttpResponse::RequestHeaderFieldsTooLarge().force_close().finish())
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    Ok(response.map_body(|_, body| Served { body, _request: begun }))
}

fn head(request: &ServiceRequest) -> usize {
    let headers = request.headers().iter();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    target + headers.map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>()
}
