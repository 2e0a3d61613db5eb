//! What a caller sends, frame by frame (RFC 9113 sections 5, 6 and 8): requests begin, bodies grow, windows widen, streams end.
//!
//! An `Err` ends the connection. What ends a stream alone is done here.

use std::{rc::Rc, time::Duration};

use super::{
    flow::{Allowance, Inflow, widen},
    frame::{self, FrameHeader, HEADER, Kind, LARGEST, PREFACE, Reason},
    hpack::{Broken, Decoder},
    request::{HeadReader, Malformed, TrailerReader},
    serving,
    session::{STREAM_WINDOW, Session},
    stream::Stream,
};
use crate::snapshot::Limits;

/// A head may take so many times its limit in compressed bytes, and so many frames: what is within that is answered, what is beyond
/// ends the connection.
const HEAD_MARGIN: usize = 3;
const HEAD_FRAMES: usize = 128;
/// Streams that a caller may reset before they are answered: so many times the streams it may have at once, and as many of those in a
/// second. Who does nothing else ends there (CVE-2023-44487).
const RESETS: u64 = 4;
/// Faults of a caller that end a stream: so many, and ten a second (CVE-2025-8671).
const FAULTS: u64 = 100;
const FAULT_EACH: Duration = Duration::from_millis(100);

/// Reads what comes over a connection.
#[derive(Debug)]
pub(super) struct Input {
    session: Rc<Session>,
    /// Bytes of a frame that is not whole.
    rest: Vec<u8>,
    /// Bytes of the preface that have come.
    preface: usize,
    /// The first frame has come.
    pub(super) began: bool,
    block: Option<Block>,
    decoder: Decoder,
    /// The last stream that the caller began.
    pub(super) last: u32,
    /// Most streams at once, most bytes of a head.
    streams: usize,
    head: usize,
    /// Extended CONNECT was offered.
    tunnels: bool,
    resets: Allowance,
    faults: Allowance,
    /// Streams after this are not served any more.
    pub(super) goes: Option<u32>,
    /// The caller has said that it goes.
    pub(super) is_left: bool,
    /// Our PING was answered.
    pub(super) pong: bool,
}

/// A head that has not ended.
#[derive(Debug)]
struct Block {
    stream: u32,
    ends: bool,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    frames: usize,
}

/// What our PING has in it.
pub(super) const PING: [u8; 8] = *b"draining";

impl Input {
    pub(super) fn new(session: &Rc<Session>, limits: &Limits, tunnels: bool) -> Self {
        let now = session.worker.coarse_now();
        let streams = limits.h2_streams.max(1);
        let each = Duration::from_secs(1) / streams;
        Self {
            session: Rc::clone(session),
            rest: Vec::new(),
            preface: 0,
            began: false,
            block: None,
            decoder: Decoder::default(),
            last: 0,
            streams: usize::try_from(streams).unwrap_or(usize::MAX),
            head: limits.head,
            tunnels,
            resets: Allowance::new(u64::from(streams) * RESETS, each, now),
            faults: Allowance::new(FAULTS, FAULT_EACH, now),
            goes: None,
            is_left: false,
            pong: false,
        }
    }

    /// Whether a request's head has begun, and its end has not come.
    pub(super) fn is_in_head(&self) -> bool {
        let partial = match FrameHeader::read(&self.rest) {
            Some(header) => matches!(header.kind, Kind::Headers | Kind::Continuation),
            None => !self.rest.is_empty(),
        };
        self.block.is_some() || partial
    }

    /// Whether whole frames may be waiting, because there was no room for answers to them.
    pub(super) const fn has_rest(&self) -> bool {
        self.rest.len() >= HEADER
    }

