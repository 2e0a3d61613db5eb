//! Listeners: accept, TLS where the first byte says so, HTTP/1.1 or HTTP/2, and a request at a time to its handler.
//!
//! A listener takes plain connections and, with `--tls`, encrypted ones on the same port.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{
    scoring::Line,
    state::faults::Target,
    wire::{Abort, Via, dated},
    world::World,
};

/// For the first byte, the handshake, and each head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept: descriptors come back only when something else closes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The first byte of a TLS connection: a handshake record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Streams of an HTTP/2 connection: load tests open many.
const H2_STREAMS: u32 = 1_000;
/// An HTTP/2 stream's window: uploads of 100 MiB should not wait for the window.
const H2_WINDOW: u32 = 1 << 20;

/// What a listener serves.
#[derive(Clone)]
pub(super) enum Handler {
    /// A control plane or the identity provider, whose answers are dated by the mock's clock.
    Router(Router, Option<Target>),
    /// The admin side, which neither a fault nor a shift of the clock reaches.
    Admin(Router),
    /// Front ends.
    Scoring(Arc<Line>),
}

/// Accepts until the task is dropped.
pub(super) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, handler: Handler, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                if let Some(connection) = admit(stream, tls.clone(), handler.clone(), &world) {
                    connections.spawn(connection);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection of the mock ended badly: please report this");
    }
}

type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A connection's future, unless its side is down.
fn admit(stream: TcpStream, tls: Option<TlsAcceptor>, handler: Handler, world: &Arc<World>) -> Option<Connection> {
    let local = stream.local_addr().ok()?;
    stream.set_nodelay(true).ok()?;
    match handler {
        Handler::Router(router, target) => {
            if target.is_some_and(|target| world.is_down(target, None, None)) {
                return None;
            }
            let world = Some(Arc::clone(world));
            let talk = move |plain, tls| speak_router(plain, router, Via { tls, local }, world);
            Some(Box::pin(unwrap_tls(stream, tls, talk)))
        }
        Handler::Admin(router) => {
            let talk = move |plain, tls| speak_router(plain, router, Via { tls, local }, None);
            Some(Box::pin(unwrap_tls(stream, tls, talk)))
        }
        Handler::Scoring(line) => {
            let front_end = line.next_front_end();
            if world.is_down(Target::Scoring, Some(line.name()), Some(front_end)) {
                return None;
            }
            line.count_connection(world, front_end);
            let world = Arc::clone(world);
            let talk = move |plain, _tls| speak_scoring(plain, line, front_end, world, local);
            Some(Box::pin(unwrap_tls(stream, tls, talk)))
        }
    }
}

/// A byte stream, encrypted or not.
type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn unwrap_tls<F: Future<Output = ()>>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    talk: impl FnOnce(Stream, bool) -> F,
) {
    let Some(tls) = tls else { return talk(Box::new(stream), false).await };
    match timeout(HEAD_TIMEOUT, first_byte(&stream)).await {
        Ok(Ok(Some(TLS_HANDSHAKE))) => {
            if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                talk(Box::new(stream), true).await;
            }
        }
        Ok(Ok(Some(_))) => talk(Box::new(stream), false).await,
        // Nothing came.
        Ok(Ok(None) | Err(_)) | Err(_) => {}
    }
}

/// Looks at the first byte and leaves it there.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0; 1];
    let read = stream.peek(&mut byte).await?;
    Ok(byte.first().copied().filter(|_| read == 1))
}

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("told to misbehave")]
pub(super) struct ToldTo;

/// Answers are dated by the clock of `dated_by`, where there is one, else by the machine's.
async fn speak_router(stream: Stream, router: Router, via: Via, dated_by: Option<Arc<World>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(via);
        let (router, dated_by) = (router.clone(), dated_by.clone());
        async move {
            let response = router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
            if response.extensions().get::<Abort>().is_some() {
                return Err(ToldTo);
            }
            Ok(match dated_by {
                Some(world) => dated(response, &world),
                None => response,
            })
        }
    });
    finish(builder().serve_connection(TokioIo::new(stream), service).await);
}

async fn speak_scoring(stream: Stream, line: Arc<Line>, front_end: usize, world: Arc<World>, local: SocketAddr) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (line, world) = (Arc::clone(&line), Arc::clone(&world));
        async move {
            let response = line.answer(&world, front_end, request, local).await;
            if response.extensions().get::<Abort>().is_some() { Err(ToldTo) } else { Ok(dated(response, &world)) }
        }
    });
    finish(builder().serve_connection_with_upgrades(TokioIo::new(stream), service).await);
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(H2_STREAMS)
        .initial_stream_window_size(H2_WINDOW)
        .initial_connection_window_size(H2_WINDOW * 4)
        .enable_connect_protocol();
    builder
}

fn finish(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error = &*error, "a connection of the mock broke off");
    }
}
