//! The word of a load balancer before the first byte: read the same however it comes, and not one byte too far.
#![no_main]

use std::{cell::RefCell, io::Write, os::unix::net::UnixStream};

use libfuzzer_sys::fuzz_target;
use scoregate::proxy::{
    proxy_protocol::{BadHeader, Origin, read},
    socket::Socket,
};
use tokio::{io::AsyncReadExt, runtime::Runtime};

/// What follows the header on the connection.
const BEHIND: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

thread_local! {
    static RUNTIME: RefCell<Runtime> =
        RefCell::new(tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime"));
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() > 6000 {
        return;
    }
    let (origin, rest) = RUNTIME.with_borrow(|runtime| runtime.block_on(send(&[bytes, BEHIND].concat())));
    let Some(origin) = origin else { return };
    let taken = bytes.len() + BEHIND.len() - rest.len();
    let header = &[bytes, BEHIND].concat()[..taken];
    assert!(header.starts_with(b"PROXY ") || header.starts_with(b"\r\n\r\n\0\r\nQUIT\n"));
    if header.starts_with(b"PROXY ") {
        assert!(header.ends_with(b"\r\n") && taken <= 107);
        assert_eq!(header.iter().filter(|byte| **byte == b'\n').count(), 1, "read on behind the line");
        let line = std::str::from_utf8(header).expect("a line of text");
        match origin {
            Origin::Address(address) => assert!(line.contains(&address.port().to_string())),
            Origin::Peer => assert!(line.starts_with("PROXY UNKNOWN")),
        }
    } else {
        let length = usize::from(u16::from_be_bytes([header[14], header[15]]));
        assert_eq!(taken, 16 + length, "read to another place than the header says");
    }
});

/// Both ends of a connection on which this comes, and then the end: what the header says, and what is left to be read.
async fn send(text: &[u8]) -> (Option<Origin>, Vec<u8>) {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    ours.write_all(text).expect("room for it");
    drop(ours);
    theirs.set_nonblocking(true).expect("nonblocking");
    let mut socket = Socket::Unix(tokio::net::UnixStream::from_std(theirs).expect("a socket"));
    let origin = match read(&mut socket).await {
        Ok(origin) => Some(origin),
        Err(BadHeader::Io(_) | BadHeader::Malformed) => None,
    };
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.expect("the rest");
    (origin, rest)
}
