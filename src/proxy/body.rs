//! Bodies in flight: the caller's on its way up, the upstream's on its way down. No box and no copy per frame.
//!
//! [`Upload`] is what an exchange keeps of a request body; [`RequestBody`] is one sending of it, so that a body that is held can
//! be sent again. [`ResponseBody`] is what hyper gives to the caller; while it lives, its exchange does.

use std::{
    pin::Pin,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    exchange::{Exchange, Watched},
    quiet,
    reject::Reject,
    upstream::pool::Lease,
    worker::Worker,
};
use crate::clock::Moment;

/// What an exchange keeps of its request body.
#[derive(Debug, Default)]
pub struct Upload {
    incoming: Option<Incoming>,
    /// Largest body, bytes.
    limit: u64,
    /// Trailer fields that pass.
    trailers: Box<[HeaderName]>,
    held: Held,
    /// The connection that waits for the next frame to send.
    reader: Option<Waker>,
    /// How many held frames the present sending has taken.
    resent: usize,
    /// The caller's fault, if it made one.
    fault: Option<Reject>,
    expect: Option<Arc<ExpectGate>>,
}

/// Frames already read from the caller.
#[derive(Debug)]
enum Held {
    /// All of them so far, for another sending. Bytes are counted against the worker's budget.
    All { frames: Vec<Bytes>, bytes: u64, limit: u64 },
    /// Some are gone.
    Gone,
}

impl Default for Held {
    fn default() -> Self {
        Self::All { frames: Vec::new(), bytes: 0, limit: 0 }
    }
}

impl Upload {
    /// Takes a request body in. `limit` is the most that is accepted, bytes.
    pub fn open(&mut self, incoming: Incoming, limit: u64, trailers: &[HeaderName]) {
        self.incoming = Some(incoming);
        self.limit = limit;
        self.trailers = trailers.into();
    }

    /// From here what is read is held, up to `limit` bytes.
    pub fn hold(&mut self, most: u64) {
        if let Held::All { limit, .. } = &mut self.held {
            *limit = most;
        }
    }

    /// A sending begins, from the first frame.
    pub const fn begin_sending(&mut self) {
        self.resent = 0;
    }

    /// Whether everything read so far could be sent again.
    pub const fn is_held(&self) -> bool {
        matches!(self.held, Held::All { .. })
    }

    /// The caller's fault, if it made one.
    pub const fn fault(&self) -> Option<Reject> {
        self.fault
    }

    /// Waits for the upstream's 100 before the body is read.
    pub fn expect_continue(&mut self, gate: Arc<ExpectGate>) {
        self.expect = Some(gate);
    }

    /// Opens the gate of `Expect: 100-continue` when the upstream has kept silent too long.
    pub fn lose_patience(&self, now: Moment, patience: Duration) {
        if let Some(gate) = &self.expect {
            gate.open_after(now, patience);
        }
    }

    /// Whether the caller has sent all of it.
    pub fn is_whole(&self) -> bool {
        self.incoming.as_ref().is_some_and(Body::is_end_stream)
    }

