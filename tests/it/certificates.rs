//! Callers that show client certificates, through the whole gate.

use std::time::Duration;

use scoregate::{
    clock::Clock,
    config::model::{Caller, CallerKind, CertificateRules, ClientAuth, Config},
    digest::sha256,
    san::SanPattern,
};

use crate::{
    eviction,
    support::{
        client::{self, H1, H2, get, next_data, with},
        eventually,
        gate::{self, CALLER_KEY, TestGate},
        pki::{self, Authority, Leaf},
        upstream::Upstream,
    },
};

const ORIGIN: u64 = 1_800_000_000;

fn caller(name: &str, san: &[&str], fingerprints: &[[u8; 32]]) -> Caller {
    let names = san.iter().map(|pattern| SanPattern::parse(pattern).unwrap()).collect();
    Caller {
        name: name.into(),
        kind: CallerKind::Certificate(CertificateRules { names, fingerprints: fingerprints.into() }),
        limits: None,
        evict_after: None,
    }
}

fn config(upstream: &Upstream, server: &Leaf, clients: &Authority, callers: Vec<Caller>) -> Config {
    let mut config = gate::config(upstream.address);
    let mut tls = pki::listener_tls(&[server]);
    tls.client_auth = ClientAuth::Optional;
    tls.client_ca = Some(clients.roots());
    config.listeners[0].tls = Some(tls);
    let names: Vec<&str> = callers.iter().map(|caller| caller.name.as_str()).collect();
    config.routes[0] = gate::route("/", "iris", &names);
    gate::forward_of(&mut config.routes[0]).identity_header = Some("x-auth-subject".into());
    config.callers.extend(callers);
    config
}

enum Shower {
    H1(H1),
    H2(H2),
}

impl Shower {
    async fn connect(gate: &TestGate, ca: &Authority, alpn: &str, identity: Option<&Leaf>) -> Option<Self> {
        let stream = pki::connect(gate.address("public"), "gate.test", ca.client(&[alpn], identity)).await.ok()?;
        Some(if alpn == "h2" { Self::H2(H2::over(stream).await) } else { Self::H1(H1::over(stream).await) })
    }

    async fn ask(&mut self) -> (u16, String) {
        let mut request = get("/score");
        request.headers_mut().remove("authorization");
        client::verdict(&self.send(request).await)
    }

    async fn send(&mut self, request: http::Request<client::AnyBody>) -> http::Response<bytes::Bytes> {
        match self {
            Self::H1(caller) => caller.send(request).await,
            Self::H2(caller) => caller.send(request).await,
        }
    }

    async fn open(&mut self, request: http::Request<client::AnyBody>) -> http::Response<hyper::body::Incoming> {
        match self {
            Self::H1(caller) => caller.open(request).await.unwrap(),
            Self::H2(caller) => caller.open(request).await.unwrap(),
        }
    }
}

const KINDS: [&str; 2] = ["http/1.1", "h2"];

fn rejections(gate: &TestGate, reason: &str) -> f64 {
    gate.metric(&format!("caller_rejections_total{{reason=\"{reason}\",route=\"*/\"}}"))
}

