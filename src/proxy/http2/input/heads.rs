//! Heads: HEADERS and what continues them, a request's or its trailers (RFC 9113 sections 6.2, 6.10 and 8).

use std::rc::Rc;

use super::Input;
use crate::proxy::http2::{
    flow::Inflow,
    frame::{self, FrameHeader, Reason},
    hpack::Broken,
    request::{HeadReader, Malformed, TrailerReader},
    runner::{self, Begun},
    session::{Ending, STREAM_WINDOW},
    stream::Stream,
};

/// A head may take so many times its limit in compressed bytes, and so many frames: what is within that is answered, what is beyond
/// ends the connection.
const HEAD_MARGIN: usize = 3;
const HEAD_FRAMES: usize = 128;

/// A head that has not ended.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: u32,
    ends: bool,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    frames: usize,
}

impl Input {
    pub(super) fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream.is_multiple_of(2) {
            return Err(Reason::Protocol);
        }
        let mut fragment = frame::unpadded(header, payload)?;
        let mut depends_on_itself = false;
        if header.has(frame::PRIORITY) {
            let (on, rest) = fragment.split_first_chunk::<4>().ok_or(Reason::FrameSize)?;
            let (_weight, rest) = rest.split_first().ok_or(Reason::FrameSize)?;
            depends_on_itself = frame::number(*on) == header.stream;
            fragment = rest;
        }
        let ends = header.has(frame::END_STREAM);
        if header.has(frame::END_HEADERS) {
            return self.block(header.stream, ends, depends_on_itself, fragment);
        }
        self.block =
            Some(Block { stream: header.stream, ends, depends_on_itself, bytes: fragment.to_vec(), frames: 1 });
        Ok(())
    }

    pub(super) fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let mut block = self.block.take().ok_or(Reason::Protocol)?;
        block.frames += 1;
        block.bytes.extend_from_slice(payload);
        if header.has(frame::END_HEADERS) {
            return self.block(block.stream, block.ends, block.depends_on_itself, &block.bytes);
        }
        if block.frames > HEAD_FRAMES || block.bytes.len() > self.head.saturating_mul(HEAD_MARGIN) {
            self.session.worker.count_limit("head");
            return Err(Reason::EnhanceYourCalm);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole block: a request begins, or trailers have come.
    fn block(&mut self, id: u32, ends: bool, depends_on_itself: bool, block: &[u8]) -> Result<(), Reason> {
        self.ended_head = true;
        let stream = self.session.state.borrow().streams.get(&id).cloned();
        if let Some(stream) = stream {
            return self.trailers(&stream, ends, block);
        }
        let begins = id > self.last;
        self.last = self.last.max(id);
        if self.goes.is_some_and(|last| id > last) {
            // The caller was told that it would not be heard. Whatever it is: the table must not miss it.
            return self.decoder.read(block, |_field| {}).map_err(broken);
        }
        if begins {
            return self.request(id, ends, depends_on_itself, block);
        }
        let ending = self.session.state.borrow().ending(id);
        match ending {
            Ending::Reset => self.decoder.read(block, |_field| {}).map_err(broken),
            Ending::Ended => Err(Reason::StreamClosed),
            Ending::Unknown => Err(Reason::Protocol),
        }
    }

    fn request(&mut self, id: u32, ends: bool, depends_on_itself: bool, block: &[u8]) -> Result<(), Reason> {
        let mut head = self.session.worker.request_heads().take();
        let mut reader = HeadReader::new(&mut head, self.head);
        self.decoder.read(block, |field| reader.field(field)).map_err(broken)?;
        let read = reader.end(self.tunnels);
        let Ok(length) = read else { return self.fault(id, Reason::Protocol) };
        if depends_on_itself || (ends && length.is_some_and(|length| length > 0)) {
            return self.fault(id, Reason::Protocol);
        }
        let state = &mut *self.session.state.borrow_mut();
        if state.streams.len() >= self.streams {
            state.reset(id, Reason::RefusedStream);
            self.session.worker.count_limit("h2_streams");
            return Ok(());
        }
        let stream = Rc::new(Stream::new(id, Inflow::new(STREAM_WINDOW), state.initial_window, length, ends));
        state.streams.insert(id, Rc::clone(&stream));
        runner::run(Begun { session: Rc::clone(&self.session), stream, head });
        Ok(())
    }

    fn trailers(&mut self, stream: &Stream, ends: bool, block: &[u8]) -> Result<(), Reason> {
        let mut reader = TrailerReader::default();
        let most = self.head;
        self.decoder.read(block, |field| reader.field(field, most)).map_err(broken)?;
        if stream.is_received.get() {
            return Err(Reason::StreamClosed);
        }
        match reader.end() {
            Ok(trailers) if ends && stream.left.get().is_none_or(|left| left == 0) => {
                stream.end((!trailers.is_empty()).then_some(trailers));
                Ok(())
            }
            Ok(_) | Err(Malformed) => self.fault(stream.id, Reason::Protocol),
        }
    }
}

fn broken(_: Broken) -> Reason {
    Reason::Compression
}
