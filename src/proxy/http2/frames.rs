//! Where a caller's HTTP/2 stands between two frames (RFC 9113 section 4.1): whether a request head has begun and not come to its
//! end. hyper has no time-out for that, and a caller that sends a head byte by byte would keep its connection for ever.
//!
//! Fed by `io` with every byte that is read. Reads nothing but frame headers; what is wrong with a frame is hyper's to say.

/// The client's connection preface (RFC 9113 section 3.4).
const PREFACE: u32 = 24;
const HEADER: usize = 9;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;
const SETTINGS: u8 = 0x4;
/// SETTINGS_INITIAL_WINDOW_SIZE, and the most it may be (RFC 9113 section 6.5.2).
const INITIAL_WINDOW: u16 = 0x4;
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// What was read so far.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the present frame's payload, or of the preface, that are still to come.
    left: u32,
    header: [u8; HEADER],
    /// Bytes of a frame header that are there.
    have: usize,
    /// A field block has begun, and this was not its last frame.
    in_block: bool,
    /// The payload that is being read belongs to a field block.
    is_block: bool,
    /// Whole frames.
    whole: bool,
    /// The payload that is being read is one of SETTINGS.
    is_settings: bool,
    /// A setting that is being read, and how much of it is there.
    setting: ([u8; 6], usize),
    violated: bool,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            left: PREFACE,
            header: [0; HEADER],
            have: 0,
            in_block: false,
            is_block: false,
            whole: false,
            is_settings: false,
            setting: ([0; 6], 0),
            violated: false,
        }
    }
}

impl Frames {
    /// Takes what was read.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                if self.is_settings {
                    self.read_settings(bytes.get(..here).unwrap_or_default());
                }
                bytes = bytes.get(here..).unwrap_or_default();
                self.left -= u32::try_from(here).unwrap_or(self.left);
                continue;
            }
            let here = (HEADER - self.have).min(bytes.len());
            let (taken, rest) = bytes.split_at(here);
            if let Some(room) = self.header.get_mut(self.have..self.have + here) {
                room.copy_from_slice(taken);
            }
            bytes = rest;
            self.have += here;
            if self.have == HEADER {
                self.have = 0;
                self.begin();
            }
        }
    }

    /// Whether a request head has begun, and its end has not come.
    #[must_use]
    pub const fn in_head(&self) -> bool {
        self.have > 0 || self.in_block || (self.is_block && self.left > 0)
    }

    /// Whether a whole frame has come since the connection began.
    #[must_use]
    pub const fn spoke(&self) -> bool {
        self.whole
    }

    /// Whether the connection has done what ends one, and hyper's h2 would pass over or answer with another error than the RFC
    /// demands: a first frame that is not SETTINGS (section 3.4), a window that no window can be (section 6.5.2).
    #[must_use]
    pub const fn violates(&self) -> bool {
        self.violated
    }

    fn read_settings(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let (setting, have) = &mut self.setting;
            if let Some(place) = setting.get_mut(*have) {
                *place = *byte;
            }
            *have += 1;
            if *have == setting.len() {
                *have = 0;
                let [a, b, value @ ..] = *setting;
                self.violated |=
                    u16::from_be_bytes([a, b]) == INITIAL_WINDOW && u32::from_be_bytes(value) > MOST_WINDOW;
            }
        }
    }

    const fn begin(&mut self) {
        let [a, b, c, kind, flags, ..] = self.header;
        self.left = u32::from_be_bytes([0, a, b, c]);
        self.is_settings = kind == SETTINGS;
        self.violated |= !self.whole && !self.is_settings;
        self.setting.1 = 0;
        self.is_block = matches!(kind, HEADERS | CONTINUATION);
        if self.is_block {
            self.in_block = flags & END_HEADERS == 0;
        }
        self.whole = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.extend(std::iter::repeat_n(b'x', usize::from(length)));
        frame
    }

    /// Where a head is open after each byte, as a string of 0 and 1.
    fn trace(bytes: &[u8]) -> String {
        let mut frames = Frames::default();
        frames.feed(&[b'P'; 24]);
        assert!(!frames.spoke() && !frames.in_head());
        bytes
            .iter()
            .map(|byte| {
                frames.feed(&[*byte]);
                if frames.in_head() { '1' } else { '0' }
            })
            .collect()
    }

    #[test]
    fn a_head_is_open_from_its_first_byte_to_its_last() {
        assert_eq!(trace(&frame(HEADERS, END_HEADERS, 3)), "111111111110");
        assert_eq!(trace(&frame(HEADERS, END_HEADERS, 0)), "111111110");
        let continued = [frame(HEADERS, 0, 1), frame(CONTINUATION, 0, 0), frame(CONTINUATION, END_HEADERS, 1)].concat();
        assert_eq!(trace(&continued), "1".repeat(10 + 9 + 9) + "0");
        assert_eq!(trace(&frame(0, 0, 3)), "111111110000", "data may take its time");
    }

    #[test]
    fn a_connection_begins_with_settings() {
        for (first, violates) in [(SETTINGS, false), (HEADERS, true), (0x6, true), (0x8, true)] {
            let mut frames = Frames::default();
            frames.feed(&[b'P'; 24]);
            frames.feed(&frame(first, END_HEADERS, 0));
            frames.feed(&frame(0x6, 0, 8));
            assert_eq!(frames.violates(), violates, "{first}");
        }
    }

    #[test]
    fn a_window_that_cannot_be_is_seen() {
        for (setting, value, overflows) in
            [(4, MOST_WINDOW, false), (4, MOST_WINDOW + 1, true), (4, u32::MAX, true), (3, u32::MAX, false)]
        {
            for piece in [1, 4, 100] {
                let mut bytes = vec![0, 0, 12, SETTINGS, 0, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0, 0, setting];
                bytes.extend_from_slice(&u32::to_be_bytes(value));
                let mut frames = Frames::default();
                frames.feed(&[b'P'; 24]);
                bytes.chunks(piece).for_each(|piece| frames.feed(piece));
                assert_eq!(frames.violates(), overflows, "{setting} {value}");
            }
        }
    }

    #[test]
    fn however_the_bytes_come_it_is_the_same() {
        let bytes = [frame(4, 0, 6), frame(HEADERS, END_HEADERS, 9), frame(0, 1, 200), frame(HEADERS, 0, 1)].concat();
        for piece in 1..bytes.len() {
            let mut frames = Frames::default();
            frames.feed(&[b'P'; 24]);
            bytes.chunks(piece).for_each(|piece| frames.feed(piece));
            assert!(frames.in_head() && frames.spoke(), "{piece}");
        }
    }
}
