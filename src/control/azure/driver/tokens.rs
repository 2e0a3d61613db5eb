//! A service with tokens: does what [`Token`] says, and tells it what came of that.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{
    super::seat::{End, Located, Order, Seat, until},
    REATTACH, calls, follow, look_again, no_keys, tell,
};
use crate::{
    azure::{
        error::Error,
        service::{Auth, ServiceToken},
    },
    clock::Moment,
    control::attach::{Attach, Value, Values},
    ids::ValueId,
    proxy::credential::Report,
    rotation::{
        event::Ticket,
        token::{Fetch, Token, TokenAction, TokenEvent, TokenNotice, TokenOffer, TokenRules},
    },
    secret::Secret,
};

/// Drives a service with tokens.
pub(super) async fn drive(seat: &mut Seat, located: Located) -> End {
    Driver::new(seat, located.auth).await.go_on().await
}

struct Driver<'s> {
    seat: &'s mut Seat,
    auth: Auth,
    rules: TokenRules,
    token: Token,
    /// The tokens that were fetched last, by their tickets: the present one, and one that came while it is attached.
    held: Vec<Held>,
    calls: JoinSet<Answer>,
    offer: Option<TokenOffer>,
    reattach_at: Option<Moment>,
    describe_at: Option<Moment>,
    changed: bool,
    /// Why the last fetch brought nothing.
    failure: Option<String>,
}

struct Held {
    ticket: Ticket,
    id: ValueId,
    secret: Secret,
}

enum Answer {
    Fetched(Ticket, Result<ServiceToken, Error>),
    Described(Result<Located, Error>),
}

impl<'s> Driver<'s> {
    async fn new(seat: &'s mut Seat, auth: Auth) -> Self {
        let rules = seat.service().map(|service| service.upkeep.token_rules.clone()).unwrap_or_default();
        // What an earlier driver of this service attached stays until there is a newer one.
        let known =
            seat.subject.endpoints.iter().filter_map(|(name, service)| seat.gate.attached_generation(name, service));
        let (token, actions) = Token::start(known.max().unwrap_or(0), seat.tick(), &rules);
        let mut driver = Self {
            seat,
            auth,
            rules,
            token,
            held: Vec::new(),
            calls: JoinSet::new(),
            offer: None,
            reattach_at: None,
            describe_at: None,
            changed: false,
            failure: None,
        };
        for action in actions {
            driver.act(action).await;
        }
        driver.settle();
        driver
    }

