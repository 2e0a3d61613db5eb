//! The life of one client connection: TLS, protocol, requests, and an end that loses nothing.
//!
//! The connection's task owns the stream throughout. hyper borrows it to speak HTTP and gives it back; then this module looks
//! once more whether a request has begun, serves it if so, and else closes in the order that lets the client read its last
//! answer: our FIN, its remaining bytes, its FIN.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, poll_fn},
    os::fd::AsFd,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    accept::Accepted,
    client_io::{ClientIo, Close, IoWatch, Phase},
    connection::{Connection, Leash, Leashed, Order},
    pipeline,
    quiet::QuietWaker,
    stream::Stream,
    tls,
    worker::Worker,
};
use crate::snapshot::{Limits, ListenerPolicy};

/// Read and write buffer of an HTTP/1 connection, bytes: bounds what one stream keeps in memory in each direction. Not 64 KiB:
/// hyper doubles its reads up to this, and several of them may wait along the way (with 48 KiB none is over 32).
const H1_BUFFER: usize = 48 << 10;
/// A head of exactly the limit is whole before hyper takes the buffer for full.
const HEAD_SLACK: usize = 1 << 10;
/// HTTP/2 windows, bytes: what a caller may send ahead per stream and per connection (benches/README.md).
const H2_STREAM_WINDOW: u32 = 256 << 10;
const H2_CONNECTION_WINDOW: u32 = 1 << 20;
/// Response bytes buffered per HTTP/2 stream.
const H2_SEND_BUFFER: usize = 64 << 10;
/// How long a connection with nothing begun is kept when it is told to finish.
const BUSY_CLIENT: Duration = Duration::from_millis(100);
/// What HTTP/2 begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let Accepted { stream, peer, listener, permit } = accepted;
    // An idle worker's coarse clock stands still: the connection's time begins now.
    worker.now();
    let view = worker.view();
    let policy = view.snapshot.listener(listener).cloned();
    drop(view);
    let watch = IoWatch::new(worker.coarse_clock());
    let is_tls = policy.as_ref().is_some_and(|policy| policy.tls.is_some());
    let connection = Connection::new(listener, peer, is_tls, watch);
    worker.watch_connection(&connection);
    if let Some(policy) = policy {
        let task = run(&worker, &connection, &policy, stream);
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
    stream: std::net::TcpStream,
) -> Result<(), &'static str> {
    let tcp = tokio::net::TcpStream::from_std(stream).map_err(|_why| "socket")?;
    let (stream, h2, ahead) = match &policy.tls {
        Some(config) => {
            let shaken = tls::accept(worker, policy, std::sync::Arc::clone(config), tcp).await?;
            // The head's time begins where the handshake's ended.
            worker.now();
            connection.watch.enter(Phase::Head);
            // Who does not negotiate where HTTP/1.1 is not served is taken to know that (RFC 9113 section 3.3).
            (Stream::Tls(shaken.stream), shaken.h2 || !policy.h1, Bytes::new())
        }
        None if policy.h2 => match sniff(connection, tcp, policy.h1).await? {
            Some(sniffed) => sniffed,
            None => return Ok(()),
        },
        None => (Stream::Plain(tcp), false, Bytes::new()),
    };
    let limits = worker.view().snapshot.limits.clone();
    if h2 {
        serve_h2(worker, connection, stream, ahead, &limits).await
    } else {
        serve_h1(worker, connection, stream, ahead, &limits, policy.half_close).await
    }
}

/// Reads until it is clear whether a plain connection begins with HTTP/2's preface. What was read goes on to hyper. None where
/// the connection was told to finish before its first byte, and is closed.
async fn sniff(
    connection: &Connection,
    mut tcp: tokio::net::TcpStream,
    h1: bool,
) -> Result<Option<(Stream, bool, Bytes)>, &'static str> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    while ahead.len() < PREFACE.len() && PREFACE.starts_with(&ahead) {
        let read = tokio::select! {
            biased;
            read = tcp.read_buf(&mut ahead) => Some(read),
            () = told_to_finish(connection), if ahead.is_empty() => None,
        };
        let read = match read {
            Some(read) => read,
            None if arrives_soon(&tcp).await => tcp.read_buf(&mut ahead).await,
            None => {
                close(connection, Stream::Plain(tcp)).await;
                return Ok(None);
            }
        };
        if read.map_err(|_why| "read")? == 0 {
            return Err("closed_before_request");
        }
    }
    let h2 = ahead.starts_with(PREFACE) || !h1;
    Ok(Some((Stream::Plain(tcp), h2, ahead.freeze())))
}

async fn told_to_finish(connection: &Connection) {
    poll_fn(|cx| match connection.leash.poll_order(cx) {
        Order::Go => Poll::Pending,
        Order::Finish | Order::Cut => Poll::Ready(()),
    })
    .await;
}

