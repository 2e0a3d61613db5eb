//! What front ends carry besides small requests: HTTP/2, TLS, WebSocket, events, trailers, large bodies.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use scoregate::{digest::sha256, mock_azure::Options};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Mock, request};

const LARGE: usize = 100 << 20;

fn path(mock: &Mock, service: &str, rest: &str) -> http::Uri {
    mock.at.scoring[service][0].replace("/score", rest).parse().unwrap()
}

async fn connect(uri: &http::Uri) -> TcpStream {
    TcpStream::connect((uri.host().unwrap().replace("localhost", "127.0.0.1"), uri.port_u16().unwrap())).await.unwrap()
}

async fn h2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> http2::SendRequest<Full<Bytes>> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn http2_is_spoken_with_prior_knowledge() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    let uri = path(&mock, "aks-key", "/score");
    let mut client = h2(connect(&uri).await).await;
    for (credential, status) in [(&*key, 200), ("wrong", 401), (&*key, 200)] {
        let asked = request(Method::POST, &uri.to_string(), Some(credential), r#"{"data": [[5.1, 3.5, 1.4, 0.2]]}"#);
        assert_eq!(client.send_request(asked).await.unwrap().status(), status);
    }
    assert_eq!(mock.seen("aks-key", None).await["connections"], 1);
}

async fn tls_client(
    mock: &Mock,
    alpn: &[u8],
    uri: &http::Uri,
    name: &str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(mock.at.ca_file.as_ref().unwrap()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, connect(uri).await).await.unwrap()
}

#[tokio::test]
async fn tls_has_both_protocols_and_microsofts_names_beside_plain_connections() {
    let mock = Mock::with(Options { tls: true, ..Options::default() }).await;
    let [key, _] = mock.keys("online-key").await;
    let uri = path(&mock, "online-key", "/score");
    assert_eq!(uri.scheme_str(), Some("https"));
    let stream = tls_client(&mock, b"h2", &uri, "mine.eastus.inference.ml.azure.com").await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = h2(stream).await;
    let asked = request(Method::OPTIONS, &uri.to_string(), Some(&key), "");
    assert_eq!(client.send_request(asked).await.unwrap().status(), 200);
    let stream = tls_client(&mock, b"http/1.1", &uri, "127.0.0.1").await;
    let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let asked = request(Method::OPTIONS, uri.path(), Some(&key), "");
    assert_eq!(client.send_request(asked).await.unwrap().status(), 200);
    let plain = uri.to_string().replace("https", "http").replace("localhost", "127.0.0.1");
    assert_eq!(mock.send(request(Method::OPTIONS, &plain, Some(&key), "")).await.unwrap().status, 200);
    let entra: http::Uri = mock.at.entra_tls.clone().unwrap().parse().unwrap();
    for name in
        ["login.microsoftonline.com", "management.azure.com", "ml.azure.com", "eastus.api.azureml.ms", "localhost"]
    {
        tls_client(&mock, b"http/1.1", &entra, name).await;
    }
}

#[tokio::test]
async fn events_come_one_by_one() {
    let mock = Mock::start().await;
    let uri = path(&mock, "aci-open", "/sse?events=3&interval=0.05");
    let mut client = h2(connect(&uri).await).await;
    let response = client.send_request(request(Method::GET, &uri.to_string(), None, "")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut body, mut frames) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        if data.is_empty() {
            continue; // the end of the stream
        }
        assert_eq!(data, format!("id: {frames}\ndata: {{\"event\": {frames}}}\n\n"));
        frames += 1;
    }
    assert_eq!(frames, 3);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let mock = Mock::start().await;
    let uri = path(&mock, "aci-open", "/echo");
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(connect(&uri).await)).await.unwrap();
    tokio::spawn(connection);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    let body = Full::new(Bytes::from_static(b"abc")).with_trailers(std::future::ready(Some(Ok(trailers.clone()))));
    let response = client.send_request(Request::post(uri.to_string()).body(body.boxed()).unwrap()).await.unwrap();
    let echoed = response.into_body().collect().await.unwrap();
    assert_eq!(echoed.trailers(), Some(&trailers));
    let url = format!("{uri}?trailers");
    let empty = Full::new(Bytes::new()).boxed();
    let azures = client
        .send_request(Request::post(url).body(empty).unwrap())
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(azures.trailers().unwrap()["ms-azureml-bandwidth-request-delay-ms"], "1");
}

