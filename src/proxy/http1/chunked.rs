//! Bodies out of bytes (RFC 9112 sections 6 and 7): by length, by chunks, or up to the end of the connection. Sans-IO.

/// Most digits of a chunk's size: sixteen would not fit.
const MOST_DIGITS: u8 = 15;
/// Extensions of all chunks and the trailer section, bytes each: nobody sends them, attackers do (CVE-2023-39326).
const MOST_EXTENSIONS: usize = 4 << 10;
const MOST_TRAILERS: usize = 8 << 10;

/// How the end of a body is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Decoder {
    /// It is over, or there is none.
    #[default]
    Done,
    /// This many bytes are to come.
    Length(u64),
    /// Chunks.
    Chunked(Chunks),
    /// It ends with the connection.
    UntilClose,
    /// It broke off: nothing that follows on the connection can be understood.
    Broken,
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// This many bytes, after `skip` of framing, are data.
    Data {
        /// Framing before them.
        skip: usize,
        /// Data.
        length: usize,
    },
    /// So many bytes are framing, and more are needed.
    More {
        /// Framing that is done with.
        skip: usize,
    },
    /// The body is over. What stands between are the trailer section's bytes, its last empty line included.
    End {
        /// Framing before the trailer section.
        skip: usize,
        /// The trailer section.
        trailers: usize,
    },
}

/// The body is not framed as it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken chunks")]
pub struct BadChunk;

/// Where in a chunked body we are.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    extensions: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    Trailers,
}

impl Default for Chunks {
    fn default() -> Self {
        Self { state: State::Size { digits: 0, size: 0 }, extensions: 0 }
    }
}

impl Decoder {
    /// For a chunked body, from its beginning.
    #[must_use]
    pub fn chunked() -> Self {
        Self::Chunked(Chunks::default())
    }

    /// Whether the body is over.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// How many bytes of pure data are to come for certain: these may be read past the buffer.
    #[must_use]
    pub const fn certain(&self) -> u64 {
        match self {
            Self::Length(left) | Self::Chunked(Chunks { state: State::Data { left }, .. }) => *left,
            Self::UntilClose => u64::MAX,
            Self::Done | Self::Broken | Self::Chunked(_) => 0,
        }
    }

