//! A caller's HTTP/2 connection (RFC 9113), from its preface to its end. This file is its task: it reads, hands what it read to
//! `input`, and writes what the streams' tasks (`runner`, `serving`) have put together in `session`.

pub mod flow;
pub mod frame;
pub mod hpack;
mod input;
pub mod request;
pub mod runner;
mod serving;
mod session;
pub mod stream;

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::{
    frame::Reason,
    input::{Input, PING},
    session::{FIRST_WINDOW, STREAM_WINDOW, Session},
};
use crate::{
    clock::Moment,
    proxy::{
        connection::{Connection, LINGER, Order},
        io_watch::Phase,
        stream::Stream,
        worker::Worker,
    },
    snapshot::Limits,
};

/// The largest window of a connection, bytes: half of what the protocol allows, so that it may be widened.
const LARGEST_WINDOW: u32 = 1 << 30;
/// One read, bytes.
const READ: usize = 32 << 10;
/// What is read of a connection before it is another's turn, bytes.
const TURN: usize = 128 << 10;

const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// Serves a connection to its end.
///
/// # Errors
/// What to count it as, where it did not end well.
pub async fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    stream: Stream,
    ahead: Bytes,
    limits: &Limits,
) -> Result<(), &'static str> {
    connection.watch.multiplexed();
    let window = limits.h2_streams.saturating_mul(STREAM_WINDOW).clamp(FIRST_WINDOW, LARGEST_WINDOW);
    let session = Session::new(worker, connection, window);
    let tunnels = worker.view().snapshot.routes.has_websockets();
    let input = Input::new(&session, limits, tunnels);
    let mut task = Task { session, input, stream, stage: Stage::Open, saw_eof: false };
    task.greet(limits, window, tunnels);
    let begun = if ahead.is_empty() { Ok(()) } else { task.take(&ahead) };
    if let Err(reason) = begun {
        task.break_off(reason);
    }
    poll_fn(|cx| task.poll(cx)).await
}

