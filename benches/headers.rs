//! What the changes to a head cost: one survey, hop-by-hop fields and credentials out, forwarding fields and ids in.
#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Version;
use scoregate::proxy::{
    headers::{forwarded::PreviousHop, outgoing::Outgoing, survey::Survey, trace::request_id},
    http1::write::HeadWriter,
};

#[path = "support/mod.rs"]
mod support;

fn bench(c: &mut Criterion) {
    let head = support::head("/score");
    c.bench_function("headers/survey", |b| b.iter(|| Survey::of(black_box(&head.fields)).ambiguous_name));
    let survey = Survey::of(&head.fields);
    c.bench_function("headers/request id", |b| b.iter(|| request_id(survey.request_id, || black_box(7))));
    let id = request_id(survey.request_id, || 7);
    let hop = PreviousHop {
        address: b"10.1.2.3",
        tls: true,
        trusted: false,
        host: b"gate.example",
        version: Version::HTTP_11,
    };
    let mut memory = Vec::new();
    c.bench_function("headers/write", |b| {
        b.iter(|| {
            memory.clear();
            let mut sink = HeadWriter::request(&mut memory, &head.method, &["/", "score"]);
            Outgoing {
                head: &head,
                survey: &survey,
                configured: &[],
                hop,
                id: &id,
                identity: None,
                websocket_key: false,
            }
            .write(&mut sink);
            sink.end();
            black_box(memory.len())
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