    /// So much of what is certain was read.
    pub fn took(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        match self {
            Self::Length(left) => {
                *left = left.saturating_sub(bytes);
                if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Chunked(chunks) => {
                if let State::Data { left } = chunks.state {
                    let left = left.saturating_sub(bytes);
                    chunks.state = if left == 0 { State::DataCr } else { State::Data { left } };
                }
            }
            Self::Done | Self::Broken | Self::UntilClose => {}
        }
    }

    /// Looks at the bytes at hand. What it says is taken as done: [`Step::Data`] is followed by [`Decoder::took`] by itself.
    ///
    /// # Errors
    /// Where the chunks are broken.
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, BadChunk> {
        let skip = match self {
            Self::Done => return Ok(Step::End { skip: 0, trailers: 0 }),
            Self::Broken => return Err(BadChunk),
            Self::Chunked(chunks) => match chunks.advance(bytes)? {
                Framing::Data { skip } => skip,
                Framing::More { skip } => return Ok(Step::More { skip }),
                Framing::End { skip, trailers } => {
                    *self = Self::Done;
                    return Ok(Step::End { skip, trailers });
                }
            },
            Self::Length(_) | Self::UntilClose => 0,
        };
        let here = bytes.len() - skip;
        let length = usize::try_from(self.certain()).unwrap_or(usize::MAX).min(here);
        if length == 0 {
            return Ok(Step::More { skip });
        }
        self.took(length);
        Ok(Step::Data { skip, length })
    }
}

enum Framing {
    Data { skip: usize },
    More { skip: usize },
    End { skip: usize, trailers: usize },
}

impl Chunks {
    fn advance(&mut self, bytes: &[u8]) -> Result<Framing, BadChunk> {
        let mut at = 0;
        loop {
            if let State::Data { .. } = self.state {
                return Ok(Framing::Data { skip: at });
            }
            let rest = bytes.get(at..).unwrap_or_default();
            if self.state == State::Trailers {
                return match trailer_section(rest)? {
                    Some(trailers) => Ok(Framing::End { skip: at, trailers }),
                    None => Ok(Framing::More { skip: at }),
                };
            }
            let Some(byte) = rest.first() else { return Ok(Framing::More { skip: at }) };
            self.state = self.take(*byte)?;
            at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<State, BadChunk> {
        Ok(match (self.state, byte) {
            (State::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < MOST_DIGITS => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                State::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (State::Size { digits: 1.., size }, b'\r') | (State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Size { digits: 1.., size }, b';') => State::Extension { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) if self.extensions < MOST_EXTENSIONS => {
                self.extensions += 1;
                State::Extension { size }
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailers,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, size: 0 },
            _ => return Err(BadChunk),
        })
    }
}

/// Length of the trailer section with its last empty line, once that is there.
fn trailer_section(bytes: &[u8]) -> Result<Option<usize>, BadChunk> {
    let mut begin = 0;
    while let Some(at) = bytes.get(begin..).and_then(|rest| memchr::memchr(b'\n', rest)) {
        let line = bytes.get(begin..=begin + at).unwrap_or_default();
        if !line.ends_with(b"\r\n") {
            return Err(BadChunk);
        }
        begin += at + 1;
        if begin > MOST_TRAILERS {
            return Err(BadChunk);
        }
        if line.len() == 2 {
            return Ok(Some(begin));
        }
    }
    if bytes.len() > MOST_TRAILERS { Err(BadChunk) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes what comes in pieces of `piece` bytes, as a reader with a buffer does.
    fn decode(text: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<u8>, usize), BadChunk> {
        let (mut decoder, mut data, mut buffer, mut taken) = (Decoder::chunked(), vec![], vec![], 0);
        for part in text.chunks(piece) {
            buffer.extend_from_slice(part);
            loop {
                match decoder.step(&buffer)? {
                    Step::Data { skip, length } => {
                        data.extend_from_slice(&buffer[skip..skip + length]);
                        buffer.drain(..skip + length);
                        taken += skip + length;
                    }
                    Step::More { skip } => {
                        buffer.drain(..skip);
                        taken += skip;
                        break;
                    }
                    Step::End { skip, trailers } => {
                        return Ok((data, buffer[skip..skip + trailers].to_vec(), taken + skip + trailers));
                    }
                }
            }
        }
        Err(BadChunk)
    }

    #[test]
    fn chunks_are_joined_however_they_come() {
        let text = b"3\r\nabc\r\n0A;name=\"v\"\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nNEXT";
        for piece in 1..text.len() {
            let (data, trailers, taken) = decode(text, piece).expect("sound");
            assert_eq!((&data[..], &trailers[..]), (&b"abc0123456789"[..], &b"x-sum: 1\r\n\r\n"[..]));
            assert_eq!(&text[taken..], b"NEXT");
        }
    }

    #[test]
    fn anything_else_is_broken() {
        for text in [
            &b"3\nabc\r\n0\r\n\r\n"[..],
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n0\r\n\r\n",
            b"3 \r\nabc\r\n0\r\n\r\n",
            b" 3\r\nabc\r\n0\r\n\r\n",
            b"0x3\r\nabc\r\n0\r\n\r\n",
            b"-3\r\nabc\r\n0\r\n\r\n",
            b"+3\r\nabc\r\n0\r\n\r\n",
            b"\r\nabc\r\n0\r\n\r\n",
            b";x\r\nabc\r\n0\r\n\r\n",
            b"3;\0\r\nabc\r\n0\r\n\r\n",
            b"3;a\nb\r\nabc\r\n0\r\n\r\n",
            b"10000000000000003\r\nabc\r\n0\r\n\r\n",
            b"0\r\n\n",
            b"0\r\na: b\n\r\n",
        ] {
            for piece in [1, 1000] {
                assert_eq!(decode(text, piece), Err(BadChunk), "{:?}", String::from_utf8_lossy(text));
            }
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let mut text = b"1;".to_vec();
        text.extend_from_slice(&[b'a'; MOST_EXTENSIONS + 1]);
        assert_eq!(decode(&text, 100), Err(BadChunk));
        let spread = b"1;aaaaaaaaaaaaaaaa\r\nx\r\n".repeat(MOST_EXTENSIONS / 16 + 1);
        assert_eq!(decode(&spread, 100), Err(BadChunk));
        let trailers = [&b"0\r\n"[..], &b"a: b\r\n".repeat(MOST_TRAILERS / 6 + 1)].concat();
        assert_eq!(decode(&trailers, 100), Err(BadChunk));
    }

    #[test]
    fn a_length_ends_where_it_says() {
        let mut decoder = Decoder::Length(5);
        assert_eq!(decoder.step(b"abc"), Ok(Step::Data { skip: 0, length: 3 }));
        assert_eq!(decoder.certain(), 2);
        assert_eq!(decoder.step(b""), Ok(Step::More { skip: 0 }));
        assert_eq!(decoder.step(b"deNEXT"), Ok(Step::Data { skip: 0, length: 2 }));
        assert!(decoder.is_done());
        assert_eq!(decoder.step(b"NEXT"), Ok(Step::End { skip: 0, trailers: 0 }));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8), piece in 1_usize..60) {
            let mut text = vec![];
            for part in &parts {
                text.extend_from_slice(format!("{:X}\r\n", part.len()).as_bytes());
                text.extend_from_slice(part);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let (data, trailers, taken) = decode(&text, piece).expect("sound");
            prop_assert_eq!((data, trailers, taken), (parts.concat(), b"\r\n".to_vec(), text.len()));
        }

        #[test]
        fn nothing_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), piece in 1_usize..10) {
            let _ = decode(&bytes, piece);
        }
    }
}
