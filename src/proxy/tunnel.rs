//! Two connections joined: what a WebSocket becomes once both sides have agreed (RFC 6455, RFC 8441).
//!
//! `forward` opens it, `http1::server` or `http2` joins the caller's end to it. Bytes go both ways as they come, and so does the end of
//! each direction; a side that breaks off takes the other with it. An idle tunnel holds no buffers.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{exchange::Watched, head::ResponseHead, http1::link::Link, http2::stream::Duplex, upstream::pool::Lease};

/// Bytes read at once from a stream of HTTP/2.
const READ: usize = 16 << 10;

/// One end of a tunnel.
#[derive(Debug)]
pub enum End {
    /// A connection of HTTP/1.1 after its 101.
    H1(Rc<Link>),
    /// An upstream's stream of HTTP/2 after its 200.
    H2(Box<Multiplexed>),
    /// A caller's.
    Stream(Box<Duplex>),
}

/// An upstream's stream of HTTP/2 as a byte stream.
#[derive(Debug)]
pub struct Multiplexed {
    io: TokioIo<Upgraded>,
    ahead: Vec<u8>,
    taken: usize,
}

impl End {
    /// An end on an upstream's stream of HTTP/2.
    #[must_use]
    pub fn h2(upgraded: Upgraded) -> Self {
        Self::H2(Box::new(Multiplexed { io: TokioIo::new(upgraded), ahead: Vec::new(), taken: 0 }))
    }

    /// Reads what is there. 0: the other side has finished.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match self {
            Self::H1(link) => link.poll_fill(cx),
            Self::H2(stream) => {
                let mut scratch = [0; READ];
                let mut buf = ReadBuf::new(&mut scratch);
                ready!(Pin::new(&mut stream.io).poll_read(cx, &mut buf))?;
                stream.ahead.extend_from_slice(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
            Self::Stream(stream) => stream.poll_fill(cx),
        }
    }

    /// Writes what `from` has read to this end, and takes from it what was written. 0: there was nothing.
    fn poll_take(&mut self, from: &mut Self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match from {
            Self::H1(link) => {
                if !link.has_ahead() {
                    return Poll::Ready(Ok(0));
                }
                let written = ready!(link.with_ahead(|bytes| self.poll_write(cx, bytes)))?;
                link.take_ahead(written);
                if !link.has_ahead() {
                    link.shrink();
                }
                Poll::Ready(Ok(written))
            }
            Self::H2(stream) => {
                let bytes = stream.ahead.get(stream.taken..).unwrap_or_default();
                if bytes.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                let written = ready!(self.poll_write(cx, bytes))?;
                stream.taken += written;
                if stream.taken >= stream.ahead.len() {
                    (stream.ahead, stream.taken) = (Vec::new(), 0);
                }
                Poll::Ready(Ok(written))
            }
            Self::Stream(stream) => {
                if stream.ahead().is_empty() {
                    return Poll::Ready(Ok(0));
                }
                let written = ready!(self.poll_write(cx, stream.ahead()))?;
                stream.take_ahead(written);
                Poll::Ready(Ok(written))
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::H1(link) => link.poll_write(cx, [bytes, &[], &[]]),
            Self::H2(stream) => match ready!(Pin::new(&mut stream.io).poll_write(cx, bytes))? {
                0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => Poll::Ready(Ok(written)),
            },
            Self::Stream(stream) => stream.poll_write(bytes, cx),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1(link) => link.poll_flush(cx),
            Self::H2(stream) => Pin::new(&mut stream.io).poll_flush(cx),
            // Its connection's task writes.
            Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::H1(link) => Pin::new(&mut *link.stream().borrow_mut()).poll_shutdown(cx),
            Self::H2(stream) => Pin::new(&mut stream.io).poll_shutdown(cx),
            Self::Stream(stream) => {
                stream.finish();
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// A tunnel whose far end is open.
#[derive(Debug)]
pub struct Tunnel {
    /// What the caller is answered with before it begins.
    pub head: Box<ResponseHead>,
    /// The exchange it belongs to.
    pub exchange: Watched,
    upstream: End,
    /// The connection that the far end is on; never given back.
    lease: Lease,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunnelEnd {
    /// Both directions were finished.
    Finished,
    /// One side broke off, or time ran out: neither side must think that the other had finished. (An upstream's stream of HTTP/2 ends in
    /// an orderly way all the same, since hyper has no way to reset one; WebSockets have an end of their own.)
    Broken,
}

/// Where one direction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Open,
    /// The source has finished; that is still to be passed on.
    Ending,
    Finished,
}

impl Tunnel {
    /// A tunnel to an upstream.
    #[must_use]
    pub const fn new(head: Box<ResponseHead>, exchange: Watched, upstream: End, lease: Lease) -> Self {
        Self { head, exchange, upstream, lease }
    }

    /// Joins the caller's end to it, until both directions are finished or one breaks off.
    pub async fn join(self, mut caller: End) -> TunnelEnd {
        let Self { exchange, mut upstream, lease, .. } = self;
        let exchange = &exchange.0;
        let (mut up, mut down) = (Direction::Open, Direction::Open);
        exchange.tunnel_begins();
        let end = poll_fn(|cx| {
            if exchange.verdict().is_some() {
                return Poll::Ready(TunnelEnd::Broken);
            }
            let sent = pump(&mut caller, &mut upstream, &mut up, cx, |moved| {
                // An upstream that takes nothing is not its caller's delay.
                if let Some(bytes) = moved {
                    exchange.tunnel_moves(bytes, 0);
                }
            });
            let is_blocked = Cell::new(false);
            let read = pump(&mut upstream, &mut caller, &mut down, cx, |moved| match moved {
                Some(bytes) => exchange.tunnel_moves(0, bytes),
                None => is_blocked.set(true),
            });
            if let End::Stream(stream) = &caller {
                // Waiting for other streams is not the caller's delay.
                let now = exchange.worker.coarse_now();
                if is_blocked.get() && stream.is_shut() {
                    exchange.reading.wait(now);
                } else {
                    exchange.reading.progress(now, 0);
                }
                if !is_blocked.get() {
                    stream.pass();
                }
            }
            match (sent, read) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(TunnelEnd::Broken),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(TunnelEnd::Finished),
                _ => {
                    exchange.remember(cx);
                    Poll::Pending
                }
            }
        })
        .await;
        exchange.record.complete.set(end == TunnelEnd::Finished);
        if end == TunnelEnd::Broken && exchange.verdict().is_none() {
            exchange.count_broken_tunnel();
        }
        drop(lease);
        end
    }
}

/// Moves what there is in one direction, and says so: how much, or that `to` takes nothing of it. Ready once that is finished.
fn pump(
    from: &mut End,
    to: &mut End,
    direction: &mut Direction,
    cx: &mut Context<'_>,
    moved: impl Fn(Option<usize>),
) -> Poll<io::Result<()>> {
    loop {
        match direction {
            Direction::Finished => return Poll::Ready(Ok(())),
            Direction::Ending => {
                ready!(to.poll_finish(cx))?;
                *direction = Direction::Finished;
            }
            Direction::Open => {
                let Poll::Ready(taken) = to.poll_take(from, cx)? else {
                    moved(None);
                    return Poll::Pending;
                };
                if taken > 0 {
                    moved(Some(taken));
                    continue;
                }
                match from.poll_fill(cx)? {
                    Poll::Ready(0) => *direction = Direction::Ending,
                    Poll::Ready(_) => {}
                    Poll::Pending => {
                        // TLS may hold records back.
                        ready!(to.poll_flush(cx))?;
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}
