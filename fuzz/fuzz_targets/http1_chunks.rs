//! Chunked bodies: read the same however they come, as a reader that knows nothing of ours reads them, and written so that
//! they are read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scoregate::proxy::http1::{
    chunked::{BadChunk, Decoder, Step},
    write,
};

/// Data, trailer section, and how many bytes were read.
type Body = (Vec<u8>, Vec<u8>, usize);

fuzz_target!(|bytes: &[u8]| {
    let at_once = decode(bytes, bytes.len().max(1));
    for piece in [1, 3, 7] {
        assert_eq!(decode(bytes, piece), at_once, "in pieces of {piece}");
    }
    let Ok(Some((data, trailers, taken))) = at_once else { return };
    assert!(taken <= bytes.len());
    assert_eq!(simple(&bytes[..taken]), Some((data.clone(), trailers.clone())), "another reader sees another body");

    let mut again = Vec::new();
    for chunk in data.chunks(100) {
        write::chunk_head(&mut again, chunk.len());
        again.extend_from_slice(chunk);
        again.extend_from_slice(write::CHUNK_END);
    }
    write::last_chunk(&mut again, None);
    let length = again.len();
    assert_eq!(decode(&again, length), Ok(Some((data, b"\r\n".to_vec(), length))), "what we write we read");
});

/// As a connection reads, `piece` bytes at a time.
fn decode(text: &[u8], piece: usize) -> Result<Option<Body>, BadChunk> {
    let (mut decoder, mut data, mut buffer, mut taken) = (Decoder::chunked(), vec![], vec![], 0);
    for part in text.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            let certain = decoder.certain();
            match decoder.step(&buffer)? {
                Step::Data { skip, length } => {
                    assert!(length > 0 && skip + length <= buffer.len() && (certain == 0 || length as u64 <= certain));
                    data.extend_from_slice(&buffer[skip..skip + length]);
                    buffer.drain(..skip + length);
                    taken += skip + length;
                }
                Step::More { skip } => {
                    buffer.drain(..skip);
                    taken += skip;
                    break;
                }
                Step::End { skip, trailers } => {
                    assert!(decoder.is_done());
                    return Ok(Some((data, buffer[skip..skip + trailers].to_vec(), taken + skip + trailers)));
                }
            }
        }
    }
    Ok(None)
}

/// RFC 9112 section 7.1, line by line, of a body that is all there.
fn simple(mut text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut data = Vec::new();
    loop {
        let end = text.windows(2).position(|pair| pair == b"\r\n")?;
        let line = std::str::from_utf8(text[..end].split(|byte| *byte == b';').next()?).ok()?;
        let size = usize::from_str_radix(line, 16).ok()?;
        text = &text[end + 2..];
        if size == 0 {
            return Some((data, text.to_vec()));
        }
        data.extend_from_slice(text.get(..size)?);
        text = text.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
