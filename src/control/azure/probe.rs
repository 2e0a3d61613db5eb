//! Probes: one request of our own on a connection of its own, to see whether a front end takes a value.
//!
//! The drivers send them where `crate::rotation` asks for one; what an answer means is decided there. A probe goes where the data
//! plane's requests go, by the same name, certificates and protocol, and never takes one of its connections.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, Request, Response, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    config::model,
    proxy::upstream::{Addresses, Backend, Protocol},
    random,
    rotation::probe::{Verdict, judge},
    secret::Secret,
};

/// Address, TCP, TLS and the HTTP handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One address among several.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);
/// From the request to its response head. A probe that runs a model takes as long as that does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the probes of an endpoint go, and what they carry a value in.
#[derive(Debug, Clone)]
pub(in crate::control) struct Front {
    /// The upstream, as the data plane connects to it.
    pub(in crate::control) backend: Arc<Backend>,
    /// Where it is at present.
    pub(in crate::control) addresses: Addresses,
    /// The path that scores.
    pub(in crate::control) scoring: String,
    /// The field that carries a value.
    pub(in crate::control) header: String,
    /// What stands before the value.
    pub(in crate::control) prefix: String,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probed {
    /// What it says of the value.
    pub(super) verdict: Verdict,
    /// What was answered, or why nothing was; for people.
    pub(super) said: String,
}

/// Sends one probe.
pub(super) async fn probe(front: &Front, with: &model::Probe, value: &Secret) -> Probed {
    let nothing = |said: String| Probed { verdict: Verdict::Nothing(None), said };
    let request = match message(front, with, value) {
        Ok(request) => request,
        Err(why) => return nothing(why),
    };
    // On the heap: whoever waits for a probe would carry the size of a handshake.
    match Box::pin(exchange(front, request)).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let names = response.headers().keys().map(HeaderName::as_str);
            Probed { verdict: judge(status, names, retry_after(&response)), said: format!("status {status}") }
        }
        Err(why) => nothing(why),
    }
}

/// A value that no service has.
pub(super) fn wrong_key() -> Secret {
    let bytes: [u8; 16] = random::bytes().unwrap_or_default();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Secret::new(format!("scoregate-wrong-{digits}").into_bytes())
}

