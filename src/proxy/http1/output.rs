//! What is to be written to a connection: a head, small frames copied behind it, one large frame behind those.

use std::{
    io,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;

use super::{link::Link, write};

/// Up to here a frame is copied, so that one write takes head and body, or many small frames.
const COPY: usize = 16 << 10;

/// Bytes to write, in order.
#[derive(Debug, Default)]
pub struct Output {
    head: Vec<u8>,
    written: usize,
    frame: Bytes,
    /// The frame is a chunk that is still to be ended.
    ends_chunk: bool,
}

impl Output {
    /// Begins with memory that was used before.
    pub const fn new(head: Vec<u8>) -> Self {
        Self { head, written: 0, frame: Bytes::new(), ends_chunk: false }
    }

    /// Where heads are written.
    pub const fn head(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// Whether there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.written >= self.head.len() && self.frame.is_empty()
    }

    /// Whether another frame fits.
    pub const fn has_room(&self) -> bool {
        self.frame.is_empty() && self.head.len() < COPY
    }

    /// Adds a frame of a body. Only where there is room.
    pub fn put(&mut self, data: Bytes, chunked: bool) {
        if data.is_empty() {
            return;
        }
        if chunked {
            write::chunk_head(&mut self.head, data.len());
        }
        if data.len() <= COPY {
            self.head.extend_from_slice(&data);
        } else {
            self.frame = data;
            self.ends_chunk = chunked;
            return;
        }
        if chunked {
            self.head.extend_from_slice(write::CHUNK_END);
        }
    }

    /// Ends a chunked body.
    pub fn end_chunks(&mut self, trailers: Option<&HeaderMap>) {
        write::last_chunk(&mut self.head, trailers);
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn poll_write(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let head = self.head.get(self.written..).unwrap_or_default();
            let written = ready!(link.poll_write(cx, head, &self.frame))?;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len() - self.written);
        self.written += of_head;
        self.frame.advance((written - of_head).min(self.frame.len()));
        if self.written == self.head.len() {
            self.head.clear();
            self.written = 0;
            if self.frame.is_empty() && std::mem::take(&mut self.ends_chunk) {
                self.head.extend_from_slice(write::CHUNK_END);
            }
        }
    }

    /// The memory, for the next message.
    pub fn into_memory(mut self) -> Vec<u8> {
        self.head.clear();
        self.head
    }
}
