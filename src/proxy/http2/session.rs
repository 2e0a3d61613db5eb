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
use crate::proxy::{connection::Connection, headers::outgoing::FieldSink, worker::Worker};

/// What a caller may send ahead on a stream, bytes, and how much more once its body is being taken. The connection's window has room
/// for that on every stream: one of 1 MiB was shut by four bodies that nobody took (benches/README.md).
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
const WIDER: u32 = 192 << 10;
/// What every connection begins with (RFC 9113 section 6.9.2).
pub(super) const FIRST_WINDOW: u32 = 65_535;
/// From here nothing more is put into what is to be written, and nothing more read that may have to be answered, bytes.
const FULL: usize = 64 << 10;
/// What a stream writes at most before it is another's turn, bytes.
const TURN: usize = 2 * LARGEST;
/// Streams that ended, of which it is known how.
const REMEMBERED: usize = 256;
/// Memory that is kept for what is written, bytes.
const KEPT: usize = 16 << 10;

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
    /// Streams that wait for room or for the connection's window, in the order of their turns, and the one whose turn it is.
    waiting: VecDeque<Rc<Stream>>,
    turn: Option<Turn>,
    /// Bytes of bodies sent since somebody asked.
    pub(super) sent: usize,
    /// Streams that ended, and those of them that we reset.
    ended: Ring,
    reset: Ring,
}

