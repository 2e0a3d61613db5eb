//! Random bytes from the kernel: aws-lc's own generator takes tens of milliseconds to start.

use std::io;

/// Random bytes.
///
/// # Errors
/// Where the kernel gives none.
pub fn bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    if read == N { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
