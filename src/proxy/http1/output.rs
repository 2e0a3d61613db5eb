//! What is to be written to a connection: a head, small frames copied behind it, one large frame behind those and what ends it, or
//! a pipe with what comes next.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::{link::Link, pipe::Pipe, write};

/// Up to here a frame is copied, so that one write takes head and body, or many small frames.
const COPY: usize = 16 << 10;
/// Memory that is kept beside a pipe.
const KEPT: usize = 1 << 10;

/// Bytes to write, in order: head, frame, tail; or head, pipe.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    /// So much of the head is written.
    written: usize,
    frame: Bytes,
    /// What stands behind the frame; nothing where there is none.
    tail: Vec<u8>,
    /// A pipe that is not empty.
    pipe: Option<Pipe>,
}

impl Output {
    /// Begins with memory that was used before.
    pub const fn new(head: Vec<u8>) -> Self {
        Self { head, written: 0, frame: Bytes::new(), tail: Vec::new(), pipe: None }
    }

    /// Where heads are written.
    pub const fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.is_written() && self.pipe.is_none()
    }

    /// Whether another frame fits.
    pub const fn has_room(&self) -> bool {
        self.frame.is_empty() && self.pipe.is_none() && self.head.len() < COPY
    }

    /// Adds a frame of a body. Only where there is room.
    pub fn put(&mut self, data: &Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            write::chunk_head(&mut self.head, data.len());
        }
        if data.len() <= COPY {
            self.head.extend_from_slice(data);
        } else {
            self.frame = data.clone();
        }
        if chunked {
            self.end().extend_from_slice(write::CHUNK_END);
        }
    }

    /// Adds what was taken into a pipe of a body of known length. Only where there is room.
    pub fn put_pipe(&mut self, pipe: Pipe) {
        self.pipe = Some(pipe).filter(|pipe| !pipe.is_empty());
    }

    /// Ends a chunked body.
    pub fn end_chunks(&mut self, trailers: Option<&HeaderMap>) {
        write::last_chunk(self.end(), trailers);
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_write(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let written = ready!(link.poll_write(cx, self.parts()))?;
            self.advance(written);
        }
        if self.pipe.is_some() && self.head.capacity() > KEPT {
            // Nothing more is copied while a large body goes through pipes, which may take long.
            self.head = Vec::new();
            self.written = 0;
        }
        while let Some(pipe) = &mut self.pipe {
            ready!(link.poll_give(pipe, cx))?;
            if pipe.is_empty() {
                self.pipe = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The memory, for the next message.
    pub fn into_memory(mut self) -> Vec<u8> {
        self.head.clear();
        self.head
    }

    /// Whether all but the pipe is written.
    const fn is_written(&self) -> bool {
        self.written >= self.head.len() && self.frame.is_empty()
    }

    /// Where what comes next is added.
    const fn end(&mut self) -> &mut Vec<u8> {
        if self.frame.is_empty() { &mut self.head } else { &mut self.tail }
    }

    fn parts(&self) -> [&[u8]; 3] {
        [self.head.get(self.written..).unwrap_or_default(), &self.frame, &self.tail]
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len() - self.written);
        self.written += of_head;
        let of_frame = (written - of_head).min(self.frame.len());
        self.frame.advance(of_frame);
        if self.written < self.head.len() || !self.frame.is_empty() {
            return;
        }
        // What is left is the tail, which becomes the head.
        self.head.clear();
        self.written = 0;
        if !self.tail.is_empty() {
            std::mem::swap(&mut self.head, &mut self.tail);
            self.written = written - of_head - of_frame;
            if self.written >= self.head.len() {
                self.head.clear();
                self.written = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_comes_out_in_that_order_however_much_a_write_takes(
            frames in prop::collection::vec(1_usize..3 * COPY, 0..6),
            takes in prop::collection::vec(1_usize..2 * COPY, 1..8),
        ) {
            let mut output = Output::new(b"head;".to_vec());
            let (mut expected, mut written) = (b"head;".to_vec(), vec![]);
            let mut takes = takes.iter().cycle();
            let mut write = |output: &mut Output| {
                let there = output.parts().concat();
                let take = takes.next().map_or(1, |take| (*take).min(there.len()));
                written.extend_from_slice(&there[..take]);
                output.advance(take);
            };
            for (at, length) in frames.iter().enumerate() {
                while !output.has_room() {
                    write(&mut output);
                }
                let data = vec![b'a' + u8::try_from(at).unwrap(); *length];
                expected.extend_from_slice(format!("{length:x}\r\n").as_bytes());
                expected.extend_from_slice(&data);
                expected.extend_from_slice(b"\r\n");
                output.put(&data.into(), true);
            }
            output.end_chunks(None);
            expected.extend_from_slice(b"0\r\n\r\n");
            while !output.is_empty() {
                write(&mut output);
            }
            prop_assert_eq!(String::from_utf8(written), String::from_utf8(expected));
        }
    }
}
