//! Who may ask what: the token, pages in a browser, and how much of each listener is open.

use std::{net::SocketAddr, sync::Arc};

use rcgen::CertifiedKey;
use scoregate::config::model::{Certificate, ClientAuth, ListenerTls};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{Answer, Ask, CANARY, Running, free_port, refused, setting};

const OPEN: [&str; 4] = ["/livez", "/readyz", "/metrics", "/status"];
const GUARDED: [(&str, &str); 5] = [
    ("GET", "/endpoints/iris/keys"),
    ("GET", "/config"),
    ("POST", "/reload"),
    ("POST", "/drain"),
    ("PUT", "/log-level"),
];

#[tokio::test]
async fn on_loopback_the_open_paths_want_no_token_and_the_others_do() {
    let running = setting().start().await;
    for path in OPEN {
        assert_eq!(running.ask_tcp(Ask::new("GET", path)).await.status, 200, "{path}");
    }
    for (method, path) in GUARDED {
        let answer = running.ask_tcp(Ask::new(method, path)).await;
        assert_eq!(answer.refusal(), refused(401, "unauthorized"), "{path}");
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
    }
    assert!(running.fake.calls().is_empty());
}

#[tokio::test]
async fn only_the_right_token_in_one_header_opens() {
    let running = setting().start().await;
    let config = || Ask::new("GET", "/config");
    assert_eq!(running.ask_tcp(config().token(CANARY)).await.status, 200);
    assert_eq!(running.ask_tcp(config().header("authorization", &format!("bearer {CANARY}"))).await.status, 200);
    let (shorter, longer) = (&CANARY[1..], format!("{CANARY}x"));
    for wrong in ["", shorter, &longer, "canary", &CANARY.to_uppercase()] {
        assert_eq!(running.ask_tcp(config().token(wrong)).await.refusal(), refused(401, "unauthorized"), "{wrong}");
    }
    for wrong in [config().token(CANARY).token(CANARY), config().header("authorization", CANARY)] {
        assert_eq!(running.ask_tcp(wrong).await.refusal(), refused(401, "unauthorized"));
    }
}

#[tokio::test]
async fn pages_in_a_browser_are_refused_on_every_path_though_they_show_the_token() {
    let running = setting().start().await;
    for path in OPEN.into_iter().chain(["/config", "/nothing"]) {
        let page = Ask::new("GET", path).token(CANARY).header("origin", "http://localhost");
        assert_eq!(running.ask_tcp(page).await.refusal(), refused(403, "origin_refused"), "{path}");
        for host in ["evil.example", "evil.example:9901", "10.0.0.1", "localhost.evil.example"] {
            let page = Ask::new("GET", path).token(CANARY).header("host", host);
            assert_eq!(running.ask_tcp(page).await.refusal(), refused(403, "host_refused"), "{path} {host}");
        }
    }
}

#[tokio::test]
async fn the_listeners_own_hosts_are_its_address_and_localhost() {
    let running = setting().start().await;
    let own = running.handle.address.unwrap().to_string();
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1", &own] {
        assert_eq!(running.ask_tcp(Ask::new("GET", "/livez").header("host", host)).await.status, 200, "{host}");
    }
    let twice = Ask::new("GET", "/livez").header("host", "localhost").header("host", "evil.example");
    assert_eq!(running.ask_tcp(twice).await.status, 403);
    let absolute = Ask::new("GET", "http://evil.example/livez").header("host", "localhost");
    assert_eq!(running.ask_tcp(absolute).await.refusal(), refused(403, "host_refused"));
}

#[tokio::test]
async fn the_health_address_has_three_paths_for_whoever_asks() {
    let running = setting().start().await;
    for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
        let ask = Ask::new("GET", path).header("host", "gate.namespace.svc:9902");
        assert_eq!(running.ask_health(ask).await.status, 200, "{path}");
    }
    for (method, path) in GUARDED.into_iter().chain([("GET", "/status"), ("GET", "/"), ("GET", "/operations")]) {
        let answer = running.ask_health(Ask::new(method, path).token(CANARY)).await;
        assert_eq!(answer.refusal(), refused(404, "not_found"), "{path}");
    }
    assert!(running.fake.calls().is_empty());
}

