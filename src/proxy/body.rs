//! Bodies in flight: the caller's on its way up, the upstream's on its way down. No box and no copy per frame.
//!
//! [`CallerBody`] is a request's body as it comes in, [`Upload`] what an exchange keeps of it, [`RequestBody`] one sending of it, so
//! that a body that is held can be sent again. [`ResponseBody`] is what the caller gets; while it lives, its exchange does.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    exchange::{Exchange, Watched},
    expect::ExpectGate,
    headers::{framing, outgoing, survey::Survey},
    http1::{link::Link, pipe::Pipe},
    http2::stream::Inbound,
    reject::Reject,
    upstream::pool::Lease,
    worker::Worker,
};
use crate::{
    clock::Moment,
    rotation::{ladder::Replay, offer::Hold},
};

/// Frames that are held are put together up to so many bytes: a body in pieces of one byte would cost a hundred times what is counted.
const TOGETHER: usize = 4 << 10;
const BAD_FRAMING: Reject = Reject::BadRequest("the request body is not framed as HTTP demands");

/// A request's body as it comes in.
#[derive(Debug)]
pub enum CallerBody {
    /// Over HTTP/1.1.
    H1(Rc<Link>),
    /// Over HTTP/2.
    H2(Inbound),
    /// None: what comes over the stream is a WebSocket's.
    None,
}

impl CallerBody {
    /// The head was read: how the body is framed is known. Framing that is refused leaves nothing to be read.
    pub fn begin(&self, version: http::Version, survey: &Survey<'_>) {
        match self {
            Self::H1(link) => link.begin_body(framing::body_of_request(version, survey), survey.expects_continue()),
            Self::H2(inbound) => inbound.expects_continue.set(survey.expects_continue()),
            Self::None => {}
        }
    }

    /// Whether there is nothing more to come.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::H1(link) => link.is_body_done(),
            Self::H2(inbound) => inbound.is_end_stream(),
            Self::None => true,
        }
    }

    /// What comes next of it, where that can go through a pipe.
    fn piped(&self) -> Option<&Link> {
        match self {
            Self::H1(link) if link.is_piped() => Some(link),
            Self::H1(_) | Self::H2(_) | Self::None => None,
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self {
            Self::H1(link) => link.poll_frame(cx).map_err(|_why| BrokenOff),
            Self::H2(inbound) => inbound.poll_frame(cx).map_err(|_why| BrokenOff),
            Self::None => Poll::Ready(None),
        }
    }
}

/// A frame of an upstream's body over HTTP/2. hyper takes a reset without an error for the end of the body, which it is only behind the end of
/// the stream (RFC 9113 section 8.1).
fn poll_h2(incoming: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
    match ready!(Pin::new(&mut *incoming).poll_frame(cx)) {
        None if !incoming.is_end_stream() => Poll::Ready(Some(Err(CutOff))),
        frame => Poll::Ready(frame.map(|frame| frame.map_err(|_why| CutOff))),
    }
}

/// What an exchange keeps of its request body.
#[derive(Debug, Default)]
pub struct Upload {
    incoming: Option<CallerBody>,
    /// Largest body, bytes.
    limit: u64,
    /// Trailer fields that pass.
    trailers: Box<[HeaderName]>,
    held: Held,
    /// The connection that waits for the next frame to send.
    reader: Option<Waker>,
    /// How many held frames the present sending has taken.
    resent: usize,
    /// A frame that was taken for a sending that came to nothing, where it is not held.
    returned: Option<Bytes>,
    /// The caller's fault, if it made one.
    fault: Option<Reject>,
    expect: Option<Rc<ExpectGate>>,
}

/// Frames already read from the caller.
#[derive(Debug)]
enum Held {
    /// All of them so far, for another sending. What is reserved is counted against the worker's budget.
    All { frames: Vec<Bytes>, bytes: u64, limit: u64, reserved: u64 },
    /// Some are gone.
    Gone,
}

impl Default for Held {
    fn default() -> Self {
        Self::All { frames: Vec::new(), bytes: 0, limit: 0, reserved: 0 }
    }
}

impl Upload {
    /// Takes a request body in. `limit` is the most that is accepted, bytes.
    pub fn open(&mut self, incoming: CallerBody, limit: u64, trailers: &[HeaderName]) {
        self.incoming = Some(incoming);
        self.limit = limit;
        self.trailers = trailers.into();
    }

    /// From here what is read is held, up to `most` bytes. For a body of known length the room is reserved now, or none is: what cannot
    /// be held whole is not held at all.
    pub fn hold(&mut self, most: u64, length: Option<u64>, worker: &Worker) {
        let Held::All { limit, reserved, .. } = &mut self.held else { return };
        if *limit > 0 {
            return;
        }
        let Some(length) = length else {
            *limit = most;
            return;
        };
        if length > most {
            worker.count_limit("replay_body");
        } else if worker.try_hold(length) {
            (*limit, *reserved) = (most, length);
        } else {
            worker.count_limit("replay_total");
        }
    }

