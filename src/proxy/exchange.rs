//! One request and its answer, from the head to the last byte: what its parts tell each other, and its deadlines.
//!
//! Made by `pipeline`, shared by the handler and both bodies, all on one worker. The worker's sweep calls [`Exchange::judge`];
//! no timer exists per request. When the last part lets go, the exchange is counted and logged (`Worker::finish`).

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    body::Upload,
    connection::Connection,
    eviction::Claim,
    headers::trace::RequestId,
    limit::Held,
    pace::Pace,
    reject::Reject,
    upstream::{admission::Place, pool::LocalBackend},
    worker::{RouteMeter, Worker},
};
use crate::clock::Moment;

/// How long an upstream may leave `Expect: 100-continue` unanswered before the body is sent all the same (RFC 9110 section
/// 10.1.1 forbids waiting for ever).
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);

/// The time-outs of an exchange, from the snapshot it began in.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the head to the response head.
    pub request: Duration,
    /// From the request sent to the response head, without what its caller took to send it.
    pub response_head: Duration,
    /// A caller that stands still.
    pub stall: Duration,
    /// A response stream with nothing from the upstream.
    pub stream_idle: Duration,
}

/// Where an exchange stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No response head yet: at `until` the caller is told that there will be none. When it was sent first, if it was.
    Awaiting { until: Moment, sent: Option<Moment> },
    /// The head was handed to the caller; the upstream's turn since then, if it is the upstream's turn.
    Streaming { upstream_since: Option<Moment> },
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The worker it lives on.
    pub worker: Rc<Worker>,
    /// The connection it came over.
    pub connection: Rc<Connection>,
    /// When the head was read.
    pub started: Moment,
    /// `x-request-id` of request and answer.
    pub request_id: RequestId,
    /// The request body's shared side.
    pub upload: RefCell<Upload>,
    /// The caller sending.
    pub sending: Pace,
    /// The caller reading.
    pub reading: Pace,
    /// What goes into metrics and the access log.
    pub record: Record,
    /// The place among the endpoint's requests in flight; given back with the exchange.
    pub place: RefCell<Option<Place>>,
    /// The key that it must not outlive for long, where its caller says so.
    pub claim: OnceCell<Box<Claim>>,
    /// The caller's and the route's requests in flight that it is one of; given back with the exchange.
    pub held: RefCell<Held>,
    /// Its caller may say nothing for long before the upstream has, and leave its request open (gRPC).
    pub converses: Cell<bool>,
    deadlines: Deadlines,
    stage: Cell<Stage>,
    verdict: Cell<Option<Reject>>,
    waker: RefCell<Option<Waker>>,
    /// The leash on the task that serves it.
    pub leash: Rc<super::connection::Leash>,
    /// Place in the worker's list.
    pub(super) slot: Cell<usize>,
}

/// Keeps an exchange going. Held by the handler, then by the response body; whichever lets go last, however it ends, the
/// request body's remains go, the place is free and the record is written.
#[derive(Debug)]
pub struct Watched(pub Rc<Exchange>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.worker.finish(&self.0);
    }
}

/// What goes into metrics and the access log, filled in as it becomes known.
#[derive(Debug, Default)]
pub struct Record {
    /// Where the request is counted.
    pub meter: RefCell<Option<Rc<RouteMeter>>>,
    /// Status of the answer; 0 = none was sent.
    pub status: Cell<u16>,
    /// Our own failure, if it was one.
    pub reject: Cell<Option<Reject>>,
    /// Only where something is logged: who, what, where.
    pub logged: RefCell<Option<Logged>>,
    /// The answer was handed over to its last byte.
    pub complete: Cell<bool>,
}

/// The part of an access log record that costs something to keep.
#[derive(Debug)]
pub struct Logged {
    /// Method.
    pub method: http::Method,
    /// Path, as it came.
    pub path: Box<str>,
    /// Name of the caller, in the worker's memory.
    pub caller: Option<Rc<str>>,
    /// What its credential says of it.
    pub subject: Option<Box<str>>,
    /// The upstream that was asked last.
    pub upstream: Option<Rc<LocalBackend>>,
}

impl Exchange {
    /// Begins an exchange; its worker starts to watch it.
    pub fn begin(
        worker: &Rc<Worker>,
        connection: &Rc<Connection>,
        request_id: RequestId,
        deadlines: Deadlines,
        started: Moment,
    ) -> Watched {
        let exchange = Rc::new(Self {
            worker: Rc::clone(worker),
            connection: Rc::clone(connection),
            started,
            request_id,
            upload: RefCell::default(),
            sending: Pace::default(),
            reading: Pace::default(),
            record: Record::default(),
            place: RefCell::default(),
            claim: OnceCell::new(),
            held: RefCell::default(),
            converses: Cell::default(),
            deadlines,
            stage: Cell::new(Stage::Awaiting { until: started + deadlines.request, sent: None }),
            verdict: Cell::default(),
            waker: RefCell::default(),
            leash: worker.current_leash(connection),
            slot: Cell::new(usize::MAX),
        });
        connection.request_began();
        worker.watch_exchange(&exchange);
        Watched(exchange)
    }

