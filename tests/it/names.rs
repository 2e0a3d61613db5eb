//! Upstreams by name: looked up again when their time is over, taken up where they move, kept where that fails.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::Response;
use scoregate::{
    clock::Clock,
    control::{
        admin::BoxFuture,
        names::{Resolve, Resolved, SystemNames},
    },
};
use tokio::sync::Notify;

use crate::support::{
    client::{self, H1, H2, full, get, next_data, post, streamed, verdict},
    eventually,
    gate::{self, TestGate},
    in_time,
    upstream::Upstream,
};

const NAME: &str = "iris.test";

/// Name servers that say what a test wants; nobody is answered before they say something.
#[derive(Clone, Default)]
struct Servers(Arc<(Mutex<Said>, Notify)>);

#[derive(Default)]
struct Said {
    answer: Option<Result<Vec<IpAddr>, String>>,
    asked: usize,
}

impl Servers {
    fn say(&self, addresses: &[&str]) {
        self.set(Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()));
    }

    fn fail(&self) {
        self.set(Err("the name servers are down".into()));
    }

    fn set(&self, answer: Result<Vec<IpAddr>, String>) {
        self.0.0.lock().unwrap().answer = Some(answer);
        self.0.1.notify_waiters();
    }

    fn asked(&self) -> usize {
        self.0.0.lock().unwrap().asked
    }

    /// Waits until what was said last has been heard.
    async fn heard(&self) {
        let before = self.asked();
        eventually("asked twice more", || self.asked() >= before + 2).await;
    }
}

impl Resolve for Servers {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Resolved, String>> {
        Box::pin(async move {
            assert_eq!(name, NAME);
            loop {
                let said = self.0.1.notified();
                {
                    let mut state = self.0.0.lock().unwrap();
                    if let Some(answer) = state.answer.clone() {
                        state.asked += 1;
                        return answer.map(|addresses| Resolved { addresses, ttl: Duration::ZERO });
                    }
                }
                said.await;
            }
        })
    }
}

fn by_name(port: u16) -> (TestGate, Servers) {
    let mut config = gate::config(SocketAddr::from(([127, 0, 0, 1], port)));
    config.endpoints[0].upstreams[0].host = NAME.into();
    let servers = Servers::default();
    (TestGate::start_by_name(config, Clock::system(), Arc::new(servers.clone())), servers)
}

/// Two upstreams with one port and an address each.
async fn two() -> (Upstream, Upstream) {
    loop {
        let one = Upstream::saying("127.0.0.1:0", "one").await.unwrap();
        if let Some(two) = Upstream::saying(&format!("127.0.0.2:{}", one.address.port()), "two").await {
            return (one, two);
        }
    }
}

#[tokio::test]
async fn the_first_requests_wait_for_the_first_answer() {
    let upstream = Upstream::echo().await;
    let (gate, servers) = by_name(upstream.address.port());
    let request = tokio::spawn(client::once(gate.address("public"), post("/score", "{}")));
    eventually("in flight", || gate.metric("in_flight{endpoint=\"iris\"}") == 1.0).await;
    servers.say(&["127.0.0.1"]);
    assert_eq!(in_time("answer", request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_name_that_moves_is_followed_and_what_is_under_way_is_left_to_finish() {
    let (one, two) = two().await;
    let (gate, servers) = by_name(one.address.port());
    servers.say(&["127.0.0.1"]);
    let (mut h1, mut h2) = (H1::connect(gate.address("public")).await, H2::connect(gate.address("public")).await);
    assert_eq!(h1.send(get("/score")).await.body(), "one");
    assert_eq!(h2.send(get("/score")).await.body(), "one");
    let kept = one.connections();
    servers.say(&["127.0.0.2"]);
    servers.heard().await;
    eventually("followed", || gate.metric("upstream_connections{endpoint=\"iris\",state=\"idle\"}") == 0.0).await;
    for _ in 0..5 {
        assert_eq!(h1.send(get("/score")).await.body(), "two");
        assert_eq!(h2.send(get("/score")).await.body(), "two");
    }
    assert_eq!(one.connections(), kept, "no new connection to where it was");
    // Both at once: both are used.
    servers.say(&["127.0.0.2", "127.0.0.1"]);
    servers.heard().await;
    let mut answers = std::collections::HashSet::new();
    for _ in 0..8 {
        answers.insert(client::once(gate.address("public"), get("/score")).await.body().clone());
        gate.reload(false, |config| config.endpoints[0].connect.idle += Duration::from_millis(1)).await.unwrap();
    }
    assert_eq!(answers.len(), 2);
    drop(two);
}

#[tokio::test]
async fn an_answer_that_has_begun_comes_to_its_end_where_it_began() {
    let (feed, body) = streamed();
    let body = Mutex::new(Some(body));
    let upstream = Upstream::streaming(move |_, _| {
        let body = body.lock().unwrap().take().unwrap_or_else(|| full(""));
        async { Response::new(body) }
    })
    .await;
    let (gate, servers) = by_name(upstream.address.port());
    servers.say(&["127.0.0.1"]);
    let mut answer = H1::connect(gate.address("public")).await.open(get("/score")).await.unwrap().into_body();
    feed.data("begun").await;
    assert_eq!(next_data(&mut answer).await.unwrap().unwrap(), "begun");
    servers.say(&["127.0.0.3"]);
    servers.heard().await;
    feed.data("ended").await;
    assert_eq!(next_data(&mut answer).await.unwrap().unwrap(), "ended");
    drop(feed);
    assert!(next_data(&mut answer).await.is_none());
}

#[tokio::test]
async fn a_failure_keeps_the_last_answer_and_is_counted() {
    let upstream = Upstream::echo().await;
    let (gate, servers) = by_name(upstream.address.port());
    servers.say(&["127.0.0.1"]);
    assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
    servers.fail();
    eventually("counted", || gate.metric("name_lookup_failures_total{name=\"iris.test\"}") >= 1.0).await;
    assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
}

#[tokio::test]
async fn a_name_that_was_never_found_is_unreachable_until_it_is() {
    let upstream = Upstream::echo().await;
    let (gate, servers) = by_name(upstream.address.port());
    servers.fail();
    let refused = client::once(gate.address("public"), post("/score", "{}")).await;
    assert_eq!(verdict(&refused), (502, "upstream_unreachable".into()));
    servers.say(&["127.0.0.1"]);
    servers.heard().await;
    assert_eq!(client::once(gate.address("public"), post("/score", "{}")).await.status(), 200);
}

#[tokio::test]
async fn this_machine_knows_its_own_name() {
    let found = SystemNames.resolve("localhost").await.unwrap();
    assert!(found.addresses.iter().all(IpAddr::is_loopback) && !found.addresses.is_empty());
    assert!(SystemNames.resolve("no..name").await.is_err());
}