#[tokio::test]
async fn names_and_fingerprints_let_in_and_say_who() {
    pki::install();
    let upstream = Upstream::echo().await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let server = ca.sign(&["gate.test"]);
    let pinned = clients.sign(&["pinned.other"]);
    let callers = vec![
        caller("fleet", &["spiffe://prod/ns/*/sa/web", "*.clients.test"], &[]),
        caller("pinned", &[], &[sha256(&pinned.chain[0])]),
    ];
    let gate = TestGate::start(config(&upstream, &server, &clients, callers));
    for alpn in KINDS {
        for (identity, expected) in [
            (clients.sign_uri("spiffe://prod/ns/a/sa/web", 1), Some(("fleet", "spiffe://prod/ns/a/sa/web"))),
            (clients.sign(&["A.clients.test"]), Some(("fleet", "a.clients.test"))),
            (clients.sign_uri("spiffe://staging/ns/a/sa/web", 2), None),
            (clients.sign(&["clients.test"]), None),
        ] {
            let mut caller = Shower::connect(&gate, &ca, alpn, Some(&identity)).await.unwrap();
            let verdict = caller.ask().await;
            match expected {
                Some((name, subject)) => {
                    assert_eq!(verdict.0, 200, "{subject}");
                    let told = format!("{name}/{subject}");
                    assert_eq!(upstream.seen().pop().unwrap().header("x-auth-subject"), Some(&*told));
                    let logged = format!(r#""caller":"{name}","subject":"{subject}""#);
                    eventually("the access log says who", || gate.access_log().contains(&logged)).await;
                }
                None => assert_eq!((verdict.0, verdict.1.as_str()), (403, "caller_forbidden")),
            }
        }
        let mut caller = Shower::connect(&gate, &ca, alpn, Some(&pinned)).await.unwrap();
        assert_eq!(caller.ask().await.0, 200);
        let mut nobody = Shower::connect(&gate, &ca, alpn, None).await.unwrap();
        assert_eq!(nobody.ask().await, (401, "caller_unknown".into()));
    }
    assert_eq!(rejections(&gate, "certificate_forbidden"), 4.0);
    assert_eq!(rejections(&gate, "no_credential"), 2.0);
}

#[tokio::test]
async fn a_list_of_revoked_certificates_counts_for_connections_that_are_open() {
    pki::install();
    let upstream = Upstream::echo().await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let server = ca.sign(&["gate.test"]);
    let mut config = config(&upstream, &server, &clients, vec![caller("fleet", &["spiffe://prod/*"], &[])]);
    config.listeners[0].tls.as_mut().unwrap().client_crl = vec![clients.revoke(&[1])];
    let gate = TestGate::start(config);
    let (first, second, third) = (
        clients.sign_uri("spiffe://prod/1", 1),
        clients.sign_uri("spiffe://prod/2", 2),
        clients.sign_uri("spiffe://prod/3", 3),
    );
    for alpn in KINDS {
        // In TLS 1.3 the client learns of the refusal with its first read.
        let stream = pki::connect(gate.address("public"), "gate.test", ca.client(&[alpn], Some(&first))).await;
        let refused = match stream {
            Err(_) => true,
            Ok(mut stream) => tokio::io::AsyncReadExt::read_u8(&mut stream).await.is_err(),
        };
        assert!(refused, "{alpn}");
    }
    let mut open = Vec::new();
    for alpn in KINDS {
        for identity in [&second, &third] {
            let mut caller = Shower::connect(&gate, &ca, alpn, Some(identity)).await.unwrap();
            assert_eq!(caller.ask().await.0, 200);
            open.push(caller);
        }
    }
    gate.reload(false, |config| {
        config.listeners[0].tls.as_mut().unwrap().client_crl = vec![clients.revoke(&[1, 2])];
    })
    .await
    .unwrap();
    for (caller, expected) in open.iter_mut().zip([401, 200, 401, 200]) {
        assert_eq!(caller.ask().await.0, expected);
    }
    assert_eq!(rejections(&gate, "certificate_revoked"), 2.0);
    // Authorities that are no longer believed, and a listener that asks no more.
    let others = Authority::new();
    gate.reload(false, |config| {
        let tls = config.listeners[0].tls.as_mut().unwrap();
        (tls.client_ca, tls.client_crl) = (Some(others.roots()), Vec::new());
    })
    .await
    .unwrap();
    for caller in &mut open {
        assert_eq!(caller.ask().await, (401, "caller_unknown".into()));
    }
    assert_eq!(rejections(&gate, "certificate_untrusted"), 4.0);
    gate.reload(false, |config| config.listeners[0].tls.as_mut().unwrap().client_auth = ClientAuth::Off).await.unwrap();
    for caller in &mut open {
        assert_eq!(caller.ask().await, (401, "caller_unknown".into()));
    }
}

#[tokio::test]
async fn a_key_and_a_certificate_on_one_route_each_let_in_alone() {
    pki::install();
    let upstream = Upstream::echo().await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let server = ca.sign(&["gate.test"]);
    let mut config = config(&upstream, &server, &clients, vec![caller("fleet", &["spiffe://prod/*"], &[])]);
    gate::forward_of(&mut config.routes[0]).callers = vec!["fleet".into(), "team-a".into()];
    let gate = TestGate::start(config);
    let (good, other) = (clients.sign_uri("spiffe://prod/1", 1), clients.sign_uri("spiffe://other/1", 2));
    for alpn in KINDS {
        for (identity, key, expected) in [
            (Some(&good), "wrong", Some("fleet/spiffe://prod/1")),
            (Some(&other), CALLER_KEY, Some("team-a")),
            (None, CALLER_KEY, Some("team-a")),
            (Some(&other), "wrong", None),
        ] {
            let mut caller = Shower::connect(&gate, &ca, alpn, identity).await.unwrap();
            let mut request = get("/score");
            request.headers_mut().remove("authorization");
            let answer = caller.send(with(request, "authorization", &format!("Bearer {key}"))).await;
            assert_eq!(answer.status() == 200, expected.is_some());
            if let Some(name) = expected {
                assert_eq!(upstream.seen().pop().unwrap().header("x-auth-subject"), Some(name));
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_a_certificate_let_in_ends_soon_after_it_is_revoked() {
    pki::install();
    let upstream = eviction::endless().await;
    let (ca, clients) = (Authority::new(), Authority::new());
    let server = ca.sign(&["gate.test"]);
    for alpn in KINDS {
        let fleet = Caller { evict_after: Some(Duration::from_secs(10)), ..caller("fleet", &["spiffe://prod/*"], &[]) };
        let mut config = config(&upstream, &server, &clients, vec![fleet]);
        config.listeners[0].tls.as_mut().unwrap().client_crl = vec![clients.revoke(&[7])];
        let gate = TestGate::start_with(config, Clock::manual(ORIGIN));
        let mut open = Vec::new();
        for serial in [1, 2] {
            let identity = clients.sign_uri(&format!("spiffe://prod/{serial}"), serial);
            let mut caller = Shower::connect(&gate, &ca, alpn, Some(&identity)).await.unwrap();
            let mut asked = get("/score");
            asked.headers_mut().remove("authorization");
            let mut body = caller.open(asked).await.into_body();
            assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "some");
            open.push((caller, body));
        }
        gate.reload(false, |config| {
            config.listeners[0].tls.as_mut().unwrap().client_crl = vec![clients.revoke(&[1, 7])];
        })
        .await
        .unwrap();
        let (_stays, mut second) = open.pop().unwrap();
        let (_goes, first) = open.pop().unwrap();
        eviction::ends_in_time(&gate, first).await;
        eviction::goes_on(&gate, &mut second).await;
    }
}

#[tokio::test]
async fn a_host_that_another_listener_asks_a_certificate_for_is_misdirected() {
    pki::install();
    let upstream = Upstream::echo().await;
    let (ca, clients) = (Authority::new(), Authority::new());
    // One certificate for both names, so that it is not the certificate which tells them apart.
    let server = ca.sign(&["guarded.test", "open.test"]);
    let mut config = config(&upstream, &server, &clients, vec![caller("fleet", &["spiffe://prod/*"], &[])]);
    config.listeners[0].hosts = vec!["guarded.test".into()];
    config.listeners[0].tls.as_mut().unwrap().client_auth = ClientAuth::Required;
    let mut open = gate::listener("open");
    open.hosts = vec!["open.test".into()];
    open.tls = Some(pki::listener_tls(&[&server]));
    config.listeners.push(open);
    gate::forward_of(&mut config.routes[0]).callers = vec!["fleet".into(), "team-a".into()];
    let gate = TestGate::start(config);
    let identity = clients.sign_uri("spiffe://prod/1", 1);
    for (listener, sni, shown) in [("open", "open.test", None), ("public", "guarded.test", Some(&identity))] {
        for (host, status) in [(sni, 200), ("guarded.test", 421), ("open.test", 421)] {
            if status == 421 && host == sni {
                continue;
            }
            for alpn in KINDS {
                let stream = pki::connect(gate.address(listener), sni, ca.client(&[alpn], shown)).await.unwrap();
                let mut asked = get("/score");
                asked.headers_mut().insert("host", host.parse().unwrap());
                let answer = match alpn {
                    "h2" => H2::over(stream).await.send(asked).await,
                    _ => H1::over(stream).await.send(asked).await,
                };
                assert_eq!(client::verdict(&answer).0, status, "{listener} {sni} {host} {alpn}");
            }
        }
    }
}
