//! What each way of proving who one is costs, without any IO: one decision, and what limits add to it.
//!
//! `cargo bench --bench callers` prints nanoseconds; `benches/callers-instructions` counts instructions with the same program
//! (`SCHEME COUNT` as arguments), which is what is held against a whole request.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::panic,
    reason = "a benchmark"
)]

use std::{fmt::Write as _, hint::black_box};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use scoregate::{
    clock::{Clock, Moment, Tick},
    config::{
        self,
        sources::{ProcessEnv, RealFiles},
    },
    control::{attach::Attached, build::Carried},
    digest::sha256,
    jwt::{assemble, encode_base64url},
    proxy::{
        auth::token_cache::TokenCache, decide::decide, head::RequestHead, headers::survey::Survey, http1::parse, limit,
        peer::Peer,
    },
    snapshot::Snapshot,
};
use serde_json::json;

const KEY: &str = "bench-caller-key-0123456789abcdefghijklmnop";
const UNIX: u64 = 1_700_000_000;
const SCHEMES: [&str; 8] =
    ["anonymous", "key", "key-hashed", "key-of-100000", "jwt-cached", "jwt-first", "limited", "limited-route"];

struct Bench {
    snapshot: Snapshot,
    token: String,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "kid": "one", "x": encode_base64url(x), "y": encode_base64url(y) });
        std::fs::write(dir.path().join("jwks.json"), json!({ "keys": [jwk] }).to_string()).unwrap();
        let hex = |key: &str| sha256(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let text = |keys: &str| {
            format!(
                "version: 1
listeners: [{{ name: bench, address: 127.0.0.1:8080, hosts: [gate.example] }}]
endpoints: {{ iris: {{ upstreams: [\"http://127.0.0.1:9/score\"] }} }}
callers:
  anyone: anonymous
  key: {{ keys: [{{ value: {KEY} }}{keys}] }}
  limited: {{ anonymous: {{}}, limits: {{ rate: 1000000/s, burst: 1000000, concurrent: 1000, quota: 1000000000/d }} }}
  jwt: {{ jwt: {{ issuer: \"https://issuer.example\", audience: bench, jwks_file: jwks.json }} }}
routes:
  - {{ match: {{ path: /anonymous }}, callers: [anyone], endpoint: iris }}
  - {{ match: {{ path: /key }}, callers: [key], endpoint: iris }}
  - {{ match: {{ path: /jwt }}, callers: [jwt], endpoint: iris }}
  - {{ match: {{ path: /limited }}, callers: [limited], endpoint: iris }}
  - {{ match: {{ path: /limited-route }}, callers: [anyone], endpoint: iris, limits: {{ rate: 1000000/s, burst: 1000000 }} }}
"
            )
        };
        let many = std::env::args().any(|argument| argument == "key-of-100000") || std::env::args().len() < 3;
        if many {
            let mut digests = String::new();
            for other in 1..100_000 {
                writeln!(digests, "{} name=key-{other}", hex(&format!("another key {other}"))).unwrap();
            }
            std::fs::write(dir.path().join("many.txt"), digests).unwrap();
        }
        let text = text(if many { ", { digests: many.txt }" } else { "" });
        let path = dir.path().join("bench.yaml");
        let config = config::parse(text.as_bytes(), &path, &ProcessEnv, &RealFiles).unwrap().config;
        let claims = json!({ "iss": "https://issuer.example", "aud": "bench", "exp": UNIX + 3_600, "nbf": UNIX, "sub": "bench",
            "oid": "11111111-1111-1111-1111-111111111111", "roles": ["score"], "tid": "22222222-2222-2222-2222-222222222222" });
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "one" });
        let sign = |signed: &[u8]| pair.sign(&SystemRandom::new(), signed).map(|signature| signature.as_ref().to_vec());
        let token = assemble(&header, &claims, sign).unwrap();
        Self { snapshot: Carried::default().build(&config, &Attached::new(), 1, 1).unwrap(), token }
    }

    fn head(&self, scheme: &str) -> RequestHead {
        let (path, credential) = match scheme {
            "key" | "key-hashed" | "key-of-100000" => ("key", KEY),
            "jwt-cached" | "jwt-first" => ("jwt", self.token.as_str()),
            other => (other, KEY),
        };
        let text = format!(
            "POST /{path} HTTP/1.1\r\nHost: gate.example\r\nUser-Agent: python-requests/2.32.3\r\n\
             Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n\
             Authorization: Bearer {credential}\r\nContent-Length: 190\r\n\r\n"
        );
        let mut head = RequestHead::default();
        parse::request(text.as_bytes(), 100, &mut head).unwrap().unwrap();
        head
    }

    fn run(&self, scheme: &str, count: u64) {
        let listener = &self.snapshot.listeners[0];
        let head = self.head(scheme);
        let (peer, tokens) = (Peer::default(), TokenCache::default());
        for step in 0..count {
            // A microsecond each: what is limited to a million in a second always passes.
            let tick = Tick { now: Moment::from_micros(step), unix: UNIX + 10, dice: 7 };
            let survey = Survey::of(&head.fields);
            let (forgetful, no_tokens) = (Peer::default(), TokenCache::default());
            let (peer, tokens) = match scheme {
                "key-hashed" => (&forgetful, &tokens),
                "jwt-first" => (&forgetful, &no_tokens),
                _ => (&peer, &tokens),
            };
            let plan =
                decide(black_box(&self.snapshot), listener, black_box(&head), &survey, peer, tokens, tick).unwrap();
            drop(black_box(limit::admit(&self.snapshot, &plan, tick).unwrap()));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let bench = Bench::new();
    if let [scheme, count] = arguments.as_slice() {
        assert!(SCHEMES.contains(&scheme.as_str()), "one of {SCHEMES:?}");
        return bench.run(scheme, count.parse().unwrap());
    }
    let clock = Clock::system();
    for scheme in SCHEMES {
        let count = if scheme == "jwt-first" { 2_000 } else { 100_000 };
        bench.run(scheme, count / 10);
        let began = clock.now();
        bench.run(scheme, count);
        let nanos = clock.now().since(began).as_nanos() / u128::from(count);
        println!("{scheme:<16} {nanos:>8} ns");
    }
}
