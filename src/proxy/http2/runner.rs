//! Tasks that serve one stream after the other. Made anew for each, a task and its state, then 7.5 KB, cost 1,600 of a request's 31,000
//! instructions (benches/README.md); one that has just served is still in the caches.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{serving::serve, session::Session, stream::Stream};
use crate::proxy::{connection::Order, head::RequestHead, worker::Worker};

/// Most tasks of a worker that wait for a stream, 700 KiB; others end with theirs.
const RESTING: usize = 256;

/// A worker's tasks that wait for a stream; the one that has served last is the next.
#[derive(Debug, Default)]
pub struct Runners(RefCell<Vec<Rc<Seat>>>);

impl Runners {
    fn rest(&self, seat: &Rc<Seat>) -> bool {
        let mut resting = self.0.borrow_mut();
        let room = resting.len() < RESTING;
        if room {
            resting.push(Rc::clone(seat));
        }
        room
    }

    /// Ends those that wait: connections have fallen idle.
    pub fn dismiss(&self) {
        self.0.take().iter().for_each(|seat| seat.give(Next::End));
    }
}

/// A stream whose head was read.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) session: Rc<Session>,
    pub(super) stream: Rc<Stream>,
    pub(super) head: Box<RequestHead>,
}

#[derive(Debug)]
enum Next {
    Stream(Begun),
    End,
}

/// Where a task that rests is told what is next.
#[derive(Debug, Default)]
struct Seat {
    next: RefCell<Option<Next>>,
    waker: RefCell<Option<Waker>>,
}

impl Seat {
    fn give(&self, next: Next) {
        self.next.replace(Some(next));
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Next> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(next);
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Has a task serve a stream.
pub(super) fn run(begun: Begun) {
    let worker = &begun.session.worker;
    let resting = worker.runners().0.borrow_mut().pop();
    match resting {
        Some(seat) => seat.give(Next::Stream(begun)),
        None => {
            // Made in a box: it would be moved several times before it is first polled.
            let task = Box::write(Box::new_uninit(), serve_all(Rc::clone(worker), begun));
            tokio::task::spawn_local(Box::into_pin(task));
        }
    }
}

/// One stream after the other, until enough others rest. Each on its leash, which is the worker's current one whenever it is polled.
async fn serve_all(worker: Rc<Worker>, mut begun: Begun) {
    let seat = Rc::<Seat>::default();
    loop {
        let leash = Rc::clone(&begun.stream.leash);
        {
            // Neither awaited by itself nor `Leashed`: into either it would be moved.
            let mut task = pin!(serve(begun));
            poll_fn(|cx| match leash.poll_order(cx) {
                Order::Cut => Poll::Ready(()),
                Order::Go | Order::Finish => worker.with_leash(&leash, || task.as_mut().poll(cx)),
            })
            .await;
        }
        if !worker.runners().rest(&seat) {
            return;
        }
        match poll_fn(|cx| seat.poll_next(cx)).await {
            Next::Stream(next) => begun = next,
            Next::End => return,
        }
    }
}
