//! A request and its service's credential: which value each sending gets, and what comes after a 401.
//!
//! Used by `forward`. The decision itself is the pure `rotation::ladder`; here it meets a request, its worker, and the offer that is in
//! force now. Nothing here runs for a request whose first answer is no 401, but for choosing a value.

use std::{future::Future, pin::pin, time::Duration};

use http::StatusCode;

use super::{
    credential::{Care, LocalAttachment, LocalOffer, Report},
    exchange::Exchange,
    head::ResponseHead,
    reject::Reject,
    view::EndpointView,
    worker::TokenWaiter,
};
use crate::{
    clock::Moment,
    ids::{EndpointId, Generation, ValueId},
    rotation::{
        ladder::{self, AnswerBegun, Blame, Next, READ_PATIENCE, Replay, Situation, Tried},
        offer::{Access, Hold},
    },
};

/// How long a request waits for a token that is being fetched. A provider that takes longer is as good as down, and a caller is
/// better off with a 503 that says when to come again.
const TOKEN_PATIENCE: Duration = Duration::from_secs(10);

/// What a request was sent with so far. Only what was refused counts: a value that a connection lost unprocessed was not tried.
#[derive(Debug, Default)]
pub struct Trail {
    refused: Option<Tried<ValueId>>,
    next: Option<ValueId>,
    /// What the present sending carries, and by which offer.
    sent: Option<(ValueId, Generation)>,
}

/// What happens to a request that was answered 401.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After401 {
    /// The caller gets it.
    PassOn,
    /// It is sent again.
    Resend,
}

impl Trail {
    /// The value of the next sending. None: the offer names none that is still to be tried.
    pub fn choose(&mut self, offered: &LocalOffer, hold: Hold, dice: u64) -> Option<ValueId> {
        let offer = &offered.offer;
        let value = match &self.refused {
            None if offer.access == Access::Locked => {
                // Any of them may be the one that works again.
                let count = offer.values().count() as u64;
                usize::try_from(dice.checked_rem(count)?).ok().and_then(|at| offer.values().nth(at))
            }
            None => Some(offer.first(hold)),
            Some(refused) => {
                let untried = |value: &ValueId| !refused.contains(*value);
                let next = self.next.filter(|next| offer.names(*next) && untried(next));
                next.or_else(|| offer.values().find(untried))
            }
        };
        self.sent = value.map(|value| (value, offer.generation));
        value
    }

    /// A sending that carries nothing of ours.
    pub const fn choose_nothing(&mut self) {
        self.sent = None;
    }

    /// Whether this is a sending after a 401.
    pub const fn is_replay(&self) -> bool {
        self.refused.is_some()
    }

    /// An answer came that is no 401.
    pub fn note_answer(&self, exchange: &Exchange, endpoint: &EndpointView, status: StatusCode) {
        let Some((value, _)) = self.sent else { return };
        if self.is_replay() {
            exchange.worker.metrics().replays.with_label_values(&[endpoint.local.name(), "accepted"]).inc();
        }
        // Anything else may have been said by somebody who never looked at the credential.
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            endpoint.local.report_accepted(&exchange.worker, value);
        }
    }

    /// Decides on a 401, waiting for other values where there may be some.
    ///
    /// # Errors
    /// `upstream_credential_rejected`, and the exchange's own end.
    pub async fn after_401(
        &mut self,
        exchange: &Exchange,
        endpoint: &EndpointView,
        head: &ResponseHead,
    ) -> Result<After401, Reject> {
        let Some((value, generation)) = self.sent else { return Ok(After401::PassOn) };
        let names = head.fields.iter().map(|(name, _)| std::str::from_utf8(name).unwrap_or_default());
        if Blame::of(true, names) == Blame::Caller {
            self.note_answer(exchange, endpoint, head.status);
            return Ok(After401::PassOn);
        }
        self.note_refused(exchange, endpoint, value, generation);
        self.find_another(exchange, endpoint).await
    }

    fn note_refused(&mut self, exchange: &Exchange, endpoint: &EndpointView, value: ValueId, generation: Generation) {
        let (metrics, name) = (exchange.worker.metrics(), endpoint.local.name());
        if self.is_replay() {
            metrics.replays.with_label_values(&[name, "rejected"]).inc();
        }
        let slot = endpoint.offered().map_or("none", |offered| offered.slot(value));
        metrics.upstream_rejections.with_label_values(&[name, slot]).inc();
        match &mut self.refused {
            Some(refused) => refused.send(value),
            None => self.refused = Some(Tried::first(value)),
        }
        if endpoint.offered().is_some_and(|offered| offered.care == Care::Attended) {
            endpoint.local.report_rejected(&exchange.worker, value, generation);
        }
    }

    /// Another value for a request whose last one was refused, or was taken back before it was sent.
    ///
    /// # Errors
    /// `upstream_credential_rejected`, and the exchange's own end.
    pub async fn find_another(&mut self, exchange: &Exchange, endpoint: &EndpointView) -> Result<After401, Reject> {
        let worker = &exchange.worker;
        let id = endpoint.local.id();
        let situation =
            Situation { hold: exchange.upload.borrow().hold_state(), replay: endpoint.replay, answer: AnswerBegun::No };
        let mut waited_since = None;
        let mut told = None;
        loop {
            let changed = worker.changed();
            let mut changed = std::pin::pin!(changed.notified());
            changed.as_mut().enable();
            let view = worker.view();
            let Some(refused) = &mut self.refused else { return Ok(After401::Resend) };
            let present = view.endpoint_by_id(id).and_then(|present| present.attachment.valid(worker.now()));
            let Some(offered) = present else { return Err(self.give_up(exchange, endpoint, "no_credential")) };
            if offered.care == Care::ByHand {
                refused.stop_waiting();
            }
            match ladder::after_401(Blame::Credential, refused, &offered.offer, situation) {
                Next::Resend(value) => {
                    self.next = Some(value);
                    return Ok(After401::Resend);
                }
                Next::PassOn => return Ok(After401::PassOn),
                Next::Unavailable => {
                    let why = why_not(refused, situation, offered);
                    return Err(self.give_up(exchange, endpoint, why));
                }
                Next::AwaitRead => {
                    let generation = offered.offer.generation;
                    if told.replace(generation) != Some(generation) {
                        worker.report(Report::Exhausted { endpoint: id, generation });
                    }
                    let since = *waited_since.get_or_insert_with(|| worker.now());
                    let left = READ_PATIENCE.saturating_sub(worker.now().since(since));
                    drop(view);
                    if left.is_zero() || exchange.within(pin!(tokio::time::timeout(left, changed))).await?.is_err() {
                        refused.stop_waiting();
                    }
                }
            }
        }
    }

    fn give_up(&self, exchange: &Exchange, endpoint: &EndpointView, reason: &str) -> Reject {
        let metrics = exchange.worker.metrics();
        metrics.replay_skipped.with_label_values(&[reason]).inc();
        tracing::debug!(
            endpoint = endpoint.local.name(),
            reason,
            "a refusal of our credential is not healed by sending again"
        );
        Reject::UpstreamCredentialRejected
    }
}

