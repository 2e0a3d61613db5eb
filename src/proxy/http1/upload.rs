//! Sending a request: its head, then its body as it comes, by length or in chunks.
//!
//! Polled by whoever awaits the answer; where the answer comes first, a task of its own sends the rest (`client`).

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;

use super::{link::Link, output::Output, pipe::Pipe};
use crate::proxy::body::RequestBody;

/// How a body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    None,
    /// `content-length`
    Length(u64),
    /// `transfer-encoding: chunked`
    Chunked,
}

/// A request that is being sent.
#[derive(Debug)]
pub struct Sending {
    link: Rc<Link>,
    output: Output,
    body: RequestBody,
    framing: Framing,
    /// Bytes of a known length that are still to come.
    left: u64,
    /// The body was taken to its end.
    ended: bool,
    /// Nothing was written yet.
    untouched: bool,
    /// The frame that was taken before the first write, to be given back should that come to nothing.
    first: Option<Bytes>,
}

/// Why it could not be sent.
#[derive(Debug)]
pub enum Broken {
    /// The upstream does not take it.
    Io(io::Error),
    /// The body broke off: the upstream must see the request cut off, never complete.
    Body,
}

impl Sending {
    /// Begins with a head.
    pub const fn new(link: Rc<Link>, head: Vec<u8>, body: RequestBody, framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => length,
            Framing::None | Framing::Chunked => 0,
        };
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        Self { link, output: Output::new(head), body, framing, left, ended, untouched: true, first: None }
    }

    /// Sends on. Ready once everything is written.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let filled = self.fill(cx)?;
            if self.output.is_empty() && self.ended {
                return self.link.poll_flush(cx).map_err(Broken::Io);
            }
            let before = self.output.is_empty();
            if !before {
                let written = self.output.poll_write(&self.link, cx);
                if !matches!(written, Poll::Ready(Err(_))) {
                    self.untouched = false;
                    self.first = None;
                }
                ready!(written).map_err(Broken::Io)?;
            }
            if filled.is_pending() {
                // What is written must not wait for what is not there yet.
                let _flushing = self.link.poll_flush(cx).map_err(Broken::Io)?;
                return Poll::Pending;
            }
        }
    }

    /// Whether nothing at all was written; then the frame that was already taken, if one was.
    pub fn untouched(&mut self) -> Option<Option<Bytes>> {
        self.untouched.then(|| self.first.take())
    }

    /// The memory, for the next head.
    pub fn into_memory(self) -> Vec<u8> {
        self.output.into_memory()
    }

    /// Takes frames while there is room. Before the first write only one: it can be given back.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Broken> {
        while !self.ended && self.output.has_room() && self.first.is_none() {
            // What is taken into a pipe cannot be given back: nothing is before the first write.
            if !self.untouched
                && self.body.is_piped()
                && self.link.is_plain()
                && let Some(mut pipe) = Pipe::open()
            {
                let Poll::Ready(taken) = self.body.poll_take(&mut pipe, cx) else { return Ok(Poll::Pending) };
                self.took(taken.map_err(|_broken| Broken::Body)?)?;
                self.output.put_pipe(pipe);
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Err(_))) => return Err(Broken::Body),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.put(data)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref())?,
                },
            }
        }
        Ok(Poll::Ready(()))
    }

    fn put(&mut self, data: Bytes) -> Result<(), Broken> {
        if self.framing != Framing::Chunked {
            self.took(data.len())?;
        }
        self.output.put(&data, self.framing == Framing::Chunked);
        if self.untouched {
            self.first = Some(data);
        }
        Ok(())
    }

    /// So much of a known length was taken.
    fn took(&mut self, length: usize) -> Result<(), Broken> {
        self.left = self.left.checked_sub(length as u64).ok_or(Broken::Body)?;
        self.ended = self.left == 0;
        Ok(())
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) -> Result<(), Broken> {
        if self.left > 0 {
            return Err(Broken::Body);
        }
        self.ended = true;
        if self.framing == Framing::Chunked {
            self.output.end_chunks(trailers);
        }
        Ok(())
    }
}
