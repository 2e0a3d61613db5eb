//! Every metric of the process, registered once, with the names of `interface.md`.
//!
//! The data plane never touches these per request: each worker counts in its own memory ([`LocalCounter`], `LocalHistogram`)
//! and adds up a few times a second. Label sets are bounded: names from the configuration and fixed words, never anything a
//! caller sent.

use std::cell::Cell;

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder, core::Collector,
};

/// Seconds. From a cached answer on loopback to the longest scoring call (`timeouts.request` is 5 min).
const BUCKETS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// The metrics of one process.
#[derive(Debug)]
#[expect(missing_docs, reason = "each field is the metric of its name, described where it is registered")]
pub struct Metrics {
    registry: Registry,
    pub requests: IntCounterVec,
    pub request_duration: HistogramVec,
    pub upstream_duration: HistogramVec,
    pub in_flight: IntGaugeVec,
    pub connections: IntGaugeVec,
    pub connection_errors: IntCounterVec,
    pub upstream_connections: IntGaugeVec,
    pub caller_rejections: IntCounterVec,
    pub responses_cut_off: IntCounterVec,
    pub resends: IntCounterVec,
    pub upstream_rejections: IntCounterVec,
    pub replays: IntCounterVec,
    pub replay_skipped: IntCounterVec,
    pub credential_generation: IntGaugeVec,
    pub credential_age: GaugeVec,
    pub credential_expiry: GaugeVec,
    pub credential_locked: IntGaugeVec,
    pub token_refreshes: IntCounterVec,
    pub listkeys: IntCounterVec,
    pub rotation_step: IntGaugeVec,
    pub rotation_parked: IntGaugeVec,
    pub rotation_last_success: GaugeVec,
    pub adoptions: IntCounterVec,
    pub invariant_violations: IntCounterVec,
    pub limit_hits: IntCounterVec,
    pub name_failures: IntCounterVec,
    pub issuer_refreshes: IntCounterVec,
    pub config_reloads: IntCounterVec,
    pub config_last_success: Gauge,
    pub config_generation: IntGauge,
    pub snapshots_live: IntGauge,
    pub buffered_bytes: IntGauge,
    pub log_dropped: IntCounter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Where two metrics have one name: a fault of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let build_info =
            keep(&registry, IntGaugeVec::new(opts("build_info", "1, with the version as label"), &["version"])?)?;
        build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let counters =
            |name: &str, help: &str, labels: &[&str]| keep(&registry, IntCounterVec::new(opts(name, help), labels)?);
        let gauges =
            |name: &str, help: &str, labels: &[&str]| keep(&registry, IntGaugeVec::new(opts(name, help), labels)?);
        let floats =
            |name: &str, help: &str, labels: &[&str]| keep(&registry, GaugeVec::new(opts(name, help), labels)?);
        let gauge = |name: &str, help: &str| keep(&registry, IntGauge::with_opts(opts(name, help))?);
        let histograms = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::from(opts(name, help)).buckets(BUCKETS.to_vec());
            keep(&registry, HistogramVec::new(opts, labels)?)
        };
        Ok(Self {
            requests: counters(
                "requests_total",
                "requests answered, or given up by the caller (class none)",
                &["listener", "route", "code_class"],
            )?,
            request_duration: histograms("request_duration_seconds", "head read to last byte handed over", &["route"])?,
            upstream_duration: histograms("upstream_duration_seconds", "request sent to response head", &["endpoint"])?,
            in_flight: gauges("in_flight", "requests in flight", &["endpoint"])?,
            connections: gauges("connections", "client connections", &["listener", "state"])?,
            connection_errors: counters(
                "connection_errors_total",
                "client connections that failed",
                &["listener", "kind"],
            )?,
            upstream_connections: gauges("upstream_connections", "connections to upstreams", &["endpoint", "state"])?,
            caller_rejections: counters(
                "caller_rejections_total",
                "requests refused by us, by the code of the answer or, of callers, by why",
                &["route", "reason"],
            )?,
            responses_cut_off: counters(
                "responses_cut_off_total",
                "answers that the upstream broke off after the head",
                &["endpoint"],
            )?,
            resends: counters(
                "resends_total",
                "requests sent again because a connection lost them unprocessed",
                &["endpoint", "reason"],
            )?,
            upstream_rejections: counters(
                "upstream_rejections_total",
                "401 of a front end about a credential that we attached",
                &["endpoint", "slot"],
            )?,
            replays: counters(
                "replays_total",
                "requests sent again with another credential, by what the service said to that",
                &["endpoint", "result"],
            )?,
            replay_skipped: counters(
                "replay_skipped_total",
                "requests whose credential was refused and that were not sent again",
                &["reason"],
            )?,
            credential_generation: gauges(
                "credential_generation",
                "grows by one each time what requests to a service of Azure's get changes",
                &["endpoint"],
            )?,
            credential_age: floats("credential_age_seconds", "since a value was first seen", &["endpoint", "slot"])?,
            credential_expiry: floats(
                "credential_expiry_timestamp_seconds",
                "Unix time until which the token is attached",
                &["endpoint"],
            )?,
            credential_locked: gauges(
                "credential_locked",
                "1 while every value is refused and no other is known",
                &["endpoint"],
            )?,
            token_refreshes: counters(
                "token_refresh_total",
                "fetches of a service's token: ok, failed, expired (on arrival)",
                &["endpoint", "result"],
            )?,
            listkeys: counters(
                "listkeys_total",
                "reads of a service's keys, by what caused them",
                &["endpoint", "why"],
            )?,
            rotation_step: gauges("rotation_step", "1 for the step that is worked at", &["endpoint", "step"])?,
            rotation_parked: gauges("rotation_parked", "1 for the reason a rotation waits", &["endpoint", "reason"])?,
            rotation_last_success: floats(
                "rotation_last_success_timestamp_seconds",
                "Unix time at which a key was last regenerated by us and taken into use",
                &["endpoint"],
            )?,
            adoptions: counters(
                "adoptions_total",
                "keys that somebody else changed and that were taken over",
                &["endpoint"],
            )?,
            invariant_violations: counters(
                "invariant_violations_total",
                "what must always hold and did not: a fault of this program",
                &["invariant"],
            )?,
            limit_hits: counters(
                "limit_hits_total",
                "times a limit or time-out of the configuration acted",
                &["limit"],
            )?,
            name_failures: counters(
                "name_lookup_failures_total",
                "look-ups of an upstream's name that failed; its last addresses stay in use",
                &["name"],
            )?,
            issuer_refreshes: counters(
                "issuer_refresh_total",
                "times an issuer of callers' tokens was asked for its keys; the last good ones stay in use",
                &["issuer", "result"],
            )?,
            config_reloads: counters("config_reload_total", "reloads", &["result"])?,
            config_last_success: keep(
                &registry,
                Gauge::with_opts(opts(
                    "config_last_reload_success_timestamp_seconds",
                    "Unix time of the last configuration taken",
                ))?,
            )?,
            config_generation: gauge("config_generation", "generation of the snapshot in force")?,
            snapshots_live: gauge(
                "snapshots_live",
                "snapshots in memory: one, or more while requests of older ones last",
            )?,
            buffered_bytes: gauge("buffered_bytes", "bytes of request bodies held for a resend")?,
            log_dropped: keep(
                &registry,
                IntCounter::with_opts(opts("log_dropped_total", "log lines dropped because the queue was full"))?,
            )?,
            registry,
        })
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("scoregate")
}