    /// No further frame is wanted: the caller's connection is told so, and a sending that is still going breaks off.
    pub fn close(&mut self, worker: &Worker) {
        self.incoming = None;
        self.release(worker);
        if let Some(gate) = self.expect.take() {
            gate.open();
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// No further sending will be needed: lets go of what is held, or, where a sending is still at what is held, as soon as
    /// it is through.
    pub fn settle(&mut self, worker: &Worker) {
        match &mut self.held {
            Held::All { frames, limit, .. } if self.resent < frames.len() => *limit = 0,
            _ => self.release(worker),
        }
    }

    /// Lets go of what is held.
    pub fn release(&mut self, worker: &Worker) {
        if let Held::All { bytes, .. } = std::mem::replace(&mut self.held, Held::Gone) {
            worker.release_held(bytes);
        }
    }

    /// Holds a frame if there is room, else lets go of all.
    fn keep(&mut self, frame: &Bytes, worker: &Worker) {
        let Held::All { frames, bytes, limit } = &mut self.held else { return };
        let len = frame.len() as u64;
        if *bytes + len <= *limit && worker.try_hold(len) {
            *bytes += len;
            frames.push(frame.clone());
        } else {
            if *limit > 0 {
                worker.count_limit(if *bytes + len > *limit { "replay_body" } else { "replay_total" });
            }
            self.release(worker);
        }
    }

    fn frame(&self, at: usize) -> Option<Bytes> {
        match &self.held {
            Held::All { frames, .. } => frames.get(at).cloned(),
            Held::Gone => None,
        }
    }
}

/// One sending of a request body.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// The exchange's upload, from its beginning.
    Upload {
        /// Whose.
        exchange: Rc<Exchange>,
        /// How many held frames were sent.
        next: usize,
        /// Length, where it is known.
        length: Option<u64>,
    },
}

impl RequestBody {
    /// A sending of the exchange's upload. `length` is the content length, where known.
    pub const fn upload(exchange: Rc<Exchange>, length: Option<u64>) -> Self {
        Self::Upload { exchange, next: 0, length }
    }
}

/// Why a request body broke off. Seen by hyper only: the upstream's connection is cut, never ended as if complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the request body broke off")]
pub struct BrokenOff;

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let Self::Upload { exchange, next, .. } = self.get_mut() else { return Poll::Ready(None) };
        let mut upload = exchange.upload.borrow_mut();
        if let Some(frame) = upload.frame(*next) {
            *next += 1;
            upload.resent = *next;
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        let upload = &mut *upload;
        if upload.expect.as_ref().is_some_and(|gate| gate.poll(cx).is_pending()) {
            return Poll::Pending;
        }
        let Some(incoming) = &mut upload.incoming else { return Poll::Ready(Some(Err(BrokenOff))) };
        let Poll::Ready(frame) = quiet::poll_frame(incoming, cx) else {
            exchange.sending.wait(exchange.worker.coarse_now());
            upload.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        let now = exchange.worker.coarse_now();
        let fault = match frame {
            None => {
                exchange.sending.progress(now, 0);
                return Poll::Ready(None);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    exchange.sending.progress(now, data.len());
                    if exchange.sending.bytes() <= upload.limit {
                        upload.keep(&data, &exchange.worker);
                        *next += 1;
                        upload.resent = *next;
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    exchange.worker.count_limit("body");
                    Reject::RequestTooLarge
                }
                Err(frame) => {
                    exchange.sending.progress(now, 0);
                    let trailers = frame.into_trailers().unwrap_or_default();
                    let kept = allowed_trailers(trailers, &upload.trailers);
                    return Poll::Ready((!kept.is_empty()).then(|| Ok(Frame::trailers(kept))));
                }
            },
            Some(Err(_)) => Reject::BadRequest("the request body is not framed as HTTP demands"),
        };
        upload.fault = Some(fault);
        upload.close(&exchange.worker);
        Poll::Ready(Some(Err(BrokenOff)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload { exchange, next, .. } => {
                let upload = exchange.upload.borrow();
                upload.frame(*next).is_none() && upload.is_whole()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Upload { length: Some(length), .. } => SizeHint::with_exact(*length),
            Self::Upload { .. } => SizeHint::default(),
        }
    }
}

fn allowed_trailers(mut trailers: HeaderMap, allowed: &[HeaderName]) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in allowed {
        if let Some(value) = trailers.remove(name) {
            kept.insert(name.clone(), value);
        }
    }
    kept
}

/// Holds a request body back until the upstream says 100 (RFC 9110 section 10.1.1). hyper demands `Send` of the callback
/// that opens it, hence the lock; only requests with `Expect` have one.
#[derive(Debug)]
pub struct ExpectGate {
    open: AtomicBool,
    since: Moment,
    waker: Mutex<Option<Waker>>,
}

impl ExpectGate {
    /// A closed gate.
    #[must_use]
    pub fn closed(since: Moment) -> Arc<Self> {
        Arc::new(Self { open: AtomicBool::new(false), since, waker: Mutex::new(None) })
    }

    /// Lets the body go.
    pub fn open(&self) {
        self.open.store(true, Ordering::Release);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn open_after(&self, now: Moment, patience: Duration) {
        if now.since(self.since) > patience && !self.open.load(Ordering::Acquire) {
            self.open();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.open.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        if self.open.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a caller is answered with.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    exchange: Watched,
}

#[derive(Debug)]
enum Source {
    /// Our own answer, or nothing.
    Full(Bytes),
    /// The upstream's answer, with the connection it comes over.
    Upstream { incoming: Incoming, lease: Option<Lease> },
}

impl ResponseBody {
    /// An answer of our own.
    pub const fn full(exchange: Watched, body: Bytes) -> Self {
        Self { source: Source::Full(body), exchange }
    }

    /// The upstream's answer.
    pub fn upstream(exchange: Watched, incoming: Incoming, lease: Lease) -> Self {
        let mut body = Self { source: Source::Upstream { incoming, lease: Some(lease) }, exchange };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// The last frame was handed over.
    fn finish(&mut self) {
        if let Source::Upstream { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.give_back(&self.exchange.0.worker);
        }
        self.exchange.0.record.complete.set(true);
    }
}

/// Why a response broke off after its head: the caller's connection or stream is cut, never ended as if complete.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the upstream's answer broke off")]
pub struct CutOff;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let this = self.get_mut();
        let exchange = &this.exchange.0;
        let now = exchange.worker.coarse_now();
        let incoming = match &mut this.source {
            Source::Full(bytes) => {
                exchange.record.complete.set(true);
                let bytes = std::mem::take(bytes);
                exchange.awaits_caller(now, bytes.len());
                return Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))));
            }
            Source::Upstream { incoming, .. } => incoming,
        };
        if exchange.verdict().is_some() {
            return Poll::Ready(Some(Err(CutOff)));
        }
        match quiet::poll_frame(incoming, cx) {
            Poll::Ready(Some(Ok(frame))) => {
                exchange.awaits_caller(now, frame.data_ref().map_or(0, Bytes::len));
                if this.is_end_stream() {
                    this.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => {
                exchange.worker.count_cut_off(exchange);
                Poll::Ready(Some(Err(CutOff)))
            }
            Poll::Pending => {
                exchange.awaits_upstream(now);
                exchange.remember(cx);
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}