    /// Whether the request can be sent again as things are: everything that was read of its body is here.
    pub const fn hold_state(&self) -> Hold {
        match &self.held {
            // Without a limit nothing was ever held: only a request without a body has nothing to lose.
            Held::All { limit: 0, .. } if self.incoming.is_some() => Hold::NotHeld,
            Held::All { .. } => Hold::Held,
            Held::Gone => Hold::NotHeld,
        }
    }

    /// Whether it can be sent again whatever comes: no body, or one with room for the whole of it.
    pub fn hold_for(&self, replay: Replay, length: Option<u64>) -> Hold {
        let certain = match &self.held {
            Held::All { reserved, .. } => self.incoming.is_none() || length.is_some_and(|length| length <= *reserved),
            Held::Gone => false,
        };
        if certain && replay == Replay::On { Hold::Held } else { Hold::NotHeld }
    }

    /// The first frame was taken for a sending of which nothing was written.
    pub fn put_back(&mut self, first: Bytes) {
        if !self.is_held() || self.frame(0).is_none() {
            self.returned = Some(first);
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
    pub fn expect_continue(&mut self, gate: Rc<ExpectGate>) {
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
        self.incoming.as_ref().is_some_and(CallerBody::is_end_stream)
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
        if let Held::All { reserved, .. } = std::mem::replace(&mut self.held, Held::Gone) {
            worker.release_held(reserved);
        }
    }

    /// Holds a frame if there is room, else lets go of all.
    fn keep(&mut self, frame: &Bytes, worker: &Worker) {
        let Held::All { frames, bytes, limit, reserved } = &mut self.held else { return };
        let len = frame.len() as u64;
        let more = (*bytes + len).saturating_sub(*reserved);
        if *bytes + len <= *limit && (more == 0 || worker.try_hold(more)) {
            *bytes += len;
            *reserved += more;
            match frames.last_mut().filter(|last| last.len() + frame.len() <= TOGETHER) {
                Some(last) => *last = [&**last, frame].concat().into(),
                None => frames.push(frame.clone()),
            }
        } else {
            if *limit > 0 {
                worker.count_limit(if *bytes + len > *limit { "replay_body" } else { "replay_total" });
            }
            self.release(worker);
        }
    }

    /// What comes next, where that can go through a pipe: nothing is held any more, and the rest is known to be no more than is accepted.
    fn piped(&self, taken: u64) -> Option<&Link> {
        if self.is_held() || self.returned.is_some() || self.expect.as_ref().is_some_and(|gate| !gate.is_open()) {
            return None;
        }
        let link = self.incoming.as_ref()?.piped()?;
        link.body_length().is_some_and(|left| taken + left <= self.limit).then_some(link)
    }

    /// The caller's fault: the rest of the body is not wanted.
    fn break_off(&mut self, fault: Reject, worker: &Worker) -> BrokenOff {
        self.fault = Some(fault);
        self.close(worker);
        BrokenOff
    }

    /// How many frames are held.
    const fn frames(&self) -> usize {
        match &self.held {
            Held::All { frames, .. } => frames.len(),
            Held::Gone => 0,
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

    /// Whether what comes next can go through a pipe.
    pub fn is_piped(&self) -> bool {
        match self {
            Self::Empty => false,
            Self::Upload { exchange, .. } => exchange.upload.borrow().piped(exchange.sending.bytes()).is_some(),
        }
    }

    /// Takes what comes next into an empty pipe, in place of a frame. Only where [`RequestBody::is_piped`].
    pub fn poll_take(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<usize, BrokenOff>> {
        let Self::Upload { exchange, .. } = self else { return Poll::Ready(Err(BrokenOff)) };
        let mut upload = exchange.upload.borrow_mut();
        let Some(link) = upload.piped(exchange.sending.bytes()) else { return Poll::Ready(Err(BrokenOff)) };
        let taken = link.poll_take(pipe, cx);
        let now = exchange.worker.coarse_now();
        let Poll::Ready(taken) = taken else {
            exchange.sending.wait(now);
            upload.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(match taken {
            Ok(taken) => {
                exchange.sending.progress(now, taken);
                Ok(taken)
            }
            Err(_why) => Err(upload.break_off(BAD_FRAMING, &exchange.worker)),
        })
    }
}

/// Why a request body broke off: the upstream's connection is cut, never ended as if complete.
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
        if let Some(frame) = upload.returned.take() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if upload.expect.as_ref().is_some_and(|gate| gate.poll(cx).is_pending()) {
            return Poll::Pending;
        }
        let Some(incoming) = &mut upload.incoming else { return Poll::Ready(Some(Err(BrokenOff))) };
        let Poll::Ready(frame) = incoming.poll_frame(cx) else {
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
                        *next = upload.frames();
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
            Some(Err(_)) => BAD_FRAMING,
        };
        Poll::Ready(Some(Err(upload.break_off(fault, &exchange.worker))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Upload { exchange, next, .. } => {
                let upload = exchange.upload.borrow();
                upload.frame(*next).is_none() && upload.returned.is_none() && upload.is_whole()
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
    /// The upstream's answer over HTTP/1.1. The connection is given back when the last frame was read.
    H1 { link: Rc<Link>, lease: Option<Lease> },
    /// The upstream's answer over HTTP/2.
    H2 { incoming: Incoming, lease: Option<Lease> },
}

impl ResponseBody {
    /// An answer of our own.
    pub const fn full(exchange: Watched, body: Bytes) -> Self {
        Self { source: Source::Full(body), exchange }
    }

    /// The answer that begins on a connection of HTTP/1.1.
    pub fn h1(exchange: Watched, link: Rc<Link>, lease: Lease) -> Self {
        Self::begun(exchange, Source::H1 { link, lease: Some(lease) })
    }

    /// The answer of a stream of HTTP/2.
    pub fn h2(exchange: Watched, incoming: Incoming, lease: Lease) -> Self {
        Self::begun(exchange, Source::H2 { incoming, lease: Some(lease) })
    }

    fn begun(exchange: Watched, source: Source) -> Self {
        let mut body = Self { source, exchange };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// The exchange it belongs to.
    pub fn exchange(&self) -> &Exchange {
        &self.exchange.0
    }

    /// How many bytes are to come, where that is known.
    pub fn length(&self) -> Option<u64> {
        match &self.source {
            Source::Full(bytes) => Some(bytes.len() as u64),
            Source::H1 { lease: None, .. } | Source::H2 { lease: None, .. } => Some(0),
            Source::H1 { link, .. } => link.body_length(),
            Source::H2 { incoming, .. } => incoming.size_hint().exact(),
        }
    }

    /// Whether what comes next can go through a pipe.
    pub fn is_piped(&self) -> bool {
        matches!(&self.source, Source::H1 { link, lease: Some(_) } if link.is_piped())
    }

    /// Takes what comes next into an empty pipe, in place of a frame. Only where [`ResponseBody::is_piped`].
    ///
    /// # Errors
    /// See [`CutOff`].
    pub fn poll_take(&mut self, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<Result<(), CutOff>> {
        let taken = match &self.source {
            Source::H1 { link, lease: Some(_) } if self.exchange.0.verdict().is_none() => {
                link.poll_take(pipe, cx).map_err(|_why| CutOff)
            }
            _ => Poll::Ready(Err(CutOff)),
        };
        self.note(&taken, cx);
        taken.map_ok(|_bytes| ())
    }

    /// Notes what a turn came to: so many bytes, the upstream's silence, or its breaking off.
    fn note(&mut self, turn: &Poll<Result<usize, CutOff>>, cx: &Context<'_>) {
        let exchange = &self.exchange.0;
        let now = exchange.worker.coarse_now();
        match turn {
            Poll::Ready(Ok(bytes)) => {
                exchange.awaits_caller(now, *bytes);
                if self.is_end_stream() {
                    self.finish();
                }
            }
            Poll::Ready(Err(CutOff)) if exchange.verdict().is_none() => exchange.worker.count_cut_off(exchange),
            Poll::Ready(Err(CutOff)) => {}
            Poll::Pending => {
                exchange.awaits_upstream(now);
                exchange.remember(cx);
            }
        }
    }

    /// The last frame was handed over.
    fn finish(&mut self) {
        if let Source::H1 { lease, .. } | Source::H2 { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
        {
            lease.give_back(&self.exchange.0.worker);
        }
        self.exchange.0.record.complete.set(true);
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        match &mut self.source {
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            // Given back: what the connection reads now is another exchange's.
            Source::H1 { lease: None, .. } | Source::H2 { lease: None, .. } => Poll::Ready(None),
            _ if self.exchange.0.verdict().is_some() => Poll::Ready(Some(Err(CutOff))),
            Source::H1 { link, .. } => link.poll_frame(cx).map_err(|_why| CutOff).map_ok(without_framing),
            Source::H2 { incoming, .. } => poll_h2(incoming, cx).map_ok(without_framing),
        }
    }
}

/// Takes out of an answer's trailers what must not be there (RFC 9110 section 6.5.1).
fn without_framing(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(trailers) => Frame::trailers(outgoing::trailers(trailers)),
        Err(data) => data,
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
        let frame = this.poll_source(cx);
        match &frame {
            Poll::Ready(None) => this.finish(),
            Poll::Ready(Some(Ok(frame))) => {
                this.note(&Poll::Ready(Ok(frame.data_ref().map_or(0, Bytes::len))), cx);
            }
            Poll::Ready(Some(Err(cut_off))) => this.note(&Poll::Ready(Err(*cut_off)), cx),
            Poll::Pending => this.note(&Poll::Pending, cx),
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::H1 { lease: None, .. } | Source::H2 { lease: None, .. } => true,
            Source::H1 { link, .. } => link.is_body_done(),
            Source::H2 { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
