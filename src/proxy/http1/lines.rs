//! The field lines of a head or of trailers out of bytes (RFC 9112 section 5): names, values, and the empty line behind them.
//!
//! Called by `head::Fields` and `link`. The grammar at its strictest: a name is a token with its colon right behind it, a value has no
//! control but the tab, a line ends with CRLF and never goes on in the next one.

use super::parse::BadHead;
use crate::proxy::headers::grammar::{is_blank, lower_token, text_length};

/// What ends a line of a head.
pub const LINE_END: &[u8] = b"\r\n";

/// Where a field stands in the text that it was read from.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Where its name begins.
    pub name: usize,
    /// Where its value begins.
    pub value: usize,
    /// It stands there exactly as it would be written: `name: value` and its line end.
    pub verbatim: bool,
}

/// Reads field lines, from `begin` on, up to the empty line; makes their names lower-case. Says where the text goes on behind that. None
/// where its end is not there yet.
///
/// # Errors
/// Where a line is not as RFC 9112 has it, or there are more than `most`.
pub fn read(
    text: &mut [u8],
    begin: usize,
    most: usize,
    mut take: impl FnMut(&[u8], &[u8], Place),
) -> Result<Option<usize>, BadHead> {
    let (mut at, mut left) = (begin, most);
    loop {
        let line = text.get_mut(at..).unwrap_or_default();
        match line {
            [b'\r', b'\n', ..] => return Ok(Some(at + LINE_END.len())),
            [] | [b'\r'] => return Ok(None),
            _ if left == 0 => return Err(BadHead::TooLarge),
            _ => left -= 1,
        }
        let length = lower_token(line);
        let (name, behind) = line.split_at_mut_checked(length).ok_or(BadHead::Malformed)?;
        let padded = match behind {
            [b':', padded @ ..] if !name.is_empty() => padded,
            [] => return Ok(None),
            _ => return Err(BadHead::Malformed),
        };
        let pad = padded.iter().position(|byte| !is_blank(*byte)).unwrap_or(padded.len());
        let content = padded.get(pad..).unwrap_or_default();
        let (content, end) = content.split_at_checked(text_length(content)).ok_or(BadHead::Malformed)?;
        match end {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            _ => return Err(BadHead::Malformed),
        }
        let value = content.trim_ascii_end();
        let verbatim = pad == 1 && padded.first() == Some(&b' ') && value.len() == content.len();
        let begins = at + name.len() + 1 + pad;
        take(name, value, Place { name: at, value: begins, verbatim });
        at = begins + content.len() + LINE_END.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Option<Vec<(String, String)>>, BadHead> {
        let mut fields = vec![];
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        let end = read(&mut bytes.to_vec(), 0, 5, |name, value, _| fields.push((text(name), text(value))))?;
        Ok(end.map(|_| fields))
    }

    #[test]
    fn a_line_is_a_token_a_colon_and_a_value() {
        let read = |text: &[u8]| fields(&[text, b"\r\n\r\nrest"].concat());
        for (line, name, value) in [
            (&b"a:"[..], "a", ""),
            (b"a: \t ", "a", ""),
            (b"X-A_B:1", "x-a_b", "1"),
            (b"a: \t1 2\t\xe9 \t", "a", "1 2\t\u{fffd}"),
            (b"!#$%&'*+-.^_`|~09azAZ: :", "!#$%&'*+-.^_`|~09azaz", ":"),
        ] {
            assert_eq!(read(line), Ok(Some(vec![(name.into(), value.into())])), "{:?}", String::from_utf8_lossy(line));
        }
        for line in
            [&b": 1"[..], b" a: 1", b"a : 1", b"a", b"a\xe9: 1", b"a: 1\x7f", b"a: 1\r2", b"a: 1\n2", b"a: 1\r\n 2"]
        {
            assert_eq!(read(line), Err(BadHead::Malformed), "{:?}", String::from_utf8_lossy(line));
        }
        assert_eq!(read(b"a: 1\r\nb: 2\r\na: 3\r\na: 4\r\na: 5\r\na: 6"), Err(BadHead::TooLarge));
    }
}
