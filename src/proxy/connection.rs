//! A client connection as its requests and the worker's sweep see it, and the leash on the task that drives it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    head::ResponseHead,
    io_watch::{IoWatch, Phase},
    peer::Peer,
    socket::Remote,
};
use crate::{clock::Moment, ids::ListenerId, snapshot::Timeouts};

/// How long a client that was told to go may take to close before it is cut off.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How long the last answer on a connection takes to arrive, before which a reset could overtake it.
const ARRIVES: Duration = Duration::from_millis(100);

/// How long a connection is idle before it gives back what it needs to be busy.
const PARK: Duration = Duration::from_millis(500);

/// A client connection.
#[derive(Debug)]
pub struct Connection {
    /// Where it came in.
    pub listener: ListenerId,
    /// Where it comes from: its peer, or where that says, if it is believed.
    pub remote: Cell<Remote>,
    /// That as text, ready for `X-Forwarded-For`: `unknown` where it has no address (RFC 7239 section 6).
    address: OnceCell<Box<str>>,
    /// Whether it is encrypted.
    pub tls: bool,
    /// What its stream says.
    pub watch: Rc<IoWatch>,
    /// The leash on its task.
    pub leash: Rc<Leash>,
    /// It has been idle for a moment: what only a busy connection needs may go (HTTP/1).
    pub may_park: Cell<bool>,
    /// What it has shown of its caller.
    pub peer: Peer,
    /// Informational answers of the request that is being polled, to go out before its final one.
    ahead: RefCell<Vec<ResponseHead>>,
    parked: Cell<bool>,
    /// When it was first seen that it had been told to finish.
    told: Cell<Option<Moment>>,
    in_flight: Cell<u32>,
    /// Place in the worker's list.
    pub(super) slot: Cell<usize>,
}

impl Connection {
    /// A connection with nothing in flight.
    pub fn new(listener: ListenerId, remote: Remote, tls: bool, watch: Rc<IoWatch>) -> Rc<Self> {
        Rc::new(Self {
            listener,
            remote: Cell::new(remote),
            address: OnceCell::new(),
            tls,
            watch,
            leash: Rc::default(),
            may_park: Cell::new(false),
            parked: Cell::new(false),
            told: Cell::default(),
            peer: Peer::default(),
            ahead: RefCell::default(),
            in_flight: Cell::new(0),
            slot: Cell::new(usize::MAX),
        })
    }

    /// Where it comes from, as text.
    pub fn address(&self) -> &str {
        self.address.get_or_init(|| self.remote.get().ip().map_or_else(|| "unknown".into(), |ip| ip.to_string().into()))
    }

    /// An upstream said something before its answer: its caller hears it (RFC 9110 section 15.2).
    pub fn say_ahead(&self, said: &ResponseHead) {
        self.ahead.borrow_mut().push(said.clone());
    }

    /// What is to be said before the final answer of the request that was polled just now.
    pub fn take_ahead(&self) -> Vec<ResponseHead> {
        self.ahead.take()
    }

    /// A request's head was read.
    pub fn request_began(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.parked.set(false);
        self.watch.enter(Phase::Busy);
    }

    /// A request's answer is over.
    pub fn request_ended(&self) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.in_flight.get() == 0 && self.watch.phase().0 == Phase::Busy {
            self.watch.enter(Phase::Idle);
        }
    }

    /// Since when it has been idle, where that is longer than a moment and nobody has told it to go.
    pub fn rests_since(&self) -> Option<Moment> {
        let (phase, since) = self.watch.phase();
        (phase == Phase::Idle && self.parked.get() && self.leash.order() == Order::Go).then_some(since)
    }

    /// Whether it only waits for its client to close, which has had the time to hear the last answer.
    pub fn has_been_answered(&self, now: Moment) -> bool {
        let (phase, since) = self.watch.phase();
        phase == Phase::Lingering && now.since(since) >= ARRIVES && self.leash.order() != Order::Cut
    }

    /// Called by the worker's sweep: ends what stood still too long, and names the time-out that ran out.
    pub fn judge(&self, now: Moment, timeouts: &Timeouts) -> Option<&'static str> {
        if self.leash.order() == Order::Cut {
            return None;
        }
        let blocked = self.watch.blocked_since();
        if blocked.is_some_and(|since| now.since(since) > timeouts.stall)
            || self.watch.window.too_slow(now, timeouts.stall)
        {
            self.leash.cut();
            return Some("stall");
        }
        if self.watch.head_since().is_some_and(|since| now.since(since) > timeouts.request_head) {
            self.leash.cut();
            return Some("request_head");
        }
        if self.leash.order() == Order::Finish && self.told.get().is_none() {
            self.told.set(Some(now));
        }
        let (phase, since) = self.watch.phase();
        let stood = now.since(since);
        match phase {
            Phase::Head if stood > timeouts.request_head => {
                self.leash.cut();
                Some("request_head")
            }
            Phase::Idle if stood > timeouts.idle + LINGER => {
                self.leash.cut();
                Some("idle")
            }
            // Who does not say that it has heard us has had the time to.
            Phase::Idle
                if stood > LINGER
                    && blocked.is_none()
                    && self.told.get().is_some_and(|told| now.since(told) > LINGER) =>
            {
                self.leash.cut();
                None
            }
            Phase::Idle if stood > timeouts.idle && self.leash.order() == Order::Go => {
                self.leash.finish();
                Some("idle")
            }
            Phase::Idle if stood > PARK && !self.parked.replace(true) => {
                self.may_park.set(true);
                self.peer.memo.shrink();
                self.leash.wake();
                None
            }
            Phase::Lingering if stood > LINGER => {
                self.leash.cut();
                None
            }
            _ => None,
        }
    }
}

/// What a connection's task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Order {
    /// Go on.
    #[default]
    Go,
    /// Answer what has begun, then close.
    Finish,
    /// Drop everything now.
    Cut,
}

/// Ends a task from the outside. Held by the task that drives an HTTP/1 connection or one HTTP/2 stream.
#[derive(Debug, Default)]
pub struct Leash {
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl Leash {
    /// The order in force.
    pub const fn order(&self) -> Order {
        self.order.get()
    }

    /// Answer what has begun, then close.
    pub fn finish(&self) {
        self.give(Order::Finish);
    }

    /// Drop everything now.
    pub fn cut(&self) {
        self.give(Order::Cut);
    }

    fn give(&self, order: Order) {
        self.order.set(self.order.get().max(order));
        self.wake();
    }

    /// Has the task look again.
    pub fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The order in force; whoever polls is woken when it changes.
    pub fn poll_order(&self, cx: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.order.get()
    }
}

pin_project_lite::pin_project! {
    /// A task that ends early when its leash is cut.
    #[derive(Debug)]
    pub struct Leashed<F> {
        #[pin]
        future: Option<F>,
        leash: Rc<Leash>,
    }
}

impl<F> Leashed<F> {
    /// Puts a task on a leash.
    pub const fn new(future: F, leash: Rc<Leash>) -> Self {
        Self { future: Some(future), leash }
    }
}

impl<F: Future> Future for Leashed<F> {
    /// None where the leash was cut first.
    type Output = Option<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if this.leash.poll_order(cx) == Order::Cut {
            this.future.set(None);
        }
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}
