//! Doing what was decided: a place, a connection, the credential, the request, the answer; and sending again where that is safe.
//!
//! Called by `pipeline`. Sent again is what never left, what the upstream says it did not process, and on a reused HTTP/1.1
//! connection that closed without a byte of answer only idempotent requests (RFC 9110 section 9.2.2), or what the endpoint allows;
//! and what was answered 401 about our credential, with another one (`trail`). Each sending is `sending`'s.

use std::{
    future::poll_fn,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    task::{Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{StatusCode, Version};

use super::{
    answer::{Answer, Outcome},
    body::{CallerBody, ResponseBody},
    credential::LocalAttachment,
    decide::Plan,
    exchange::{Exchange, Watched},
    head::{RequestHead, ResponseHead},
    headers::survey::Survey,
    reject::Reject,
    sending::{Sent, Source},
    trail::{self, After401, Trail},
    tunnel::Tunnel,
    upstream::{
        Protocol,
        pool::{Lease, LocalBackend, Wish},
    },
    view::{EndpointView, View},
    worker::Worker,
};
use crate::rotation::ladder::Replay;

/// Most times a request is sent because connections lost it unprocessed; the last on a connection made for it.
const MAX_LOST: usize = 4;
/// Most of a refusal that is read, and for how long, to use its connection again.
const REFUSAL: usize = 64 << 10;
const REFUSAL_PATIENCE: Duration = Duration::from_secs(1);

/// What is to be forwarded, and where.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// The view it was decided by.
    pub view: &'a Rc<View>,
    /// What was decided.
    pub plan: Plan<'a>,
    /// The request's head.
    pub head: &'a RequestHead,
    /// What stands in it.
    pub survey: &'a Survey<'a>,
    /// Whether the peer's word on where the request came from is believed.
    pub trusted: bool,
}

/// The upstream's answer, with the connection it comes over.
#[derive(Debug)]
pub struct Reached {
    head: Box<ResponseHead>,
    source: Source,
    lease: Lease,
}

impl Reached {
    /// The answer as the caller gets it.
    pub fn outcome(self, exchange: Watched) -> Outcome {
        let Self { head, source, lease } = self;
        exchange.0.record.status.set(head.status.as_u16());
        exchange.0.head_sent(exchange.0.worker.coarse_now());
        let body = match source {
            Source::H1(link) => ResponseBody::h1(exchange, link, lease),
            Source::H2(incoming) => ResponseBody::h2(exchange, incoming, lease),
            Source::Tunnel(end) => return Outcome::Tunnel(Box::new(Tunnel::new(head, exchange, end, lease))),
        };
        Outcome::Answer(Answer { head, body, is_ours: false })
    }
}

impl Forwarding<'_> {
    /// Forwards a request and awaits the head of its answer.
    ///
    /// # Errors
    /// The answer of our own where the upstream gave none that the caller may see.
    pub async fn run(&self, exchange: &Rc<Exchange>, body: CallerBody) -> Result<Reached, Reject> {
        let worker = &exchange.worker;
        let endpoint = self.view.endpoint(self.plan.forward.endpoint).ok_or(Reject::NoRoute)?;
        if endpoint.backends.is_empty() {
            return Err(Reject::CredentialUnavailable);
        }
        // Before a place among the requests in flight is asked for: who waits for a token takes none from those who need none.
        self.await_credential(exchange, endpoint, true).await?;
        let admitted = exchange.within(pin!(endpoint.local.admission().admit())).await?;
        match admitted {
            Ok(place) => drop(exchange.place.replace(Some(place))),
            Err(reject) => {
                worker.count_limit("queue");
                return Err(reject);
            }
        }
        let forward = self.plan.forward;
        let has_body = !body.is_end_stream();
        if has_body {
            exchange.upload.borrow_mut().open(body, forward.body, &forward.trailers);
        }
        let idempotent = self.head.method.is_idempotent();

        let mut trail = Trail::default();
        let mut again = None;
        let (mut fresh, mut lost) = (false, 0);
        loop {
            let mut lease = match again.take() {
                Some(again) => self.reconnect(exchange, endpoint, again).await?,
                None => self.connect(exchange, endpoint, Wish { fresh, ..Wish::default() }).await?,
            };
            let may_repeat = lease.is_h2() || endpoint.retry_unanswered || idempotent;
            let replays = forward.attach && endpoint.replay == Replay::On;
            if has_body {
                let mut upload = exchange.upload.borrow_mut();
                if may_repeat || replays {
                    upload.hold(forward.replay_body, self.plan.content_length, worker);
                }
                upload.begin_sending();
            }
            note_upstream(exchange, &lease);
            let sent = worker.coarse_now();
            exchange.sent(sent);
            let outcome = match lease.take_memory() {
                Some(memory) => self.send_h1(exchange, &mut lease, memory, has_body, &mut trail).await,
                // In a box, or every other request would have room for it.
                None => Box::pin(self.send_h2(exchange, &mut lease, has_body, &mut trail)).await,
            };
            if let Some(fault) = exchange.upload.borrow().fault() {
                return Err(fault);
            }
            match outcome? {
                Sent::Answered(head, source) => {
                    endpoint.local.answered(sent, worker.now());
                    if head.status == StatusCode::UNAUTHORIZED {
                        if trail.after_401(exchange, endpoint, &head).await? == After401::Resend {
                            again = Some(refused_by(exchange, lease, source).await?);
                            continue;
                        }
                    } else {
                        trail.note_answer(exchange, endpoint, head.status);
                    }
                    exchange.upload.borrow_mut().settle(worker);
                    return Ok(Reached { head, source, lease });
                }
                Sent::Bare => {
                    // Taken back between the choice and the sending.
                    if trail.is_replay() {
                        trail.find_another(exchange, endpoint).await?;
                    }
                    self.await_credential(exchange, endpoint, false).await?;
                    again = Some(Again::Over(lease));
                    continue;
                }
                Sent::Unsent => {
                    fresh = lost + 2 == MAX_LOST;
                    worker.count_resend(exchange, "unsent");
                }
                Sent::Lost("silent") if !(lease.reused && (endpoint.retry_unanswered || idempotent)) => {
                    return Err(Reject::UpstreamProtocolError);
                }
                Sent::Lost(_) if has_body && !exchange.upload.borrow().is_held() => {
                    return Err(Reject::UpstreamProtocolError);
                }
                Sent::Lost(reason) => {
                    fresh = reason == "silent";
                    worker.count_resend(exchange, reason);
                }
            }
            lost += 1;
            if lost == MAX_LOST {
                return Err(Reject::UpstreamProtocolError);
            }
        }
    }

    /// Waits for something to attach where that is on its way. Next to nothing where there is something.
    async fn await_credential(&self, exchange: &Exchange, endpoint: &EndpointView, first: bool) -> Result<(), Reject> {
        if !self.plan.forward.attach {
            return Ok(());
        }
        let worker = &exchange.worker;
        let ready = self.with_present(worker, |present| match &present.attachment {
            LocalAttachment::Nothing => true,
            attachment => attachment.valid(worker.coarse_now()).is_some_and(|offered| offered.is_open() || !first),
        });
        if ready { Ok(()) } else { trail::await_credential(exchange, endpoint.local.id(), first).await }
    }

    /// The endpoint as the worker's present view has it: values change while a request waits.
    pub(super) fn with_present<T>(&self, worker: &Worker, look: impl FnOnce(&EndpointView) -> T) -> T
    where
        T: Default,
    {
        let Some(began) = self.view.endpoint(self.plan.forward.endpoint) else { return T::default() };
        let present = worker.view();
        if Rc::ptr_eq(&present, self.view) {
            return look(began);
        }
        look(present.endpoint_by_id(began.local.id()).unwrap_or(began))
    }

    /// The connection over which a 401 came, or one to the address it led to; anyone else's only where that is gone.
    async fn reconnect(&self, exchange: &Exchange, endpoint: &EndpointView, again: Again) -> Result<Lease, Reject> {
        let (pool, address) = match again {
            Again::Over(lease) => return Ok(lease),
            Again::To(pool, address) => (pool, address),
        };
        let wish = Wish { address: Some(address), h1: self.wants_h1(&pool), ..Wish::default() };
        match exchange.within(Box::pin(pool.lend(&exchange.worker, wish))).await? {
            Ok(lease) => Ok(lease),
            Err(_gone) => self.connect(exchange, endpoint, Wish::default()).await,
        }
    }

    /// A WebSocket is HTTP/1.1's wherever that can be had: few servers know it over HTTP/2.
    fn wants_h1(&self, of: &LocalBackend) -> bool {
        self.plan.websocket && of.backend.protocol != Protocol::H2
    }

    /// A connection to the less loaded candidate; to the other one where that cannot be reached, since nothing was sent yet.
    async fn connect(&self, exchange: &Exchange, endpoint: &EndpointView, wish: Wish) -> Result<Lease, Reject> {
        let find = |at: usize| endpoint.backends.get(at).ok_or(Reject::UpstreamUnreachable);
        let (first, second) = (find(self.plan.candidates.0)?, find(self.plan.candidates.1)?);
        let (first, second): (&Rc<LocalBackend>, _) =
            if second.load() < first.load() { (second, first) } else { (first, second) };
        let wish = |of: &LocalBackend| Wish { h1: self.wants_h1(of), ..wish };
        // Mostly there is one. What makes one is large and in a box: a request's memory stays in the caches.
        if let Some(lease) = first.take(exchange.worker.coarse_now(), wish(first)) {
            return Ok(lease);
        }
        match exchange.within(Box::pin(first.lend(&exchange.worker, wish(first)))).await? {
            Ok(lease) => Ok(lease),
            Err(Reject::Overloaded) => {
                // There is no descriptor for a connection; the other one may have some.
                let there = second.take(exchange.worker.coarse_now(), wish(second));
                if there.is_none() && self.head.version != Version::HTTP_2 {
                    // The caller's makes room for others' requests.
                    exchange.connection.leash.finish();
                }
                there.ok_or(Reject::Overloaded)
            }
            Err(reject) if Rc::ptr_eq(first, second) => Err(reject),
            Err(_) => exchange.within(Box::pin(second.lend(&exchange.worker, wish(second)))).await?,
        }
    }
}

