//! Making a connection to an upstream: address, TCP, TLS, HTTP handshake, all within `timeouts.connect`.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use hyper::client::conn;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Backend, Protocol, io::UpstreamIo};
use crate::proxy::{
    body::RequestBody,
    descriptors,
    http1::link::Link,
    socket::Socket,
    stream::Stream,
    worker::{LocalExecutor, Worker},
};

/// HTTP/2 windows, bytes: Envoy's edge advice is 64 KiB a stream and 1 MiB a connection; measured in benches/README.md.
const H2_STREAM_WINDOW: u32 = 64 << 10;
/// Room for every stream's window: a caller that reads slowly must not stop the answers of others on the same connection.
const H2_CONNECTION_WINDOW: u32 = 100 * H2_STREAM_WINDOW;
/// Request bytes buffered per HTTP/2 stream.
const H2_SEND_BUFFER: usize = 64 << 10;
/// How long an address has before the next one is tried beside it (RFC 8305 section 8).
const HEAD_START: Duration = Duration::from_millis(250);
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
    /// The name has no address, as far as is known.
    #[error("the name has no address")]
    NoAddress,
    /// This process or machine has no file descriptor for it.
    #[error("out of file descriptors; raise `ulimit -n` (systemd: LimitNOFILE=)")]
    Descriptors,
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

impl ConnectError {
    fn of_tcp(error: io::Error) -> Self {
        if descriptors::are_out(&error) { Self::Descriptors } else { Self::Tcp(error) }
    }
}

/// Connects, once it is known where to; says which address it came to. `h1`: nothing else is negotiated.
///
/// # Errors
/// The first of address, TCP, TLS and HTTP that failed, or that all took longer than `timeouts.connect`.
pub async fn connect(
    backend: &Backend,
    addresses: impl Future<Output = Vec<SocketAddr>>,
    worker: &Rc<Worker>,
    h1: bool,
) -> Result<(Connected, SocketAddr), ConnectError> {
    let limit = worker.view().snapshot.timeouts.connect;
    let waits_for_room = Cell::new(false);
    let connecting = async {
        let addresses = addresses.await;
        let (tcp, address) = descriptors::with_room(worker, &waits_for_room, async || dial(&addresses).await).await?;
        Ok((establish(backend, Socket::Tcp(tcp), worker, h1).await?, address))
    };
    match tokio::time::timeout(limit, connecting).await {
        Ok(result) => result,
        Err(_elapsed) if waits_for_room.get() => Err(ConnectError::Descriptors),
        Err(_elapsed) => {
            worker.count_limit("connect");
            Err(ConnectError::TimedOut)
        }
    }
}

async fn establish(
    backend: &Backend,
    socket: Socket,
    worker: &Rc<Worker>,
    h1: bool,
) -> Result<Connected, ConnectError> {
    let (stream, negotiated_h2) = match &backend.tls {
        None => (Stream::Plain(socket), false),
        Some(tls) => {
            let config = Arc::clone(if h1 { &tls.h1 } else { &tls.config });
            let tls = TlsConnector::from(config).connect(tls.name.clone(), socket).await.map_err(ConnectError::Tls)?;
            let h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
            (Stream::Tls(Box::new(tls.into())), h2)
        }
    };
    let h2 = backend.protocol == Protocol::H2 || (backend.protocol == Protocol::Negotiated && negotiated_h2);
    if h2 && !h1 {
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

/// A connection that is being made.
type Attempt = (SocketAddr, Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>);

/// TCP to the first address that answers: each has a head start over the next (RFC 8305 section 5), so that one that is silent costs
/// that, and not all the time there is.
async fn dial(addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), ConnectError> {
    if let [only] = addresses {
        let tcp = TcpStream::connect(only).await.map_err(ConnectError::of_tcp)?;
        tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
        return Ok((tcp, *only));
    }
    let mut waiting = addresses.iter();
    let mut trying: Vec<Attempt> = Vec::new();
    let mut last = ConnectError::NoAddress;
    loop {
        if let Some(address) = waiting.next() {
            trying.push((*address, Box::pin(TcpStream::connect(*address))));
        }
        let head_start = tokio::time::sleep(HEAD_START);
        let first = async {
            tokio::select! {
                first = first_of(&mut trying) => first,
                () = head_start, if waiting.len() > 0 => None,
            }
        };
        match first.await {
            Some((address, Ok(tcp))) => {
                tcp.set_nodelay(true).map_err(ConnectError::Tcp)?;
                return Ok((tcp, address));
            }
            // Not the upstream's fault, whatever else comes of the others.
            Some((_, Err(_))) if matches!(last, ConnectError::Descriptors) => {}
            Some((_, Err(error))) => last = ConnectError::of_tcp(error),
            None => {}
        }
        if trying.is_empty() && waiting.len() == 0 {
            return Err(last);
        }
    }
}

/// The next of several attempts to come to an end, which leaves the list. None where there is none.
async fn first_of(trying: &mut Vec<Attempt>) -> Option<(SocketAddr, io::Result<TcpStream>)> {
    poll_fn(|cx| {
        for at in 0..trying.len() {
            if let Some((address, attempt)) = trying.get_mut(at)
                && let Poll::Ready(outcome) = attempt.as_mut().poll(cx)
            {
                let address = *address;
                drop(trying.swap_remove(at));
                return Poll::Ready(Some((address, outcome)));
            }
        }
        if trying.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_or_is_silent_does_not_stand_in_the_way_of_the_next() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let refuses = {
            let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            gone.local_addr().unwrap()
        };
        // Its queue is full: whoever connects now waits.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _fills = (
            std::net::TcpStream::connect(silent).unwrap(),
            std::net::TcpStream::connect_timeout(&silent, Duration::from_millis(50)),
        );
        for addresses in [&[good][..], &[refuses, good], &[silent, good], &[silent, refuses, good]] {
            let (_, reached) = dial(addresses).await.unwrap();
            assert_eq!(reached, good);
        }
        assert!(matches!(dial(&[refuses, refuses]).await, Err(ConnectError::Tcp(_))));
        assert!(matches!(dial(&[]).await, Err(ConnectError::NoAddress)));
    }
}
