//! What the worker's sweep judges a caller's connection by: where it stands, since when, and whether a write is blocked.

use std::{cell::Cell, rc::Rc};

use super::pace::Pace;
use crate::clock::Moment;

/// Where a client connection stands between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// What comes before HTTP, with time-outs of its own: PROXY header, TLS handshake.
    Opening,
    /// A request head is awaited or has begun: `request_head` holds.
    Head,
    /// Keep-alive with nothing in flight: `idle` holds.
    Idle,
    /// Requests are in flight: their own deadlines hold.
    Busy,
    /// Answered for the last time, waiting for the client to close.
    Lingering,
}

/// What the stream and the sweep tell each other.
#[derive(Debug)]
pub struct IoWatch {
    phase: Cell<(Phase, Moment)>,
    blocked_since: Cell<Option<Moment>>,
    /// Since when a head of HTTP/2 has been under way, beside whatever else is.
    head_since: Cell<Option<Moment>>,
    eof: Cell<bool>,
    /// What may be sent by HTTP/2's window of the connection, where that is waited for.
    pub window: Pace,
    /// Coarse time of the worker, refreshed by its sweep and its requests.
    now: Rc<Cell<Moment>>,
    /// Reads between requests begin a head. Off for HTTP/2, whose connections speak when idle, too.
    heads: Cell<bool>,
}

impl IoWatch {
    /// For a connection just accepted, by the worker's coarse clock.
    #[must_use]
    pub fn new(now: Rc<Cell<Moment>>) -> Rc<Self> {
        let phase = Cell::new((Phase::Head, now.get()));
        Rc::new(Self {
            phase,
            blocked_since: Cell::default(),
            head_since: Cell::default(),
            eof: Cell::default(),
            window: Pace::default(),
            now,
            heads: Cell::new(true),
        })
    }

    /// Goes into a phase, now.
    pub fn enter(&self, phase: Phase) {
        self.phase.set((phase, self.now.get()));
    }

    /// The phase, and since when.
    #[must_use]
    pub const fn phase(&self) -> (Phase, Moment) {
        self.phase.get()
    }

    /// Since when a write has been blocked, if one is.
    #[must_use]
    pub const fn blocked_since(&self) -> Option<Moment> {
        self.blocked_since.get()
    }

    /// Whether the client has closed its side.
    #[must_use]
    pub const fn saw_eof(&self) -> bool {
        self.eof.get()
    }

    /// For HTTP/2: what is read while idle does not begin a request head.
    pub fn multiplexed(&self) {
        self.heads.set(false);
    }

    /// For HTTP/2: whether a request head is under way.
    pub fn note_head(&self, under_way: bool) {
        if !under_way {
            self.head_since.set(None);
        } else if self.head_since.get().is_none() {
            self.head_since.set(Some(self.now.get()));
        }
    }

    /// Since when a head of HTTP/2 has been under way, if one is.
    #[must_use]
    pub const fn head_since(&self) -> Option<Moment> {
        self.head_since.get()
    }

    /// So many bytes were read.
    pub fn note_read(&self, bytes: usize) {
        if bytes == 0 {
            self.eof.set(true);
        } else if self.phase().0 == Phase::Idle && self.heads.get() {
            self.enter(Phase::Head);
        }
    }

    /// For HTTP/2: so many bytes of bodies were sent, and whether the connection's window is waited for.
    pub fn note_window(&self, sent: usize, shut: bool) {
        let now = self.now.get();
        if sent > 0 || !shut {
            self.window.progress(now, sent);
        }
        if shut {
            self.window.wait(now);
        }
    }

    /// A write was tried.
    pub fn note_write(&self, pending: bool) {
        if !pending {
            self.blocked_since.set(None);
        } else if self.blocked_since.get().is_none() {
            self.blocked_since.set(Some(self.now.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_while_idle_begins_a_head_and_blocked_writes_are_timed() {
        let now = Rc::new(Cell::new(Moment::from_micros(5)));
        let watch = IoWatch::new(Rc::clone(&now));
        assert_eq!(watch.phase(), (Phase::Head, Moment::from_micros(5)));
        watch.enter(Phase::Busy);
        watch.note_read(10);
        assert_eq!(watch.phase().0, Phase::Busy);
        watch.enter(Phase::Idle);
        now.set(Moment::from_micros(9));
        watch.note_read(1);
        assert_eq!(watch.phase(), (Phase::Head, Moment::from_micros(9)));
        watch.note_write(true);
        now.set(Moment::from_micros(12));
        watch.note_write(true);
        assert_eq!(watch.blocked_since(), Some(Moment::from_micros(9)));
        watch.note_write(false);
        assert_eq!(watch.blocked_since(), None);
        watch.multiplexed();
        watch.enter(Phase::Idle);
        watch.note_read(1);
        assert_eq!(watch.phase().0, Phase::Idle);
        watch.note_head(true);
        now.set(Moment::from_micros(15));
        watch.note_head(true);
        assert_eq!(watch.head_since(), Some(Moment::from_micros(12)));
        watch.note_head(false);
        assert_eq!(watch.head_since(), None);
        watch.note_read(0);
        assert!(watch.saw_eof());
    }
}
