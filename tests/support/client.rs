//! Clients: one request over one connection, or many over one, HTTP/1.1 and HTTP/2.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{gate::CALLER_KEY, in_time};

/// A request of team-a with a small JSON body.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    request(Method::POST, path, body)
}

/// A request of team-a.
pub fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gate.test")
        .header("authorization", format!("Bearer {CALLER_KEY}"))
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// An HTTP/1.1 connection.
pub struct H1(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

impl H1 {
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = in_time("connect", TcpStream::connect(address)).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
        in_time("ready", self.0.ready()).await?;
        let response = in_time("response head", self.0.send_request(request)).await?;
        collect(response).await
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.try_send(request).await.unwrap()
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// An HTTP/2 connection with prior knowledge.
#[derive(Clone)]
pub struct H2(hyper::client::conn::http2::SendRequest<Full<Bytes>>);

impl H2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let tcp = in_time("connect", TcpStream::connect(address)).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub async fn try_send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Bytes>> {
        let host = request.headers_mut().remove("host").unwrap();
        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
        *request.uri_mut() = format!("http://{}{path}", host.to_str().unwrap()).parse().unwrap();
        in_time("ready", self.0.ready()).await?;
        let response = in_time("response head", self.0.send_request(request)).await?;
        collect(response).await
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.try_send(request).await.unwrap()
    }
}

async fn collect(response: Response<hyper::body::Incoming>) -> hyper::Result<Response<Bytes>> {
    let (head, body) = response.into_parts();
    let body = in_time("response body", body.collect()).await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// One request over a connection of its own.
pub async fn once(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    H1::connect(address).await.send(request).await
}

/// The code of an answer of the gate's own.
pub fn code(response: &Response<Bytes>) -> String {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    body["error"]["code"].as_str().unwrap_or("none").to_owned()
}
