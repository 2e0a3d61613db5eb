//! What the changes to a head cost: one survey, hop-by-hop fields and credentials out, forwarding fields and ids in.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderValue, Version};
use scoregate::proxy::headers::{
    forwarded::{PreviousHop, set_forwarded},
    strip::strip_request,
    survey::Survey,
    trace::{request_id, set_ids},
};

#[path = "support/mod.rs"]
mod support;

fn bench(c: &mut Criterion) {
    let head = support::head("/score");
    let address = HeaderValue::from_static("10.1.2.3");
    c.bench_function("headers/survey", |b| b.iter(|| Survey::of(black_box(&head.headers)).present));
    c.bench_function("headers/request id", |b| {
        b.iter(|| request_id(Survey::of(&head.headers).request_id, || black_box(7)))
    });
    let id = HeaderValue::from_static("0123456789abcdef0123456789abcdef");
    c.bench_function("headers/strip and set", |b| {
        b.iter_batched_ref(
            || head.headers.clone(),
            |headers| {
                let present = Survey::of(headers).present;
                strip_request(headers, present.strip, &[]);
                let hop = PreviousHop {
                    claims: present.forwarded,
                    address: &address,
                    tls: true,
                    trusted: false,
                    host: HeaderValue::from_static("gate.example"),
                    version: Version::HTTP_11,
                };
                set_forwarded(headers, hop);
                set_ids(headers, &id, present.trace);
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
