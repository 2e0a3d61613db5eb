//! What the task of a connection and those of its streams share: what is to be written, which streams are open, the windows.
//!
//! Streams write into one buffer and wake the connection's task, which sends what has come together: many small answers are one write.
//! Where the buffer is full, or the peer's window shut, a stream waits for its turn.

use std::{
    cell::RefCell,
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hashbrown::HashMap;
use http::{HeaderMap, StatusCode};

use super::{
    flow::Inflow,
    frame::{self, LARGEST, Reason},
    hpack::{self, BlockWriter},
    stream::{Stream, WasReset},
};
use crate::proxy::{connection::Connection, head::RequestHead, headers::outgoing::FieldSink, worker::Worker};

/// Windows, bytes: what a caller may send ahead per stream and per connection (benches/README.md).
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;
/// What every connection begins with (RFC 9113 section 6.9.2).
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// From here nothing more is put into what is to be written, and nothing more read that may have to be answered, bytes.
const FULL: usize = 64 << 10;
/// What a stream writes at most before it is another's turn, bytes.
pub(super) const TURN: usize = 2 * LARGEST;
/// Streams that ended, of which it is known how.
const REMEMBERED: usize = 256;
/// Memory that is kept for what is written, bytes; and heads for the next requests.
const KEPT: usize = 16 << 10;
const KEPT_HEADS: usize = 32;

/// A connection, as its tasks see it.
#[derive(Debug)]
pub(super) struct Session {
    /// The worker it lives on.
    pub(super) worker: Rc<Worker>,
    /// The connection.
    pub(super) connection: Rc<Connection>,
    pub(super) state: RefCell<State>,
    /// The connection's task.
    task: RefCell<Option<Waker>>,
}

#[derive(Debug)]
pub(super) struct State {
    /// To be written; `written` bytes of it are.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// The next field block is our first.
    first_block: bool,
    pub(super) streams: HashMap<u32, Rc<Stream>>,
    /// What the caller may send.
    pub(super) inflow: Inflow,
    /// What we may send, and what we may send on a new stream.
    pub(super) window: i64,
    pub(super) initial_window: i64,
    /// Whoever waits for room or for the connection's window.
    waiting: VecDeque<Waker>,
    /// Streams that ended, and whether it was we who reset them.
    ended: VecDeque<(u32, bool)>,
    heads: Vec<RequestHead>,
}

impl Session {
    /// A connection that has just begun.
    pub(super) fn new(worker: &Rc<Worker>, connection: &Rc<Connection>) -> Rc<Self> {
        let state = State {
            out: Vec::new(),
            written: 0,
            first_block: true,
            streams: HashMap::new(),
            inflow: Inflow::new(CONNECTION_WINDOW),
            window: i64::from(FIRST_WINDOW),
            initial_window: i64::from(FIRST_WINDOW),
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            heads: Vec::new(),
        };
        Rc::new(Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            state: RefCell::new(state),
            task: RefCell::default(),
        })
    }

    /// Remembers the connection's task.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Has the connection's task write, or look again.
    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    // ---- what a stream sends ----

    /// Sends a head, or an informational one.
    pub(super) fn send_head(
        &self,
        stream: &Stream,
        status: StatusCode,
        end: bool,
        write: impl FnOnce(&mut BlockWriter<'_>),
    ) {
        if stream.is_reset.get() {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        let first = std::mem::take(&mut state.first_block);
        frame::put_head(&mut state.out, stream.id, end, |out| {
            if first {
                out.push(hpack::NO_TABLE);
            }
            write(&mut BlockWriter::answer(out, status));
        });
        stream.is_answered.set(true);
        stream.is_sent.set(end);
        self.wake();
    }

    /// Sends trailers, which end the stream.
    pub(super) fn send_trailers(&self, stream: &Stream, trailers: &HeaderMap) {
        if stream.is_reset.get() {
            return;
        }
        let state = &mut *self.state.borrow_mut();
        frame::put_head(&mut state.out, stream.id, true, |out| {
            let mut block = BlockWriter::trailers(out);
            for (name, value) in trailers {
                block.field(name.as_str().as_bytes(), value.as_bytes());
            }
        });
        stream.is_sent.set(true);
        self.wake();
    }

    /// Ends a stream behind what was sent of it.
    pub(super) fn send_end(&self, stream: &Stream) {
        if stream.is_reset.get() || stream.is_sent.replace(true) {
            return;
        }
        frame::put_data(&mut self.state.borrow_mut().out, stream.id, &[], true);
        self.wake();
    }

    /// Sends of a body's next bytes as many as may go now, one turn's at most; `end` where they are the last. Whoever has to wait is
    /// woken.
    ///
    /// # Errors
    /// Where the stream was reset.
    pub(super) fn poll_send(
        &self,
        stream: &Stream,
        data: &[u8],
        end: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, WasReset>> {
        if stream.is_reset.get() {
            return Poll::Ready(Err(WasReset));
        }
        let state = &mut *self.state.borrow_mut();
        let mut sent = 0;
        while sent < data.len() && sent < TURN {
            if state.is_full() || state.window <= 0 || stream.window.get() <= 0 {
                break;
            }
            let allowed = usize::try_from(state.window.min(stream.window.get())).unwrap_or(0).min(LARGEST);
            let rest = data.get(sent..).unwrap_or_default();
            let piece = rest.get(..allowed).unwrap_or(rest);
            let last = end && piece.len() == rest.len();
            frame::put_data(&mut state.out, stream.id, piece, last);
            stream.is_sent.set(last);
            sent += piece.len();
            let piece = i64::try_from(piece.len()).unwrap_or(i64::MAX);
            state.window -= piece;
            stream.window.set(stream.window.get() - piece);
        }
        if sent > 0 {
            self.wake();
            return Poll::Ready(Ok(sent));
        }
        if stream.window.get() <= 0 {
            stream.writer.replace(Some(cx.waker().clone()));
        } else {
            state.waiting.push_back(cx.waker().clone());
        }
        Poll::Pending
    }

    // ---- what a stream takes ----

    /// So many bytes of a stream's body were used: the caller may send as many more.
    pub(super) fn give_back(&self, stream: &Stream, bytes: usize) {
        let state = &mut *self.state.borrow_mut();
        let mut inflow = stream.inflow.get();
        let of_stream = inflow.give(bytes).filter(|_| !stream.is_received.get());
        stream.inflow.set(inflow);
        if let Some(more) = of_stream {
            frame::put_window_update(&mut state.out, stream.id, more);
        }
        if state.give_back(bytes) || of_stream.is_some() {
            self.wake();
        }
    }

    /// A head for the next request.
    pub(super) fn head(&self) -> RequestHead {
        self.state.borrow_mut().heads.pop().unwrap_or_default()
    }

    /// A head that is not needed any more.
    pub(super) fn put_head_back(&self, head: RequestHead) {
        let heads = &mut self.state.borrow_mut().heads;
        if heads.len() < KEPT_HEADS && head.fits_another() {
            heads.push(head);
        }
    }

    /// A stream's task has ended.
    pub(super) fn close(&self, stream: &Stream, otherwise: Reason) {
        let state = &mut *self.state.borrow_mut();
        // What came after it was forgotten.
        let mut woken = state.give_back(stream.abandon());
        if !stream.is_reset.get() {
            let reason = match (stream.is_sent.get(), stream.is_received.get()) {
                (true, true) => None,
                // Answered whole: the rest of the request is not wanted (RFC 9113 section 8.1).
                (true, false) => Some(Reason::NoError),
                (false, _) => Some(otherwise),
            };
            if let Some(reason) = reason {
                frame::put_reset(&mut state.out, stream.id, reason);
            }
            state.forget(stream.id, reason.is_some());
            woken = true;
        }
        if woken {
            self.wake();
        }
    }
}

impl State {
    /// Whether what is to be written has become much.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() - self.written >= FULL
    }

    /// All of it was written.
    pub(super) fn wrote(&mut self) {
        self.out.clear();
        self.written = 0;
        self.out.shrink_to(KEPT);
    }

    /// Has everybody who waits for room or for the connection's window look again.
    pub(super) fn wake_waiting(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.wake();
        }
    }

    /// Gives back what only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.streams.shrink_to_fit();
        self.waiting.shrink_to_fit();
        self.heads = Vec::new();
    }

    /// Bytes of bodies were used, or thrown away. True: the caller is told that it may send more.
    pub(super) fn give_back(&mut self, bytes: usize) -> bool {
        let Some(more) = self.inflow.give(bytes) else { return false };
        frame::put_window_update(&mut self.out, 0, more);
        true
    }

    /// Ends a stream from our side; what still comes of it is passed over.
    pub(super) fn reset(&mut self, id: u32, reason: Reason) {
        frame::put_reset(&mut self.out, id, reason);
        self.forget(id, true);
    }

    /// A stream is over.
    pub(super) fn forget(&mut self, id: u32, by_us: bool) {
        if let Some(stream) = self.streams.remove(&id) {
            // Its task may end before it has begun.
            self.give_back(stream.abandon());
            stream.is_reset.set(!(stream.is_sent.get() && stream.is_received.get()));
        }
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id, by_us));
    }

    /// Whether a stream that is over was reset by us: what comes of it was under way. None: it never was, or that was long ago.
    pub(super) fn was_reset_by_us(&self, id: u32) -> Option<bool> {
        self.ended.iter().rev().find(|(ended, _)| *ended == id).map(|(_, by_us)| *by_us)
    }
}
