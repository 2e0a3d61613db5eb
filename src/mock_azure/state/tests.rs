//! Whatever is asked of a service in whatever order: keys change only when asked, and front ends take what they have learned.

use http::HeaderMap;
use proptest::prelude::*;

use super::{
    Tick,
    counters::{Count, Counters},
    faults::{Fault, Faults, Kind, Meeting, Target},
    grants::{Asked, Challenge, Decision, Grants, Waiting},
    guid,
    service::Service,
};
use crate::{
    clock::Moment,
    mock_azure::setup::ServiceSetup,
    service_auth::{AuthMode, EntraRefusal, EntraTokens, KeyValue, Presented, Regenerate, ServiceKind, Slot},
};

struct NoEntra;

impl EntraTokens for NoEntra {
    fn check(&self, _token: &str, _unix: u64) -> Result<(), EntraRefusal> {
        Err(EntraRefusal::Foreign)
    }
}

fn tick(seconds: u64, random: u8) -> Tick {
    Tick { now: Moment::from_micros(seconds * 1_000_000), unix: 1_000_000 + seconds, random: [random; 32] }
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Regenerate(Slot, Option<u8>),
    Outside(Slot),
    Lags([u8; 3], u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let slot = prop_oneof![Just(Slot::Primary), Just(Slot::Secondary)];
    let step = prop_oneof![
        3 => (0_u64..8).prop_map(Step::Wait),
        3 => (slot.clone(), proptest::option::of(any::<u8>())).prop_map(|(slot, value)| Step::Regenerate(slot, value)),
        1 => slot.prop_map(Step::Outside),
        1 => (any::<[u8; 3]>(), 0_u8..5, 0_u8..5).prop_map(|(lags, stale, operation)| Step::Lags(lags.map(|lag| lag % 10), stale, operation)),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What the service should be: every change with the moment at which each observer takes it.
struct Model {
    /// Per slot: value, and from when the truth, the three front ends and `listKeys` have it.
    changes: [Vec<(String, [u64; 5])>; 2],
    pending: Option<(Slot, String, u64)>,
    lags: [u64; 3],
    stale: u64,
    operation: u64,
}

impl Model {
    fn change(&mut self, slot: Slot, value: String, at: u64) {
        let changes = &mut self.changes[slot as usize];
        let mut from = [at, at + self.lags[0], at + self.lags[1], at + self.lags[2], at + self.stale];
        // Nothing told later arrives before something told earlier, while that is still on its way.
        let last = changes.last().unwrap().1;
        for (index, (from, last)) in from.iter_mut().zip(last).enumerate() {
            if index > 0 && last > at {
                *from = (*from).max(last);
            }
        }
        changes.push((value, from));
    }

    fn settle(&mut self, now: u64) {
        if let Some((slot, value, due)) = self.pending.take_if(|(_, _, due)| *due <= now) {
            self.change(slot, value, due);
        }
    }

    /// The value that an observer has: 0 the truth, 1 to 3 the front ends, 4 `listKeys`.
    fn value(&self, slot: Slot, observer: usize, now: u64) -> &str {
        &self.changes[slot as usize].iter().rfind(|(_, from)| from[observer] <= now).unwrap().0
    }
}

proptest! {
    #[test]
    fn a_service_is_what_it_was_told(steps in steps()) {
        let setup = ServiceSetup::new("svc", ServiceKind::Aks, AuthMode::Key);
        let mut service = Service::new(setup, &tick(0, 1), &[2; 32], &[3; 32]);
        let first = |slot| service.auth.keys.value(slot).expose_text().to_owned();
        let mut model = Model {
            changes: [Slot::Primary, Slot::Secondary].map(|slot| vec![(first(slot), [0; 5])]),
            pending: None, lags: [0; 3], stale: 0, operation: 0,
        };
        let (mut now, mut random) = (0, 10_u8);
        for step in steps {
            random = random.wrapping_add(1);
            let tick = tick(now, random);
            service.settle(&tick);
            model.settle(now);
            match step {
                Step::Wait(seconds) => now += seconds,
                Step::Lags(lags, stale, operation) => {
                    service.knobs.learn_lag = lags.map(f64::from).to_vec();
                    (service.knobs.stale_listkeys, service.knobs.operation) = (f64::from(stale), f64::from(operation));
                    (model.lags, model.stale, model.operation) = (lags.map(u64::from), u64::from(stale), u64::from(operation));
                }
                Step::Outside(slot) => {
                    service.regenerate_outside(slot, None, &tick, 0);
                    model.change(slot, KeyValue::made_of(&tick.random).expose_text().to_owned(), now);
                }
                Step::Regenerate(slot, value) => {
                    let value = value.map(|value| format!("chosen-{value}"));
                    let asked = Regenerate { slot, value: value.as_ref().map(|text| KeyValue::new(text).unwrap()) };
                    let begun = service.regenerate(asked, &tick);
                    prop_assert_eq!(begun.is_err(), model.pending.is_some(), "one at a time");
                    if begun.is_ok() {
                        let value = value.unwrap_or_else(|| KeyValue::made_of(&tick.random).expose_text().to_owned());
                        model.pending = Some((slot, value, now + model.operation));
                        model.settle(now);
                    }
                }
            }
            let tick = tick_at(now);
            service.settle(&tick);
            model.settle(now);
            let listed = service.list_keys(tick.now);
            for slot in Slot::BOTH {
                prop_assert_eq!(service.auth.keys.value(slot).expose_text(), &model.changes[slot as usize].last().unwrap().0);
                prop_assert_eq!(listed.value(slot).expose_text(), model.value(slot, 4, now));
                for front_end in 0..3 {
                    let mut headers = HeaderMap::new();
                    let value = model.value(slot, front_end + 1, now);
                    headers.insert("authorization", format!("Bearer {value}").parse().unwrap());
                    let verdict = service.judge(front_end, &Presented::read(&headers), &tick, 0, &NoEntra);
                    prop_assert!(verdict.is_ok(), "front end {front_end} takes {value} at {now}");
                }
            }
        }
    }

    /// Counters since any look are exactly what came after it.
    #[test]
    fn counters_tell_what_came_since_a_look(steps in proptest::collection::vec((0_u64..300, 0_usize..3), 1..60)) {
        let (mut counters, mut at, mut looks, mut total) = (Counters::default(), 1_000, Vec::new(), 0_u64);
        for (wait, what) in steps {
            at += wait + 1;
            if what == 0 {
                counters.mark(at);
                looks.push((at, total));
            } else {
                counters.add(at, [Count::Requests]);
                total += 1;
            }
        }
        let requests = |since| counters.since(since).get(&Count::Requests).copied().unwrap_or(0);
        prop_assert_eq!(requests(None), total);
        for (at, before) in looks {
            prop_assert_eq!(requests(Some(at)), total - before);
        }
    }

    /// A fault with a count happens that often, and never to what it is not for.
    #[test]
    fn faults_happen_as_often_as_told(count in 1_u64..5, calls in proptest::collection::vec(any::<bool>(), 0..20)) {
        let mut faults = Faults::default();
        let fault = Fault {
            target: Target::Mms, kind: Kind::Status, status: None, delay: None, count: Some(count), retry_after: None,
            call: Some("listkeys".to_owned()), service: None, front_end: None, code: None,
        };
        faults.put(fault);
        let mut met = 0;
        for listkeys in calls {
            let call = if listkeys { "listkeys" } else { "get" };
            let fate = faults.meet(&Meeting { target: Target::Mms, call, service: None, front_end: None });
            prop_assert_eq!(fate.fault.is_some(), listkeys && met < count);
            met += u64::from(listkeys);
        }
        prop_assert_eq!(faults.is_empty(), met >= count);
    }
}

fn tick_at(seconds: u64) -> Tick {
    tick(seconds, 0)
}

fn asked() -> Asked {
    Asked { client_id: "c".to_owned(), audience: "a".to_owned(), scope: "s".to_owned() }
}

#[test]
fn a_device_gets_its_tokens_once_and_not_too_often() {
    let mut grants = Grants::default();
    let (device, user) = grants.start_device(asked(), 900, 5, &tick(0, 1));
    assert_eq!(grants.waiting(&tick(0, 0)), std::slice::from_ref(&user));
    assert_eq!(grants.poll_device(&device, "c", &tick(0, 0)).unwrap_err(), Waiting::Pending);
    assert_eq!(grants.poll_device(&device, "c", &tick(3, 0)).unwrap_err(), Waiting::SlowDown);
    assert_eq!(grants.poll_device(&device, "c", &tick(8, 0)).unwrap_err(), Waiting::Pending);
    assert_eq!(grants.poll_device(&device, "other", &tick(20, 0)).unwrap_err(), Waiting::Unknown);
    assert!(grants.decide(&user.to_lowercase(), Decision::Approved, &tick(20, 0)));
    assert!(!grants.decide(&user, Decision::Declined, &tick(20, 0)), "it was decided");
    assert_eq!(grants.poll_device(&device, "c", &tick(25, 0)).unwrap(), asked());
    assert_eq!(grants.poll_device(&device, "c", &tick(30, 0)).unwrap_err(), Waiting::Unknown);
    let (late, user) = grants.start_device(asked(), 900, 5, &tick(30, 2));
    assert!(!grants.decide(&user, Decision::Approved, &tick(930, 0)));
    assert_eq!(grants.poll_device(&late, "c", &tick(930, 0)).unwrap_err(), Waiting::Expired);
}

#[test]
fn a_code_wants_the_verifier_of_its_challenge() {
    // RFC 7636, appendix B.
    let challenge = Challenge::S256("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned());
    let mut grants = Grants::default();
    let code = grants.authorize(asked(), "http://localhost".to_owned(), None, Some(challenge), &tick(0, 1));
    for wrong in [None, Some("x"), Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")] {
        assert!(grants.redeem(&code, "c", "http://localhost", wrong, &tick(1, 0)).is_err());
    }
    let verifier = Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    assert!(grants.redeem(&code, "c", "http://localhost", verifier, &tick(1, 0)).is_ok());
    assert!(grants.redeem(&code, "c", "http://localhost", verifier, &tick(1, 0)).is_err());
}

#[test]
fn a_refresh_token_is_its_client_s_until_it_is_taken_back() {
    let mut grants = Grants::default();
    let token = grants.keep(&asked(), &tick(0, 1));
    assert_eq!(grants.refresh(&token, "c", &tick(1, 0)), Some(asked()));
    assert_eq!(grants.refresh(&token, "other", &tick(1, 0)), None);
    assert_eq!(grants.refresh(&token, "c", &tick(91 * 86_400, 0)), None);
    grants.revoke();
    assert_eq!(grants.refresh(&token, "c", &tick(1, 0)), None);
}

#[test]
fn guids_are_of_version_4() {
    assert_eq!(guid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(guid([0; 16]), "00000000-0000-4000-8000-000000000000");
}
