//! A token that is renewed before it is needed: a service's own, one of an online endpoint, or an identity's.
//!
//! One state machine per credential, pure: one endpoint's trouble never delays another's refresh. Lifetimes are counted by the
//! monotonic clock; the wall clock is asked only when a token comes, to understand what its provider says of absolute times.
//! A token that has expired is never offered.

use std::time::Duration;

use super::{
    event::Ticket,
    offer::{Access, Offer},
    pace::{Backoff, Pace, part},
};
use crate::{
    clock::{Moment, Tick},
    ids::Generation,
};

/// Times of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRules {
    /// `refresh_interval`: at most one refresh each that requests' refusals cause. Default 30 s.
    pub refresh_interval: Duration,
    /// Between attempts that fail, where the provider does not say. 1 s to 60 s.
    pub retry: Pace,
}

impl Default for TokenRules {
    fn default() -> Self {
        let retry = Pace { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        Self { refresh_interval: Duration::from_secs(30), retry }
    }
}

/// Most that a provider's clock is believed to differ from ours.
const SKEW: u64 = 600;
/// What a request may take to the front end, and what a `date` is rounded by; never more than a fifth of what is left.
const MARGIN: Duration = Duration::from_secs(2);
/// A fresh token is not renewed sooner, whatever its `refresh_by` says.
const SOONEST: Duration = Duration::from_secs(1);

/// When something will be, as a provider says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Unix seconds by the provider's clock: `expiryOn`, `expiryTimeUtc`.
    Unix(u64),
    /// From now: `expires_in`.
    In(Duration),
}

/// What a provider says of a token's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grant {
    /// From when it is refused.
    pub expires: When,
    /// From when a newer one should be fetched: `refreshAfter`, `refreshAfterTimeUtc`, `refresh_in`. Advice; expiry is law.
    pub refresh_by: Option<When>,
    /// The `date` of the answer that brought it, Unix seconds. Only of an answer over TLS: another could be anybody's.
    pub date: Option<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenEvent {
    /// Time passed: due at [`Token::next_wake`], harmless at any other moment.
    Tick,
    /// Answers [`TokenAction::Fetch`]. A ticket that is not awaited is ignored.
    Fetched {
        /// Whose answer; from here the name of the token.
        ticket: Ticket,
        /// Its times; or how long to wait before another attempt, where the provider says so.
        outcome: Result<Grant, Option<Duration>>,
    },
    /// The data plane: a front end answered 401 about a token.
    Rejected {
        /// Which.
        value: Ticket,
    },
    /// The data plane: a request with this token was not refused for it.
    Accepted {
        /// Which.
        value: Ticket,
    },
    /// The data plane: a held request has no other token to try, and waits for one.
    Exhausted {
        /// Of the offer.
        generation: Generation,
    },
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenAction {
    /// Fetch a token. Answered by [`TokenEvent::Fetched`], once, with a failure if need be.
    Fetch {
        /// Goes into the answer.
        ticket: Ticket,
        /// Why.
        why: Fetch,
    },
    /// Build this into the next snapshot. None: there is no token to attach.
    Publish(Option<TokenOffer>),
    /// Log and count this.
    Tell(TokenNotice),
}

/// Why a token is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// There is none, or it is time for the next.
    Due,
    /// The present one was refused: what a cache has of it must not be taken again.
    Forced,
}

/// Something worth a line in the log and a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenNotice {
    /// One came. `token_refresh_total{result="ok"}`.
    Renewed,
    /// None came. `token_refresh_total{result="failed"}`.
    Failed,
    /// One came that has expired by our clock: one of the clocks is wrong.
    ExpiredOnArrival,
    /// The present one has expired, and there is no other.
    Expired,
    /// Tokens are refused. `credential_locked`.
    Locked,
    /// Requests are let through again.
    Unlocked,
}

/// What requests get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenOffer {
    /// The token, by the ticket that it was fetched with.
    pub offer: Offer<Ticket>,
    /// From then it is not attached any more, whatever is or is not published.
    pub until: Moment,
}