fn keep<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// A counter in one worker's memory.
#[derive(Debug)]
pub struct LocalCounter {
    pending: Cell<u64>,
    shared: IntCounter,
}

impl LocalCounter {
    /// The worker's side of a shared counter.
    #[must_use]
    pub const fn new(shared: IntCounter) -> Self {
        Self { pending: Cell::new(0), shared }
    }

    /// Counts one.
    pub fn inc(&self) {
        self.pending.set(self.pending.get() + 1);
    }

    /// Adds up.
    pub fn flush(&self) {
        let pending = self.pending.take();
        if pending > 0 {
            self.shared.inc_by(pending);
        }
    }
}

/// A gauge of which each worker knows a part.
#[derive(Debug)]
pub struct LocalGauge {
    told: Cell<i64>,
    shared: IntGauge,
}

impl LocalGauge {
    /// The worker's side of a shared gauge.
    #[must_use]
    pub const fn new(shared: IntGauge) -> Self {
        Self { told: Cell::new(0), shared }
    }

    /// Tells the worker's present part.
    pub fn set(&self, part: usize) {
        let part = i64::try_from(part).unwrap_or(i64::MAX);
        let change = part - self.told.replace(part);
        if change != 0 {
            self.shared.add(change);
        }
    }
}

impl Drop for LocalGauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_parts_add_up_and_go_with_their_worker() {
        let metrics = Metrics::new().expect("unique names");
        let counter = LocalCounter::new(metrics.limit_hits.with_label_values(&["body"]));
        counter.inc();
        counter.inc();
        assert!(!metrics.render().contains("scoregate_limit_hits_total{limit=\"body\"} 2"));
        counter.flush();
        assert!(metrics.render().contains("scoregate_limit_hits_total{limit=\"body\"} 2"));
        let gauge = metrics.in_flight.with_label_values(&["iris"]);
        let (one, two) = (LocalGauge::new(gauge.clone()), LocalGauge::new(gauge.clone()));
        one.set(3);
        two.set(4);
        one.set(1);
        assert_eq!(gauge.get(), 5);
        drop(two);
        assert_eq!(gauge.get(), 1);
    }
}
