//! A provider, a clock, and what must hold whatever they do.

use proptest::prelude::*;

use super::*;

const UNIX: u64 = 1_700_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tick(at: Moment) -> Tick {
    Tick { now: at, unix: UNIX + at.as_micros() / 1_000_000, dice: 0 }
}

fn at(seconds: u64) -> Moment {
    Moment::from_micros(seconds * 1_000_000)
}

/// A token, the time, and what it asked for.
struct Bench {
    token: Token,
    now: Moment,
    actions: Vec<TokenAction>,
}

impl Bench {
    fn start() -> Self {
        let (token, actions) = Token::start(0, tick(at(0)), &TokenRules::default());
        Self { token, now: at(0), actions }
    }

    fn tell(&mut self, event: TokenEvent) {
        let (token, actions) = self.token.step(&event, tick(self.now), &TokenRules::default());
        self.token = token;
        self.actions.extend(actions);
    }

    /// The fetch that is asked for, and why.
    fn fetch(&mut self) -> Option<(Ticket, Fetch)> {
        let found = self.actions.iter().rev().find_map(|action| match action {
            TokenAction::Fetch { ticket, why } => Some((*ticket, *why)),
            _ => None,
        });
        self.actions.clear();
        found
    }

    fn answer(&mut self, outcome: Result<Grant, Option<Duration>>) {
        let (ticket, _) = self.fetch().expect("a fetch is asked for");
        self.tell(TokenEvent::Fetched { ticket, outcome });
    }

    /// Lets time pass to the next wake.
    fn wait(&mut self) -> Duration {
        let next = self.token.next_wake().expect("something is due");
        let passed = next.since(self.now);
        self.now = next;
        self.tell(TokenEvent::Tick);
        passed
    }

    fn attached(&self) -> Option<Ticket> {
        self.token.offer().filter(|offer| self.now < offer.until).map(|offer| offer.offer.others)
    }
}

fn lasting(life: u64, refresh: u64) -> Grant {
    Grant { expires: When::In(seconds(life)), refresh_by: Some(When::In(seconds(refresh))), date: None }
}

#[test]
fn it_is_renewed_at_refresh_by_and_the_old_one_serves_until_the_new_one_comes() {
    let mut bench = Bench::start();
    assert_eq!(bench.attached(), None);
    bench.answer(Ok(lasting(3_600, 1_800)));
    let first = bench.attached().unwrap();
    assert_eq!(bench.wait(), seconds(1_800));
    assert_eq!(bench.attached(), Some(first), "a valid token serves while the next is fetched");
    bench.answer(Err(None));
    assert_eq!(bench.wait(), seconds(1));
    bench.answer(Err(Some(seconds(90))));
    assert_eq!(bench.wait(), seconds(90), "`Retry-After` is longer than the pause of our own");
    assert_eq!(bench.attached(), Some(first));
    bench.answer(Ok(lasting(3_600, 1_800)));
    assert_ne!(bench.attached(), Some(first));
}

#[test]
fn the_provider_may_be_down_from_the_start_and_until_the_end_of_a_token() {
    let mut bench = Bench::start();
    for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
        bench.answer(Err(None));
        assert_eq!(bench.attached(), None);
        assert_eq!(bench.wait(), seconds(pause));
    }
    bench.answer(Ok(lasting(100, 50)));
    let token = bench.attached();
    assert!(token.is_some());
    let began = bench.now;
    while bench.token.offer().is_some() {
        bench.wait();
        if let Some((ticket, _)) = bench.fetch() {
            bench.tell(TokenEvent::Fetched { ticket, outcome: Err(None) });
        }
        assert!(bench.attached().is_none_or(|attached| Some(attached) == token));
    }
    assert_eq!(bench.now.since(began), seconds(98), "until its true expiry, less the margin");
    // And it heals by itself.
    bench.wait();
    bench.answer(Ok(lasting(100, 50)));
    assert!(bench.attached().is_some());
}

#[test]
fn a_clock_that_is_four_minutes_off_changes_nothing() {
    for date in [UNIX - 240, UNIX, UNIX + 240] {
        let absolute = |left| When::Unix(date + left);
        let grant = Grant { expires: absolute(3_600), refresh_by: Some(absolute(1_800)), date: Some(date) };
        assert_eq!(grant.times(tick(at(0))), Some((at(1_800), at(3_598))), "{date}");
    }
    // Nobody's word is taken for more than ten minutes.
    let liar = Grant { expires: When::Unix(UNIX + 1_000), refresh_by: None, date: Some(UNIX - 100_000) };
    assert_eq!(liar.times(tick(at(0))).unwrap().1, at(1_598));
}