async fn serve_h1(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    mut stream: Stream,
    mut ahead: Bytes,
    limits: &Limits,
    half_close: bool,
) -> Result<(), &'static str> {
    let mut builder = http1::Builder::new();
    builder
        .half_close(half_close)
        .header_read_timeout(None)
        .max_buf_size(H1_BUFFER.max(limits.head + HEAD_SLACK))
        .max_headers(limits.fields)
        .max_header_size(limits.head);
    loop {
        let io = ClientIo::new(stream, std::sync::Arc::clone(&connection.watch), ahead, Close::ByTask);
        let said_close = Cell::new(false);
        let service = service_fn(|request: Request<Incoming>| async {
            let response = pipeline::handle(worker, connection, request).await;
            said_close.set(connection.leash.order() != Order::Go);
            Ok::<_, Infallible>(response)
        });
        let mut told = connection.leash.order() == Order::Finish;
        let reuse = !told;
        builder.keep_alive(reuse);
        let mut http = builder.serve_connection(io, service).with_upgrades();
        let mut waker = QuietWaker::default();
        let ended = poll_fn(|cx| {
            connection.watch.turns.begin();
            if !told && connection.leash.poll_order(cx) == Order::Finish {
                told = true;
                Pin::new(&mut http).graceful_shutdown();
            }
            Pin::new(&mut http).poll(&mut Context::from_waker(waker.of(cx)))
        })
        .await;
        let Some(parts) = http.into_parts() else { return Ok(()) };
        stream = parts.io.into_stream();
        let answered = match ended {
            Ok(()) => Ok(()),
            Err(error) if error.is_parse_too_large() => {
                worker.count_limit("head");
                Err("request_head_too_large")
            }
            Err(error) if error.is_parse() => Err("parse"),
            Err(error) if error.is_incomplete_message() => Err("cut_off_by_client"),
            Err(error) if error.is_user() && connection.old.get() => {
                reset(&stream);
                return Err("cut_off_by_upstream");
            }
            Err(_) => Err("io"),
        };
        // Told to finish between two requests: the next one is still served, and its answer says `connection: close`.
        let may_go_on = told
            && reuse
            && answered.is_ok()
            && !said_close.get()
            && !connection.unread.get()
            && !connection.watch.saw_eof();
        if may_go_on && (!parts.read_buf.is_empty() || arrives_soon(stream.tcp()).await) {
            ahead = parts.read_buf;
            connection.watch.enter(Phase::Head);
            continue;
        }
        close(connection, stream).await;
        return answered;
    }
}

async fn serve_h2(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    stream: Stream,
    ahead: Bytes,
    limits: &Limits,
) -> Result<(), &'static str> {
    connection.watch.multiplexed();
    let io = ClientIo::new(stream, std::sync::Arc::clone(&connection.watch), ahead, Close::Lingering);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
        async move { Ok::<_, Infallible>(pipeline::handle(&worker, &connection, request).await) }
    });
    let http = http2::Builder::new(StreamExecutor(Rc::clone(worker)))
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .serve_connection(io, service);
    let mut http = pin!(http);
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && connection.leash.poll_order(cx) == Order::Finish {
            told = true;
            http.as_mut().graceful_shutdown();
        }
        http.as_mut().poll(cx)
    });
    ended.await.map_err(|_why| "h2")
}

/// Whether a request's first byte is there, or comes while a busy client would send its next one. Between a look into the kernel
/// and a FIN this thread may be put aside, and a byte that came then would never be answered; a client that has been quiet
/// for a while is unlikely to speak in that moment.
async fn arrives_soon(tcp: &tokio::net::TcpStream) -> bool {
    if let Ok(looked) = tokio::time::timeout(BUSY_CLIENT, tcp.peek(&mut [0])).await {
        return looked.is_ok_and(|read| read > 0);
    }
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    rustix::net::recv(tcp.as_fd(), &mut [0_u8; 1], flags).is_ok_and(|(read, _)| read > 0)
}

/// Closes so that the client can read its last answer: a close with unread bytes would reset the connection under it (RFC 9112
/// section 9.6). The sweep bounds the time.
async fn close(connection: &Connection, mut stream: Stream) {
    if stream.shutdown().await.is_err() || connection.watch.saw_eof() {
        return;
    }
    connection.watch.enter(Phase::Lingering);
    let mut scrap = [0_u8; 4096];
    while !matches!(stream.read(&mut scrap).await, Ok(0) | Err(_)) {}
}

/// Closes so that nobody takes the answer for whole: to HTTP/1.0 an orderly close is the end of an answer without a length
/// (RFC 9112 section 6.3).
fn reset(stream: &Stream) {
    if let Err(error) = SockRef::from(stream.tcp()).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "a cut-off answer ends with an orderly close");
    }
}

/// Runs the streams of HTTP/2 connections, each on a leash of its own.
#[derive(Debug, Clone)]
struct StreamExecutor(Rc<Worker>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for StreamExecutor {
    fn execute(&self, task: F) {
        let leash = Rc::<Leash>::default();
        let task = Leashed::new(task, Rc::clone(&leash));
        tokio::task::spawn_local(StreamTask { task, leash, worker: Rc::clone(&self.0) });
    }
}

pin_project_lite::pin_project! {
    /// A stream's task: while it is polled, its leash is the worker's current one.
    struct StreamTask<F> {
        #[pin]
        task: Leashed<F>,
        leash: Rc<Leash>,
        worker: Rc<Worker>,
    }
}

impl<F: Future<Output = ()>> Future for StreamTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let (task, leash) = (this.task, &*this.leash);
        this.worker.with_leash(leash, || task.poll(cx)).map(|_| ())
    }
}
