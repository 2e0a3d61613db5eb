//! The life of one client connection: where it comes from, TLS, protocol, requests, and an end that loses nothing.
//!
//! The connection is spoken to by `http1` or `http2`. HTTP/1.1 is closed here, in the order that lets the client read its last
//! answer: our FIN, its remaining bytes, its FIN.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{
    accept::{Accepted, Permit},
    connection::{Connection, Leashed, Order},
    http1::{self, link::Link, server::Ended},
    http2::{self, frame::PREFACE},
    io_watch::{IoWatch, Phase},
    proxy_protocol::{self, Origin},
    socket::{RawSocket, Remote, Socket},
    stream::Stream,
    tls,
    worker::Worker,
};
use crate::snapshot::ListenerPolicy;
/// How long a connection with nothing begun is kept when it is told to finish.
const BUSY_CLIENT: Duration = Duration::from_millis(100);

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { socket, remote, listener, mut permit } = accepted;
    // An idle worker's coarse clock stands still: the connection's time begins now.
    worker.now();
    let policy = worker.policy(listener);
    let watch = IoWatch::new(worker.coarse_clock());
    let is_tls = policy.as_ref().is_some_and(|policy| policy.tls.is_some());
    let connection = Connection::new(listener, remote, is_tls, watch);
    worker.watch_connection(&connection);
    if let Some(policy) = policy {
        let task = run(&worker, &connection, &policy, socket, &mut permit);
        if let Some(Err(kind)) = Leashed::new(task, Rc::clone(&connection.leash)).await {
            worker.metrics().connection_errors.with_label_values(&[&*policy.name, kind]).inc();
        }
    }
    worker.forget_connection(&connection);
    drop(permit);
}

async fn run(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    policy: &ListenerPolicy,
    socket: RawSocket,
    permit: &mut Permit,
) -> Result<(), &'static str> {
    let mut socket = Socket::try_from(socket).map_err(|_why| "socket")?;
    if policy.proxy_protocol {
        connection.watch.enter(Phase::Opening);
        Box::pin(find_origin(worker, connection, policy, &mut socket, permit)).await?;
    }
    let (stream, h2, ahead) = match &policy.tls {
        Some(config) => {
            connection.watch.enter(Phase::Opening);
            let shaken = Box::pin(tls::accept(worker, policy, Arc::clone(config), socket)).await?;
            if let Some(name) = shaken.server_name {
                let _first = connection.peer.server_name.set(name);
            }
            if let Some(certificate) = shaken.certificate {
                let _first = connection.peer.certificate.set(certificate);
            }
            // The head's time begins where the handshake's ended.
            worker.now();
            connection.watch.enter(Phase::Head);
            // Who does not negotiate where HTTP/1.1 is not served is taken to know that (RFC 9113 section 3.3).
            (Stream::Tls(shaken.stream), shaken.h2 || !policy.h1, Bytes::new())
        }
        None => {
            connection.watch.enter(Phase::Head);
            if policy.h2 {
                match Box::pin(sniff(connection, socket, policy.h1)).await? {
                    Some(sniffed) => sniffed,
                    None => return Ok(()),
                }
            } else {
                (Stream::Plain(socket), false, Bytes::new())
            }
        }
    };
    let limits = worker.view().snapshot.limits.clone();
    if h2 {
        return Box::pin(http2::serve(worker, connection, stream, ahead, &limits)).await;
    }
    let link = Link::new(stream, &ahead, Some(Rc::clone(&connection.watch)));
    match http1::server::serve(worker, connection, &link, &limits, policy.half_close).await {
        Ended::Close(how) => {
            close(connection, &link).await;
            how
        }
        Ended::Reset(why) => {
            reset(&link.stream().borrow());
            Err(why)
        }
    }
}

