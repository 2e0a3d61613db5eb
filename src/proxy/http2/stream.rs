//! One stream: what came for its request and is not taken yet, and the windows of both directions.
//!
//! Shared by the connection's task, which fills it, and the stream's own, which empties it. [`Inbound`] is a request's body to the
//! rest of the proxy, [`Duplex`] a stream that has become a WebSocket's.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use http_body::Frame;

use super::{flow::Inflow, frame::Reason, session::Session};
use crate::proxy::connection::Leash;

/// A stream.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub(super) id: u32,
    /// The leash on its task.
    pub(super) leash: Rc<Leash>,
    inbox: RefCell<Inbox>,
    /// What the caller may send on it.
    pub(super) inflow: Cell<Inflow>,
    /// What is still to come of a body whose length is known.
    pub(super) left: Cell<Option<u64>>,
    /// What we may send on it.
    pub(super) window: Cell<i64>,
    /// Whoever waits for that to become more, or, if `is_waiting`, for its turn.
    pub(super) writer: RefCell<Option<Waker>>,
    pub(super) is_waiting: Cell<bool>,
    /// Its window was widened.
    pub(super) is_wide: Cell<bool>,
    /// The caller has sent all of it.
    pub(super) is_received: Cell<bool>,
    /// We have sent all of it.
    pub(super) is_sent: Cell<bool>,
    /// The final head was sent.
    pub(super) is_answered: Cell<bool>,
    /// One side has reset it.
    pub(super) is_reset: Cell<bool>,
}

/// What came and is not taken.
#[derive(Debug, Default)]
struct Inbox {
    data: VecDeque<Bytes>,
    /// Small pieces behind those, together.
    small: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// Some of it is gone: what is left is no end.
    is_abandoned: bool,
    reader: Option<Waker>,
}

/// Pieces under this are put together while nobody takes them, up to so many bytes: each by itself would cost more than it has in it.
const SMALL: usize = 1 << 10;
const TOGETHER: usize = 8 << 10;

impl Inbox {
    fn put(&mut self, data: &[u8]) {
        let waits = !(self.data.is_empty() && self.small.is_empty());
        if waits && data.len() < SMALL {
            self.small.extend_from_slice(data);
            if self.small.len() >= TOGETHER {
                self.data.push_back(std::mem::take(&mut self.small).into());
            }
            return;
        }
        if !self.small.is_empty() {
            self.data.push_back(std::mem::take(&mut self.small).into());
        }
        self.data.push_back(Bytes::copy_from_slice(data));
    }

    fn take(&mut self) -> Option<Bytes> {
        let next = self.data.pop_front();
        next.or_else(|| (!self.small.is_empty()).then(|| std::mem::take(&mut self.small).into()))
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn is_empty(&self) -> bool {
        self.data.is_empty() && self.small.is_empty() && self.trailers.is_none()
    }
}

impl Stream {
    /// A stream whose head was read. `left`: the length of its body, where that is known.
    pub(super) fn new(id: u32, inflow: Inflow, window: i64, left: Option<u64>, is_received: bool) -> Self {
        Self {
            id,
            leash: Rc::default(),
            inbox: RefCell::default(),
            inflow: Cell::new(inflow),
            left: Cell::new(left),
            window: Cell::new(window),
            writer: RefCell::default(),
            is_waiting: Cell::default(),
            is_wide: Cell::default(),
            is_received: Cell::new(is_received),
            is_sent: Cell::default(),
            is_answered: Cell::default(),
            is_reset: Cell::default(),
        }
    }

    /// A piece of the body came.
    pub(super) fn put(&self, data: &[u8]) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.put(data);
        inbox.wake_reader();
    }

