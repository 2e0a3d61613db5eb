//! Tokens that prove who we are: how long they live, when they are renewed, and one fetch at a time for each.
//!
//! [`TokenSource`] is the seam: `control` asks one for every call, tests put a fake in its place. A token that is valid is
//! never waited for; one that is due is renewed by the next who asks, and while renewing fails the old one serves until its
//! end. Nothing here asks anybody by itself.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    BoxFuture,
    calls::Calls,
    cloud::Audience,
    error::{Error, Heals},
};
use crate::{
    clock::{Clock, Moment},
    secret::Secret,
};

/// Both of Microsoft's libraries renew what has less than this left.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// From this life on they renew at half of it.
const LONG_LIFE: Duration = Duration::from_secs(7200);
/// How often renewing a token that is still valid is tried.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// For how long a refusal that somebody has to mend is everyone's who asks: endpoints that share an identity would each ask anew,
/// and an issuer that has said no is asked four times a minute at most.
const REFUSED_FOR: Duration = Duration::from_secs(15);
/// More than this no clock is believed to differ from ours.
const MOST_AHEAD: i64 = 600;

/// A token, with its times on our own monotonic clock.
#[derive(Debug)]
pub struct Bearer {
    /// The token itself.
    pub value: Secret,
    /// From then on it is renewed.
    pub renew: Moment,
    /// From then on it is refused.
    pub expires: Moment,
    /// The same in Unix seconds of our clock, to be shown.
    pub expires_unix: u64,
}

/// What a source is asked for.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// One that is valid.
    Valid,
    /// Another one than this, which was refused.
    Instead(Arc<Bearer>),
    /// One that answers a claims challenge: these claims, as JSON.
    WithClaims(String),
}

/// Where tokens come from.
pub trait TokenSource: fmt::Debug + Send + Sync {
    /// A token for an audience.
    ///
    /// # Errors
    /// Why there is none.
    fn token<'a>(
        &'a self,
        audience: &'a Audience,
        wanted: Wanted,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Arc<Bearer>, Error>>;

    /// Who is signed in, for messages: `application C of tenant T`.
    fn who(&self) -> String;
}

/// A token as it was fetched.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The token itself.
    pub value: Secret,
    /// How long it is valid from now on.
    pub life: Duration,
    /// After what time its issuer wants it renewed, if it says so.
    pub refresh_in: Option<Duration>,
}

/// One way to fetch a token, with no memory.
pub trait Fetch: fmt::Debug + Send + Sync {
    /// Fetches a token.
    ///
    /// # Errors
    /// Why there is none.
    fn fetch<'a>(
        &'a self,
        audience: &'a Audience,
        claims: Option<&'a str>,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Fetched, Error>>;

    /// See [`TokenSource::who`].
    fn who(&self) -> String;
}

/// A source that remembers.
#[derive(Debug)]
pub struct Remembered<F> {
    fetch: F,
    clock: Clock,
    /// By audience: a token for one is nothing to another.
    places: Mutex<HashMap<Audience, Arc<Place>>>,
}

/// What is remembered for one audience.
#[derive(Debug, Default)]
struct Place {
    /// Held by who fetches. The others wait for it and then look at what came of it.
    fetching: tokio::sync::Mutex<()>,
    /// Fetches that have ended. Relaxed: written under `fetching`, and whoever waited read it before that.
    ended: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default, Clone)]
struct Known {
    bearer: Option<Arc<Bearer>>,
    /// Why the last fetch brought nothing; `None` after one that did.
    failure: Option<Error>,
    tried: Option<Moment>,
}

