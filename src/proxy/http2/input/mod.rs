//! What a caller sends, frame by frame (RFC 9113 sections 5 and 6). Frames of the connection are dealt with here, those that make up
//! heads in [`heads`], those of bodies and what ends a stream in [`streams`].
//!
//! An `Err` ends the connection. What ends a stream alone is done where it is found.

mod heads;
mod streams;

use std::{rc::Rc, time::Duration};

use self::{heads::Block, streams::Piece};
use super::{
    flow::{Allowance, widen},
    frame::{self, FrameHeader, HEADER, Kind, LARGEST, PREFACE, Reason},
    hpack::Decoder,
    session::Session,
};
use crate::snapshot::Limits;

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
    /// DATA that has not ended.
    piece: Option<Piece>,
    /// A head has ended since this was looked at.
    pub(super) ended_head: bool,
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
            piece: None,
            ended_head: false,
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
            // A whole one waits for us.
            Some(header) if self.rest.len() >= HEADER + header.length => false,
            Some(header) => matches!(header.kind, Kind::Headers | Kind::Continuation),
            // A frame's kind is its fourth byte.
            None => self
                .rest
                .get(3)
                .map_or(!self.rest.is_empty(), |kind| matches!((*kind).into(), Kind::Headers | Kind::Continuation)),
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
        self.decoder.shrink();
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
        loop {
            if self.piece.is_some() {
                taken += self.data(bytes.get(taken..).unwrap_or_default());
                if self.piece.is_some() {
                    break;
                }
            }
            let Some(header) = bytes.get(taken..).and_then(FrameHeader::read) else { break };
            if header.length > LARGEST {
                return Err(Reason::FrameSize);
            }
            let begin = taken + HEADER;
            // A body goes on as it comes. Whatever else there is must be whole, and so must what has padding behind it.
            let goes_on = header.kind == Kind::Data && !header.has(frame::PADDED);
            let payload = bytes.get(begin..begin + header.length);
            if (payload.is_none() && !goes_on) || self.session.state.borrow().is_full() {
                break;
            }
            self.expect(header)?;
            if goes_on {
                self.begin_data(header, header.length, header.length)?;
                taken = begin;
            } else {
                self.frame(header, payload.unwrap_or_default())?;
                taken = begin + header.length;
            }
        }
        Ok(taken)
    }

    /// Whether a frame may come now.
    fn expect(&mut self, header: FrameHeader) -> Result<(), Reason> {
        if !std::mem::replace(&mut self.began, true) && (header.kind != Kind::Settings || header.has(frame::ACK)) {
            return Err(Reason::Protocol);
        }
        if let Some(block) = &self.block
            && (header.kind != Kind::Continuation || header.stream != block.stream)
        {
            return Err(Reason::Protocol);
        }
        Ok(())
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        match header.kind {
            Kind::Data => {
                let data = frame::unpadded(header, payload)?;
                self.begin_data(header, payload.len(), data.len())?;
                self.data(data);
                Ok(())
            }
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
