//! Just enough of HTTP/1.1 to know when an answer is complete, and that it is the right one.

use std::io;

/// The longest head that is taken.
const HEAD: usize = 16 * 1024;

/// An answer as it comes in. Only 200 with a `content-length` will do.
#[derive(Debug, Default)]
pub struct Answer {
    head: Vec<u8>,
    left: Option<usize>,
}

impl Answer {
    /// Takes bytes that came; true once the answer is complete.
    ///
    /// # Errors
    /// Where it is not 200, has not the length expected, or is followed by bytes that nobody asked for.
    pub fn take(&mut self, bytes: &[u8], expected: usize) -> io::Result<bool> {
        let body = match self.left {
            Some(_) => bytes.len(),
            None => {
                // Heads come whole, nearly always: the search begins anew with what follows.
                let from = self.head.len().saturating_sub(3);
                self.head.extend_from_slice(bytes);
                let Some(end) = find(self.head.get(from..).unwrap_or_default(), b"\r\n\r\n") else {
                    return if self.head.len() > HEAD { Err(fault("a head without an end")) } else { Ok(false) };
                };
                let end = from + end + 4;
                let length = length(self.head.get(..end).unwrap_or_default())?;
                if length != expected {
                    return Err(fault(&format!("an answer of {length} bytes instead of {expected}")));
                }
                self.left = Some(length);
                self.head.len() - end
            }
        };
        let left = self.left.unwrap_or_default();
        let left = left.checked_sub(body).ok_or_else(|| fault("more than was asked for"))?;
        self.left = Some(left);
        Ok(left == 0)
    }

    /// Ready for the next one; keeps its memory.
    pub fn reset(&mut self) {
        self.head.clear();
        self.left = None;
    }

    /// Ready for the next one; keeps no memory.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

fn length(head: &[u8]) -> io::Result<usize> {
    let head = std::str::from_utf8(head).map_err(io::Error::other)?;
    let (first, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    if first.split(' ').nth(1) != Some("200") {
        return Err(fault(&format!("answered `{first}`")));
    }
    fields
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .ok_or_else(|| fault("an answer without content-length"))
}

/// Where a pattern begins.
#[must_use]
pub fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}

fn fault(what: &str) -> io::Error {
    io::Error::other(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[test]
    fn is_complete_with_its_last_byte_however_it_is_cut() {
        for cut in 0..SMALL.len() {
            let mut answer = Answer::default();
            let (first, rest) = SMALL.split_at(cut);
            assert!(!answer.take(first, 2).unwrap(), "{cut}");
            assert!(answer.take(rest, 2).unwrap(), "{cut}");
        }
    }

    #[test]
    fn refuses_what_was_not_expected() {
        for (bytes, expected) in [
            (SMALL, 3),
            (&b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\noks"[..], 2),
            (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nok", 2),
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", 2),
        ] {
            assert!(Answer::default().take(bytes, expected).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn takes_the_next_answer_after_a_reset() {
        let mut answer = Answer::default();
        assert!(answer.take(SMALL, 2).unwrap());
        answer.reset();
        assert!(answer.take(SMALL, 2).unwrap());
    }
}