/// Where a request goes after a 401.
enum Again {
    /// Over the same connection.
    Over(Lease),
    /// To the same address.
    To(Rc<LocalBackend>, SocketAddr),
}

/// Reads what belongs to a 401 that nobody gets, so that its connection can be used again at once.
async fn refused_by(exchange: &Exchange, mut lease: Lease, source: Source) -> Result<Again, Reject> {
    let address = lease.address();
    let reusable = match source {
        // Letting go of the stream is enough.
        Source::H2(_incoming) => true,
        Source::H1(link) => {
            let mut left = REFUSAL;
            let read = poll_fn(|cx| {
                loop {
                    match ready!(link.poll_frame(cx)) {
                        None => return Poll::Ready(true),
                        Some(Ok(frame)) => left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len)),
                        Some(Err(_)) => return Poll::Ready(false),
                    }
                    if left == 0 {
                        return Poll::Ready(false);
                    }
                }
            });
            let whole = exchange.within(pin!(tokio::time::timeout(REFUSAL_PATIENCE, read))).await?;
            whole.unwrap_or(false) && lease.renew()
        }
        Source::Tunnel(_) => false,
    };
    if reusable {
        return Ok(Again::Over(lease));
    }
    let pool = Rc::clone(lease.pool());
    Ok(address.map_or(Again::Over(lease), |address| Again::To(pool, address)))
}

fn note_upstream(exchange: &Exchange, lease: &Lease) {
    if let Some(logged) = &mut *exchange.record.logged.borrow_mut() {
        logged.upstream = Some(Rc::clone(lease.pool()));
    }
}