impl Session {
    /// A connection that has just begun.
    pub(super) fn new(worker: &Rc<Worker>, connection: &Rc<Connection>, window: u32) -> Rc<Self> {
        let state = State {
            out: Vec::new(),
            written: 0,
            first_block: true,
            streams: HashMap::new(),
            inflow: Inflow::new(window),
            window: i64::from(FIRST_WINDOW),
            initial_window: i64::from(FIRST_WINDOW),
            waiting: VecDeque::new(),
            turn: None,
            sent: 0,
            ended: Ring::default(),
            reset: Ring::default(),
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
        // A caller that waits for a 100 gets it.
        if status.is_informational() && status != StatusCode::CONTINUE && state.is_full() {
            return;
        }
        let first = std::mem::take(&mut state.first_block);
        frame::put_head(&mut state.out, stream.id, end, |out| {
            if first {
                out.push(hpack::NO_TABLE);
            }
            write(&mut BlockWriter::answer(out, status));
        });
        stream.is_answered.set(!status.is_informational());
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

    /// Sends of a body's next bytes as many as may go now; `end` where they are the last. Where others wait it is one turn's worth, and
    /// then theirs. Whoever has to wait is woken.
    ///
    /// # Errors
    /// Where the stream was reset.
    pub(super) fn poll_send(
        &self,
        stream: &Rc<Stream>,
        data: &[u8],
        end: bool,
        cx: &Context<'_>,
    ) -> Poll<Result<usize, WasReset>> {
        if stream.is_reset.get() {
            return Poll::Ready(Err(WasReset));
        }
        let state = &mut *self.state.borrow_mut();
        let turn = state.turn.take_if(|turn| turn.stream == stream.id);
        let may_send = turn.is_some() || (state.turn.is_none() && state.waiting.is_empty());
        let most = turn.as_ref().map_or(data.len(), |turn| data.len().min(turn.left));
        let mut sent = 0;
        while may_send && sent < most && state.has_room() && !stream.is_shut() {
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
        if sent == 0 {
            if state.window <= 0 {
                self.connection.watch.note_window(0, true);
            }
            stream.writer.replace(Some(cx.waker().clone()));
            if !stream.is_shut() && !stream.is_waiting.replace(true) {
                // Whose turn came to nothing is the first again.
                if turn.is_some() {
                    state.waiting.push_front(Rc::clone(stream));
                } else {
                    state.waiting.push_back(Rc::clone(stream));
                }
            }
        }
        state.sent += sent;
        state.turn = state.turn.take().or(turn.and_then(|turn| turn.after(sent)));
        state.next_turn();
        if sent == 0 {
            return Poll::Pending;
        }
        self.wake();
        Poll::Ready(Ok(sent))
    }

    /// A stream has nothing to send: if it is its turn, it is another's now.
    pub(super) fn pass(&self, stream: &Stream) {
        let state = &mut *self.state.borrow_mut();
        if state.turn.take_if(|turn| turn.stream == stream.id).is_some() {
            state.next_turn();
        }
    }

    // ---- what a stream takes ----

    /// So many bytes of a stream's body were used: the caller may send as many more.
    pub(super) fn give_back(&self, stream: &Stream, bytes: usize) {
        let state = &mut *self.state.borrow_mut();
        let mut inflow = stream.inflow.get();
        let of_stream = inflow.give(bytes).filter(|_| !stream.is_received.get());
        if let Some(more) = of_stream {
            let wider = if stream.is_wide.get() || !state.inflow.can_widen(WIDER) { 0 } else { WIDER };
            frame::put_window_update(&mut state.out, stream.id, more + wider);
            if wider > 0 {
                stream.is_wide.set(true);
                inflow.widen(wider);
                state.inflow.widen(wider);
                frame::put_window_update(&mut state.out, 0, wider);
            }
        }
        stream.inflow.set(inflow);
        if state.give_back(bytes) || of_stream.is_some() {
            self.wake();
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

    /// Lets go of what is written.
    pub(super) fn let_go(&mut self) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.out.shrink_to(KEPT);
        } else if self.written >= KEPT {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Whether somebody waits for the connection's window.
    pub(super) fn is_shut(&self) -> bool {
        self.window <= 0 && !self.waiting.is_empty()
    }

    /// Whether something may be sent.
    fn has_room(&self) -> bool {
        !self.is_full() && self.window > 0
    }

    /// Gives the turn to the stream that has waited longest, where there is room for it.
    pub(super) fn next_turn(&mut self) {
        if self.turn.is_none()
            && self.has_room()
            && let Some(stream) = self.waiting.pop_front()
        {
            stream.is_waiting.set(false);
            self.turn = Some(Turn { stream: stream.id, left: TURN });
            stream.wake_writer();
        }
    }

    /// Gives back what only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        if self.out.is_empty() {
            self.out = Vec::new();
        }
        self.streams.shrink_to_fit();
        self.waiting.shrink_to_fit();
    }

    /// Bytes of bodies were used, or thrown away. True: the caller is told that it may send more.
    pub(super) fn give_back(&mut self, bytes: usize) -> bool {
        let Some(more) = self.inflow.give(bytes) else { return false };
        frame::put_window_update(&mut self.out, 0, more);
        true
    }

    /// Ends a stream, and its task, from our side; what still comes of it is passed over.
    pub(super) fn reset(&mut self, id: u32, reason: Reason) {
        if let Some(stream) = self.streams.get(&id) {
            stream.leash.cut();
        }
        frame::put_reset(&mut self.out, id, reason);
        self.forget(id, true);
    }

    /// A stream is over.
    pub(super) fn forget(&mut self, id: u32, by_us: bool) {
        if let Some(stream) = self.streams.remove(&id) {
            // Its task may end before it has begun.
            self.give_back(stream.abandon());
            stream.is_reset.set(by_us || !(stream.is_sent.get() && stream.is_received.get()));
            if stream.is_waiting.get() {
                self.waiting.retain(|waiting| waiting.id != id);
            }
            if stream.is_wide.get() {
                self.inflow.narrow(WIDER);
            }
        }
        if self.turn.take_if(|turn| turn.stream == id).is_some() {
            self.next_turn();
        }
        if by_us { self.reset.push(id) } else { self.ended.push(id) }
    }

    /// Ends every stream, without a word to the caller.
    pub(super) fn end_streams(&mut self) {
        self.waiting.clear();
        self.turn = None;
        for (_, stream) in self.streams.drain() {
            self.inflow.give(stream.abandon());
            stream.is_reset.set(true);
            stream.leash.cut();
        }
    }

    /// What is known of a stream that is over.
    pub(super) fn ending(&self, id: u32) -> Ending {
        if self.reset.has(id) {
            Ending::Reset
        } else if self.ended.has(id) {
            Ending::Ended
        } else {
            Ending::Unknown
        }
    }
}

/// Whose turn it is, and how many bytes are left of it.
#[derive(Debug)]
struct Turn {
    stream: u32,
    left: usize,
}

impl Turn {
    /// What is left of it once so much was sent; none where that was nothing.
    const fn after(self, sent: usize) -> Option<Self> {
        // The last frame may have gone a little beyond.
        let left = self.left.saturating_sub(sent);
        if sent > 0 && left > 0 { Some(Self { left, ..self }) } else { None }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// We reset it: what comes of it was under way.
    Reset,
    /// It was over on both sides, or the caller reset it.
    Ended,
    /// It never was, or that was long ago.
    Unknown,
}

/// The last streams of some kind.
#[derive(Debug, Default)]
struct Ring(VecDeque<u32>);

impl Ring {
    fn push(&mut self, id: u32) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(id);
    }

    fn has(&self, id: u32) -> bool {
        self.0.iter().rev().any(|other| *other == id)
    }
}
