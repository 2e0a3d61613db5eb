//! The PROXY protocol (HAProxy's specification of 2020-03-05): a load balancer's word on where a connection came from, before its
//! first byte. Versions 1 and 2, from peers that the listener trusts.
//!
//! Called by `server` for listeners with `proxy_protocol`. Reads not one byte past the header: TLS or HTTP follows.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsFd,
};

use tokio::io::AsyncReadExt;

use super::socket::Socket;

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1).
const WORD: &[u8] = b"PROXY ";
/// Longest line of version 1, its end included (section 2.1).
const LONGEST_LINE: usize = 107;
/// Longest part behind the fixed one of version 2 that is read: addresses, and what load balancers add (section 2.2).
const LONGEST_PART: usize = 4096;

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This address, says the load balancer.
    Address(SocketAddr),
    /// The load balancer itself, or it does not know.
    Peer,
}

/// Why there is no telling.
#[derive(Debug, thiserror::Error)]
pub enum BadHeader {
    /// The connection.
    #[error("the connection failed before its PROXY header was complete: {0}")]
    Io(#[from] io::Error),
    /// Not a header of either version.
    #[error("the connection does not begin with a PROXY header")]
    Malformed,
}

/// Reads a header.
///
/// # Errors
/// See [`BadHeader`]. Time is the caller's to limit.
pub async fn read(socket: &mut Socket) -> Result<Origin, BadHeader> {
    let mut begun = [0; SIGNATURE.len()];
    socket.read_exact(&mut begun).await?;
    if begun == *SIGNATURE {
        let mut fixed = [0; 4];
        socket.read_exact(&mut fixed).await?;
        let [version_command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > LONGEST_PART {
            return Err(BadHeader::Malformed);
        }
        let mut rest = vec![0; length];
        socket.read_exact(&mut rest).await?;
        return version_2(version_command, family, &rest).ok_or(BadHeader::Malformed);
    }
    if !begun.starts_with(WORD) {
        return Err(BadHeader::Malformed);
    }
    let mut line = begun.to_vec();
    while !line.ends_with(b"\r\n") {
        read_line(socket, &mut line).await?;
        // Whoever reads on behind it takes what the caller sends for part of the header.
        if line.ends_with(b"\n") && !line.ends_with(b"\r\n") {
            return Err(BadHeader::Malformed);
        }
    }
    version_1(&line).ok_or(BadHeader::Malformed)
}

/// Reads on in a line, up to its end and no further.
async fn read_line(socket: &mut Socket, line: &mut Vec<u8>) -> Result<(), BadHeader> {
    let room = LONGEST_LINE.saturating_sub(line.len());
    if room == 0 {
        return Err(BadHeader::Malformed);
    }
    std::future::poll_fn(|cx| socket.poll_read_ready(cx)).await?;
    let mut seen = [0_u8; LONGEST_LINE];
    let seen = seen.get_mut(..room).unwrap_or_default();
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    let there = match rustix::net::recv(socket.as_fd(), &mut *seen, flags) {
        Ok((there, _)) => there.min(room),
        // Readiness may be stale: an ordinary read of one byte waits for the truth.
        Err(rustix::io::Errno::AGAIN) => 1,
        Err(error) => return Err(BadHeader::Io(error.into())),
    };
    let seen = seen.get(..there).unwrap_or_default();
    let mut end = seen.iter().position(|byte| *byte == b'\n').map_or(there, |at| at + 1);
    if there == 0 {
        // The end: the read below says so.
        end = 1;
    }
    let from = line.len();
    line.resize(from + end, 0);
    socket.read_exact(line.get_mut(from..).unwrap_or_default()).await?;
    Ok(())
}

fn version_1(line: &[u8]) -> Option<Origin> {
    let line = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Origin::Peer);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let port = |digits: &str| -> Option<u16> {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        digits.parse().ok().filter(|_| plain)
    };
    let (from, _to) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Origin::Address(SocketAddr::new(source, from)))
}

