//! Bodies and windows, and what ends a stream (RFC 9113 sections 5.1, 5.2, 5.4.2, 6.1, 6.3, 6.4 and 6.9).

use std::rc::Rc;

use super::{Input, exactly};
use crate::proxy::http2::{
    flow::widen,
    frame::{self, FrameHeader, Reason},
    session::Ending,
};

impl Input {
    pub(super) fn data(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
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
            let ending = if self.goes.is_some_and(|last| id > last) { Ending::Reset } else { state.ending(id) };
            return match ending {
                Ending::Reset => Ok(()),
                Ending::Ended => Err(Reason::StreamClosed),
                // It may have been under way for long.
                Ending::Unknown => self.faults.spend(session.worker.coarse_now()),
            };
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

    pub(super) fn window_update(&mut self, header: FrameHeader, payload: &[u8]) -> Result<(), Reason> {
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
        let state = &self.session.state;
        let stream = state.borrow().streams.get(&id).cloned();
        state.borrow_mut().reset(id, reason);
        if let Some(stream) = stream {
            stream.leash.cut();
        }
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
