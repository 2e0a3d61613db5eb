//! Making a connection to an upstream: name, TCP, TLS, HTTP handshake, all within `timeouts.connect`.

use std::{io, rc::Rc, sync::Arc, time::Duration};

use hyper::client::conn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Backend, Protocol, io::UpstreamIo};
use crate::proxy::{
    body::RequestBody,
    http1::link::Link,
    stream::Stream,
    worker::{LocalExecutor, Worker},
};

/// HTTP/2 windows, bytes: Envoy's edge advice is 64 KiB a stream and 1 MiB a connection; measured in benches/README.md.
const H2_STREAM_WINDOW: u32 = 64 << 10;
/// Room for every stream's window: a caller that reads slowly must not stop the answers of others on the same connection.
const H2_CONNECTION_WINDOW: u32 = 100 * H2_STREAM_WINDOW;
/// Request bytes buffered per HTTP/2 stream.
const H2_SEND_BUFFER: usize = 64 << 10;
/// A connection with requests on it that answers no PING is dead, and is given up with them.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// A connection with its HTTP handshake behind it.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one function call, once a connection")]
pub enum Connected {
    /// HTTP/1.1.
    H1(Rc<Link>),
    /// HTTP/2.
    H2 {
        /// For requests.
        sender: conn::http2::SendRequest<RequestBody>,
        /// To be polled while the connection lives.
        driver: conn::http2::Connection<UpstreamIo, RequestBody, LocalExecutor>,
    },
}

/// Why no connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("no address for the name: {0}")]
    Resolve(io::Error),
    /// TCP.
    #[error("tcp: {0}")]
    Tcp(io::Error),
    /// TLS; rustls says what was wrong.
    #[error("tls: {0}")]
    Tls(io::Error),
    /// HTTP.
    #[error("http handshake: {0}")]
    Http(hyper::Error),
    /// `timeouts.connect` ran out.
    #[error("timed out")]
    TimedOut,
}

/// Connects.
///
/// # Errors
/// The first of name, TCP, TLS and HTTP that failed, or that all took longer than `timeouts.connect`.
pub async fn connect(backend: &Backend, worker: &Rc<Worker>) -> Result<Connected, ConnectError> {
    let limit = worker.view().snapshot.timeouts.connect;
    match tokio::time::timeout(limit, establish(backend, worker)).await {
        Ok(result) => result,
        Err(_elapsed) => {
            worker.count_limit("connect");
            Err(ConnectError::TimedOut)
        }
    }
}

async fn establish(backend: &Backend, worker: &Rc<Worker>) -> Result<Connected, ConnectError> {
    let tcp = dial(&backend.host, backend.port).await?;
    let (stream, negotiated_h2) = match &backend.tls {
        None => (Stream::Plain(tcp), false),
        Some((config, name)) => {
            let tls =
                TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await.map_err(ConnectError::Tls)?;
            let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(tls.into())), h2)
        }
    };
    if backend.protocol == Protocol::H2 || (backend.protocol == Protocol::Negotiated && negotiated_h2) {
        let (sender, driver) = conn::http2::Builder::new(worker.executor())
            .initial_stream_window_size(H2_STREAM_WINDOW)
            .initial_connection_window_size(H2_CONNECTION_WINDOW)
            .max_send_buf_size(H2_SEND_BUFFER)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE)
            .handshake(UpstreamIo(stream))
            .await
            .map_err(ConnectError::Http)?;
        Ok(Connected::H2 { sender, driver })
    } else {
        Ok(Connected::H1(Link::new(stream, &[], None)))
    }
}

/// Tries the addresses of a name one after the other.
async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(ConnectError::Resolve)?;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp(last))
}
