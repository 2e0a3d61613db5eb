use std::sync::atomic::AtomicUsize;

use super::*;
use crate::azure::{calls::Why, error::Fault, refusal::Refusal};

/// Answers in turn with what is scripted; the last answer repeats itself.
#[derive(Debug, Default)]
struct Script {
    lives: Mutex<Vec<Option<u64>>>,
    asked: AtomicUsize,
    claims: Mutex<Vec<String>>,
    /// What a failure is; none: something on this machine.
    status: Mutex<Option<u16>>,
}

impl Fetch for Arc<Script> {
    fn fetch<'a>(
        &'a self,
        audience: &'a Audience,
        claims: Option<&'a str>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            calls.begun(Why::SignIn);
            let number = self.asked.fetch_add(1, Relaxed);
            self.claims.lock().unwrap().extend(claims.map(str::to_owned));
            tokio::task::yield_now().await;
            let lives = self.lives.lock().unwrap();
            match lives.get(number).or(lives.last()).copied().flatten() {
                Some(life) => {
                    let value = Secret::new(format!("{audience} {number}").into_bytes());
                    Ok(Fetched { value, life: Duration::from_secs(life), refresh_in: None })
                }
                None => Err(match *self.status.lock().unwrap() {
                    None => Error::local("sign in", "no"),
                    Some(status) => {
                        let refusal = Refusal::read(status, br#"{"error":"invalid_client"}"#, &[]);
                        Error::new("sign in", Fault::Refused { host: "issuer".to_owned(), refusal })
                    }
                }),
            }
        })
    }

    fn who(&self) -> String {
        "a script".to_owned()
    }
}

struct World {
    script: Arc<Script>,
    source: Remembered<Arc<Script>>,
    clock: Clock,
}

fn world(lives: &[Option<u64>]) -> World {
    let script = Arc::new(Script { lives: Mutex::new(lives.to_vec()), ..Script::default() });
    let clock = Clock::manual(1_000_000);
    World { source: Remembered::new(Arc::clone(&script), clock.clone()), script, clock }
}

impl World {
    async fn ask(&self, wanted: Wanted) -> Result<String, String> {
        let audience = Audience::new("arm");
        let bearer = self.source.token(&audience, wanted, &mut Calls::default()).await.map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(bearer.value.expose_bytes()).into_owned())
    }

    fn asked(&self) -> usize {
        self.script.asked.load(Relaxed)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

#[tokio::test]
async fn a_token_is_used_until_it_is_due_and_each_audience_has_its_own() {
    let world = world(&[Some(3600)]);
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 0");
    world.pass(3299);
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 0");
    world.pass(1);
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 1");
    let other = Audience::new("ml");
    let bearer = world.source.token(&other, Wanted::Valid, &mut Calls::default()).await.unwrap();
    assert_eq!(bearer.value.expose_bytes(), b"ml 2");
}

#[tokio::test]
async fn a_hundred_who_ask_at_once_cause_one_fetch_and_one_failure_is_everyones() {
    for life in [Some(3600), None] {
        let world = world(&[life]);
        let all = (0..100).map(|_| world.ask(Wanted::Valid));
        let answers = futures_join(all).await;
        assert_eq!(world.asked(), 1);
        assert!(answers.iter().all(|answer| answer.is_ok() == life.is_some()));
        // The next one asks anew: what is wrong on this machine is not remembered beyond those who waited for it.
        let _ = world.ask(Wanted::Valid).await;
        assert_eq!(world.asked(), if life.is_some() { 1 } else { 2 });
    }
}

#[tokio::test]
async fn a_refusal_that_somebody_has_to_mend_is_everyones_for_a_while() {
    let world = world(&[None]);
    *world.script.status.lock().unwrap() = Some(401);
    for _ in 0..600 {
        assert!(world.ask(Wanted::Valid).await.unwrap_err().contains("invalid_client"));
        world.clock.advance(Duration::from_millis(100));
    }
    assert_eq!(world.asked(), 4, "in a minute");
    // What heals by itself is the business of whoever asks: they know how long to wait.
    *world.script.status.lock().unwrap() = Some(503);
    world.pass(15);
    for _ in 0..3 {
        world.ask(Wanted::Valid).await.unwrap_err();
    }
    assert_eq!(world.asked(), 7);
    // Mended.
    world.script.lives.lock().unwrap().push(Some(3600));
    world.script.lives.lock().unwrap().remove(0);
    world.ask(Wanted::Valid).await.unwrap();
}

async fn futures_join<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in &mut futures {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        if futures.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, done)| done).collect()
}

#[tokio::test]
async fn while_renewing_fails_the_old_token_serves_until_its_end() {
    let world = world(&[Some(3600), None]);
    world.ask(Wanted::Valid).await.unwrap();
    world.pass(3400);
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 0");
    assert_eq!(world.asked(), 2);
    world.pass(29);
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 0");
    assert_eq!(world.asked(), 2, "not tried again within 30 s");
    world.pass(1);
    world.ask(Wanted::Valid).await.unwrap();
    assert_eq!(world.asked(), 3);
    world.pass(170);
    assert!(world.ask(Wanted::Valid).await.unwrap_err().contains("cannot sign in"));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_by_whoever_comes_first() {
    let world = world(&[Some(3600)]);
    let audience = Audience::new("arm");
    let refused = world.source.token(&audience, Wanted::Valid, &mut Calls::default()).await.unwrap();
    assert_eq!(world.ask(Wanted::Instead(Arc::clone(&refused))).await.unwrap(), "arm 1");
    assert_eq!(world.ask(Wanted::Instead(refused)).await.unwrap(), "arm 1", "it has been replaced already");
    assert_eq!(world.ask(Wanted::WithClaims("{}".into())).await.unwrap(), "arm 2");
    assert_eq!(*world.script.claims.lock().unwrap(), ["{}"]);
}

#[tokio::test]
async fn one_who_gives_up_while_fetching_holds_up_nobody() {
    let world = world(&[Some(3600)]);
    {
        let mut given_up = Box::pin(world.ask(Wanted::Valid));
        std::future::poll_fn(|cx| {
            assert!(given_up.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
    }
    assert_eq!(world.ask(Wanted::Valid).await.unwrap(), "arm 1");
}

#[test]
fn a_short_life_is_not_renewed_for_ever() {
    for (life, renew) in [(60, 48), (300, 240), (600, 300), (3600, 3300), (7200, 3600), (86_400, 43_200)] {
        let fetched = Fetched { value: Secret::new(vec![]), life: Duration::from_secs(life), refresh_in: None };
        let bearer = Bearer::new(fetched, Moment::from_micros(0), 0);
        assert_eq!(bearer.renew.as_micros() / 1_000_000, renew, "{life}");
        assert_eq!(bearer.expires_unix, life);
    }
}

#[test]
fn a_life_is_told_by_duration_first_and_by_the_issuers_clock() {
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(lifetime(Some(3600), Some(1), 1_000, None), hour);
    assert_eq!(lifetime(None, Some(4600), 1_000, None), hour);
    assert_eq!(lifetime(None, Some(4600), 1_300, Some(-300)), hour, "our clock is five minutes ahead");
    assert_eq!(lifetime(None, Some(4600), 700, Some(300)), hour, "and behind");
    assert_eq!(lifetime(None, Some(4600), 5_000, Some(-9_000)), Some(Duration::from_secs(200)), "ten minutes at most");
    assert_eq!(lifetime(None, Some(4600), 4_600, None), None);
    assert_eq!(lifetime(Some(0), None, 0, None), None);
    assert_eq!(lifetime(None, None, 0, None), None);
}
