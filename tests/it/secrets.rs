//! No key is seen anywhere but where it belongs.

use crate::support::{
    client::{self, Client, get, post, with},
    eventually,
    gate::{self, CALLER_KEY, PRIMARY, SECONDARY, TestGate},
    upstream::Upstream,
};

#[tokio::test]
async fn keys_are_in_no_answer_log_line_metric_or_status() {
    use scoregate::control::admin::Operations;
    let upstream = Upstream::echo().await;
    let gate = TestGate::start(gate::config(upstream.address));
    let mut answers = String::new();
    let mut requests = 0;
    for mut caller in Client::both(gate.address("public")).await {
        let wrong = format!("{CALLER_KEY}x");
        let mut expired = get("/score");
        expired.headers_mut().insert("authorization", format!("Bearer {wrong}").parse().unwrap());
        for asked in [
            post(&format!("/score?code={CALLER_KEY}"), "{}"),
            with(get("/score"), "x-api-key", CALLER_KEY),
            expired,
            with(get("/score"), "x_key", CALLER_KEY),
            get("/%zz"),
        ] {
            requests += 1;
            let response = caller.send(asked).await;
            // The echo's own field has the query, as the service got it.
            let own = response.headers().iter().filter(|(name, _)| *name != "x-seen-path");
            answers.push_str(&format!("{:?} {:?}\n", own.collect::<Vec<_>>(), response.body()));
        }
    }
    let changed = gate
        .reload(false, |config| {
            config.endpoints[0].credential =
                gate::keys(Some("another-canary"), Some(SECONDARY), scoregate::config::model::Slot::Secondary);
        })
        .await
        .unwrap();
    requests += 1;
    assert_eq!(client::once(gate.address("public"), get("/score")).await.status(), 200);
    eventually("logged", || gate.access_log().lines().count() == requests).await;
    let operations: &dyn Operations = &gate.gate;
    // What a panic says of whatever it was that could not be.
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let impossible: Result<(), _> = std::hint::black_box(Err((&gate.gate, operations.status())));
        impossible.expect("this cannot happen");
    }));
    let panicked = panicked.unwrap_err().downcast_ref::<String>().unwrap().clone();
    for (place, text) in [
        ("answers", answers),
        ("access log", gate.access_log()),
        ("metrics", gate.metrics()),
        ("status", format!("{:?}", operations.status())),
        ("config", operations.config().to_string()),
        ("reload", format!("{changed:?}")),
        ("gate", format!("{:?}", gate.gate)),
        ("panic", panicked),
    ] {
        for secret in [CALLER_KEY, PRIMARY, SECONDARY, "another-canary"] {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
        assert!(!text.is_empty());
    }
}