#[tokio::test]
async fn a_hundred_mebibytes_go_in_and_come_back() {
    let mock = Mock::start().await;
    let data = Bytes::from((0..LARGE).map(|index| (index % 251) as u8).collect::<Vec<_>>());
    let digest = sha256(&data);
    for protocol in ["http/1.1", "h2"] {
        let uri = path(&mock, "aci-open", "/echo");
        let asked = Request::post(if protocol == "h2" { uri.to_string() } else { uri.path().to_owned() })
            .header("host", "any.example")
            .body(Full::new(data.clone()))
            .unwrap();
        let response = if protocol == "h2" {
            h2(connect(&uri).await).await.send_request(asked).await.unwrap()
        } else {
            let (mut client, connection) = http1::handshake(TokioIo::new(connect(&uri).await)).await.unwrap();
            tokio::spawn(connection);
            client.send_request(asked).await.unwrap()
        };
        let echoed = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((echoed.len(), sha256(&echoed)), (LARGE, digest), "{protocol}");
    }
}

/// A masked frame, as clients send it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        medium => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
    }
    bytes.extend([1, 2, 3, 4]);
    bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

async fn websocket(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    for payload in [b"hello".to_vec(), vec![b'x'; 5_000]] {
        stream.write_all(&frame(0x82, &payload)).await.unwrap();
        let header = if payload.len() < 126 { 2 } else { 4 };
        let mut echoed = vec![0; header + payload.len()];
        stream.read_exact(&mut echoed).await.unwrap();
        assert_eq!((echoed[0], &echoed[header..]), (0x82, &payload[..]));
    }
    stream.write_all(&frame(0x89, b"p")).await.unwrap();
    let mut pong = [0; 3];
    stream.read_exact(&mut pong).await.unwrap();
    assert_eq!(pong, [0x8a, 1, b'p']);
    stream.write_all(&frame(0x88, &1000_u16.to_be_bytes())).await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x88, 2, 0x03, 0xe8], "closed as it was asked to");
}

/// RFC 6455 section 1.3 has the key and what it leads to.
async fn upgrade(uri: &http::Uri, credential: &str) -> TcpStream {
    let mut stream = connect(uri).await;
    let head = format!(
        "GET {} HTTP/1.1\r\nHost: any.example\r\nAuthorization: Bearer {credential}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        uri.path()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(tokio::time::timeout(Duration::from_secs(10), stream.read_u8()).await.unwrap().unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    stream
}

#[tokio::test]
async fn a_websocket_echoes() {
    let mock = Mock::start().await;
    let [key, _] = mock.keys("aks-key").await;
    websocket(&mut upgrade(&path(&mock, "aks-key", "/ws"), &key).await).await;
}

#[tokio::test]
async fn a_websocket_goes_through_to_a_container() {
    let container = Mock::start().await;
    let backends = vec![("aks-key".to_owned(), container.at.scoring["aci-open"][0].clone())];
    let mock = Mock::with(Options { backends, ..Options::default() }).await;
    let [key, _] = mock.keys("aks-key").await;
    websocket(&mut upgrade(&path(&mock, "aks-key", "/ws"), &key).await).await;
}

#[tokio::test]
async fn a_websocket_over_http2_echoes() {
    let mock = Mock::start().await;
    let uri = path(&mock, "aci-open", "/ws");
    let (client, connection) = h2::client::handshake(connect(&uri).await).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    // The server's settings allow extended CONNECT once they have come.
    let allowed = async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), allowed).await.unwrap();
    let mut asked = Request::builder().method(Method::CONNECT).uri(uri.to_string()).body(()).unwrap();
    asked.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut send) = client.send_request(asked, false).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 200);
    send.send_data(Bytes::from(frame(0x81, b"hello")), false).unwrap();
    let echoed = response.into_body().data().await.unwrap().unwrap();
    assert_eq!(&*echoed, b"\x81\x05hello");
}