/// The label of `replay_skipped_total`.
fn why_not(refused: &Tried<ValueId>, situation: Situation, offered: &LocalOffer) -> &'static str {
    if situation.replay == Replay::Off {
        "off"
    } else if situation.hold == Hold::NotHeld {
        "not_held"
    } else if offered.offer.access == Access::Locked {
        "locked"
    } else if refused.sends() >= ladder::MAX_SENDS {
        "sends"
    } else {
        "exhausted"
    }
}

/// Waits until it is known where a service is, where that is being found out for the first time. A process that was just started answers
/// what it is asked, instead of refusing until it is ready.
///
/// # Errors
/// `credential_unavailable`, and the exchange's own end.
pub async fn await_service(exchange: &Exchange, id: Option<EndpointId>) -> Result<(), Reject> {
    let id = id.ok_or(Reject::CredentialUnavailable)?;
    let mut waiting = None;
    loop {
        let change = exchange.worker.changed();
        let mut changed = std::pin::pin!(change.notified());
        changed.as_mut().enable();
        let view = exchange.worker.view();
        let endpoint = view.endpoint_by_id(id).ok_or(Reject::CredentialUnavailable)?;
        if !endpoint.is_nowhere() {
            return Ok(());
        }
        if !matches!(endpoint.attachment, LocalAttachment::Awaited) {
            return Err(Reject::CredentialUnavailable);
        }
        drop(view);
        wait(exchange, &mut waiting, changed).await?;
    }
}

/// A place among those who wait, and since when.
type Waiting = Option<(TokenWaiter, Moment)>;

/// Waits for a change, as long as a request waits for what it needs to be sent at all.
async fn wait(exchange: &Exchange, waiting: &mut Waiting, change: impl Future<Output = ()>) -> Result<(), Reject> {
    let now = exchange.worker.now();
    let (_place, since) = match waiting {
        Some(waiting) => waiting,
        None => waiting.insert((exchange.worker.wait_for_token()?, now)),
    };
    let left = TOKEN_PATIENCE.saturating_sub(now.since(*since));
    if left.is_zero() || exchange.within(pin!(tokio::time::timeout(left, change))).await?.is_err() {
        return Err(Reject::CredentialUnavailable);
    }
    Ok(())
}

/// Waits until the endpoint has something to attach, where that is on its way. `first`: it was not sent yet, and a locked service lets
/// through what it can spare.
///
/// # Errors
/// `credential_unavailable`, `upstream_credential_rejected`, and the exchange's own end.
pub async fn await_credential(exchange: &Exchange, id: EndpointId, first: bool) -> Result<(), Reject> {
    let worker = &exchange.worker;
    let mut waiting = None;
    loop {
        let changed = worker.changed();
        let mut changed = std::pin::pin!(changed.notified());
        changed.as_mut().enable();
        let view = worker.view();
        let endpoint = view.endpoint_by_id(id).ok_or(Reject::CredentialUnavailable)?;
        let now = worker.now();
        match (&endpoint.attachment, endpoint.attachment.valid(now)) {
            (LocalAttachment::Nothing, _) => return Ok(()),
            (_, Some(offered)) if offered.is_open() || !first => return Ok(()),
            (_, Some(_)) => {
                return if endpoint.trials.take(now) { Ok(()) } else { Err(Reject::UpstreamCredentialRejected) };
            }
            (LocalAttachment::Missing, _) => return Err(Reject::CredentialUnavailable),
            (LocalAttachment::Awaited | LocalAttachment::Offered(_), None) => {}
        }
        drop(view);
        wait(exchange, &mut waiting, changed).await?;
    }
}
