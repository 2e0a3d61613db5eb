//! One admin listener: accepts up to a cap, does the handshake, serves HTTP/1.1, and lets go when told to stop.
//!
//! `serve` spawns [`accept_loop`] once for each listener. A connection can never hold more than a place under the cap
//! for longer than its time-outs.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::{guard::LocalAddress, socket::BoundSocket};

/// People, probes and scrapers need a handful; 256 of somebody else's must not take the process's descriptors.
const MAX_CONNECTIONS: usize = 256;
/// The handshake, and each head from the first wait for it: an idle connection is closed by it too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failed accept: descriptors come back only when something else closes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub(super) enum Listener {
    Tcp(TcpListener, Option<TlsAcceptor>),
    Socket(BoundSocket),
}

enum Connected {
    Tcp(TcpStream, Option<TlsAcceptor>),
    Socket(UnixStream),
}

/// Serves until `stop` changes, then until the last connection has its answer.
pub(super) async fn accept_loop(
    name: &'static str,
    listener: Listener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                report_panic(name, ended);
                continue;
            }
            accepted = listener.accept(&places) => accepted,
        };
        match accepted {
            Ok((connected, place)) => {
                connections.spawn(converse(connected, router.clone(), stop.clone(), place));
            }
            Err(error) => {
                tracing::warn!(listener = name, %error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report_panic(name, ended);
    }
}

/// Also when the handle was dropped: then nobody is left to say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

fn report_panic(name: &str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(listener = name, %error, "an admin connection ended badly: please report this");
    }
}

impl Listener {
    /// A place first: beyond the cap, connections wait in the kernel's queue.
    async fn accept(&self, places: &Arc<Semaphore>) -> io::Result<(Connected, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
        let connected = match self {
            Self::Tcp(listener, tls) => Connected::Tcp(listener.accept().await?.0, tls.clone()),
            Self::Socket(socket) => Connected::Socket(socket.listener.accept().await?.0),
        };
        Ok((connected, place))
    }
}

/// From the accepted connection to its end. What goes wrong here is the client's affair.
async fn converse(connected: Connected, router: Router, stop: watch::Receiver<bool>, _place: OwnedSemaphorePermit) {
    match connected {
        Connected::Socket(stream) => speak(stream, router, None, stop).await,
        Connected::Tcp(stream, tls) => {
            let Ok(local) = stream.local_addr().map(LocalAddress) else { return };
            let Some(tls) = tls else { return speak(stream, router, Some(local), stop).await };
            if let Ok(Ok(stream)) = timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                speak(stream, router, Some(local), stop).await;
            }
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    local: Option<LocalAddress>,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(local) = local {
            request.extensions_mut().insert(local);
        }
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin connection broke off");
    }
}