fn message(front: &Front, with: &model::Probe, value: &Secret) -> Result<Request<Full<Bytes>>, String> {
    let path = match &with.path {
        Some(path) => format!("{}{}", front.backend.base, path.trim_start_matches('/')),
        None => front.scoring.clone(),
    };
    let backend = &front.backend;
    let is_h2 = backend.protocol == Protocol::H2;
    let scheme = if backend.tls.is_some() { "https" } else { "http" };
    let target = if is_h2 { format!("{scheme}://{}{path}", backend.authority) } else { path };
    let unfit = |_says_no_more| "its value cannot stand in a header".to_owned();
    let credential = value.to_field(&front.prefix).map_err(unfit)?;
    let id = crate::azure::http::correlation_id();
    let mut request = Request::builder()
        .method(with.method.clone())
        .uri(target)
        .header(header::USER_AGENT, concat!("scoregate/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "*/*")
        .header("x-ms-client-request-id", format!("scoregate-probe-{id}"))
        .header(front.header.as_str(), credential);
    if !is_h2 {
        request = request.header(header::HOST, backend.authority.as_str());
    }
    let body = with.body.as_ref().map(|body| Bytes::copy_from_slice(body));
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    request.body(Full::new(body.unwrap_or_default())).map_err(|error| error.to_string())
}

async fn exchange(front: &Front, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, String> {
    let connecting = timeout(CONNECT_TIMEOUT, connect(front));
    let stream = connecting.await.map_err(|_elapsed| format!("no connection within {CONNECT_TIMEOUT:?}"))??;
    let answered = timeout(ANSWER_TIMEOUT, answer(&front.backend, stream, request));
    answered.await.map_err(|_elapsed| format!("no answer within {ANSWER_TIMEOUT:?}"))?
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(front: &Front) -> Result<Box<dyn Stream>, String> {
    let backend = &front.backend;
    let addresses: Vec<SocketAddr> = match &front.addresses {
        Some(addresses) => addresses.to_vec(),
        None => {
            let found = tokio::net::lookup_host((&*backend.host, backend.port)).await;
            found.map_err(|error| format!("{}: {error}", backend.host))?.collect()
        }
    };
    let tcp = dial(&addresses, &backend.host).await?;
    // One small request: waiting for more of it would only delay it.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = &backend.tls else { return Ok(Box::new(tcp)) };
    let config = if backend.protocol == Protocol::H2 { &tls.config } else { &tls.h1 };
    let connected = TlsConnector::from(Arc::clone(config)).connect(tls.name.clone(), tcp).await;
    connected.map(|stream| Box::new(stream) as _).map_err(|error| format!("TLS: {error}"))
}

/// TCP to one of these addresses, each of which may be another front end: first to any, then to those after it, as the data plane
/// does where one does not answer.
async fn dial(addresses: &[SocketAddr], host: &str) -> Result<TcpStream, String> {
    let dice = random::bytes().map_or(0, usize::from_ne_bytes);
    let first = dice.checked_rem(addresses.len()).unwrap_or(0);
    let mut why_not = format!("{host} has no address");
    for address in addresses.iter().cycle().skip(first).take(addresses.len()) {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => why_not = format!("{address}: {error}"),
            Err(_elapsed) => why_not = format!("{address}: no connection within {ADDRESS_TIMEOUT:?}"),
        }
    }
    Err(why_not)
}

async fn answer(
    backend: &Backend,
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, String> {
    let said = |error: hyper::Error| format!("HTTP: {error}");
    let io = TokioIo::new(stream);
    // The connection ends with its answer, whose body nobody reads.
    if backend.protocol == Protocol::H2 {
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.map_err(said)?;
        tokio::select! {
            answered = sender.send_request(request) => answered.map_err(said),
            ended = connection => Err(ended.map_or_else(said, |()| CLOSED.to_owned())),
        }
    } else {
        let (mut sender, mut connection) = hyper::client::conn::http1::handshake(io).await.map_err(said)?;
        let mut answered = std::pin::pin!(sender.send_request(request));
        tokio::select! {
            biased;
            answered = &mut answered => answered.map_err(said),
            // It may end with the answer in hand.
            _ = &mut connection => answered.await.map_err(said),
        }
    }
}

const CLOSED: &str = "HTTP: it closed the connection without an answer";

/// RFC 9110 section 10.2.3, in seconds; a date says nothing to a clock that may differ.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Refused => "refused",
            Verdict::Nothing(_) => "nothing said of it",
        };
        write!(f, "{verdict} ({})", self.said)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::Semaphore,
    };

    use super::*;
    use crate::ids::BackendId;

    fn front(address: SocketAddr) -> Front {
        Front {
            backend: Arc::new(Backend {
                id: BackendId::fresh(),
                host: address.ip().to_string().into(),
                port: address.port(),
                authority: address.to_string().parse().unwrap(),
                base: "/api/v1/service/iris/".into(),
                tls: None,
                protocol: Protocol::H1,
                idle: Duration::from_secs(1),
                max_age: Duration::from_secs(1),
                connections: Arc::new(Semaphore::new(1)),
                waiting: AtomicUsize::new(0),
            }),
            addresses: Some([address].into()),
            scoring: "/api/v1/service/iris/score".to_owned(),
            header: "authorization".to_owned(),
            prefix: "Bearer ".to_owned(),
        }
    }

    /// Sends a probe to somebody who answers this; gives back what he heard and what came of it.
    async fn asked(with: &model::Probe, answer: &'static str) -> (String, Probed) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = front(listener.local_addr().unwrap());
        let value = Secret::new(b"canary".to_vec());
        let hears = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let count = peer.read(&mut heard).await.unwrap();
            peer.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&heard[..count]).into_owned()
        };
        tokio::join!(hears, probe(&front, with, &value))
    }

    #[tokio::test]
    async fn a_probe_is_an_options_on_the_scoring_path_with_the_value() {
        let (heard, probed) = asked(&model::Probe::default(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(heard.starts_with("OPTIONS /api/v1/service/iris/score HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("authorization: Bearer canary\r\n"), "{heard}");
        assert!(heard.contains("x-ms-client-request-id: scoregate-probe-"), "{heard}");
        assert_eq!(probed.to_string(), "accepted (status 200)");
    }

    #[tokio::test]
    async fn a_probe_of_ones_own_has_its_method_path_and_body() {
        let with = model::Probe {
            method: http::Method::POST,
            path: Some("/deep/score".to_owned()),
            body: Some(Arc::from(&b"{}"[..])),
        };
        let (heard, probed) = asked(&with, "HTTP/1.1 401 Unauthorized\r\n\r\n").await;
        assert!(heard.starts_with("POST /api/v1/service/iris/deep/score HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains("content-length: 2\r\n") && heard.contains("content-type: application/json"), "{heard}");
        assert_eq!(probed.verdict, Verdict::Refused);
    }

    #[tokio::test]
    async fn what_says_nothing_says_why_and_how_long_to_wait() {
        let busy = "HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
        let (_, probed) = asked(&model::Probe::default(), busy).await;
        assert_eq!(probed.verdict, Verdict::Nothing(Some(Duration::from_secs(7))));
        let (_, probed) = asked(&model::Probe::default(), "").await;
        assert!(probed.said.starts_with("HTTP: "), "{probed}");
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let probed = probe(&front(gone), &model::Probe::default(), &wrong_key()).await;
        assert_eq!(probed.verdict, Verdict::Nothing(None));
        assert!(probed.said.contains("refused"), "{probed}");
    }

    #[tokio::test]
    async fn an_address_that_nobody_listens_at_does_not_stand_in_the_way() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        // Whichever of them is first.
        for _ in 0..20 {
            assert_eq!(dial(&[gone, good, gone], "h").await.unwrap().peer_addr().unwrap(), good);
        }
        assert!(dial(&[gone, gone], "h").await.unwrap_err().contains("refused"));
        assert_eq!(dial(&[], "h").await.unwrap_err(), "h has no address");
    }

    #[test]
    fn no_two_wrong_keys_are_alike() {
        assert_ne!(wrong_key(), wrong_key());
    }
}