/// One token and its successors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Token {
    present: Option<Present>,
    fetching: Option<(Ticket, Fetch)>,
    last_ticket: Ticket,
    generation: Generation,
    published: Option<TokenOffer>,
    access: Access,
    failures: Backoff,
    /// No attempt before this: the last one failed.
    not_before: Moment,
    /// The present token was refused.
    refused: bool,
    /// When requests' refusals may cause a refresh again.
    force_from: Moment,
    wanted: Wanted,
}

/// Whether a held request waits for another token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Present {
    name: Ticket,
    refresh_at: Moment,
    until: Moment,
}

impl Token {
    /// None yet, and what is to be done first. Generations begin above `generation`.
    #[must_use]
    pub fn start(generation: Generation, tick: Tick, rules: &TokenRules) -> (Self, Vec<TokenAction>) {
        let token = Self {
            present: None,
            fetching: None,
            last_ticket: Ticket(0),
            generation,
            published: None,
            access: Access::Open,
            failures: Backoff::default(),
            not_before: tick.now,
            refused: false,
            force_from: tick.now,
            wanted: Wanted::No,
        };
        token.step(&TokenEvent::Tick, tick, rules)
    }

    /// One event: the next state, and what is to be done, in this order.
    #[must_use]
    pub fn step(&self, event: &TokenEvent, tick: Tick, rules: &TokenRules) -> (Self, Vec<TokenAction>) {
        let mut next = self.clone();
        let mut actions = Vec::new();
        next.take(event, tick, rules, &mut actions);
        if next.present.is_some_and(|present| present.until <= tick.now) {
            next.present = None;
            next.refused = false;
            actions.push(TokenAction::Tell(TokenNotice::Expired));
        }
        next.fetch(tick, rules, &mut actions);
        next.publish(&mut actions);
        (next, actions)
    }

    /// When [`Token::step`] is due at the latest. None: not before something happens.
    #[must_use]
    pub fn next_wake(&self) -> Option<Moment> {
        let until = self.present.map(|present| present.until);
        let due = self.due().map(|(at, _)| at);
        [until, due].into_iter().flatten().min()
    }

    /// What requests get. None: there is no valid token.
    #[must_use]
    pub const fn offer(&self) -> Option<&TokenOffer> {
        self.published.as_ref()
    }

    fn take(&mut self, event: &TokenEvent, tick: Tick, rules: &TokenRules, actions: &mut Vec<TokenAction>) {
        match *event {
            TokenEvent::Tick => {}
            TokenEvent::Fetched { ticket, outcome } => {
                if self.fetching.is_some_and(|(awaited, _)| awaited == ticket) {
                    self.fetching = None;
                    self.fetched(ticket, outcome, tick, rules, actions);
                }
            }
            TokenEvent::Rejected { value } => {
                self.refused |= self.present.is_some_and(|present| present.name == value);
            }
            TokenEvent::Accepted { value } => {
                if self.present.is_some_and(|present| present.name == value) {
                    self.refused = false;
                    if self.access == Access::Locked {
                        self.access = Access::Open;
                        actions.push(TokenAction::Tell(TokenNotice::Unlocked));
                    }
                }
            }
            TokenEvent::Exhausted { generation } => {
                let current = self.published.is_some_and(|published| published.offer.generation == generation);
                if current && self.access == Access::Open {
                    self.refused = true;
                    self.wanted = Wanted::Yes;
                }
            }
        }
    }

