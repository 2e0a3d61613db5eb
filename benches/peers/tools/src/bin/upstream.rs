//! A scoring service that reads the whole of every request, and takes its time where it is told to:
//! `--listen A [--delay SECONDS] [--stall SECONDS] [--on PATH]`; on requests for `PATH`, if that is given.
//!
//! It reads nothing for `stall` once the head of a request with a body has come, and answers `delay` after the last byte. So
//! requests are held in flight for as long as it takes to look at the proxy. (nginx, which is the upstream otherwise, answers
//! before it has read the body where it is not a proxy itself.)

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io::{self, ErrorKind::WouldBlock, Read, Write},
    net::{TcpListener, TcpStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use peers_tools::{
    answer::find,
    arguments::Arguments,
    poll::{Interest, Poller},
};

/// The same 32 bytes that the other upstream answers with.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 32\r\n\r\n{\"result\": [\"setosa\", \"virgin\"]}";
/// Bytes read at once.
const BUFFER: usize = 64 * 1024;
/// The listener's number; connections have those after it.
const LISTENER: usize = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Then {
    Read,
    Answer,
}

struct Connection {
    socket: TcpStream,
    /// Until the head is complete.
    head: Vec<u8>,
    /// Of the body, once it is.
    left: Option<usize>,
    /// Whether the present request is one of those that take their time.
    slow: bool,
}

impl Connection {
    /// Takes bytes that came: how many of the body are to come; nothing while the head is not complete.
    fn take(&mut self, bytes: &[u8], on: &str) -> Option<usize> {
        let left = match self.left {
            Some(left) => left.saturating_sub(bytes.len()),
            None => {
                self.head.extend_from_slice(bytes);
                let end = find(&self.head, b"\r\n\r\n")?;
                let had = self.head.len() - (end + 4);
                let length = length(self.head.get(..end).unwrap_or_default());
                let path = self.head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
                self.slow = path.starts_with(on.as_bytes());
                self.head.clear();
                length.saturating_sub(had)
            }
        };
        self.left = Some(left);
        self.left
    }
}

struct Upstream {
    poller: Poller,
    listener: TcpListener,
    delay: Duration,
    stall: Duration,
    /// How the paths begin that this is for.
    on: String,
    connections: HashMap<usize, Connection>,
    last: usize,
    /// What is to be done when, for which connection.
    later: BinaryHeap<Reverse<(Instant, usize, Then)>>,
}

impl Upstream {
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let next = self.later.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
            self.poller.wait(next, &mut ready)?;
            for &number in &ready {
                if number == LISTENER {
                    self.accept()?;
                } else if !self.read(number, &mut buffer).unwrap_or(false) {
                    self.connections.remove(&number);
                }
            }
            self.do_what_is_due()?;
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            self.last += 1;
            self.poller.add(&socket, self.last, Interest::Read)?;
            self.connections.insert(self.last, Connection { socket, head: Vec::new(), left: None, slow: false });
        }
    }

    /// False where the connection ended.
    fn read(&mut self, number: usize, buffer: &mut [u8]) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(&number) else { return Ok(true) };
        let count = match connection.socket.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        let in_head = connection.left.is_none();
        let Some(left) = connection.take(buffer.get(..count).unwrap_or_default(), &self.on) else { return Ok(true) };
        let (stall, delay) = if connection.slow { (self.stall, self.delay) } else { (Duration::ZERO, Duration::ZERO) };
        if left == 0 {
            self.later.push(Reverse((Instant::now() + delay, number, Then::Answer)));
        } else if in_head && !stall.is_zero() {
            self.poller.change(&connection.socket, number, Interest::Nothing)?;
            self.later.push(Reverse((Instant::now() + stall, number, Then::Read)));
        }
        Ok(true)
    }

    fn do_what_is_due(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(&Reverse((due, number, then))) = self.later.peek()
            && due <= now
        {
            self.later.pop();
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            match then {
                Then::Read => self.poller.change(&connection.socket, number, Interest::Read)?,
                Then::Answer => {
                    connection.left = None;
                    // It always fits into an empty socket; who has gone does not matter.
                    let _ = connection.socket.write(ANSWER);
                }
            }
        }
        Ok(())
    }
}

fn length(head: &[u8]) -> usize {
    String::from_utf8_lossy(head)
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or_default()
}

fn start() -> io::Result<()> {
    let arguments = Arguments::read()?;
    let listener = TcpListener::bind(arguments.needed::<std::net::SocketAddr>("listen")?)?;
    listener.set_nonblocking(true)?;
    let poller = Poller::new()?;
    poller.add(&listener, LISTENER, Interest::Read)?;
    let seconds = |name| Ok::<_, io::Error>(Duration::from_secs_f64(arguments.optional(name)?.unwrap_or_default()));
    Upstream {
        poller,
        listener,
        delay: seconds("delay")?,
        stall: seconds("stall")?,
        on: arguments.optional("on")?.unwrap_or_default(),
        connections: HashMap::new(),
        last: LISTENER,
        later: BinaryHeap::new(),
    }
    .run()
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("upstream: {error}");
            ExitCode::FAILURE
        }
    }
}
