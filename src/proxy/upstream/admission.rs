//! How many requests an endpoint has in flight, over all workers, without a shared write per request.
//!
//! Places are a semaphore shared by the workers. Each worker keeps a few free places to itself, so that in the common case
//! admitting and releasing touch only its own memory. A worker gives its spare places back when somebody waits.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Semaphore;

use crate::proxy::reject::Reject;

/// The places of one endpoint.
#[derive(Debug)]
pub struct Admission {
    places: Semaphore,
    concurrency: usize,
    queue: usize,
    /// Requests that wait, of all workers. Written only when there is no free place.
    waiting: AtomicUsize,
    /// Most free places one worker keeps: an eighth of its even share, so that the workers together never hoard much.
    spare: usize,
}

impl Admission {
    /// `concurrency` places and a queue of `queue`, for `workers` workers.
    #[must_use]
    pub fn new(concurrency: usize, queue: usize, workers: usize) -> Self {
        let concurrency = concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Semaphore::new(concurrency),
            concurrency,
            queue,
            waiting: AtomicUsize::new(0),
            spare: concurrency / workers.max(1) / 8,
        }
    }

    /// Whether these are the numbers it was made with.
    #[must_use]
    pub const fn is_for(&self, concurrency: usize, queue: usize) -> bool {
        self.concurrency == concurrency && self.queue == queue
    }
}

/// One worker's side of an endpoint's places.
#[derive(Debug)]
pub struct LocalAdmission {
    shared: Arc<Admission>,
    free: Cell<usize>,
    admitted: Cell<usize>,
}

impl LocalAdmission {
    /// A worker's side, holding nothing yet.
    #[must_use]
    pub fn new(shared: Arc<Admission>) -> Rc<Self> {
        Rc::new(Self { shared, free: Cell::new(0), admitted: Cell::new(0) })
    }

    /// The places this is a side of.
    #[must_use]
    pub const fn shared(&self) -> &Arc<Admission> {
        &self.shared
    }

    /// Takes a place, waiting in the queue if there is none. Dropping the [`Place`] gives it back.
    ///
    /// # Errors
    /// `overloaded` where the queue is full too.
    pub async fn admit(self: &Rc<Self>) -> Result<Place, Reject> {
        if self.try_take() {
            return Ok(Place::taken(self));
        }
        let _waiter = Waiter::join(&self.shared)?;
        match self.shared.places.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_closed) => return Err(Reject::Overloaded),
        }
        Ok(Place::taken(self))
    }

    /// Requests of this worker that have a place.
    pub const fn admitted(&self) -> usize {
        self.admitted.get()
    }

    fn try_take(&self) -> bool {
        let free = self.free.get();
        if free > 0 {
            self.free.set(free - 1);
            return true;
        }
        // A handful at once, else a single one.
        let batch = self.shared.spare;
        if batch > 1
            && self.shared.waiting.load(Ordering::Relaxed) == 0
            && let Ok(permits) = self.shared.places.try_acquire_many(u32::try_from(batch).unwrap_or(1))
        {
            permits.forget();
            self.free.set(batch - 1);
            return true;
        }
        self.shared.places.try_acquire().map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    fn release(&self) {
        if self.free.get() < self.shared.spare && self.shared.waiting.load(Ordering::Relaxed) == 0 {
            self.free.set(self.free.get() + 1);
        } else {
            self.shared.places.add_permits(1);
        }
    }

    /// Gives spare places back if somebody waits; called by the worker's sweep, so that a place is idle at most that long.
    pub fn share(&self) {
        if self.shared.waiting.load(Ordering::Relaxed) > 0 {
            self.shared.places.add_permits(self.free.take());
        }
    }
}

impl Drop for LocalAdmission {
    fn drop(&mut self) {
        self.shared.places.add_permits(self.free.take());
    }
}

/// A place for one request in flight.
#[derive(Debug)]
pub struct Place(Rc<LocalAdmission>);

impl Place {
    fn taken(from: &Rc<LocalAdmission>) -> Self {
        from.admitted.set(from.admitted.get() + 1);
        Self(Rc::clone(from))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.admitted.set(self.0.admitted.get().saturating_sub(1));
        self.0.release();
    }
}

struct Waiter<'a>(&'a Admission);

impl<'a> Waiter<'a> {
    fn join(shared: &'a Admission) -> Result<Self, Reject> {
        let waiter = Self(shared);
        if shared.waiting.fetch_add(1, Ordering::Relaxed) >= shared.queue {
            Err(Reject::Overloaded)
        } else {
            Ok(waiter)
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    fn now<T>(future: impl Future<Output = T>) -> Option<T> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn never_more_than_the_cap_whatever_the_workers_keep() {
        for concurrency in [1, 2, 7, 64] {
            let shared = Arc::new(Admission::new(concurrency, 0, 2));
            let workers = [LocalAdmission::new(Arc::clone(&shared)), LocalAdmission::new(shared)];
            let mut places = Vec::new();
            for turn in 0..concurrency * 3 {
                if let Some(Ok(place)) = now(workers[turn % 2].admit()) {
                    places.push(place);
                }
                assert!(places.len() <= concurrency);
            }
            assert!(places.len() + 2 * (concurrency / 16) >= concurrency, "{} of {concurrency}", places.len());
        }
    }

    #[test]
    fn a_full_queue_is_overload_and_a_waiter_gets_the_next_place() {
        let shared = Arc::new(Admission::new(1, 1, 1));
        let worker = LocalAdmission::new(shared);
        let held = now(worker.admit()).expect("free").expect("place");
        let mut waiter = pin!(worker.admit());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiter.as_mut().poll(&mut cx).is_pending());
        assert_eq!(now(worker.admit()).expect("answered at once").err(), Some(Reject::Overloaded));
        drop(held);
        assert!(matches!(waiter.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }

    #[test]
    fn spare_places_go_to_who_waits() {
        let shared = Arc::new(Admission::new(32, 4, 1));
        let (hoarder, other) = (LocalAdmission::new(Arc::clone(&shared)), LocalAdmission::new(shared));
        drop(now(hoarder.admit()));
        let taken: Vec<_> = std::iter::from_fn(|| now(other.admit())).collect();
        assert!(taken.len() < 32, "the hoarder keeps a few");
        let mut waiter = pin!(other.admit());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiter.as_mut().poll(&mut cx).is_pending());
        hoarder.share();
        assert!(matches!(waiter.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }
}