#[test]
fn a_refresh_by_in_the_past_is_no_reason_to_loop() {
    let mut bench = Bench::start();
    let past = Grant { expires: When::Unix(UNIX + 3_600), refresh_by: Some(When::Unix(UNIX - 60)), date: None };
    bench.answer(Ok(past));
    assert_eq!(bench.wait(), Duration::from_millis(1_799_000), "half of what is left");
}

#[test]
fn a_token_that_has_expired_on_arrival_is_not_attached_and_not_fetched_in_a_loop() {
    let mut bench = Bench::start();
    for pause in [1, 2, 4] {
        bench.answer(Ok(Grant { expires: When::Unix(UNIX - 1), refresh_by: None, date: None }));
        assert!(bench.actions.contains(&TokenAction::Tell(TokenNotice::ExpiredOnArrival)));
        assert_eq!(bench.attached(), None);
        assert_eq!(bench.wait(), seconds(pause));
    }
}

#[test]
fn five_seconds_are_enough() {
    let mut bench = Bench::start();
    bench.answer(Ok(lasting(5, 3)));
    for _ in 0..100 {
        assert_eq!(bench.wait(), seconds(3));
        assert!(bench.attached().is_some());
        // The provider takes half a second.
        bench.now = bench.now + Duration::from_millis(500);
        bench.answer(Ok(lasting(5, 3)));
        assert!(bench.attached().is_some());
    }
}

#[test]
fn refusals_cause_one_refresh_in_thirty_seconds_and_then_a_lock() {
    let mut bench = Bench::start();
    bench.answer(Ok(lasting(3_600, 1_800)));
    let refused = |bench: &mut Bench| {
        let offer = bench.token.offer().unwrap().offer;
        bench.tell(TokenEvent::Rejected { value: offer.others });
        bench.tell(TokenEvent::Exhausted { generation: offer.generation });
    };
    refused(&mut bench);
    refused(&mut bench);
    assert_eq!(bench.actions.iter().filter(|action| matches!(action, TokenAction::Fetch { .. })).count(), 1);
    let (ticket, why) = bench.fetch().unwrap();
    assert_eq!(why, Fetch::Forced);
    bench.tell(TokenEvent::Fetched { ticket, outcome: Ok(lasting(3_600, 1_800)) });
    assert_eq!(bench.token.offer().unwrap().offer.access, Access::Open, "who waits gets the new one");

    bench.actions.clear();
    refused(&mut bench);
    assert_eq!(bench.token.offer().unwrap().offer.access, Access::Locked, "no other one can be had now");
    assert_eq!(bench.fetch(), None);
    assert_eq!(bench.wait(), seconds(30));
    assert_eq!(bench.fetch().unwrap().1, Fetch::Forced);
    // What is refused at most once more does not unlock; what is accepted does.
    let value = bench.token.offer().unwrap().offer.others;
    bench.tell(TokenEvent::Accepted { value });
    assert_eq!(bench.token.offer().unwrap().offer.access, Access::Open);
}

#[test]
fn an_answer_that_is_not_awaited_is_nothing() {
    let mut bench = Bench::start();
    let (ticket, _) = bench.fetch().unwrap();
    bench.tell(TokenEvent::Fetched { ticket: Ticket(ticket.0 + 1), outcome: Ok(lasting(60, 30)) });
    assert_eq!(bench.attached(), None);
    bench.tell(TokenEvent::Fetched { ticket, outcome: Ok(lasting(60, 30)) });
    let token = bench.token.clone();
    bench.tell(TokenEvent::Fetched { ticket, outcome: Err(None) });
    assert_eq!(bench.token, token);
}