/// The task of a connection.
#[derive(Debug)]
struct Task {
    session: Rc<Session>,
    input: Input,
    stream: Stream,
    stage: Stage,
    /// The caller has closed its side.
    saw_eof: bool,
}

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Requests are welcome.
    Open,
    /// The caller was told to begin no more, then; those that it began before it heard are served (RFC 9113 section 6.8).
    Leaving(Moment),
    /// No more requests: once those in flight are answered it is over.
    Left,
    /// What is still to be written is written, then it is over.
    Ending(Result<(), &'static str>),
    /// Our FIN was sent: whatever the caller still sends is read and thrown away until its FIN, so that the close does not reset the
    /// connection under its last answers.
    Lingering(Result<(), &'static str>),
}

impl Drop for Task {
    fn drop(&mut self) {
        self.session.state.borrow_mut().end_streams();
    }
}

impl Task {
    /// Our preface: SETTINGS, and the connection's window.
    fn greet(&self, limits: &Limits, window: u32, tunnels: bool) {
        let most = u32::try_from(limits.head).unwrap_or(u32::MAX);
        let settings = [
            (MAX_CONCURRENT_STREAMS, limits.h2_streams),
            (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
            (MAX_HEADER_LIST_SIZE, most),
            (ENABLE_CONNECT_PROTOCOL, 1),
        ];
        let settings = settings.get(..if tunnels { 4 } else { 3 }).unwrap_or_default();
        let out = &mut self.session.state.borrow_mut().out;
        frame::put_settings(out, settings);
        if window > FIRST_WINDOW {
            frame::put_window_update(out, 0, window - FIRST_WINDOW);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.session.remember(cx);
        let mut read = 0;
        loop {
            if let Stage::Lingering(how) = self.stage {
                return self.poll_linger(cx).map(|()| how);
            }
            let dry = match self.stage {
                Stage::Ending(_) => true,
                _ => self.poll_read(&mut read, cx),
            };
            // What was read may be what was waited for.
            self.obey(cx);
            match self.poll_write(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_lost)) => return Poll::Ready(Err("cut_off_by_client")),
                Poll::Pending if dry || self.session.state.borrow().is_full() => return Poll::Pending,
                Poll::Pending => continue,
            }
            if let Stage::Ending(how) = self.stage {
                match ready!(Pin::new(&mut self.stream).poll_shutdown(cx)) {
                    Ok(()) if !self.saw_eof => {
                        self.session.connection.watch.enter(Phase::Lingering);
                        self.stage = Stage::Lingering(how);
                        continue;
                    }
                    _ => return Poll::Ready(how),
                }
            }
            if self.is_over() {
                self.stage = Stage::Ending(Ok(()));
            } else if dry {
                self.rest();
                return Poll::Pending;
            }
        }
    }

    /// Does what the connection's leash says, and the second step of leaving once the first was heard.
    fn obey(&mut self, cx: &Context<'_>) {
        let told = self.session.connection.leash.poll_order(cx) != Order::Go;
        let now = self.session.worker.coarse_now();
        let out = &mut self.session.state.borrow_mut().out;
        match self.stage {
            Stage::Open if told => {
                frame::put_goaway(out, (1 << 31) - 1, Reason::NoError);
                frame::put_ping(out, 0, PING);
                self.stage = Stage::Leaving(now);
            }
            Stage::Leaving(since) if self.input.pong || now.since(since) > LINGER => {
                frame::put_goaway(out, self.input.last, Reason::NoError);
                self.input.goes = Some(self.input.last);
                self.stage = Stage::Left;
            }
            _ => {}
        }
    }

    /// Whether there is nothing more to be done.
    fn is_over(&self) -> bool {
        let idle = self.session.state.borrow().streams.is_empty();
        idle && match self.stage {
            Stage::Open | Stage::Leaving(_) => self.input.is_left,
            Stage::Left => true,
            Stage::Ending(_) | Stage::Lingering(_) => false,
        }
    }

    /// Reads what is there, up to a turn's worth. True: whoever polls is woken when there is more to do.
    fn poll_read(&mut self, read: &mut usize, cx: &mut Context<'_>) -> bool {
        loop {
            if self.input.has_rest()
                && let Err(reason) = self.take(&[])
            {
                self.break_off(reason);
                return true;
            }
            if self.session.state.borrow().is_full() {
                // Read on once that is written.
                return false;
            }
            if *read >= TURN {
                cx.waker().wake_by_ref();
                return true;
            }
            let taken = SCRATCH.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
                let bytes = buf.filled();
                self.session.connection.watch.note_read(bytes.len());
                *read += bytes.len();
                Poll::Ready(Ok::<_, io::Error>((bytes.len(), self.take(bytes))))
            });
            match taken {
                Poll::Pending => return true,
                Poll::Ready(Ok((1.., Ok(())))) => {}
                Poll::Ready(Ok((1.., Err(reason)))) => {
                    self.break_off(reason);
                    return true;
                }
                Poll::Ready(Ok((0, _)) | Err(_)) => {
                    self.saw_eof = true;
                    let idle = self.session.state.borrow().streams.is_empty() && !self.input.is_in_head();
                    self.session.state.borrow_mut().end_streams();
                    self.stage = Stage::Ending(if idle { Ok(()) } else { Err("cut_off_by_client") });
                    return true;
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        self.input.take(bytes)?;
        let watch = &self.session.connection.watch;
        if std::mem::take(&mut self.input.ended_head) {
            watch.note_head(false);
        }
        watch.note_head(self.input.is_in_head());
        if self.input.began && watch.phase().0 == Phase::Head {
            watch.enter(Phase::Idle);
        }
        Ok(())
    }

    /// The caller broke a rule that ends the connection (RFC 9113 section 5.4.1).
    fn break_off(&mut self, reason: Reason) {
        let mut state = self.session.state.borrow_mut();
        state.end_streams();
        frame::put_goaway(&mut state.out, self.input.last, reason);
        drop(state);
        self.stage = Stage::Ending(Err("h2"));
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.session.state.borrow_mut();
        let watch = &self.session.connection.watch;
        let mut stream = Pin::new(&mut self.stream);
        let written = loop {
            let rest = state.out.get(state.written..).unwrap_or_default();
            if rest.is_empty() {
                break Poll::Ready(Ok(()));
            }
            let written = stream.as_mut().poll_write(cx, rest);
            watch.note_write(written.is_pending());
            match written {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => state.written += written,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        state.let_go();
        state.next_turn();
        watch.note_window(std::mem::take(&mut state.sent), state.is_shut());
        ready!(written)?;
        let flushed = stream.poll_flush(cx);
        watch.note_write(flushed.is_pending());
        flushed
    }

    /// An idle connection gives back what it does not need.
    fn rest(&mut self) {
        if self.session.connection.may_park.take() {
            self.input.shrink();
            self.session.state.borrow_mut().shrink();
        }
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; 4096];
        loop {
            let mut buf = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}