#[tokio::test]
async fn without_a_token_tcp_answers_the_open_paths_and_the_socket_everything() {
    let mut setting = setting();
    setting.admin.token = None;
    std::fs::write(&setting.state_dir.path, "a file where a directory should be").unwrap();
    let running = setting.start().await;
    assert_eq!(running.ask_tcp(Ask::new("GET", "/status")).await.status, 200);
    let answer = running.ask_tcp(Ask::new("GET", "/config").token("")).await;
    assert_eq!(answer.refusal(), refused(403, "no_admin_token"));
    assert_eq!(running.ask_socket("GET", "/config").await.status, 200);
}

#[tokio::test]
async fn off_loopback_there_is_no_listener_without_tls() {
    let mut setting = setting();
    setting.admin.address = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
    let message = setting.serve(&Arc::default()).await.unwrap_err().to_string();
    assert!(message.contains("admin.tls"), "{message}");
}

#[tokio::test]
async fn off_loopback_every_path_wants_the_token_and_the_certificates_name_is_a_host() {
    let pki = Pki::new("gate.example.com");
    let mut setting = setting();
    setting.admin.address = Some(SocketAddr::from(([0, 0, 0, 0], 0)));
    setting.admin.tls = Some(pki.server());
    let running = setting.start().await;
    for path in OPEN {
        let bare = Ask::new("GET", path).header("host", "gate.example.com:9901");
        assert_eq!(pki.ask(&running, bare).await.refusal(), refused(401, "unauthorized"), "{path}");
        let shown = Ask::new("GET", path).header("host", "gate.example.com:9901").token(CANARY);
        assert_eq!(pki.ask(&running, shown).await.status, 200, "{path}");
    }
    let foreign = Ask::new("GET", "/status").header("host", "other.example.com").token(CANARY);
    assert_eq!(pki.ask(&running, foreign).await.refusal(), refused(403, "host_refused"));
}

#[tokio::test]
async fn a_client_that_leaves_tls_half_done_does_not_stop_the_next() {
    let pki = Pki::new("gate.example.com");
    let mut setting = setting();
    setting.admin.address = Some(free_port());
    setting.admin.tls = Some(pki.server());
    let running = setting.start().await;
    let address = running.handle.address.unwrap();
    let _silent = TcpStream::connect(address).await.unwrap();
    drop(TcpStream::connect(address).await.unwrap());
    assert_eq!(pki.ask(&running, Ask::new("GET", "/livez")).await.status, 200);
}

/// A certificate that signs itself, and a client that believes it.
struct Pki {
    certificate: Certificate,
    connector: TlsConnector,
    name: &'static str,
}

impl Pki {
    fn new(name: &'static str) -> Self {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls_pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let key = rustls::sign::CertifiedKey::from_der(vec![cert.der().clone()], key, &provider).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let certificate = Certificate { key: Arc::new(key), names: vec![name.to_owned()], digest: [0; 32] };
        Self { certificate, connector: TlsConnector::from(Arc::new(client)), name }
    }

    fn server(&self) -> ListenerTls {
        let certificates = vec![self.certificate.clone()];
        ListenerTls { certificates, client_ca: None, client_crl: Vec::new(), client_auth: ClientAuth::Off }
    }

    async fn ask(&self, running: &Running, ask: Ask) -> Answer {
        let address = SocketAddr::from(([127, 0, 0, 1], running.handle.address.unwrap().port()));
        let stream = TcpStream::connect(address).await.unwrap();
        ask.over(self.connector.connect(self.name.try_into().unwrap(), stream).await.unwrap()).await
    }
}

#[tokio::test]
async fn managers_of_services_come_without_the_admin_token_and_pages_do_not() {
    let running = setting().start().await;
    let path = "/modelmanagement/v1.0/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/services";
    for method in ["GET", "POST"] {
        // The fake has no services: what is answered is not the guard's refusal.
        assert_eq!(running.ask_tcp(Ask::new(method, path)).await.status, 404);
        let page = Ask::new(method, path).header("origin", "http://localhost");
        assert_eq!(running.ask_tcp(page).await.refusal(), refused(403, "origin_refused"));
    }
}