    /// Sets the route's own time-out in place of the general one.
    pub fn limit_request(&self, request: Duration) {
        if let Stage::Awaiting { sent, .. } = self.stage.get() {
            self.stage.set(Stage::Awaiting { until: self.started + request, sent });
        }
    }

    /// The request goes out now: from here `response_head` holds as well.
    pub fn sent(&self, now: Moment) {
        if let Stage::Awaiting { until, sent } = self.stage.get() {
            self.stage.set(Stage::Awaiting { until, sent: sent.or(Some(now)) });
        }
    }

    /// The response head was handed to the caller: from here `stream_idle` and `stall` hold.
    /// Until its body is asked for it is the caller's turn: one whose HTTP/2 window is shut never asks.
    pub fn head_sent(&self, now: Moment) {
        self.stage.set(Stage::Streaming { upstream_since: None });
        self.reading.wait(now);
    }

    /// It is the upstream's turn to send.
    pub fn awaits_upstream(&self, now: Moment) {
        self.reading.progress(now, 0);
        if let Stage::Streaming { upstream_since: None } = self.stage.get() {
            self.stage.set(Stage::Streaming { upstream_since: Some(now) });
        }
    }

    /// It is the caller's turn to read what was handed over.
    pub fn awaits_caller(&self, now: Moment, bytes: usize) {
        self.stage.set(Stage::Streaming { upstream_since: None });
        self.reading.progress(now, bytes);
        self.reading.wait(now);
    }

    /// Bytes went through a tunnel, from the caller and to it: `stream_idle` begins anew. Whoever did not move still has its turn.
    pub fn tunnel_moves(&self, sent: usize, read: usize) {
        let now = self.worker.coarse_now();
        if sent > 0 {
            self.sending.progress(now, sent);
        }
        if read > 0 {
            self.reading.progress(now, read);
        }
        self.stage.set(Stage::Streaming { upstream_since: Some(now) });
    }

    /// A tunnel begins: it is nobody's turn.
    pub fn tunnel_begins(&self) {
        let now = self.worker.coarse_now();
        self.sending.progress(now, 0);
        self.reading.progress(now, 0);
        self.tunnel_moves(0, 0);
    }

    /// A tunnel broke off.
    pub fn count_broken_tunnel(&self) {
        self.worker.count_cut_off(self);
    }

    /// Awaits something until the exchange's time is up. It is pinned by whoever asks: what is awaited is in a request's memory once.
    ///
    /// # Errors
    /// The verdict of the sweep, if it came first.
    pub async fn within<F: Future + Unpin>(&self, mut future: F) -> Result<F::Output, Reject> {
        std::future::poll_fn(|cx| {
            if let Some(verdict) = self.verdict.get() {
                return Poll::Ready(Err(verdict));
            }
            match Pin::new(&mut future).poll(cx) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => {
                    self.remember(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Remembers whom to wake when a verdict is given.
    pub fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The verdict, if one was given.
    pub fn verdict(&self) -> Option<Reject> {
        self.verdict.get()
    }

    /// Called by the worker's sweep, which says whether the exchange has outlived the key that it rests on. Names the time-out that
    /// ran out, if one did.
    pub fn judge(&self, now: Moment, evicted: bool) -> Option<&'static str> {
        let stall = self.deadlines.stall;
        if self.verdict.get().is_some() {
            // Its answer is under way, or was cut; a caller that does not read even that is dropped.
            if evicted || self.reading.too_slow(now, stall) {
                self.leash.cut();
            }
            return None;
        }
        if evicted {
            return self.condemn(Reject::CallerUnknown, "evict_after");
        }
        if let Ok(upload) = self.upload.try_borrow() {
            upload.lose_patience(now, EXPECT_PATIENCE);
        }
        match self.stage.get() {
            Stage::Awaiting { .. } if !self.converses.get() && self.sending.too_slow(now, stall) => {
                self.condemn(Reject::RequestTimeout, "stall")
            }
            // An upload that is not over is not the upstream's delay.
            Stage::Awaiting { until, .. } if now >= until && self.sending.is_awaited() => {
                self.condemn(Reject::RequestTimeout, "request")
            }
            Stage::Awaiting { until, .. } if now >= until => self.condemn(Reject::UpstreamTimeout, "request"),
            Stage::Awaiting { sent: Some(sent), .. }
                if now.since(sent) >= self.deadlines.response_head + self.sending.waited(now) =>
            {
                self.condemn(Reject::UpstreamTimeout, "request")
            }
            Stage::Streaming { .. } if self.reading.too_slow(now, stall) => {
                self.leash.cut();
                self.condemn(Reject::RequestTimeout, "stall")
            }
            Stage::Streaming { upstream_since: Some(since) } if now.since(since) > self.deadlines.stream_idle => {
                self.condemn(Reject::UpstreamTimeout, "stream_idle")
            }
            _ => None,
        }
    }

    fn condemn(&self, verdict: Reject, timeout: &'static str) -> Option<&'static str> {
        self.verdict.set(Some(verdict));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        Some(timeout)
    }
}