impl Place {
    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Fetch> Remembered<F> {
    /// Remembers what `fetch` brings.
    pub fn new(fetch: F, clock: Clock) -> Self {
        Self { fetch, clock, places: Mutex::default() }
    }

    fn place(&self, audience: &Audience) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.entry(audience.clone()).or_default())
    }

    async fn get(&self, audience: &Audience, wanted: Wanted, calls: &mut Calls) -> Result<Arc<Bearer>, Error> {
        let place = self.place(audience);
        let ended = place.ended.load(Relaxed);
        if let Some(bearer) = self.choose(&place.known(), &wanted) {
            return Ok(bearer);
        }
        let _fetching = place.fetching.lock().await;
        let known = place.known().clone();
        if let Some(bearer) = self.choose(&known, &wanted) {
            return Ok(bearer);
        }
        // Somebody fetched while we waited: what they were told is our answer too.
        if let (true, Some(failure)) = (place.ended.load(Relaxed) != ended, &known.failure) {
            return Err(failure.clone());
        }
        if let (Wanted::Valid, Some(refusal)) = (&wanted, self.refused(&known)) {
            return Err(refusal);
        }
        let claims = match &wanted {
            Wanted::WithClaims(claims) => Some(claims.as_str()),
            Wanted::Valid | Wanted::Instead(_) => None,
        };
        let fetched = self.fetch.fetch(audience, claims, calls).await;
        let now = self.clock.now();
        place.ended.fetch_add(1, Relaxed);
        let mut known = place.known();
        known.tried = Some(now);
        match fetched {
            Ok(fetched) => {
                let bearer = Arc::new(Bearer::new(fetched, now, self.clock.unix_seconds()));
                known.bearer = Some(Arc::clone(&bearer));
                known.failure = None;
                Ok(bearer)
            }
            Err(error) => {
                known.failure = Some(error.clone());
                let old = known.bearer.clone().filter(|bearer| now < bearer.expires);
                match (wanted, old) {
                    (Wanted::Valid, Some(old)) => {
                        tracing::warn!(%error, "a token could not be renewed; the old one is valid for now");
                        Ok(old)
                    }
                    (Wanted::Valid | Wanted::Instead(_) | Wanted::WithClaims(_), _) => Err(error),
                }
            }
        }
    }

    /// What the issuer has said a moment ago, if asking again would bring nothing else.
    fn refused(&self, known: &Known) -> Option<Error> {
        let failure = known.failure.as_ref()?;
        let lasts = failure.refusal().is_some() && failure.heals() == Heals::Later;
        let recent = known.tried.is_some_and(|tried| self.clock.now().since(tried) < REFUSED_FOR);
        (lasts && recent).then(|| failure.clone())
    }

    /// The token that is there, if it will do without a fetch.
    fn choose(&self, known: &Known, wanted: &Wanted) -> Option<Arc<Bearer>> {
        let bearer = known.bearer.as_ref()?;
        let now = self.clock.now();
        let will_do = match wanted {
            Wanted::Valid if now < bearer.renew => true,
            // Due, and tried in vain a moment ago.
            Wanted::Valid => now < bearer.expires && known.tried.is_some_and(|tried| now.since(tried) < RENEW_EVERY),
            Wanted::Instead(refused) => !Arc::ptr_eq(bearer, refused) && now < bearer.renew,
            Wanted::WithClaims(_) => false,
        };
        will_do.then(|| Arc::clone(bearer))
    }
}

impl<F: Fetch> TokenSource for Remembered<F> {
    fn token<'a>(
        &'a self,
        audience: &'a Audience,
        wanted: Wanted,
        calls: &'a mut Calls,
    ) -> BoxFuture<'a, Result<Arc<Bearer>, Error>> {
        Box::pin(self.get(audience, wanted, calls))
    }

    fn who(&self) -> String {
        self.fetch.who()
    }
}

impl Bearer {
    fn new(fetched: Fetched, now: Moment, now_unix: u64) -> Self {
        let Fetched { value, life, refresh_in } = fetched;
        let renew = match refresh_in {
            Some(refresh_in) => refresh_in.min(life),
            None if life >= LONG_LIFE => life / 2,
            // One that lives shorter than the margin is used for most of its life all the same: renewing it at once would
            // be renewing it for ever.
            None => life.saturating_sub(RENEW_BEFORE).max(life.mul_f64(0.8).min(RENEW_BEFORE)).min(life),
        };
        Self { value, renew: now + renew, expires: now + life, expires_unix: now_unix + life.as_secs() }
    }
}

/// How long a token lives, from what its issuer says. A duration is believed before a time, since it needs no clock; a time is
/// compared with the issuer's own clock where that is known (`ahead`: seconds by which it is ahead of ours), since ours may
/// be wrong. `None` where the issuer says nothing, or the time is past.
#[must_use]
pub fn lifetime(
    expires_in: Option<i64>,
    expires_on: Option<i64>,
    now_unix: u64,
    ahead: Option<i64>,
) -> Option<Duration> {
    let seconds = match (expires_in, expires_on) {
        (Some(seconds), _) => seconds,
        (None, Some(unix)) => unix.checked_sub(their_now(now_unix, ahead))?,
        (None, None) => return None,
    };
    u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// The time at an issuer whose clock is ahead of ours by `ahead`, of which no more than ten minutes is believed.
#[must_use]
pub fn their_now(now_unix: u64, ahead: Option<i64>) -> i64 {
    let ahead = ahead.unwrap_or(0).clamp(-MOST_AHEAD, MOST_AHEAD);
    i64::try_from(now_unix).unwrap_or(i64::MAX).saturating_add(ahead)
}

/// The claims of a token that is a JWT, unverified: for what its issuer told us over TLS, and to be shown.
#[must_use]
pub fn claims(token: &Secret) -> Option<serde_json::Map<String, serde_json::Value>> {
    let middle = token.expose_bytes().split(|byte| *byte == b'.').nth(1)?;
    let json = URL_SAFE_NO_PAD.decode(middle.trim_ascii_end()).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests;
