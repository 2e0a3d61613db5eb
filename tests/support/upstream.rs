//! A scoring service that records what it was sent. What it answers is a function of the request.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::client::{AnyBody, full};

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

/// What one request is answered with: made when the head is there, so that both bodies may stream.
type Handler = dyn Fn(Request<Incoming>, Notes) -> Answering + Send + Sync;
type Answering = Pin<Box<dyn Future<Output = Response<AnyBody>> + Send>>;

/// Where an upstream notes what it saw.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Notes {
    /// Reads a request to its end and notes it; none where it broke off.
    pub async fn read(&self, request: Request<Incoming>) -> Option<Seen> {
        let (head, body) = request.into_parts();
        let collected = body.collect().await.ok()?;
        let trailers = collected.trailers().cloned();
        let one = Seen {
            method: head.method,
            uri: head.uri,
            version: head.version,
            headers: head.headers,
            body: collected.to_bytes(),
            trailers,
        };
        self.seen.lock().unwrap().push(one.clone());
        Some(one)
    }
}

/// A running upstream; ends with its runtime.
pub struct Upstream {
    pub address: SocketAddr,
    notes: Notes,
}

impl Upstream {
    /// Echoes the body, with `x-seen-path`.
    pub async fn echo() -> Self {
        Self::scripted(|seen| {
            Response::builder().header("x-seen-path", seen.uri.to_string()).body(seen.body.clone()).unwrap()
        })
        .await
    }

    /// Answers by a function of the whole request.
    pub async fn scripted(script: impl Fn(&Seen) -> Response<Bytes> + Send + Sync + 'static) -> Self {
        let script = Arc::new(script);
        Self::streaming(move |request, notes| {
            let script = Arc::clone(&script);
            async move {
                match notes.read(request).await {
                    // Over HTTP/2 hyper would send it.
                    Some(seen) if seen.method == Method::HEAD => script(&seen).map(|_| full("")),
                    Some(seen) => script(&seen).map(full),
                    None => Response::new(full("")),
                }
            }
        })
        .await
    }

    /// Answers by an async function that is given the request as it comes.
    pub async fn streaming<F>(handler: impl Fn(Request<Incoming>, Notes) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::start(None, handler).await
    }

    /// The same over TLS.
    pub async fn tls<F>(
        config: rustls::ServerConfig,
        handler: impl Fn(Request<Incoming>, Notes) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        Self::start(Some(TlsAcceptor::from(Arc::new(config))), handler).await
    }

    async fn start<F>(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(Request<Incoming>, Notes) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, tls, handler)
    }

    /// Says one thing to everybody; none where the address is taken.
    pub async fn saying(address: &str, text: &'static str) -> Option<Self> {
        let listener = tokio::net::TcpListener::bind(address).await.ok()?;
        Some(Self::on(listener, None, move |_, _| async move { Response::new(full(text)) }))
    }

    fn on<F>(
        listener: tokio::net::TcpListener,
        tls: Option<TlsAcceptor>,
        handler: impl Fn(Request<Incoming>, Notes) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let upstream = Self { address: listener.local_addr().unwrap(), notes: Notes::default() };
        let notes = upstream.notes.clone();
        let handler: Arc<Handler> = Arc::new(move |request, notes| Box::pin(handler(request, notes)));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                notes.connections.fetch_add(1, SeqCst);
                notes.open.fetch_add(1, SeqCst);
                let (notes, handler, tls) = (notes.clone(), Arc::clone(&handler), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(tcp).await {
                                serve(stream, &notes, handler).await;
                            }
                        }
                        None => serve(tcp, &notes, handler).await,
                    }
                    notes.open.fetch_sub(1, SeqCst);
                });
            }
        });
        upstream
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.notes.seen.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.into_iter().next().unwrap()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.notes.connections.load(SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.notes.open.load(SeqCst)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, notes: &Notes, handler: Arc<Handler>) {
    let notes = notes.clone();
    let service = service_fn(move |request| {
        let answer = handler(request, notes.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}
