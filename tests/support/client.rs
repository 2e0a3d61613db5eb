//! Clients: one request over one connection, or many over one, HTTP/1.1 and HTTP/2.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};

use super::{gate::CALLER_KEY, in_time};

/// Why a scripted body broke off.
#[derive(Debug)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off by the test")
    }
}

impl std::error::Error for Broken {}

/// Any body.
pub type AnyBody = BoxBody<Bytes, Broken>;

/// A body whose frames the test sends one by one; it ends when the sender is dropped, and breaks off with [`Broken`].
pub fn streamed() -> (Feed, AnyBody) {
    let (feed, frames) = mpsc::channel(1);
    (Feed(feed), BoxBody::new(Streamed(frames)))
}

/// Where the frames of a streamed body go in.
pub struct Feed(mpsc::Sender<Result<Frame<Bytes>, Broken>>);

impl Feed {
    pub async fn data(&self, bytes: impl Into<Bytes>) {
        in_time("room for a frame", self.0.send(Ok(Frame::data(bytes.into())))).await.ok();
    }

    /// Sends a frame if there is room at once or soon; says whether there was.
    pub async fn soon(&self, bytes: impl Into<Bytes>) -> bool {
        let send = self.0.send(Ok(Frame::data(bytes.into())));
        tokio::time::timeout(std::time::Duration::from_millis(300), send).await.is_ok_and(|sent| sent.is_ok())
    }

    pub async fn trailers(self, trailers: HeaderMap) {
        in_time("room for a frame", self.0.send(Ok(Frame::trailers(trailers)))).await.ok();
    }

    pub async fn break_off(self) {
        self.0.send(Err(Broken)).await.ok();
    }

    /// Whether nobody reads any more.
    pub fn is_unwanted(&self) -> bool {
        self.0.is_closed()
    }
}

struct Streamed(mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

impl Body for Streamed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.poll_recv(cx)
    }
}

/// A body that is there already.
pub fn full(body: impl Into<Bytes>) -> AnyBody {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A request of team-a with a small JSON body.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<AnyBody> {
    request(Method::POST, path, full(body))
}

/// A request of team-a without a body.
pub fn get(path: &str) -> Request<AnyBody> {
    request(Method::GET, path, full(""))
}

/// A request of team-a.
pub fn request(method: Method, path: &str, body: AnyBody) -> Request<AnyBody> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "gate.test")
        .header("authorization", format!("Bearer {CALLER_KEY}"))
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

/// The same request with another field.
pub fn with(mut request: Request<AnyBody>, name: &'static str, value: &str) -> Request<AnyBody> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

/// A client of either protocol.
pub enum Client {
    H1(H1),
    H2(H2),
}

impl Client {
    /// One of each.
    pub async fn both(address: SocketAddr) -> [Self; 2] {
        [Self::H1(H1::connect(address).await), Self::H2(H2::connect(address).await)]
    }

    /// The names of both.
    pub const KINDS: [&str; 2] = ["h1", "h2"];

    /// One of a kind.
    pub async fn connect(kind: &str, address: SocketAddr) -> Self {
        match kind {
            "h1" => Self::H1(H1::connect(address).await),
            _ => Self::H2(H2::connect(address).await),
        }
    }

    /// The name of its protocol.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::H1(_) => "h1",
            Self::H2(_) => "h2",
        }
    }

    pub async fn open(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::H1(client) => client.open(request).await,
            Self::H2(client) => client.open(request).await,
        }
    }

    pub async fn try_send(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Bytes>> {
        collect(self.open(request).await?).await
    }

    pub async fn send(&mut self, request: Request<AnyBody>) -> Response<Bytes> {
        self.try_send(request).await.unwrap()
    }
}

/// An HTTP/1.1 connection.
pub struct H1(hyper::client::conn::http1::SendRequest<AnyBody>);

impl H1 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(in_time("connect", TcpStream::connect(address)).await.unwrap()).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    /// Awaits the response's head.
    pub async fn open(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        in_time("ready", self.0.ready()).await?;
        in_time("response head", self.0.send_request(request)).await
    }

    pub async fn try_send(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Bytes>> {
        collect(self.open(request).await?).await
    }

    pub async fn send(&mut self, request: Request<AnyBody>) -> Response<Bytes> {
        self.try_send(request).await.unwrap()
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// An HTTP/2 connection with prior knowledge.
#[derive(Clone)]
pub struct H2(hyper::client::conn::http2::SendRequest<AnyBody>);

impl H2 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(in_time("connect", TcpStream::connect(address)).await.unwrap()).await
    }

    pub async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Awaits the response's head.
    pub async fn open(&mut self, mut request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        let host = request.headers_mut().remove("host").unwrap();
        let path = request.uri().path_and_query().unwrap().as_str().to_owned();
        *request.uri_mut() = format!("http://{}{path}", host.to_str().unwrap()).parse().unwrap();
        in_time("ready", self.0.ready()).await?;
        in_time("response head", self.0.send_request(request)).await
    }

    pub async fn try_send(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Bytes>> {
        collect(self.open(request).await?).await
    }

    pub async fn send(&mut self, request: Request<AnyBody>) -> Response<Bytes> {
        self.try_send(request).await.unwrap()
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The status of what it is answered, however long that takes: for one of thousands at once, whose test has a deadline of its own.
    pub async fn status(&mut self, request: Request<AnyBody>) -> u16 {
        let (mut head, body) = request.into_parts();
        let host = head.headers.remove("host").unwrap();
        head.uri = format!("http://{}{}", host.to_str().unwrap(), head.uri).parse().unwrap();
        self.0.ready().await.unwrap();
        let answer = self.0.send_request(Request::from_parts(head, body)).await.unwrap();
        let status = answer.status().as_u16();
        answer.into_body().collect().await.unwrap();
        status
    }
}

/// Reads a response to its end.
pub async fn collect(response: Response<Incoming>) -> hyper::Result<Response<Bytes>> {
    let (head, body) = response.into_parts();
    let body = in_time("response body", body.collect()).await?.to_bytes();
    Ok(Response::from_parts(head, body))
}

/// The next piece of a response's body; none at its end.
pub async fn next_data(body: &mut Incoming) -> Option<hyper::Result<Bytes>> {
    let frame = in_time("a frame", body.frame()).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// One request over a connection of its own.
pub async fn once(address: SocketAddr, request: Request<AnyBody>) -> Response<Bytes> {
    H1::connect(address).await.send(request).await
}

/// The code of an answer of the gate's own.
pub fn code(response: &Response<Bytes>) -> String {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    body["error"]["code"].as_str().unwrap_or("none").to_owned()
}

/// Status and code.
pub fn verdict(response: &Response<Bytes>) -> (u16, String) {
    (response.status().as_u16(), code(response))
}