    /// Gives back what only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
    }

    /// Takes what came. What is not whole, or cannot be answered now, is kept.
    ///
    /// # Errors
    /// What ends the connection.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let bytes = self.take_preface(bytes)?;
        if self.rest.is_empty() {
            let taken = self.frames(bytes)?;
            self.rest.extend_from_slice(bytes.get(taken..).unwrap_or_default());
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let taken = self.frames(&rest)?;
            rest.drain(..taken);
            self.rest = rest;
        }
        Ok(())
    }

    fn take_preface<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Reason> {
        let due = PREFACE.get(self.preface..).unwrap_or_default();
        let (here, rest) = bytes.split_at(due.len().min(bytes.len()));
        if !due.starts_with(here) {
            return Err(Reason::Protocol);
        }
        self.preface += here.len();
        Ok(rest)
    }

    /// Takes whole frames; says how many bytes they were.
    fn frames(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let mut taken = 0;
        while let Some(header) = bytes.get(taken..).and_then(FrameHeader::read) {
            if header.length > LARGEST {
                return Err(Reason::FrameSize);
            }
            let begin = taken + HEADER;
            let Some(payload) = bytes.get(begin..begin + header.length) else { break };
            if self.session.state.borrow().is_full() {
                break;
            }
            self.frame(header, payload)?;
            taken = begin + header.length;
        }
        Ok(taken)
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if !std::mem::replace(&mut self.began, true) && (header.kind != Kind::Settings || header.has(frame::ACK)) {
            return Err(Reason::Protocol);
        }
        if let Some(block) = &self.block
            && (header.kind != Kind::Continuation || header.stream != block.stream)
        {
            return Err(Reason::Protocol);
        }
        match header.kind {
            Kind::Data => self.data(header, payload),
            Kind::Headers => self.headers(header, payload),
            Kind::Continuation => self.continuation(header, payload),
            Kind::Priority => self.priority(header, payload),
            Kind::Reset => self.reset(header, payload),
            Kind::Settings => self.settings(header, payload),
            Kind::PushPromise => Err(Reason::Protocol),
            Kind::Ping => self.ping(header, payload),
            Kind::GoAway => self.goaway(header, payload),
            Kind::WindowUpdate => self.window_update(header, payload),
            Kind::Unknown => Ok(()),
        }
    }

    // ---- heads ----

    fn headers(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream % 2 == 0 {
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

    fn continuation(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
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
        match self.session.state.borrow().was_reset_by_us(id) {
            Some(true) => self.decoder.read(block, |_field| {}).map_err(broken),
            Some(false) => Err(Reason::StreamClosed),
            None => Err(Reason::Protocol),
        }
    }

    fn request(&mut self, id: u32, ends: bool, depends_on_itself: bool, block: &[u8]) -> Result<(), Reason> {
        let mut head = self.session.head();
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
        serving::spawn(Rc::clone(&self.session), stream, head);
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

    // ---- bodies ----

    fn data(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let id = header.stream;
        if id == 0 || id > self.last {
            return Err(Reason::Protocol);
        }
        let data = frame::unpadded(header, payload)?;
        let session = Rc::clone(&self.session);
        let mut state = session.state.borrow_mut();
        state.inflow.take(payload.len())?;
        let Some(stream) = state.streams.get(&id).map(Rc::clone) else {
            state.give_back(payload.len());
            let under_way = state.was_reset_by_us(id) == Some(true) || self.goes.is_some_and(|last| id > last);
            return if under_way { Ok(()) } else { Err(Reason::StreamClosed) };
        };
        // What is not kept is used.
        let mut inflow = stream.inflow.get();
        let ends = header.has(frame::END_STREAM);
        let fits = stream.left.get().map(|left| left.checked_sub(data.len() as u64));
        let fault = if stream.is_received.get() {
            Some(Reason::StreamClosed)
        } else if let Err(reason) = inflow.take(payload.len()) {
            Some(reason)
        } else if fits == Some(None) || (ends && !matches!(fits, None | Some(Some(0)))) {
            Some(Reason::Protocol)
        } else {
            None
        };
        if let Some(reason) = fault {
            state.give_back(payload.len());
            drop(state);
            return self.fault(id, reason);
        }
        stream.left.set(fits.flatten());
        let padding = payload.len() - data.len();
        if padding > 0 {
            state.give_back(padding);
            if let Some(more) = inflow.give(padding) {
                frame::put_window_update(&mut state.out, id, more);
            }
        }
        stream.inflow.set(inflow);
        if !data.is_empty() {
            stream.put(data);
        }
        if ends {
            stream.end(None);
        }
        Ok(())
    }

    fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let increment = frame::number(*exactly(payload)?);
        let by = i64::from(increment);
        let session = Rc::clone(&self.session);
        let mut state = session.state.borrow_mut();
        if header.stream == 0 {
            if increment == 0 {
                return Err(Reason::Protocol);
            }
            let shut = state.window <= 0;
            state.window = widen(state.window, by)?;
            if shut && state.window > 0 {
                state.wake_waiting();
            }
            return Ok(());
        }
        if header.stream > self.last || header.stream % 2 == 0 {
            return Err(Reason::Protocol);
        }
        let Some(stream) = state.streams.get(&header.stream).map(Rc::clone) else { return Ok(()) };
        drop(state);
        let widened = if increment == 0 { Err(Reason::Protocol) } else { widen(stream.window.get(), by) };
        match widened {
            Ok(window) => {
                stream.window.set(window);
                if window > 0 {
                    stream.wake_writer();
                }
                Ok(())
            }
            Err(reason) => self.fault(header.stream, reason),
        }
    }

    // ---- what ends a stream ----

    /// The caller broke a rule on a stream: that ends, and where it does so again and again, the connection.
    fn fault(&mut self, id: u32, reason: Reason) -> Result<(), Reason> {
        let state = &self.session.state;
        let stream = state.borrow().streams.get(&id).cloned();
        state.borrow_mut().reset(id, reason);
        if let Some(stream) = stream {
            stream.leash.cut();
        }
        self.faults.spend(self.session.worker.coarse_now())
    }

    fn reset(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let _reason: &[u8; 4] = exactly(payload)?;
        if header.stream == 0 || header.stream > self.last {
            return Err(Reason::Protocol);
        }
        let mut state = self.session.state.borrow_mut();
        let Some(stream) = state.streams.get(&header.stream).cloned() else { return Ok(()) };
        state.forget(header.stream, false);
        stream.is_reset.set(true);
        drop(state);
        stream.leash.cut();
        if stream.is_answered.get() {
            return Ok(());
        }
        self.resets.spend(self.session.worker.coarse_now())
    }

    fn priority(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream == 0 {
            return Err(Reason::Protocol);
        }
        let is_open = self.session.state.borrow().streams.contains_key(&header.stream);
        let reason = match payload.split_first_chunk::<4>() {
            Some((on, [_weight])) if frame::number(*on) != header.stream => return Ok(()),
            Some((_on, [_weight])) => Reason::Protocol,
            _ => Reason::FrameSize,
        };
        if is_open { self.fault(header.stream, reason) } else { Err(reason) }
    }

    // ---- the connection ----

    fn settings(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream != 0 {
            return Err(Reason::Protocol);
        }
        if header.has(frame::ACK) {
            return if payload.is_empty() { Ok(()) } else { Err(Reason::FrameSize) };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Reason::FrameSize);
        }
        let state = &mut *self.session.state.borrow_mut();
        for [a, b, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                ENABLE_PUSH if value > 1 => return Err(Reason::Protocol),
                INITIAL_WINDOW_SIZE => {
                    let window = widen(0, i64::from(value))?;
                    let by = window - std::mem::replace(&mut state.initial_window, window);
                    for stream in state.streams.values() {
                        stream.window.set(widen(stream.window.get(), by)?);
                        if stream.window.get() > 0 {
                            stream.wake_writer();
                        }
                    }
                }
                // Ours are never larger than what every peer takes.
                MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => return Err(Reason::Protocol),
                // We keep no table, push nothing, and begin no streams.
                _ => {}
            }
        }
        frame::put_settings_ack(&mut state.out);
        Ok(())
    }

    fn ping(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let payload: &[u8; 8] = exactly(payload)?;
        if header.stream != 0 {
            return Err(Reason::Protocol);
        }
        if header.has(frame::ACK) {
            self.pong |= *payload == PING;
        } else {
            frame::put_ping(&mut self.session.state.borrow_mut().out, frame::ACK, *payload);
        }
        Ok(())
    }

    fn goaway(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        if header.stream != 0 {
            return Err(Reason::Protocol);
        }
        if payload.len() < 8 {
            return Err(Reason::FrameSize);
        }
        self.is_left = true;
        Ok(())
    }
}

const ENABLE_PUSH: u16 = 0x2;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;

/// A payload that has one length and no other.
fn exactly<const N: usize>(payload: &[u8]) -> Result<&[u8; N], Reason> {
    payload.try_into().map_err(|_length| Reason::FrameSize)
}

fn broken(_: Broken) -> Reason {
    Reason::Compression
}
