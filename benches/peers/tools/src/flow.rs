//! One caller: its connection, and one request at a time on it.

use std::{io, net::SocketAddr};

use crate::{
    answer::Answer,
    poll::{Interest, Poller},
    request::Request,
    wire::{Received, Tls, Wire},
};

/// Bytes written at once, so that a large body does not keep the others waiting.
const PIECE: usize = 64 * 1024;
/// Bytes read at once.
pub const BUFFER: usize = 64 * 1024;

/// A caller. A fault of the connection or an answer that is not the right one is an error.
#[derive(Debug)]
pub struct Flow {
    wire: Wire,
    number: usize,
    interest: Interest,
    sent: usize,
    answer: Answer,
}

impl Flow {
    /// Connects, known to the poller under that number.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn open(poller: &Poller, number: usize, address: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let wire = Wire::connect(address, tls)?;
        poller.add(&wire, number, Interest::Read)?;
        Ok(Self { wire, number, interest: Interest::Read, sent: 0, answer: Answer::default() })
    }

    /// Sends a request, or as much of it as goes now.
    ///
    /// # Errors
    /// Where the connection is gone.
    pub fn begin(&mut self, poller: &Poller, request: &Request) -> io::Result<()> {
        self.sent = 0;
        self.answer.reset();
        self.send(poller, request)
    }

    /// Goes on where the socket is ready; true once the answer is complete.
    ///
    /// # Errors
    /// Where the connection is gone, or the answer is not the right one.
    pub fn advance(&mut self, poller: &Poller, request: &Request, buffer: &mut [u8]) -> io::Result<bool> {
        if self.interest == Interest::Both {
            self.send(poller, request)?;
        }
        let received = self.wire.receive(buffer)?;
        if self.wire.wants_write() && self.interest == Interest::Read {
            self.want(poller, Interest::Both)?;
        }
        match received {
            Received::Nothing => Ok(false),
            Received::Bytes(count) => self.answer.take(buffer.get(..count).unwrap_or_default(), request.answer),
        }
    }

    /// Keeps no memory until the next request: for callers that are many and idle.
    pub fn rest(&mut self) {
        self.answer.forget();
    }

    /// Reads nothing until [`Self::listen`].
    ///
    /// # Errors
    /// What epoll says.
    pub fn turn_away(&mut self, poller: &Poller) -> io::Result<()> {
        self.want(poller, Interest::Nothing)
    }

    /// Reads again.
    ///
    /// # Errors
    /// What epoll says.
    pub fn listen(&mut self, poller: &Poller) -> io::Result<()> {
        self.want(poller, Interest::Read)
    }

    fn send(&mut self, poller: &Poller, request: &Request) -> io::Result<()> {
        let rest = request.bytes.get(self.sent..).unwrap_or_default();
        self.sent += self.wire.send(rest.get(..PIECE).unwrap_or(rest))?;
        let more = self.sent < request.bytes.len() || self.wire.wants_write();
        self.want(poller, if more { Interest::Both } else { Interest::Read })
    }

    fn want(&mut self, poller: &Poller, interest: Interest) -> io::Result<()> {
        if self.interest != interest {
            poller.change(&self.wire, self.number, interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}