fn version_2(version_command: u8, family: u8, rest: &[u8]) -> Option<Origin> {
    match version_command {
        // LOCAL: a check of the load balancer's own, whatever else it says.
        0x20 => return Some(Origin::Peer),
        0x21 => {}
        _ => return None,
    }
    let port = |at: usize| Some(u16::from_be_bytes(*rest.get(at..)?.first_chunk::<2>()?));
    let address = match family {
        0x11 | 0x12 => {
            let _both = rest.get(..12)?;
            SocketAddr::new(Ipv4Addr::from(*rest.first_chunk::<4>()?).into(), port(8)?)
        }
        0x21 | 0x22 => {
            let _both = rest.get(..36)?;
            SocketAddr::new(Ipv6Addr::from(*rest.first_chunk::<16>()?).into(), port(32)?)
        }
        // UNSPEC, or a Unix socket on the other side: the connection is good, its origin unknown.
        0x00 | 0x31 | 0x32 => return Some(Origin::Peer),
        _ => return None,
    };
    Some(Origin::Address(address))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    fn address(text: &str) -> Option<Origin> {
        Some(Origin::Address(text.parse().unwrap()))
    }

    #[test]
    fn lines_of_version_1() {
        for (line, origin) in [
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", address("192.0.2.1:56324")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", address("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", Some(Origin::Peer)),
            ("PROXY UNKNOWN ffff:f... whatever\r\n", Some(Origin::Peer)),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 056324 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 443\r\n", None),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", None),
            ("PROXY TCP4 gate.test 192.0.2.2 1 2\r\n", None),
            ("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", None),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", None),
        ] {
            assert_eq!(version_1(line.as_bytes()), origin, "{line:?}");
        }
    }

    #[test]
    fn parts_of_version_2() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0x1f, 0x90, 1, 187];
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        v6[15] = 1;
        v6[33] = 80;
        let more = [&v4[..], &[4, 0, 1, 0]].concat();
        for (command, family, rest, origin) in [
            (0x21, 0x11, &v4[..], address("192.0.2.1:8080")),
            (0x21, 0x11, &more, address("192.0.2.1:8080")),
            (0x21, 0x21, &v6, address("[2001:db8::1]:80")),
            (0x20, 0x11, &v4, Some(Origin::Peer)),
            (0x20, 0xff, &[], Some(Origin::Peer)),
            (0x21, 0x00, &[], Some(Origin::Peer)),
            (0x21, 0x11, &v4[..11], None),
            (0x21, 0x21, &v6[..35], None),
            (0x21, 0x41, &v4, None),
            (0x22, 0x11, &v4, None),
            (0x11, 0x11, &v4, None),
        ] {
            assert_eq!(version_2(command, family, rest), origin, "{command:x} {family:x}");
        }
    }

    #[tokio::test]
    async fn not_a_byte_behind_the_header_is_taken_however_it_comes() {
        let v2 = [&SIGNATURE[..], &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 1, 187]].concat();
        for header in [&b"PROXY TCP4 192.0.2.1 192.0.2.2 7 443\r\n"[..], &v2] {
            for piece in [1, 5, 100] {
                let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
                let bytes = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
                let writer = tokio::spawn(async move {
                    for piece in bytes.chunks(piece) {
                        far.write_all(piece).await.unwrap();
                        tokio::task::yield_now().await;
                    }
                    far
                });
                let mut socket = Socket::Unix(near);
                assert_eq!(read(&mut socket).await.unwrap(), address("192.0.2.1:7").unwrap());
                drop(writer.await.unwrap());
                let mut rest = Vec::new();
                socket.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        let huge = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        let open_line = b"PROXY UNKNOWN x\nGET / HTTP/1.1\r\n\r\n";
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &long, &huge, open_line, b"PROXY TCP4", b"PROXY TCP4 1.2"] {
            let (near, mut far) = tokio::net::UnixStream::pair().unwrap();
            far.write_all(bytes).await.unwrap();
            drop(far);
            assert!(read(&mut Socket::Unix(near)).await.is_err(), "{bytes:?}");
        }
    }
}