    async fn go_on(&mut self) -> End {
        let clock = self.seat.clock().clone();
        loop {
            if self.changed {
                return End::Changed;
            }
            let wake = [self.token.next_wake(), self.reattach_at, self.describe_at].into_iter().flatten().min();
            tokio::select! {
                order = self.seat.orders.recv() => match order {
                    Some(Order::Renewed(subject)) => {
                        for (name, _) in &self.seat.subject.endpoints {
                            if !subject.endpoints.iter().any(|(kept, _)| kept == name) {
                                tell::forget(&self.seat.gate, name);
                            }
                        }
                        self.seat.subject = subject;
                        if let Some(service) = self.seat.service() {
                            self.rules = service.upkeep.token_rules.clone();
                        }
                        self.attach().await;
                        self.describe();
                    }
                    Some(Order::Report(report)) => self.hear(report).await,
                    Some(Order::Removed) | None => return End::Removed,
                },
                Some(request) = self.seat.requests.recv() => no_keys(request),
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(Answer::Fetched(ticket, fetched)) => self.fetched(ticket, fetched).await,
                    Ok(Answer::Described(described)) => self.described(described).await,
                    Err(error) if error.is_cancelled() => {}
                    // Its ticket would be awaited for ever.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = until(&clock, wake) => {
                    let now = clock.now();
                    if self.reattach_at.is_some_and(|at| at <= now) {
                        self.attach().await;
                    }
                    if self.describe_at.is_some_and(|at| at <= now) {
                        self.describe();
                    }
                    self.feed(TokenEvent::Tick).await;
                }
            }
            self.settle();
        }
    }

    fn settle(&self) {
        tell::tokens(self.seat, self.auth, self.offer.as_ref());
    }

    async fn hear(&mut self, report: Report) {
        let ticket = |id| self.held.iter().find(|held| held.id == id).map(|held| held.ticket);
        let event = match report {
            Report::Rejected { value, .. } => ticket(value).map(|value| TokenEvent::Rejected { value }),
            Report::Accepted { value, .. } => ticket(value).map(|value| TokenEvent::Accepted { value }),
            Report::Exhausted { generation, .. } => Some(TokenEvent::Exhausted { generation }),
        };
        if let Some(event) = event {
            self.feed(event).await;
        }
    }

    async fn feed(&mut self, event: TokenEvent) {
        let (next, actions) = self.token.step(&event, self.seat.tick(), &self.rules);
        self.token = next;
        for action in actions {
            self.act(action).await;
        }
    }

    async fn act(&mut self, action: TokenAction) {
        match action {
            TokenAction::Fetch { ticket, why } => {
                let plane = Arc::clone(&self.seat.subject.plane);
                let auth = self.auth;
                let refused = match why {
                    Fetch::Forced => self.held.last().map(|held| held.secret.clone()),
                    Fetch::Due => None,
                };
                self.calls
                    .spawn(async move { Answer::Fetched(ticket, Box::pin(calls::token(plane, auth, refused)).await) });
            }
            TokenAction::Publish(Some(offer)) => {
                self.offer = Some(offer);
                self.attach().await;
            }
            TokenAction::Publish(None) => {
                self.offer = None;
                self.miss().await;
            }
            TokenAction::Tell(notice) => self.tell(notice).await,
        }
    }

    /// Makes requests get what they should.
    async fn attach(&mut self) {
        self.reattach_at = None;
        let Some(offer) = self.offer else { return };
        let values: Vec<Value> = self
            .held
            .iter()
            .filter(|held| offer.offer.names(held.ticket))
            .map(|held| Value { id: held.id, slot: None, secret: held.secret.clone() })
            .collect();
        let named =
            offer.offer.try_map(|ticket| self.held.iter().find(|held| held.ticket == ticket).map(|held| held.id));
        let attached = match named {
            Some(offered) => {
                let attach = Attach::Values(Values { offer: offered, values, until: Some(offer.until) });
                self.seat.attach(&attach).await
            }
            None => Err("the token is not at hand".to_owned()),
        };
        if let Err(why) = attached {
            tracing::error!(endpoint = self.seat.label(), why, again_in = ?REATTACH, "a token cannot be attached");
            self.reattach_at = Some(self.seat.clock().now() + REATTACH);
        }
    }

    /// There is none. Where one is on its way and none was refused to us, requests wait for it.
    async fn miss(&self) {
        let attach = if self.failure.is_some() { Attach::Missing } else { Attach::Awaited };
        if let Err(why) = self.seat.attach(&attach).await {
            tracing::error!(endpoint = self.seat.label(), why, "it cannot be said that there is no token");
        }
    }

    async fn fetched(&mut self, ticket: Ticket, fetched: Result<ServiceToken, Error>) {
        let outcome = match fetched {
            Ok(token) => {
                self.failure = None;
                let grant = calls::grant(&token, self.seat.clock().unix_seconds());
                self.held.push(Held { ticket, id: ValueId::fresh(), secret: token.value });
                Ok(grant)
            }
            Err(error) => {
                tracing::warn!(endpoint = self.seat.label(), %error, "a token cannot be fetched");
                self.failure = Some(error.to_string());
                Err(calls::pause(&error))
            }
        };
        self.feed(TokenEvent::Fetched { ticket, outcome }).await;
        let offered = self.offer;
        self.held.retain(|held| offered.is_some_and(|offer| offer.offer.names(held.ticket)));
    }

    async fn tell(&mut self, notice: TokenNotice) {
        tell::token(self.seat, notice);
        match notice {
            TokenNotice::Failed | TokenNotice::ExpiredOnArrival => {
                let said = "the token that was fetched has expired by this machine's clock: it differs by more than ten minutes from Azure's";
                let why = self.failure.get_or_insert_with(|| said.to_owned()).clone();
                // What an earlier driver of this service attached may be good still.
                if self.offer.is_none() && !self.is_served() {
                    self.seat.note_reason(&why);
                    self.miss().await;
                }
            }
            // No failure by itself: where the next one is on its way, requests wait for it.
            TokenNotice::Expired => {
                let said = "its token has expired and there is no newer one";
                self.seat.note_reason(self.failure.as_deref().unwrap_or(said));
            }
            TokenNotice::Renewed | TokenNotice::Locked | TokenNotice::Unlocked => {}
        }
    }

    fn is_served(&self) -> bool {
        self.seat.subject.endpoints.iter().all(|(name, _)| self.seat.gate.has_values(name))
    }

    /// Asks anew what the service is: whoever reloads has changed or mended something, here or at Azure.
    fn describe(&mut self) {
        self.describe_at = None;
        let describing = self.seat.describe();
        self.calls.spawn(async move { Answer::Described(describing.await) });
    }

    async fn described(&mut self, described: Result<Located, Error>) {
        let located = match described {
            Ok(located) => located,
            Err(error) => {
                self.describe_at = Some(look_again(self.seat, &error));
                return;
            }
        };
        if located.auth != self.auth {
            self.changed = true;
        } else {
            follow(self.seat, &located).await;
        }
    }
}
