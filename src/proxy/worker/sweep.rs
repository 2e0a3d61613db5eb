//! What a worker does now and then: judges deadlines, prunes pools, adds metrics up, gives memory back.
//!
//! No request has a timer: one task of the worker's looks at all of them, at intervals that its shortest time-out sets.

use std::{convert::Infallible, rc::Rc, sync::atomic::Ordering::Relaxed, time::Duration};

use super::Worker;
use crate::{
    proxy::{auth::Evidence, memory},
    snapshot::Timeouts,
};

/// How often tokens that are over are let go of.
const TOKENS_PRUNED: Duration = Duration::from_secs(30);

impl Worker {
    /// Judges deadlines, prunes pools, adds metrics up. Sleeps without a timer while there is nothing to watch.
    pub(super) async fn sweep_forever(self: Rc<Self>) -> Infallible {
        loop {
            let stirred = self.stirred.notified();
            if self.is_quiet() {
                self.flush();
                stirred.await;
            }
            tokio::time::sleep(self.sweep_interval()).await;
            self.sweep();
        }
    }

    fn is_quiet(&self) -> bool {
        let pools_empty = self.backends.borrow().values().all(|b| b.connections().0 == 0);
        self.connections.borrow().is_empty()
            && self.exchanges.borrow().is_empty()
            && self.awaiting_drain.borrow().is_empty()
            && self.spare.is_none()
            && pools_empty
    }

    /// An eighth of the shortest time-out, between 10 ms and 250 ms: a time-out is late by no more than that.
    fn sweep_interval(&self) -> Duration {
        const FAST: Duration = Duration::from_millis(10);
        if !self.awaiting_drain.borrow().is_empty() {
            return FAST;
        }
        let Timeouts { request_head, idle, response_head, stall, stream_idle, .. } =
            self.view.borrow().snapshot.timeouts;
        let shortest = request_head.min(idle).min(response_head).min(stall).min(stream_idle);
        (shortest / 8).clamp(FAST, Duration::from_millis(250))
    }

    fn sweep(&self) {
        let tick = self.tick();
        let now = tick.now;
        let view = self.view();
        for (_, exchange) in self.exchanges.borrow().iter() {
            let evicted = exchange.claim.get().is_some_and(|claim| {
                let connection = &exchange.connection;
                let policy = self.policy(connection.listener);
                let trust = policy.as_ref().and_then(|policy| policy.client_trust.as_deref());
                let evidence = Evidence { peer: &connection.peer, trust, tokens: self.tokens(), tick };
                claim.is_over(&view.snapshot, evidence)
            });
            if let Some(timeout) = exchange.judge(now, evicted) {
                self.count_limit(timeout);
            }
        }
        for (_, connection) in self.connections.borrow().iter() {
            let had_rested = connection.may_park.get();
            if let Some(timeout) = connection.judge(now, &view.snapshot.timeouts) {
                self.count_limit(timeout);
            }
            if !had_rested && connection.may_park.get() {
                self.spare.note(now);
            }
        }
        if self.spare.is_due(now) {
            self.runners.dismiss();
            self.request_heads.clear();
            self.answer_heads.clear();
            memory::give_back();
        }
        self.answer_drained();
        self.backends.borrow_mut().retain(|_, backend| {
            backend.prune(now);
            Rc::strong_count(backend) > 1 || backend.connections().0 > 0
        });
        self.endpoints.borrow_mut().retain(|_, endpoint| Rc::strong_count(endpoint) > 1 || endpoint.handed() > 0);
        for endpoint in self.endpoints.borrow().values() {
            endpoint.admission().share();
        }
        let (tokens, pruned) = &self.tokens;
        if now.since(pruned.get()) >= TOKENS_PRUNED {
            pruned.set(now);
            tokens.prune(self.tick());
        }
        self.flush();
    }

    pub(super) fn flush(&self) {
        for meter in self.meters.borrow().values() {
            meter.flush();
        }
        for endpoint in self.endpoints.borrow().values() {
            endpoint.flush();
        }
        for backend in self.backends.borrow().values() {
            backend.flush();
        }
        self.held_gauge.set(usize::try_from(self.held.get()).unwrap_or(usize::MAX));
        self.gauges.in_flight.store(self.exchanges.borrow().len(), Relaxed);
        self.gauges.generation.store(self.view.borrow().snapshot.generation, Relaxed);
        self.view.borrow().count_connections(&self.connections.borrow().iter().map(|(_, c)| &**c));
    }
}
