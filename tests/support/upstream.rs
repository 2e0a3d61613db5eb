//! A scoring service that records what it was sent. What it answers is a function of the request.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};

/// One request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Script = dyn Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync;

/// A running upstream; ends with its runtime.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Echoes the body, with `x-seen-path`.
    pub async fn echo() -> Self {
        Self::scripted(|seen| {
            Response::builder().header("x-seen-path", seen.uri.to_string()).body(Full::new(seen.body.clone())).unwrap()
        })
        .await
    }

    /// Answers by a function.
    pub async fn scripted(script: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let upstream = Self { address, seen: Arc::default(), connections: Arc::default() };
        let (seen, connections) = (Arc::clone(&upstream.seen), Arc::clone(&upstream.connections));
        let script: Arc<Script> = Arc::new(script);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                connections.fetch_add(1, SeqCst);
                let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
                let service = service_fn(move |request| answer(request, Arc::clone(&seen), Arc::clone(&script)));
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(tcp), service).await;
                });
            }
        });
        upstream
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(collected) = body.collect().await else {
        // Cut off by the gate: never answered, never recorded as complete.
        return Ok(Response::builder().status(599).body(Full::default()).unwrap());
    };
    let trailers = collected.trailers().cloned();
    let one = Seen {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: collected.to_bytes(),
        trailers,
    };
    let response = script(&one);
    seen.lock().unwrap().push(one);
    Ok(response)
}