/// Asks the peer where the connection comes from. Only a trusted one is believed, and one that is not has no business here.
async fn find_origin(
    worker: &Worker,
    connection: &Connection,
    policy: &ListenerPolicy,
    socket: &mut Socket,
    permit: &mut Permit,
) -> Result<(), &'static str> {
    if !policy.trusts(connection.remote.get()) {
        tracing::debug!(listener = &*policy.name, "a peer that is no trusted proxy came where those are awaited");
        return Err("proxy_untrusted");
    }
    let limit = worker.view().snapshot.timeouts.request_head;
    let origin = match tokio::time::timeout(limit, proxy_protocol::read(socket)).await {
        Ok(Ok(origin)) => origin,
        Ok(Err(error)) => {
            tracing::debug!(listener = &*policy.name, %error, "no PROXY header");
            return Err("proxy_header");
        }
        Err(_elapsed) => {
            worker.count_limit("request_head");
            return Err("proxy_header_timeout");
        }
    };
    worker.now();
    if let Origin::Address(address) = origin {
        let remote = Remote::Address(address);
        connection.remote.set(remote);
        if let Some(ip) = remote.ip().filter(|_| !remote.is_loopback() && !policy.trusts(remote)) {
            permit.count(ip).inspect_err(|limit| worker.count_limit(limit))?;
        }
    }
    Ok(())
}

/// Reads until it is clear whether a plain connection begins with HTTP/2's preface. What was read goes on with the stream. None where
/// the connection was told to finish before its first byte, and is closed.
async fn sniff(
    connection: &Connection,
    mut socket: Socket,
    h1: bool,
) -> Result<Option<(Stream, bool, Bytes)>, &'static str> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    while ahead.len() < PREFACE.len() && PREFACE.starts_with(&ahead) {
        let read = tokio::select! {
            biased;
            read = socket.read_buf(&mut ahead) => Some(read),
            () = told_to_finish(connection), if ahead.is_empty() => None,
        };
        let read = match read {
            Some(read) => read,
            None if speaks_soon(&socket).await => socket.read_buf(&mut ahead).await,
            None => {
                close(connection, &Link::new(Stream::Plain(socket), &[], None)).await;
                return Ok(None);
            }
        };
        if read.map_err(|_why| "read")? == 0 {
            return Err("closed_before_request");
        }
    }
    let h2 = ahead.starts_with(PREFACE) || !h1;
    Ok(Some((Stream::Plain(socket), h2, ahead.freeze())))
}

async fn told_to_finish(connection: &Connection) {
    poll_fn(|cx| match connection.leash.poll_order(cx) {
        Order::Go => Poll::Pending,
        Order::Finish | Order::Cut => Poll::Ready(()),
    })
    .await;
}

/// Whether a request's first byte is there, or comes while a busy client would send its next one. Between a look into the kernel
/// and a FIN this thread may be put aside, and a byte that came then would never be answered; a client that has been quiet
/// for a while is unlikely to speak in that moment.
pub(super) async fn arrives_soon(link: &Link) -> bool {
    let readable = poll_fn(|cx| link.stream().borrow().poll_read_ready(cx));
    let _either = tokio::time::timeout(BUSY_CLIENT, readable).await;
    link.stream().borrow().socket().has_bytes()
}

async fn speaks_soon(socket: &Socket) -> bool {
    let _either = tokio::time::timeout(BUSY_CLIENT, poll_fn(|cx| socket.poll_read_ready(cx))).await;
    socket.has_bytes()
}

/// Closes so that the client can read its last answer: a close with unread bytes would reset the connection under it (RFC 9112
/// section 9.6). The sweep bounds the time.
async fn close(connection: &Connection, link: &Link) {
    let finished = poll_fn(|cx| Pin::new(&mut *link.stream().borrow_mut()).poll_shutdown(cx)).await;
    if finished.is_err() || link.saw_eof() {
        return;
    }
    connection.watch.enter(Phase::Lingering);
    poll_fn(|cx| {
        loop {
            link.take_ahead(usize::MAX);
            if !matches!(ready!(link.poll_fill(cx)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// Closes so that nobody takes the answer for whole: to HTTP/1.0 an orderly close is the end of an answer without a length
/// (RFC 9112 section 6.3).
fn reset(stream: &Stream) {
    if let Err(error) = SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a cut-off answer ends with an orderly close");
    }
}
