//! How much a caller may ask, and a route is asked: a rate with a burst, requests in flight, requests a day.
//!
//! Called by `pipeline` after `decide` let somebody in. What is counted is shared by all workers, in one number for each limit: a
//! request that has none writes nothing that another worker reads. Every part that was taken is given back where a later one refuses.

pub mod quota;
pub mod rate;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use self::{
    quota::{Quota, Used},
    rate::Bucket,
};
use super::{decide::Plan, reject::Reject};
use crate::{clock::Tick, snapshot::Snapshot};

/// What is allowed, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Requests in a time.
    pub rate: Option<Rate>,
    /// Requests in flight.
    pub concurrent: Option<u64>,
    /// Requests a day.
    pub quota: Option<u64>,
}

/// Requests in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many
    pub count: u64,
    /// in so many seconds,
    pub seconds: u64,
    /// and so many at once.
    pub burst: u64,
}

/// The limits of a caller or a route.
#[derive(Debug)]
pub struct Limiter {
    allowed: Allowed,
    rate: Option<Bucket>,
    /// What each caller of a route is sure of, by its place in the route's list: an equal share of the rate. Whoever asks for more gets
    /// what others leave, so that nobody starves.
    shares: Box<[Bucket]>,
    in_flight: Arc<AtomicU64>,
    quota: Option<Quota>,
}

/// Which limit refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Too many in a time.
    Rate,
    /// Too many in flight.
    Concurrent,
    /// Too many today.
    Quota,
}

/// A refusal, with what the answer says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limited {
    /// Which limit.
    pub kind: Kind,
    /// What it allows.
    pub most: u64,
    /// Seconds in which it allows that; none for requests in flight.
    pub window: Option<u64>,
    /// Seconds after which it makes sense to try again.
    pub wait: u64,
}

impl Limited {
    /// The failure that it is.
    #[must_use]
    pub const fn reject(&self) -> Reject {
        match self.kind {
            Kind::Rate | Kind::Concurrent => Reject::RateLimited,
            Kind::Quota => Reject::QuotaExceeded,
        }
    }
}

impl Kind {
    /// The word for metrics and policies.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Concurrent => "concurrent",
            Self::Quota => "quota",
        }
    }
}

/// Requests in flight that a request is one of. Given back when dropped.
#[derive(Debug, Default)]
#[expect(dead_code, reason = "held until the request is over")]
pub struct Held {
    caller: Option<InFlight>,
    route: Option<InFlight>,
}

