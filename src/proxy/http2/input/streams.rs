//! Bodies and windows, and what ends a stream (RFC 9113 sections 5.1, 5.2, 5.4.2, 6.1, 6.3, 6.4 and 6.9).

use std::rc::Rc;

use super::{Input, exactly};
use crate::proxy::http2::{
    flow::widen,
    frame::{self, FrameHeader, Reason},
    session::Ending,
    stream::Stream,
};

/// DATA that has begun, and not ended.
#[derive(Debug)]
pub(super) struct Piece {
    /// Whose it is; none where it is thrown away.
    stream: Option<Rc<Stream>>,
    left: usize,
    /// The stream ends with it.
    ends: bool,
}

impl Input {
    /// DATA begins, `length` bytes of it with their padding, and `data` without.
    pub(super) fn begin_data(&mut self, header: FrameHeader, length: usize, data: usize) -> Result<(), Reason> {
        let id = header.stream;
        if id == 0 || id > self.last {
            return Err(Reason::Protocol);
        }
        let session = Rc::clone(&self.session);
        let mut state = session.state.borrow_mut();
        state.inflow.take(length)?;
        let ends = header.has(frame::END_STREAM);
        let Some(stream) = state.streams.get(&id).map(Rc::clone) else {
            state.give_back(length - data);
            self.piece = Some(Piece { stream: None, left: data, ends });
            let ending = if self.goes.is_some_and(|last| id > last) { Ending::Reset } else { state.ending(id) };
            return match ending {
                Ending::Reset => Ok(()),
                Ending::Ended => Err(Reason::StreamClosed),
                // It may have been under way for long.
                Ending::Unknown => self.faults.spend(session.worker.coarse_now()),
            };
        };
        let mut inflow = stream.inflow.get();
        let fits = stream.left.get().map(|left| left.checked_sub(data as u64));
        let fault = if stream.is_received.get() {
            Some(Reason::StreamClosed)
        } else if let Err(reason) = inflow.take(length) {
            Some(reason)
        } else if fits == Some(None) || (ends && !matches!(fits, None | Some(Some(0)))) {
            Some(Reason::Protocol)
        } else {
            None
        };
        // Padding is used as it comes.
        let padding = length - data;
        state.give_back(padding);
        if let Some(reason) = fault {
            drop(state);
            self.piece = Some(Piece { stream: None, left: data, ends });
            return self.fault(id, reason);
        }
        stream.left.set(fits.flatten());
        if let Some(more) = inflow.give(padding) {
            frame::put_window_update(&mut state.out, id, more);
        }
        stream.inflow.set(inflow);
        self.piece = Some(Piece { stream: Some(stream), left: data, ends });
        Ok(())
    }

    /// Takes of the DATA that has begun what is there of it; says how many bytes that was.
    pub(super) fn data(&mut self, bytes: &[u8]) -> usize {
        let Some(piece) = &mut self.piece else { return 0 };
        let data = bytes.get(..piece.left).unwrap_or(bytes);
        piece.left -= data.len();
        match piece.stream.as_ref().filter(|stream| !stream.is_reset.get()) {
            Some(stream) => {
                if !data.is_empty() {
                    stream.put(data);
                }
                if piece.left == 0 && piece.ends {
                    stream.end(None);
                }
            }
            // What nobody takes is used.
            None => drop(self.session.state.borrow_mut().give_back(data.len())),
        }
        if piece.left == 0 {
            self.piece = None;
        }
        data.len()
    }

    pub(super) fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
        let increment = frame::number(*exactly(payload)?);
        let by = i64::from(increment);
        let session = Rc::clone(&self.session);
        let mut state = session.state.borrow_mut();
        if header.stream == 0 {
            if increment == 0 {
                return Err(Reason::Protocol);
            }
            state.window = widen(state.window, by)?;
            state.next_turn();
            return Ok(());
        }
        if header.stream > self.last || header.stream.is_multiple_of(2) {
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

    /// The caller broke a rule on a stream: that ends, and where it does so again and again, the connection.
    pub(super) fn fault(&mut self, id: u32, reason: Reason) -> Result<(), Reason> {
        self.session.state.borrow_mut().reset(id, reason);
        self.faults.spend(self.session.worker.coarse_now())
    }

    pub(super) fn reset(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
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

    pub(super) fn priority(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
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
}
