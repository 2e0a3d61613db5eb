//! Requests at a fixed rate, whether or not earlier ones were answered, and how long each took from when it was due.
//!
//! A caller that waits for its answer before it asks again leaves out the requests that would have had to wait the longest
//! ("coordinated omission"). Here a request that finds no free connection waits, and its waiting is part of its latency.

use std::{
    collections::VecDeque,
    io,
    time::{Duration, Instant},
};

use super::{Target, of_caller};
use crate::{
    arguments::Arguments,
    flow::{BUFFER, Flow},
    poll::Poller,
    request::Request,
};

/// Beyond this share of what was due, what is left waiting at the end says that the rate was not held.
const WAITING: usize = 20;

struct Settings {
    /// Requests a second; none: each connection asks as soon as it is answered.
    rate: Option<f64>,
    length: Duration,
    /// What the first part of the time shows is thrown away: connections are opened, caches are cold.
    warm_up: Duration,
    connections: usize,
    bulk_connections: usize,
    bulk_every: Duration,
}

/// Callers that send large bodies, each beginning one so often.
struct Bulk {
    request: Request,
    due: Vec<Instant>,
    busy: Vec<bool>,
    sent: usize,
}

#[derive(Default)]
struct Seen {
    /// Nanoseconds.
    latencies: Vec<u64>,
    answered: usize,
}

/// Runs for `--seconds` at `--rate`, and prints what was seen.
///
/// # Errors
/// Where a request was not answered as it must be.
#[allow(clippy::print_stdout, reason = "standard output is what the measuring script reads")]
pub fn run(arguments: &Arguments) -> io::Result<()> {
    let target = Target::read(arguments)?;
    let request = Request::read(arguments)?;
    let settings = Settings {
        rate: arguments.optional("rate")?,
        length: Duration::from_secs_f64(arguments.needed("seconds")?),
        warm_up: Duration::from_secs_f64(arguments.optional("warm-up")?.unwrap_or(0.5)),
        connections: arguments.optional("connections")?.unwrap_or(64),
        bulk_connections: arguments.optional("bulk")?.unwrap_or_default(),
        bulk_every: Duration::from_secs_f64(arguments.optional("bulk-every")?.unwrap_or(1.0)),
    };
    let bulk = Request::bulk(arguments, arguments.optional("bulk-body")?.unwrap_or(10 << 20))?;
    println!("{}", report(drive(&target, &request, bulk, &settings)?, &settings));
    Ok(())
}

fn drive(target: &Target, request: &Request, bulk: Request, settings: &Settings) -> io::Result<(Seen, usize, usize)> {
    let mut poller = Poller::new()?;
    let mut buffer = vec![0; BUFFER];
    let small = settings.connections;
    let mut flows = (0..small + settings.bulk_connections)
        .map(|number| Flow::open(&poller, number, target.address, target.tls.as_ref()))
        .collect::<io::Result<Vec<_>>>()?;

    let start = Instant::now();
    let (counted, end) = (start + settings.warm_up, start + settings.warm_up + settings.length);
    let mut bulk = Bulk {
        request: bulk,
        // Spread over the period, so that they do not all begin together.
        due: (0..settings.bulk_connections)
            .map(|number| start + settings.bulk_every.mul_f64(number as f64 / settings.bulk_connections as f64))
            .collect(),
        busy: vec![false; settings.bulk_connections],
        sent: 0,
    };
    let mut free: Vec<usize> = (0..small).rev().collect();
    let mut asked_at = vec![start; small];
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut seen = Seen::default();
    let mut ready = Vec::new();
    let mut nth = 0.0;
    let mut due = start;

    loop {
        let now = Instant::now();
        if now >= end {
            break;
        }
        match settings.rate {
            Some(rate) => {
                while due <= now {
                    waiting.push_back(due);
                    nth += 1.0;
                    due = start + Duration::from_secs_f64(nth / rate);
                }
            }
            None => waiting.extend(std::iter::repeat_n(now, free.len())),
        }
        while let Some(number) = if waiting.is_empty() { None } else { free.pop() } {
            let (Some(asked), Some(flow)) = (asked_at.get_mut(number), flows.get_mut(number)) else { continue };
            *asked = waiting.pop_front().unwrap_or(now);
            flow.begin(&poller, request).map_err(|error| of_caller(number, &error))?;
        }
        for (index, (busy, due)) in bulk.busy.iter_mut().zip(&mut bulk.due).enumerate() {
            if !*busy && *due <= now {
                let Some(flow) = flows.get_mut(small + index) else { continue };
                flow.begin(&poller, &bulk.request).map_err(|error| of_caller(small + index, &error))?;
                *busy = true;
                *due += settings.bulk_every;
            }
        }

        let next = if settings.rate.is_some() { due.min(end) } else { end };
        poller.wait(Some(next.saturating_duration_since(Instant::now())), &mut ready)?;
        for &number in &ready {
            let Some(flow) = flows.get_mut(number) else { continue };
            let of_bulk = number.checked_sub(small);
            let request = if of_bulk.is_some() { &bulk.request } else { request };
            if !flow.advance(&poller, request, &mut buffer).map_err(|error| of_caller(number, &error))? {
                continue;
            }
            if let Some(busy) = of_bulk.and_then(|index| bulk.busy.get_mut(index)) {
                *busy = false;
                bulk.sent += 1;
                continue;
            }
            free.push(number);
            let asked = asked_at.get(number).copied().unwrap_or(start);
            if asked >= counted {
                let took = Instant::now().saturating_duration_since(asked);
                seen.answered += 1;
                seen.latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }
    // What was still waiting is the slowest of all: it must not be left out.
    for asked in waiting.iter().filter(|&&asked| asked >= counted) {
        seen.latencies.push(u64::try_from((end - *asked).as_nanos()).unwrap_or(u64::MAX));
    }
    Ok((seen, waiting.len(), bulk.sent))
}

fn report((mut seen, waiting, bulk): (Seen, usize, usize), settings: &Settings) -> String {
    seen.latencies.sort_unstable();
    let microseconds = |share: f64| percentile(&seen.latencies, share) as f64 / 1000.0;
    let held = settings.rate.is_none() || waiting * WAITING <= seen.latencies.len();
    format!(
        "{{\"requests\": {}, \"per_second\": {:.0}, \"rate_held\": {held}, \"p50_us\": {:.1}, \"p99_us\": {:.1}, \"p999_us\": {:.1}, \
         \"max_us\": {:.1}, \"bulk\": {bulk}}}",
        seen.answered,
        seen.answered as f64 / settings.length.as_secs_f64(),
        microseconds(0.5),
        microseconds(0.99),
        microseconds(0.999),
        microseconds(1.0),
    )
}

/// The smallest value that so large a share does not exceed; zero of nothing.
fn percentile(sorted: &[u64], share: f64) -> u64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values_and_no_smaller_than_its_share() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 0.5), 50);
        assert_eq!(percentile(&hundred, 0.99), 99);
        assert_eq!(percentile(&hundred, 0.999), 100);
        assert_eq!(percentile(&hundred, 1.0), 100);
        assert_eq!(percentile(&[7], 0.5), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }
}