#[derive(Debug)]
struct InFlight(Arc<AtomicU64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Counts a request that was let in.
///
/// # Errors
/// The first limit that refuses it: then nothing is counted.
pub fn admit(snapshot: &Snapshot, plan: &Plan<'_>, tick: Tick) -> Result<Held, Limited> {
    let caller = snapshot.callers.get(plan.caller.index()).and_then(|caller| caller.limits.as_deref());
    let route = plan.forward.limits.as_deref();
    if caller.is_none() && route.is_none() {
        return Ok(Held::default());
    }
    let share = route.filter(|route| !route.shares.is_empty()).and_then(|_| {
        let allowed = &plan.forward.callers.allowed;
        allowed.iter().position(|at| *at == plan.caller.index())
    });
    let held = Held {
        caller: caller.map(Limiter::enter).transpose()?.flatten(),
        route: route.map(Limiter::enter).transpose()?.flatten(),
    };
    if let Some(caller) = caller {
        caller.take_rate(None, tick)?;
    }
    if let Some(route) = route
        && let Err(limited) = route.take_rate(share, tick)
    {
        caller.inspect(|caller| caller.give_rate_back(None));
        return Err(limited);
    }
    let rate_back = || {
        caller.inspect(|caller| caller.give_rate_back(None));
        route.inspect(|route| route.give_rate_back(share));
    };
    if let Some(caller) = caller {
        caller.take_quota(tick).inspect_err(|_| rate_back())?;
    }
    if let Some(route) = route
        && let Err(limited) = route.take_quota(tick)
    {
        rate_back();
        caller.and_then(|caller| caller.quota.as_ref()).inspect(|quota| quota.give_back());
        return Err(limited);
    }
    Ok(held)
}

impl Limiter {
    /// What is allowed, with what was used under the limits that these replace. `callers`: how many share them.
    #[must_use]
    pub fn new(allowed: Allowed, callers: usize, before: Option<&Self>) -> Self {
        let callers = u64::try_from(callers).unwrap_or(u64::MAX).max(1);
        let share = |rate: &Rate| {
            // Who is sure of less than one request at once is sure of nothing.
            (callers > 1 && rate.burst >= callers)
                .then(|| Bucket::new(rate.count, rate.seconds.saturating_mul(callers), rate.burst / callers))
        };
        let shares = (0..callers).map_while(|_| allowed.rate.as_ref().and_then(share)).collect();
        let used = before.and_then(|before| before.quota.as_ref()).map_or(Used::NOTHING, Quota::used);
        Self {
            rate: allowed.rate.as_ref().map(|rate| Bucket::new(rate.count, rate.seconds, rate.burst)),
            shares,
            in_flight: before.map_or_else(Arc::default, |before| Arc::clone(&before.in_flight)),
            quota: allowed.quota.map(|most| Quota::new(most, used)),
            allowed,
        }
    }

    /// Whether these are the limits of this configuration.
    #[must_use]
    pub fn are(&self, allowed: &Allowed, callers: usize) -> bool {
        self.allowed == *allowed && (self.shares.is_empty() || self.shares.len() == callers)
    }

    /// Requests of the day, where they are counted.
    #[must_use]
    pub const fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    fn enter(&self) -> Result<Option<InFlight>, Limited> {
        let Some(most) = self.allowed.concurrent else { return Ok(None) };
        let before = self.in_flight.fetch_add(1, Relaxed);
        let held = InFlight(Arc::clone(&self.in_flight));
        if before >= most {
            return Err(Limited { kind: Kind::Concurrent, most, window: None, wait: 1 });
        }
        Ok(Some(held))
    }

    fn take_rate(&self, share: Option<usize>, tick: Tick) -> Result<(), Limited> {
        let (Some(bucket), Some(rate)) = (&self.rate, &self.allowed.rate) else { return Ok(()) };
        if let Some(share) = share.and_then(|at| self.shares.get(at))
            && share.take(tick.now).is_ok()
        {
            bucket.owe(tick.now);
            return Ok(());
        }
        bucket.take(tick.now).map_err(|too_soon| Limited {
            kind: Kind::Rate,
            most: rate.count,
            window: Some(rate.seconds),
            wait: too_soon.wait.div_ceil(1_000_000_000),
        })
    }

    fn give_rate_back(&self, share: Option<usize>) {
        if let Some(bucket) = &self.rate {
            bucket.give_back();
        }
        if let Some(share) = share.and_then(|at| self.shares.get(at)) {
            share.give_back();
        }
    }

    fn take_quota(&self, tick: Tick) -> Result<(), Limited> {
        let Some(quota) = &self.quota else { return Ok(()) };
        quota.take(tick.unix).map_err(|exhausted| Limited {
            kind: Kind::Quota,
            most: quota.most(),
            window: Some(86_400),
            wait: exhausted.wait,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;

    const fn tick(micros: u64) -> Tick {
        Tick { now: Moment::from_micros(micros), unix: 1_800_000_000, dice: 0 }
    }

    fn rate(count: u64, burst: u64) -> Allowed {
        Allowed { rate: Some(Rate { count, seconds: 1, burst }), ..Allowed::default() }
    }

    #[test]
    fn a_hostile_caller_gets_what_the_others_leave_and_no_more() {
        let route = Limiter::new(rate(100, 100), 4, None);
        let mut passed = [0_u32; 4];
        // One asks ten thousand times a second, one as often as its share, one half as often, one never.
        for step in 0..100_000_u64 {
            let now = tick(step * 100);
            passed[0] += u32::from(route.take_rate(Some(0), now).is_ok());
            if step % 400 == 0 {
                passed[1] += u32::from(route.take_rate(Some(1), now).is_ok());
            }
            if step % 800 == 0 {
                passed[2] += u32::from(route.take_rate(Some(2), now).is_ok());
            }
        }
        assert_eq!((passed[1], passed[2], passed[3]), (250, 125, 0));
        let all: u32 = passed.iter().sum();
        assert!((1_050..=1_101).contains(&all), "{passed:?}: ten seconds at 100 and one burst");
    }

    #[test]
    fn one_caller_alone_gets_all() {
        let route = Limiter::new(rate(100, 100), 4, None);
        let passed = (0..100_000).filter(|step| route.take_rate(Some(2), tick(step * 100)).is_ok()).count();
        assert!((1_090..=1_101).contains(&passed), "{passed}");
    }

    #[test]
    fn what_is_in_flight_and_used_outlives_a_change_of_limits() {
        let allowed = |concurrent, quota| Allowed { rate: None, concurrent: Some(concurrent), quota: Some(quota) };
        let one = Limiter::new(allowed(1, 2), 1, None);
        let held = one.enter().unwrap();
        assert_eq!(one.enter().unwrap_err().kind, Kind::Concurrent);
        one.take_quota(tick(0)).unwrap();
        let next = Limiter::new(allowed(2, 2), 1, Some(&one));
        let second = next.enter().unwrap();
        assert!(next.enter().is_err());
        drop((held, second));
        assert!(next.enter().is_ok());
        assert_eq!((next.take_quota(tick(0)), next.take_quota(tick(0)).unwrap_err().kind), (Ok(()), Kind::Quota));
    }
}