    fn fetched(
        &mut self,
        ticket: Ticket,
        outcome: Result<Grant, Option<Duration>>,
        tick: Tick,
        rules: &TokenRules,
        actions: &mut Vec<TokenAction>,
    ) {
        let usable = outcome.map(|grant| grant.times(tick));
        if let Ok(Some((refresh_at, until))) = usable {
            self.failures.reset();
            self.not_before = tick.now;
            self.present = Some(Present { name: ticket, refresh_at, until });
            self.refused = false;
            self.wanted = Wanted::No;
            actions.push(TokenAction::Tell(TokenNotice::Renewed));
            return;
        }
        let pause = self.failures.next(rules.retry, tick.dice);
        self.not_before = tick.now + pause.max(outcome.err().flatten().unwrap_or_default());
        let notice = if outcome.is_ok() { TokenNotice::ExpiredOnArrival } else { TokenNotice::Failed };
        actions.push(TokenAction::Tell(notice));
        if self.wanted == Wanted::Yes {
            self.lock(actions);
        }
    }

    /// When the next token is fetched, and why. None while one is.
    fn due(&self) -> Option<(Moment, Fetch)> {
        if self.fetching.is_some() {
            return None;
        }
        let Some(present) = self.present else { return Some((self.not_before, Fetch::Due)) };
        let due = (present.refresh_at.max(self.not_before), Fetch::Due);
        let forced = (self.force_from.max(self.not_before), Fetch::Forced);
        Some(if self.refused && forced.0 <= due.0 { forced } else { due })
    }

    fn fetch(&mut self, tick: Tick, rules: &TokenRules, actions: &mut Vec<TokenAction>) {
        let Some((_, why)) = self.due().filter(|(at, _)| *at <= tick.now) else {
            // Who waits for a token that cannot be fetched now has no use of it later.
            if self.wanted == Wanted::Yes && self.fetching.is_none() {
                self.lock(actions);
            }
            return;
        };
        self.last_ticket = Ticket(self.last_ticket.0 + 1);
        self.fetching = Some((self.last_ticket, why));
        if why == Fetch::Forced {
            self.force_from = tick.now + rules.refresh_interval;
        }
        actions.push(TokenAction::Fetch { ticket: self.last_ticket, why });
    }

    fn lock(&mut self, actions: &mut Vec<TokenAction>) {
        self.wanted = Wanted::No;
        if self.access == Access::Open {
            self.access = Access::Locked;
            actions.push(TokenAction::Tell(TokenNotice::Locked));
        }
    }

    fn publish(&mut self, actions: &mut Vec<TokenAction>) {
        let next = self.present.map(|present| {
            let offer = Offer { access: self.access, ..Offer::fixed(self.generation, present.name, None) };
            TokenOffer { offer, until: present.until }
        });
        let same = |(one, other): (TokenOffer, TokenOffer)| {
            one.until == other.until && one.offer == Offer { generation: one.offer.generation, ..other.offer }
        };
        if self.published.zip(next).is_some_and(same) || (self.published.is_none() && next.is_none()) {
            return;
        }
        self.generation += 1;
        self.published = next.map(|next| {
            let offer = Offer { generation: self.generation, ..next.offer };
            TokenOffer { offer, ..next }
        });
        actions.push(TokenAction::Publish(self.published));
    }
}

impl Grant {
    /// When to renew it, and until when it can be attached. None where it has expired.
    #[must_use]
    pub fn times(&self, tick: Tick) -> Option<(Moment, Moment)> {
        let provider_now =
            self.date.map_or(tick.unix, |date| date.clamp(tick.unix.saturating_sub(SKEW), tick.unix + SKEW));
        let left = |when: When| match when {
            When::Unix(at) => Duration::from_secs(at.saturating_sub(provider_now)),
            When::In(left) => left,
        };
        let lifetime = left(self.expires);
        if lifetime.is_zero() {
            return None;
        }
        let usable = lifetime - MARGIN.min(lifetime / 5);
        // Advice that lies in the past, or behind the end, is none: half of what is left, so that nothing loops.
        let advice = self.refresh_by.map(left).filter(|advice| !advice.is_zero() && *advice < usable);
        let renew = advice.unwrap_or(usable / 2);
        let renew = (renew - part(renew / 10, tick.dice)).max(SOONEST.min(usable / 2));
        Some((tick.now + renew, tick.now + usable))
    }
}

#[cfg(test)]
mod tests;
