//! The limit: takes a connection, opens one to the upstream, and copies bytes both ways. `--listen A --upstream A`.
//!
//! Four system calls a request (read, write, read, write), one of epoll for all that are ready, and nothing else: no HTTP, no
//! header, no credential. No proxy on sockets can cost less without leaving them.

use std::{
    io::{self, ErrorKind::WouldBlock, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::ExitCode,
};

use peers_tools::{
    arguments::Arguments,
    poll::{Interest, Poller},
};

/// Bytes copied at once.
const BUFFER: usize = 64 * 1024;
/// The listener's number; connections have those after it.
const LISTENER: usize = 0;

/// One side of a forwarded connection. Its peer's number is its own with the lowest bit turned.
struct Side {
    socket: TcpStream,
    /// What the socket did not take yet; the peer is not read while this is not empty.
    unsent: Vec<u8>,
}

struct Forwarder {
    poller: Poller,
    listener: TcpListener,
    upstream: SocketAddr,
    /// By number less 2; both sides of a connection stand beside each other.
    sides: Vec<Option<Side>>,
    free: Vec<usize>,
    buffer: Vec<u8>,
}

impl Forwarder {
    fn new(listen: SocketAddr, upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let poller = Poller::new()?;
        poller.add(&listener, LISTENER, Interest::Read)?;
        Ok(Self { poller, listener, upstream, sides: Vec::new(), free: Vec::new(), buffer: vec![0; BUFFER] })
    }

    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.poller.wait(None, &mut ready)?;
            for &number in &ready {
                if number == LISTENER {
                    self.accept()?;
                } else if !self.copy(number).unwrap_or(false) {
                    self.close(number);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let client = match self.listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let upstream = TcpStream::connect(self.upstream)?;
            let number = self.free.pop().unwrap_or_else(|| {
                self.sides.extend([None, None]);
                self.sides.len()
            });
            for (number, socket) in [(number, client), (number ^ 1, upstream)] {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                self.poller.add(&socket, number, Interest::Read)?;
                if let Some(place) = self.sides.get_mut(number - 2) {
                    *place = Some(Side { socket, unsent: Vec::new() });
                }
            }
        }
    }

    /// Moves what a side has ready; false where it ended.
    fn copy(&mut self, number: usize) -> io::Result<bool> {
        let buffer = &mut self.buffer;
        let [Some(one), Some(other)] = pair(&mut self.sides, number) else { return Ok(true) };
        if !one.unsent.is_empty() {
            let sent = one.socket.write(&one.unsent)?;
            one.unsent.drain(..sent);
            if one.unsent.is_empty() {
                self.poller.change(&one.socket, number, Interest::Read)?;
                self.poller.change(&other.socket, number ^ 1, Interest::Read)?;
            }
            return Ok(true);
        }
        let count = match one.socket.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        let sent = match other.socket.write(bytes) {
            Err(error) if error.kind() == WouldBlock => 0,
            done => done?,
        };
        if sent < count {
            other.unsent.extend_from_slice(bytes.get(sent..).unwrap_or_default());
            self.poller.change(&other.socket, number ^ 1, Interest::Write)?;
            self.poller.change(&one.socket, number, Interest::Nothing)?;
        }
        Ok(true)
    }

    fn close(&mut self, number: usize) {
        let first = number & !1;
        let mut open = false;
        for number in [first, first ^ 1] {
            open |= self.sides.get_mut(number - 2).and_then(Option::take).is_some();
        }
        if open {
            self.free.push(first);
        }
    }
}

/// A side and its peer.
fn pair(sides: &mut [Option<Side>], number: usize) -> [Option<&mut Side>; 2] {
    let first = (number & !1) - 2;
    let Some([one, other]) = sides.get_mut(first..first + 2) else { return [None, None] };
    if number & 1 == 0 { [one.as_mut(), other.as_mut()] } else { [other.as_mut(), one.as_mut()] }
}

fn main() -> ExitCode {
    let done = Arguments::read()
        .and_then(|arguments| Forwarder::new(arguments.needed("listen")?, arguments.needed("upstream")?)?.run());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("null-forwarder: {error}");
            ExitCode::FAILURE
        }
    }
}
