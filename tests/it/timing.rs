//! Whether the time of a refusal tells how much of a key was right.
//!
//! Two kinds of wrong keys are shown to a connection whose memo holds the right one, in random order: some differ from it in their last
//! character, some in all. Their times are compared by Welch's t-test after the slowest tenth was left out, as dudect does (Reparaz,
//! Balasch, Verbauwhede: "Dude, is my code constant time?", 2017), whose threshold of 4.5 is taken. The machine is shared, so a
//! difference must show three times in a row to count; a comparison that ends at the first difference must show each time, or the test
//! could not fail.

use std::hint::black_box;

use scoregate::{
    clock::Clock,
    digest::sha256,
    proxy::auth::{DigestMemo, KeyGrant, KeyTable},
};

const RIGHT: &[u8; 48] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL";
const SAMPLES: usize = 400;
/// Comparisons in one sample: the clock has microseconds.
const BATCH: usize = 100;
const THRESHOLD: f64 = 4.5;

fn wrong_keys() -> [[u8; 48]; 2] {
    let mut near = *RIGHT;
    near[47] = b'x';
    [near, RIGHT.map(|byte| byte ^ 1)]
}

/// Welch's t of the times of two kinds, sampled in an order that nothing periodic can follow.
fn difference(mut judge: impl FnMut(&[u8])) -> f64 {
    let (clock, keys) = (Clock::system(), wrong_keys());
    let mut times = [const { Vec::new() }; 2];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    while times.iter().any(|times: &Vec<f64>| times.len() < SAMPLES) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let kind = usize::from(random >> 63 == 1);
        let began = clock.now();
        for _ in 0..BATCH {
            judge(black_box(&keys[kind]));
        }
        times[kind].push(clock.now().since(began).as_secs_f64());
    }
    let [near, far] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times.truncate(times.len() * 9 / 10);
        let count = times.len() as f64;
        let mean = times.iter().sum::<f64>() / count;
        let variance = times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (near.0 - far.0) / (near.1 + far.1).sqrt()
}

#[test]
fn the_time_of_a_refusal_does_not_tell_how_much_of_a_key_was_right() {
    let grant = KeyGrant { caller: 0, name: None, not_before: 0, expires: u64::MAX };
    let table: KeyTable = [(sha256(RIGHT), grant)].into_iter().collect();
    let memo = DigestMemo::default();
    let ours = |presented: &[u8]| {
        // The connection showed the right key just before: what is compared is compared with that.
        assert!(table.find(&memo.digest(RIGHT)).is_some());
        assert!(table.find(&memo.digest(presented)).is_none());
    };
    let measured: Vec<f64> = (0..3).map(|_| difference(ours)).collect();
    assert!(measured.iter().any(|t| t.abs() < THRESHOLD), "{measured:?}");

    let leaky = |presented: &[u8]| {
        for _ in 0..20 {
            let differs = black_box(RIGHT).iter().zip(presented).any(|(right, shown)| black_box(*right != *shown));
            assert!(black_box(differs));
        }
    };
    let control = difference(leaky);
    assert!(control > THRESHOLD, "a comparison that ends early goes unnoticed: {control}");
}
