//! Snapshots and heads for benchmarks.
#![allow(dead_code, reason = "each benchmark uses its own part")]

use scoregate::{
    config::{
        self,
        sources::{ProcessEnv, RealFiles},
    },
    control::{attach::Attached, build::Carried},
    digest::sha256,
    proxy::{head::RequestHead, http1::parse},
    snapshot::Snapshot,
};

pub(crate) const CALLER_KEY: &str = "bench-caller-key-0123456789abcdefghijklmnop";

/// A snapshot with that many routes and caller keys, one of which is [`CALLER_KEY`].
pub(crate) fn snapshot(routes: usize, keys: usize) -> Snapshot {
    Carried::default().build(&configuration("127.0.0.1:9", routes, keys), &Attached::new(), 1, 2).unwrap()
}

/// The configuration of such a snapshot, with its upstream.
pub(crate) fn configuration(upstream: &str, routes: usize, keys: usize) -> config::model::Config {
    let hex = |key: &str| sha256(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut text = format!(
        "version: 1
listeners: [{{ name: bench, address: 127.0.0.1:8080, hosts: [gate.example, localhost, 127.0.0.1] }}]
endpoints: {{ iris: {{ upstreams: [\"http://{upstream}/score\"], keys: {{ primary: {{ value: a-service-key-of-the-benchmark }} }} }} }}
callers:
  bench:
    keys:
      - {{ sha256: \"{}\" }}
",
        hex(CALLER_KEY)
    );
    for other in 1..keys {
        text += &format!("      - {{ sha256: \"{}\" }}\n", hex(&format!("another key {other}")));
    }
    text += "routes:\n";
    for route in 0..routes {
        text += &format!("  - {{ match: {{ path_prefix: /service-{route} }}, callers: [bench], endpoint: iris }}\n");
    }
    config::parse(text.as_bytes(), "bench.yaml".as_ref(), &ProcessEnv, &RealFiles).unwrap().config
}

/// The head of a scoring request as Python's `requests` sends it.
pub(crate) fn head(path: &str) -> RequestHead {
    let text = format!(
        "POST {path} HTTP/1.1\r\nHost: gate.example\r\nUser-Agent: python-requests/2.32.3\r\n\
         Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
         Authorization: Bearer {CALLER_KEY}\r\nContent-Length: 190\r\n\r\n"
    );
    let mut head = RequestHead::default();
    parse::request(text.as_bytes(), 100, &mut head).unwrap().unwrap();
    head
}
