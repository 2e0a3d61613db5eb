//! Where a caller's HTTP/2 stands between two frames: the same, however the bytes come, as a reader of whole frames sees it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scoregate::proxy::http2::frames::Frames;

fuzz_target!(|bytes: &[u8]| {
    let state = |frames: &Frames| (frames.in_head(), frames.spoke(), frames.violates());
    let mut at_once = Frames::default();
    at_once.feed(bytes);
    for piece in [1, 2, 5, 9, 13] {
        let mut pieces = Frames::default();
        for part in bytes.chunks(piece) {
            pieces.feed(part);
        }
        assert_eq!(state(&pieces), state(&at_once), "in pieces of {piece}");
    }
    if let Some(in_head) = simple(bytes) {
        assert_eq!(at_once.in_head(), in_head, "another reader sees another state");
    }
});

/// RFC 9113 section 4.1, of bytes that end with a whole frame: whether a field block is open. None where they end elsewhere.
fn simple(bytes: &[u8]) -> Option<bool> {
    let mut rest = bytes.get(24..)?;
    let mut open = false;
    while !rest.is_empty() {
        let [a, b, c, kind, flags, ..] = *rest.first_chunk::<9>()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        rest = rest.get(9 + length..)?;
        if matches!(kind, 1 | 9) {
            open = flags & 4 == 0;
        }
    }
    Some(open)
}
