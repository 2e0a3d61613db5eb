//! Frames: their header, their kinds, what ends a stream or a connection, and how those we send are written (RFC 9113
//! sections 4, 6 and 7).

/// What a client begins with (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header.
pub const HEADER: usize = 9;
/// The largest payload that we take, and the largest that we send: what every peer begins with (RFC 9113 section 6.5.2).
pub const LARGEST: usize = 16 << 10;

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 0x1;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 0x1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 0x4;
/// Flag of DATA and HEADERS.
pub const PADDED: u8 = 0x8;
/// Flag of HEADERS.
pub const PRIORITY: u8 = 0x20;

/// Kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a body.
    Data,
    /// A head's beginning, or trailers'.
    Headers,
    /// Deprecated, and without meaning to us.
    Priority,
    /// Ends a stream.
    Reset,
    /// Of the connection.
    Settings,
    /// No client sends one.
    PushPromise,
    /// Asks for an answer.
    Ping,
    /// Ends a connection.
    GoAway,
    /// Of a stream or the connection.
    WindowUpdate,
    /// A head's further part.
    Continuation,
    /// To be ignored (RFC 9113 section 5.5).
    Unknown,
}

impl From<u8> for Kind {
    fn from(byte: u8) -> Self {
        match byte {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::Reset,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// No error.
    NoError = 0,
    /// Something that the protocol does not allow.
    Protocol = 1,
    /// Our own failure.
    Internal = 2,
    /// More than a window allowed.
    FlowControl = 3,
    /// A frame on a stream that is over.
    StreamClosed = 5,
    /// A frame of a length that it cannot have.
    FrameSize = 6,
    /// Not processed at all.
    RefusedStream = 7,
    /// Not wanted any more.
    Cancel = 8,
    /// A field block that is none.
    Compression = 9,
    /// Too much of what costs the peer nothing.
    EnhanceYourCalm = 11,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Length of the payload.
    pub length: usize,
    /// Kind.
    pub kind: Kind,
    /// Flags.
    pub flags: u8,
    /// Stream; 0: the connection.
    pub stream: u32,
}

impl FrameHeader {
    /// Reads the header that `bytes` begin with; none where it is not whole.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEADER>()?;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind: kind.into(),
            flags,
            stream: number(stream),
        })
    }

    /// Whether it has a flag.
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A number of 31 bits (the reserved bit means nothing).
#[must_use]
pub const fn number(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// Begins a frame of our own. Payloads of ours are no longer than [`LARGEST`].
pub fn put(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(0).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// SETTINGS.
pub fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    put(out, settings.len() * 6, 4, 0, 0);
    for (setting, value) in settings {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// SETTINGS that acknowledges the peer's.
pub fn put_settings_ack(out: &mut Vec<u8>) {
    put(out, 0, 4, ACK, 0);
}

/// RST_STREAM.
pub fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put(out, 4, 3, 0, stream);
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// PING, or its answer.
pub fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    put(out, 8, 6, flags, 0);
    out.extend_from_slice(&payload);
}

/// GOAWAY: streams up to `last` are or may have been processed.
pub fn put_goaway(out: &mut Vec<u8>, last: u32, reason: Reason) {
    put(out, 8, 7, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// WINDOW_UPDATE.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put(out, 4, 8, 0, stream);
    out.extend_from_slice(&increment.to_be_bytes());
}

/// DATA.
pub fn put_data(out: &mut Vec<u8>, stream: u32, data: &[u8], end: bool) {
    out.reserve(HEADER + data.len());
    put(out, data.len(), 0, if end { END_STREAM } else { 0 }, stream);
    out.extend_from_slice(data);
}

/// HEADERS with the block that `write` appends, and CONTINUATION where that is larger than a frame.
pub fn put_head(out: &mut Vec<u8>, stream: u32, end: bool, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    put(out, 0, 1, 0, stream);
    write(out);
    let block = begin + HEADER;
    let length = out.len() - block;
    let flags = if end { END_STREAM } else { 0 };
    if length <= LARGEST {
        let [_, a, b, c] = u32::try_from(length).unwrap_or(0).to_be_bytes();
        if let Some(header) = out.get_mut(begin..begin + 5) {
            header.copy_from_slice(&[a, b, c, 1, flags | END_HEADERS]);
        }
        return;
    }
    let whole = out.split_off(block);
    out.truncate(begin);
    let mut pieces = whole.chunks(LARGEST).peekable();
    let (mut kind, mut flags) = (1, flags);
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        put(out, piece.len(), kind, flags | last, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (9, 0);
    }
}

/// Takes the padding off a payload.
///
/// # Errors
/// Where there is no room for what it says.
pub fn unpadded(header: FrameHeader, payload: &[u8]) -> Result<&[u8], Reason> {
    if !header.has(PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Reason::FrameSize)?;
    let length = rest.len().checked_sub(usize::from(*padding)).ok_or(Reason::Protocol)?;
    rest.get(..length).ok_or(Reason::Protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        put(&mut out, 0x01_0203, 8, 0xa5, 0x7fff_fff0);
        let header = FrameHeader { length: 0x01_0203, kind: Kind::WindowUpdate, flags: 0xa5, stream: 0x7fff_fff0 };
        assert_eq!(FrameHeader::read(&out), Some(header));
        assert_eq!(FrameHeader::read(&out[..8]), None);
        assert_eq!(number([0xff; 4]), 0x7fff_ffff, "the reserved bit");
    }

    #[test]
    fn a_large_head_is_cut_into_frames() {
        for length in [0, 1, LARGEST, LARGEST + 1, 2 * LARGEST, 5 * LARGEST + 7] {
            let block: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut out = vec![7; 3];
            put_head(&mut out, 9, true, |out| out.extend_from_slice(&block));
            let (mut rest, mut read, mut kinds) = (&out[3..], Vec::new(), Vec::new());
            while let Some(header) = FrameHeader::read(rest) {
                assert_eq!(header.stream, 9);
                kinds.push((header.kind, header.flags));
                read.extend_from_slice(&rest[HEADER..HEADER + header.length]);
                rest = &rest[HEADER + header.length..];
            }
            assert_eq!((read, rest), (block, &[][..]));
            let frames = length.div_ceil(LARGEST).max(1);
            assert_eq!(kinds.len(), frames);
            for (at, (kind, flags)) in kinds.into_iter().enumerate() {
                assert_eq!(kind, if at == 0 { Kind::Headers } else { Kind::Continuation });
                let end = if at + 1 == frames { END_HEADERS } else { 0 };
                assert_eq!(flags, end | if at == 0 { END_STREAM } else { 0 });
            }
        }
    }

    #[test]
    fn padding_comes_off() {
        let padded = FrameHeader { length: 0, kind: Kind::Data, flags: PADDED, stream: 1 };
        assert_eq!(unpadded(padded, b"\x02ab\0\0"), Ok(&b"ab"[..]));
        assert_eq!(unpadded(padded, b"\x02\0\0"), Ok(&b""[..]));
        assert_eq!(unpadded(padded, b"\x03\0\0"), Err(Reason::Protocol));
        assert_eq!(unpadded(padded, b""), Err(Reason::FrameSize));
        assert_eq!(unpadded(FrameHeader { flags: 0, ..padded }, b"\x02"), Ok(&b"\x02"[..]));
    }
}
