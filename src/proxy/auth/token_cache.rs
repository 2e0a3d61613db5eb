//! Tokens that were found good, for a while: what a signature costs is paid once per token and worker.
//!
//! Remembered by the rules, the keys and the token's digest: where any of them changes, the token is judged anew. Never longer than
//! five minutes, nor past the token's end. Only good tokens are kept, so that nobody can fill it without a signature.

use std::{cell::RefCell, rc::Rc, time::Duration};

use hashbrown::HashMap;

use crate::{
    clock::{Moment, Tick},
    ids::{KeySetId, RulesId},
};

/// By the monotonic clock, so that a wall clock that is set back lengthens nothing.
const LONGEST: Duration = Duration::from_secs(300);
/// Of one worker, in each of two generations. An entry takes about 200 bytes.
const MOST: usize = 2_048;

/// What a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenKey {
    /// The caller and its configuration.
    pub rules: RulesId,
    /// The issuer's keys.
    pub keys: KeySetId,
    /// SHA-256 of the token.
    pub digest: [u8; 32],
}

/// What is remembered of a good token.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// From this moment on it is not good any more, Unix seconds.
    pub until: u64,
    /// Whom it is about.
    pub subject: Option<Rc<str>>,
}

/// One worker's good tokens.
#[derive(Debug, Default)]
pub struct TokenCache(RefCell<Generations>);

/// What is used moves from the old one to the young one; when that is full the old one goes whole.
#[derive(Debug, Default)]
struct Generations {
    young: HashMap<TokenKey, Entry>,
    old: HashMap<TokenKey, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    token: Remembered,
    at: Moment,
}

impl Entry {
    fn holds(&self, tick: Tick) -> bool {
        tick.unix < self.token.until && tick.now.since(self.at) < LONGEST
    }
}

impl TokenCache {
    /// What was found of a token, if that still holds.
    pub fn find(&self, key: &TokenKey, tick: Tick) -> Option<Remembered> {
        let mut generations = self.0.borrow_mut();
        if let Some(entry) = generations.young.get(key) {
            return entry.holds(tick).then(|| entry.token.clone());
        }
        let entry = generations.old.remove(key).filter(|entry| entry.holds(tick))?;
        let token = entry.token.clone();
        generations.add(*key, entry);
        Some(token)
    }

    /// Remembers a token that was found good.
    pub fn keep(&self, key: TokenKey, token: Remembered, tick: Tick) {
        self.0.borrow_mut().add(key, Entry { token, at: tick.now });
    }

    /// Lets go of what no longer holds; called by the worker's sweep, rarely.
    pub fn prune(&self, tick: Tick) {
        let mut generations = self.0.borrow_mut();
        generations.young.retain(|_, entry| entry.holds(tick));
        generations.old.retain(|_, entry| entry.holds(tick));
    }
}

impl Generations {
    fn add(&mut self, key: TokenKey, entry: Entry) {
        if self.young.len() >= MOST {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(seconds: u64) -> Tick {
        Tick { now: Moment::from_micros(seconds * 1_000_000), unix: 1_000 + seconds, dice: 0 }
    }

    fn key(rules: RulesId, keys: KeySetId, number: usize) -> TokenKey {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_le_bytes());
        TokenKey { rules, keys, digest }
    }

    const GOOD: Remembered = Remembered { until: 1_000 + 10_000, subject: None };

    #[test]
    fn a_verdict_rests_on_rules_keys_and_token() {
        let (cache, rules, keys) = (TokenCache::default(), RulesId::fresh(), KeySetId::fresh());
        cache.keep(key(rules, keys, 1), GOOD, tick(0));
        assert!(cache.find(&key(rules, keys, 1), tick(1)).is_some());
        assert!(cache.find(&key(rules, keys, 2), tick(1)).is_none());
        assert!(cache.find(&key(RulesId::fresh(), keys, 1), tick(1)).is_none());
        assert!(cache.find(&key(rules, KeySetId::fresh(), 1), tick(1)).is_none());
    }

    #[test]
    fn it_ends_after_five_minutes_and_with_the_token_whatever_the_wall_clock_says() {
        let (cache, rules, keys) = (TokenCache::default(), RulesId::fresh(), KeySetId::fresh());
        cache.keep(key(rules, keys, 1), GOOD, tick(0));
        cache.keep(key(rules, keys, 2), Remembered { until: 1_100, subject: None }, tick(0));
        assert!(cache.find(&key(rules, keys, 2), tick(99)).is_some());
        assert!(cache.find(&key(rules, keys, 2), tick(100)).is_none());
        assert!(cache.find(&key(rules, keys, 1), tick(299)).is_some());
        assert!(cache.find(&key(rules, keys, 1), Tick { unix: 0, ..tick(300) }).is_none());
    }

    #[test]
    fn it_is_bounded_and_what_is_used_stays() {
        let (cache, rules, keys) = (TokenCache::default(), RulesId::fresh(), KeySetId::fresh());
        cache.keep(key(rules, keys, usize::MAX), GOOD, tick(0));
        for number in 0..10 * MOST {
            cache.keep(key(rules, keys, number), GOOD, tick(0));
            if number % 1_000 == 0 {
                assert!(cache.find(&key(rules, keys, usize::MAX), tick(0)).is_some(), "{number}");
            }
        }
        let generations = cache.0.borrow();
        assert!(generations.young.len() <= MOST && generations.old.len() <= MOST);
        drop(generations);
        cache.prune(tick(300));
        assert!(cache.0.borrow().young.is_empty() && cache.0.borrow().old.is_empty());
    }
}
