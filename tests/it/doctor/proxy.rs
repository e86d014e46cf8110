//! A reverse proxy in front of the daemon, which may change requests.

use std::sync::Arc;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};

use crate::daemon::client;

/// A change to headers and body.
pub(super) type RequestEdit = fn(&mut Vec<(String, String)>, &mut Vec<u8>);

/// What the proxy does with a request.
#[derive(Clone, Copy)]
pub(super) enum ProxyBehavior {
    /// Passes it on, with this change.
    Forward(RequestEdit),
    /// Answers it with this status.
    Answer(u16),
}

pub(super) struct ReverseProxy {
    pub(super) url: String,
    handle: ServerHandle,
}

impl ReverseProxy {
    pub(super) fn start(to: &str, behavior: ProxyBehavior) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let to = Arc::new(to.to_owned());
        let server = HttpServer::new(move || {
            let to = Arc::clone(&to);
            App::new().default_service(web::to(move |request: HttpRequest, body: web::Bytes| {
                let to = Arc::clone(&to);
                async move { forward(&to, &request, &body, behavior).await }
            }))
        });
        let server = server.workers(1).disable_signals().shutdown_timeout(0).listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        Self { url, handle }
    }
}

impl Drop for ReverseProxy {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
    }
}

async fn forward(to: &str, request: &HttpRequest, body: &[u8], behavior: ProxyBehavior) -> HttpResponse {
    let change = match behavior {
        ProxyBehavior::Forward(change) => change,
        ProxyBehavior::Answer(status) => {
            let status = actix_web::http::StatusCode::from_u16(status).unwrap();
            return HttpResponse::build(status).insert_header(("location", "https://elsewhere.example/")).finish();
        }
    };
    let headers = request.headers().iter().filter(|(name, _)| !["host", "content-length"].contains(&name.as_str()));
    let mut headers: Vec<(String, String)> =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
    let mut body = body.to_vec();
    change(&mut headers, &mut body);
    let mut out = http::Request::builder().method(request.method().as_str()).uri(format!("{to}{}", request.uri()));
    for (name, value) in headers {
        out = out.header(name, value);
    }
    let answer = client().send(out.body(body).unwrap()).await.unwrap();
    HttpResponse::build(actix_web::http::StatusCode::from_u16(answer.status().as_u16()).unwrap())
        .body(answer.into_body())
}
