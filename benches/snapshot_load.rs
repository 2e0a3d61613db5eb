//! What a worker pays to look at the snapshot, at rest and while another thread publishes without pause.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use arc_swap::{ArcSwap, Cache};
use criterion::{Criterion, criterion_group, criterion_main};

#[path = "support/mod.rs"]
mod support;

fn bench(c: &mut Criterion) {
    let cell = Arc::new(ArcSwap::from_pointee(support::snapshot(100, 100)));
    let mut cache = Cache::new(Arc::clone(&cell));
    c.bench_function("snapshot/load, nothing published", |b| b.iter(|| black_box(cache.load()).generation));

    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
        let spare = [Arc::new(support::snapshot(100, 100)), Arc::new(support::snapshot(100, 100))];
        move || {
            for turn in 0.. {
                if stop.load(Relaxed) {
                    break;
                }
                cell.store(Arc::clone(&spare[turn % 2]));
            }
        }
    });
    c.bench_function("snapshot/load, under a writer", |b| b.iter(|| black_box(cache.load()).generation));
    stop.store(true, Relaxed);
    writer.join().unwrap();
}

criterion_group!(benches, bench);
criterion_main!(benches);
