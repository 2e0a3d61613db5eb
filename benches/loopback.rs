//! Whole requests over loopback, in this process: h1 and h2, small and streaming, beside the same requests sent directly.
//!
//! Wall time on a shared machine: for proportions, not for gates. `benches/instructions` is the figure to gate on.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use scoregate::{
    azure::http::{Attempts, Http, Proxies},
    clock::Clock,
    control::{
        gate::{Gate, Parts},
        listening::Sockets,
        names::SystemNames,
        state::fresh_salt,
    },
    telemetry::access_log::AccessLog,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

#[path = "support/mod.rs"]
mod support;

async fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let echo = |request: Request<Incoming>| async {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                Ok::<_, Infallible>(Response::new(Full::new(body)))
            };
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service_fn(echo)),
            );
        }
    });
    address
}

fn gate(upstream: SocketAddr) -> (Arc<Gate>, SocketAddr) {
    let config = support::configuration(&upstream.to_string(), 1, 1);
    let sockets = Sockets::default().with(&config.listeners[0], std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let (access, _handle) = AccessLog::start(true, Box::new(std::io::sink()), 16).unwrap();
    let same = config.clone();
    let source = Box::new(move || Ok((same.clone(), Vec::new())));
    let (gate, _deaths) = Gate::start(Parts {
        config,
        source,
        sockets,
        clock: Clock::system(),
        access,
        salt: fresh_salt().unwrap(),
        logs: None,
        resolver: Arc::new(SystemNames),
        http: Http::new(Proxies::none(), Clock::system(), Attempts::ONE),
        state: None,
    })
    .unwrap();
    let address = gate.address("bench").unwrap();
    (gate, address)
}

fn request(body: &Bytes, authority: Option<SocketAddr>) -> Request<Full<Bytes>> {
    let request = Request::post("/service-0/score")
        .header("user-agent", "python-requests/2.32.3")
        .header("accept", "*/*")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", support::CALLER_KEY));
    let request = match authority {
        Some(address) => request.version(http::Version::HTTP_2).uri(format!("http://{address}/service-0/score")),
        None => request.header("host", "127.0.0.1"),
    };
    request.body(Full::new(body.clone())).unwrap()
}

fn bench(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let upstream = runtime.block_on(upstream());
    let (running, gate) = gate(upstream);
    for (name, size) in [("190 B", 190), ("1 MiB", 1 << 20)] {
        let body = Bytes::from(vec![b'x'; size]);
        let mut group = c.benchmark_group(format!("loopback/{name}"));
        group.throughput(Throughput::Bytes(size as u64));
        for (target, address) in [("direct h1", upstream), ("gate h1", gate)] {
            let mut sender = runtime.block_on(async {
                let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
                let (sender, connection) = conn::http1::handshake::<_, Full<Bytes>>(io).await.unwrap();
                tokio::spawn(connection);
                sender
            });
            group.bench_function(target, |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        sender.ready().await.unwrap();
                        let response = sender.send_request(request(&body, None)).await.unwrap();
                        assert_eq!(response.status(), 200);
                        response.into_body().collect().await.unwrap().to_bytes().len()
                    })
                });
            });
        }
        let mut sender = runtime.block_on(async {
            let io = TokioIo::new(TcpStream::connect(gate).await.unwrap());
            let (sender, connection) =
                conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        group.bench_function("gate h2", |b| {
            b.iter(|| {
                runtime.block_on(async {
                    let response = sender.send_request(request(&body, Some(gate))).await.unwrap();
                    assert_eq!(response.status(), 200);
                    response.into_body().collect().await.unwrap().to_bytes().len()
                })
            });
        });
        group.finish();
    }
    runtime.block_on(running.drop_everything());
}

criterion_group!(benches, bench);
criterion_main!(benches);
