//! What a decision costs, without any IO: routing, caller key, path, for one route and key, and for many.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use scoregate::{
    clock::{Moment, Tick},
    proxy::{auth::token_cache::TokenCache, decide::decide, headers::survey::Survey, peer::Peer},
};

#[path = "support/mod.rs"]
mod support;

fn bench(c: &mut Criterion) {
    for (routes, keys) in [(1, 1), (10_000, 1), (1, 100_000), (10_000, 100_000)] {
        let snapshot = support::snapshot(routes, keys);
        let listener = std::sync::Arc::clone(&snapshot.listeners[0]);
        let head = support::head(&format!("/service-{}/score", routes / 2));
        let tick = Tick { now: Moment::from_micros(1), unix: 1_700_000_000, dice: 7 };
        let (peer, tokens) = (Peer::default(), TokenCache::default());
        c.bench_function(&format!("decide/{routes} routes, {keys} keys"), |b| {
            b.iter(|| {
                let survey = Survey::of(&head.fields);
                decide(black_box(&snapshot), &listener, black_box(&head), &survey, &peer, &tokens, tick)
                    .unwrap()
                    .candidates
            });
        });
        c.bench_function(&format!("decide, key hashed anew/{routes} routes, {keys} keys"), |b| {
            b.iter(|| {
                let survey = Survey::of(&head.fields);
                let forgetful = Peer::default();
                decide(black_box(&snapshot), &listener, black_box(&head), &survey, &forgetful, &tokens, tick)
                    .unwrap()
                    .candidates
            });
        });
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
