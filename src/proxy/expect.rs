//! `Expect: 100-continue` on its way up (RFC 9110 section 10.1.1).

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::clock::Moment;

/// Holds a request body back until the upstream says 100.
#[derive(Debug)]
pub struct ExpectGate {
    open: Cell<bool>,
    since: Moment,
    waker: RefCell<Option<Waker>>,
}

impl ExpectGate {
    /// A closed gate.
    #[must_use]
    pub fn closed(since: Moment) -> Rc<Self> {
        Rc::new(Self { open: Cell::new(false), since, waker: RefCell::default() })
    }

    /// Lets the body go.
    pub fn open(&self) {
        self.open.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Lets the body go where the upstream has kept silent too long.
    pub fn open_after(&self, now: Moment, patience: Duration) {
        if now.since(self.since) > patience && !self.open.get() {
            self.open();
        }
    }

    /// Whether the body may go.
    pub const fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Ready once it is open.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.open.get() {
            return Poll::Ready(());
        }
        self.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}