/// What happens next in a random life.
#[derive(Debug, Clone)]
enum Happening {
    Wait,
    Pass(u64),
    Answer {
        lifetime: u64,
        refresh: i64,
        absolute: bool,
        skew: i64,
        dated: bool,
    },
    Fail(Option<u64>),
    Reject,
    Accept,
    Exhaust,
    /// The wall clock is set.
    SetClock(i64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        4 => Just(Happening::Wait),
        2 => (0_u64..4_000).prop_map(Happening::Pass),
        4 => (0_u64..5_000, -100_i64..5_000, any::<bool>(), -590_i64..590, any::<bool>()).prop_map(
            |(lifetime, refresh, absolute, skew, dated)| Happening::Answer { lifetime, refresh, absolute, skew, dated }
        ),
        2 => prop::option::of(0_u64..200).prop_map(Happening::Fail),
        1 => Just(Happening::Reject),
        1 => Just(Happening::Accept),
        1 => Just(Happening::Exhaust),
        1 => (-1_000_000_i64..1_000_000).prop_map(Happening::SetClock),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// Runs through a random life with the wall clock set at will.
    #[test]
    fn whatever_happens(life in prop::collection::vec(happening(), 1..80), dice: u64) {
        let rules = TokenRules::default();
        let mut now = at(1_000);
        let mut wall: i64 = 0;
        let tick = |now: Moment, wall: i64| Tick {
            now,
            unix: (UNIX + now.as_micros() / 1_000_000).saturating_add_signed(wall),
            dice,
        };
        let (mut token, mut actions) = Token::start(5, tick(now, wall), &rules);
        let mut generation = 5;
        let mut fetching: Option<Ticket> = None;
        let mut forced: Option<Moment> = None;
        let mut not_before = now;
        // By the monotonic clock, when the provider ends each token.
        let mut ends = std::collections::HashMap::new();
        for happening in std::iter::once(Happening::Pass(0)).chain(life) {
            for action in std::mem::take(&mut actions) {
                match action {
                    TokenAction::Fetch { ticket, why } => {
                        prop_assert!(fetching.is_none(), "two fetches at once");
                        prop_assert!(now >= not_before, "sooner than the provider wants");
                        if why == Fetch::Forced {
                            prop_assert!(forced.is_none_or(|last| now.since(last) >= rules.refresh_interval));
                            forced = Some(now);
                        }
                        fetching = Some(ticket);
                    }
                    TokenAction::Publish(offer) => {
                        if let Some(offer) = offer {
                            prop_assert!(offer.offer.generation > generation);
                            generation = offer.offer.generation;
                            prop_assert!(offer.until > now, "an expired token is offered");
                            let end = ends[&offer.offer.others];
                            prop_assert!(offer.until <= end, "a token is offered longer than it lasts");
                        }
                    }
                    TokenAction::Tell(_) => {}
                }
            }
            prop_assert!(token.next_wake().is_none_or(|at| at > now), "a wake in the past");
            prop_assert!(token.next_wake().is_some() || fetching.is_some(), "nothing will ever happen");
            let offer = token.offer().copied();
            let event = match happening {
                Happening::Wait => {
                    let Some(next) = token.next_wake() else { continue };
                    now = next;
                    TokenEvent::Tick
                }
                Happening::Pass(by) => {
                    // Not beyond the next wake: the driver keeps its promise.
                    let next = now + seconds(by);
                    now = token.next_wake().map_or(next, |wake| wake.min(next));
                    TokenEvent::Tick
                }
                Happening::Answer { lifetime, refresh, absolute, skew, dated } => {
                    let Some(ticket) = fetching.take() else { continue };
                    let provider = tick(now, wall).unix.saturating_add_signed(skew);
                    // Without a `date` an absolute time is only as good as our own clock.
                    let absolute = absolute && dated;
                    let when = |left: i64| match u64::try_from(left) {
                        Ok(left) if !absolute => When::In(seconds(left)),
                        _ => When::Unix(provider.saturating_add_signed(left)),
                    };
                    let lifetime = i64::try_from(lifetime).unwrap();
                    let (expires, refresh_by) = (when(lifetime), Some(when(refresh)));
                    ends.insert(ticket, now + seconds(u64::try_from(lifetime).unwrap()));
                    not_before = now;
                    let date = dated.then_some(provider);
                    TokenEvent::Fetched { ticket, outcome: Ok(Grant { expires, refresh_by, date }) }
                }
                Happening::Fail(retry_after) => {
                    let Some(ticket) = fetching.take() else { continue };
                    let retry_after = retry_after.map(seconds);
                    not_before = now + retry_after.unwrap_or_default();
                    TokenEvent::Fetched { ticket, outcome: Err(retry_after) }
                }
                Happening::Reject => {
                    let Some(offer) = offer else { continue };
                    TokenEvent::Rejected { value: offer.offer.others }
                }
                Happening::Accept => {
                    let Some(offer) = offer else { continue };
                    TokenEvent::Accepted { value: offer.offer.others }
                }
                Happening::Exhaust => {
                    let Some(offer) = offer else { continue };
                    TokenEvent::Exhausted { generation: offer.offer.generation }
                }
                Happening::SetClock(by) => {
                    wall = by;
                    TokenEvent::Tick
                }
            };
            (token, actions) = token.step(&event, tick(now, wall), &rules);
            if let Some(offer) = token.offer() {
                prop_assert!(offer.until > now, "an expired token stays offered");
            }
        }
    }
}