    /// The body's end came.
    pub(super) fn end(&self, trailers: Option<HeaderMap>) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.trailers = trailers;
        self.is_received.set(true);
        inbox.wake_reader();
    }

    /// Whether the body has come and was taken.
    fn is_taken(&self) -> bool {
        let inbox = self.inbox.borrow();
        self.is_received.get() && inbox.is_empty() && !inbox.is_abandoned
    }

    /// Throws away what nobody took; says how many bytes. Who takes it still is told that it is not whole.
    pub(super) fn abandon(&self) -> usize {
        let mut inbox = self.inbox.borrow_mut();
        inbox.is_abandoned |= !self.is_received.get() || !inbox.is_empty();
        inbox.trailers = None;
        inbox.wake_reader();
        std::iter::from_fn(|| inbox.take()).map(|data| data.len()).sum()
    }

    /// Whether it is for the caller to open its window.
    pub(super) const fn is_shut(&self) -> bool {
        self.window.get() <= 0
    }

    /// Wakes whoever waits to write.
    pub(super) fn wake_writer(&self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A request's body, as it comes in over a stream.
#[derive(Debug)]
pub struct Inbound {
    session: Rc<Session>,
    stream: Rc<Stream>,
    /// The caller waits for a 100 before it sends its body.
    pub expects_continue: Cell<bool>,
}

/// The stream was reset before its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the stream was reset")]
pub struct WasReset;

impl Inbound {
    /// The body of a stream.
    pub(super) const fn new(session: Rc<Session>, stream: Rc<Stream>) -> Self {
        Self { session, stream, expects_continue: Cell::new(false) }
    }

    /// Whether there is nothing more to come.
    pub fn is_end_stream(&self) -> bool {
        self.stream.is_taken()
    }

    /// The next piece of it.
    pub fn poll_frame(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Frame<Bytes>, WasReset>>> {
        let mut inbox = self.stream.inbox.borrow_mut();
        if inbox.is_abandoned {
            return Poll::Ready(Some(Err(WasReset)));
        }
        if let Some(data) = inbox.take() {
            drop(inbox);
            self.session.give_back(&self.stream, data.len());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if self.stream.is_received.get() {
            return Poll::Ready(inbox.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if self.stream.is_reset.get() {
            return Poll::Ready(Some(Err(WasReset)));
        }
        if self.expects_continue.take() && !self.stream.is_answered.get() {
            self.session.send_head(&self.stream, StatusCode::CONTINUE, false, |_block| {});
        }
        if !inbox.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            inbox.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A stream as the byte stream of a WebSocket (RFC 8441 section 5).
#[derive(Debug)]
pub struct Duplex {
    inbound: Inbound,
    ahead: Bytes,
}

impl Duplex {
    /// The byte stream of a stream.
    pub(super) const fn new(inbound: Inbound) -> Self {
        Self { inbound, ahead: Bytes::new() }
    }

    /// Reads what is there. 0: the other side has finished.
    ///
    /// # Errors
    /// Where the stream was reset.
    pub fn poll_fill(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let frame = match ready!(self.inbound.poll_frame(cx)) {
                None => return Poll::Ready(Ok(0)),
                Some(frame) => frame.map_err(|reset| io::Error::new(io::ErrorKind::ConnectionReset, reset))?,
            };
            // Trailers say nothing here.
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                self.ahead = data;
                return Poll::Ready(Ok(self.ahead.len()));
            }
        }
    }

    /// What was read and not taken.
    #[must_use]
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes some of it.
    pub fn take_ahead(&mut self, length: usize) {
        self.ahead.advance(length.min(self.ahead.len()));
    }

    /// Sends as much as goes now.
    ///
    /// # Errors
    /// Where the stream was reset.
    pub fn poll_write(&self, bytes: &[u8], cx: &Context<'_>) -> Poll<io::Result<usize>> {
        let sent = ready!(self.inbound.session.poll_send(&self.inbound.stream, bytes, false, cx));
        Poll::Ready(sent.map_err(|reset| io::Error::new(io::ErrorKind::ConnectionReset, reset)))
    }

    /// Whether the other side has shut its window.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.inbound.stream.is_shut()
    }

    /// There is nothing to send now: it is another stream's turn.
    pub fn pass(&self) {
        self.inbound.session.pass(&self.inbound.stream);
    }

    /// Ends our direction.
    pub fn finish(&self) {
        self.inbound.session.send_end(&self.inbound.stream);
    }
}

/// Ends a stream with its task, however that ends: what was not sent is reset, what was not read is not wanted.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) session: Rc<Session>,
    pub(super) stream: Rc<Stream>,
    /// What it is reset with where it was not answered whole.
    pub(super) otherwise: Reason,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.session.close(&self.stream, self.otherwise);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn pieces_come_out_as_they_went_in_and_small_ones_together() {
        let mut inbox = Inbox::default();
        let sizes = [1, 1, 2000, 5, 5, 1023, 1024, 7].into_iter().chain(std::iter::repeat_n(1, 20_000));
        let mut put = Vec::new();
        for (at, size) in sizes.enumerate() {
            let piece = vec![(at % 251) as u8; size];
            inbox.put(&piece);
            put.extend(piece);
        }
        assert!(inbox.data.len() < 10, "{} pieces", inbox.data.len());
        let mut taken = Vec::new();
        while let Some(piece) = inbox.take() {
            taken.extend_from_slice(&piece);
        }
        assert!(taken == put && inbox.is_empty());
    }

    #[test]
    fn what_is_abandoned_does_not_end_as_whole() {
        let stream = |received| {
            let stream = Stream::new(1, Inflow::new(100), 100, None, false);
            stream.put(b"some");
            if received {
                stream.end(None);
            }
            stream
        };
        for received in [false, true] {
            let stream = stream(received);
            assert_eq!(stream.abandon(), 4);
            assert!(!stream.is_taken() && stream.inbox.borrow().is_abandoned);
            assert_eq!(stream.abandon(), 0, "once");
        }
        let stream = stream(true);
        let _data = stream.inbox.borrow_mut().take();
        stream.abandon();
        assert!(stream.is_taken(), "nothing was lost");
        stream.writer.replace(Some(Waker::noop().clone()));
        stream.wake_writer();
        assert!(stream.writer.borrow().is_none());
    }
}
