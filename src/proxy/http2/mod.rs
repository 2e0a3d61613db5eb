//! A caller's HTTP/2 connection (RFC 9113), by hyper: each stream is a task of its own, on a leash of its own.

pub mod frames;
pub mod io;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::{Request, body::Incoming, server::conn::http2, service::service_fn, upgrade::OnUpgrade};

use self::io::ClientIo;
use crate::{
    proxy::{
        answer::Outcome,
        body::{CallerBody, CutOff, ResponseBody},
        connection::{Connection, Leash, Leashed, Order},
        head::RequestHead,
        pipeline,
        stream::Stream,
        tunnel::{End, Tunnel},
        worker::Worker,
    },
    snapshot::Limits,
};

/// Windows, bytes: what a caller may send ahead per stream and per connection (benches/README.md).
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// hyper answers a head over its limit by itself, with no body, uncounted: up to this many times the limit we do it.
const HEAD_MARGIN: usize = 2;
/// Response bytes buffered per stream.
const SEND_BUFFER: usize = 64 << 10;

/// Serves a connection to its end.
///
/// # Errors
/// What to count it as, where it did not end well.
pub async fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    stream: Stream,
    ahead: Bytes,
    limits: &Limits,
) -> Result<(), &'static str> {
    connection.watch.multiplexed();
    let io = ClientIo::new(stream, Rc::clone(&connection.watch), ahead);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, connection) = (Rc::clone(worker), Rc::clone(connection));
        // In a box from the start: hyper and tokio move a stream's task a dozen times before it is first polled.
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let stream = parts.extensions.remove::<OnUpgrade>();
            let head = RequestHead::from(parts);
            let outcome = pipeline::handle(&worker, &connection, &head, CallerBody::H2(body)).await;
            Ok::<_, Infallible>(match (outcome, stream) {
                (Outcome::Answer(answer), _) => answer.into_response(&worker).map(StreamBody::Answer),
                (Outcome::Tunnel(tunnel), stream) => join(&worker, *tunnel, stream),
            })
        })
    });
    let mut builder = http2::Builder::new(StreamExecutor(Rc::clone(worker)));
    if worker.view().snapshot.routes.has_websockets() {
        builder.enable_connect_protocol();
    }
    let http = builder
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.head.saturating_mul(HEAD_MARGIN)).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .auto_date_header(false)
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

/// Grants a WebSocket (RFC 8441 section 5); the tunnel is a task of its own, on the leash of the stream's.
fn join(worker: &Worker, tunnel: Tunnel, stream: Option<OnUpgrade>) -> Response<StreamBody> {
    let response = tunnel.answer(worker).map(|()| StreamBody::None);
    let leash = Rc::clone(&tunnel.exchange.0.leash);
    let task = async move {
        // hyper gives every CONNECT its stream.
        let Some(stream) = stream else { return };
        if let Ok(stream) = stream.await {
            tunnel.join(End::h2(stream)).await;
        }
    };
    tokio::task::spawn_local(Leashed::new(task, leash));
    response
}

/// What is sent on a stream.
#[derive(Debug)]
enum StreamBody {
    Answer(ResponseBody),
    /// The stream has become a tunnel.
    None,
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match self.get_mut() {
            Self::Answer(body) => Pin::new(body).poll_frame(cx),
            Self::None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Answer(body) => body.is_end_stream(),
            Self::None => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Answer(body) => body.size_hint(),
            Self::None => SizeHint::with_exact(0),
        }
    }
}

/// Runs the streams of a connection.
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

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (task, leash) = (this.task, &*this.leash);
        this.worker.with_leash(leash, || task.poll(cx)).map(|_| ())
    }
}
