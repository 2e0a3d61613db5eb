//! Field blocks as they are read.

use super::{
    Broken, huffman,
    table::{STATIC, Said},
};
use crate::proxy::headers::grammar::{is_lower_token, is_value};

/// Largest table that a peer may have us keep, bytes: what RFC 9113 section 6.5.2 begins with.
const TABLE: usize = 4096;

/// A field of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name; those that begin with a colon are pseudo-headers.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// Name and value are such as a field may have (RFC 9113 section 8.2.1); of a pseudo-header, the value.
    pub sound: bool,
    /// The line that HTTP/1.1 would have, where that is at hand; else nothing.
    pub line: &'a [u8],
}

/// Reads the field blocks of one connection, which must all be shown to it, in order.
#[derive(Debug)]
pub struct Decoder {
    said: Said,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { said: Said::new(TABLE), name: Vec::new(), value: Vec::new() }
    }
}

impl Decoder {
    /// Reads a whole block and shows each of its fields.
    ///
    /// # Errors
    /// Where it is none; the connection cannot go on (RFC 7541 section 3.2).
    pub fn read(&mut self, block: &[u8], mut each: impl FnMut(Field<'_>)) -> Result<(), Broken> {
        let mut rest = block;
        let mut begins = true;
        while let Some(first) = rest.first().copied() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                each(self.at(index)?);
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut rest, 5)?;
                // Only at the beginning, and never more than was allowed (RFC 7541 sections 4.2 and 6.3).
                if !begins || size > TABLE {
                    return Err(Broken);
                }
                self.said.resize(size);
                continue;
            } else {
                let keeps = first & 0x40 != 0;
                self.literal(&mut rest, if keeps { 6 } else { 4 }, keeps, &mut each)?;
            }
            begins = false;
        }
        Ok(())
    }

    /// Gives back what only a busy connection needs.
    pub fn shrink(&mut self) {
        self.name = Vec::new();
        self.value = Vec::new();
    }

    fn at(&self, index: usize) -> Result<Field<'_>, Broken> {
        let place = index.checked_sub(1).ok_or(Broken)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok(Field { name, value, sound: true, line: b"" });
        }
        let entry = self.said.get(place - STATIC.len()).ok_or(Broken)?;
        let (name, value) = entry.parts();
        Ok(Field { name, value, sound: entry.sound, line: &entry.line })
    }

    fn literal(
        &mut self,
        rest: &mut &[u8],
        prefix: u32,
        keeps: bool,
        each: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Broken> {
        let index = integer(rest, prefix)?;
        self.name.clear();
        self.value.clear();
        let name = if index > 0 {
            let mut copy = std::mem::take(&mut self.name);
            copy.extend_from_slice(self.at(index)?.name);
            self.name = copy;
            &*self.name
        } else {
            string(rest, &mut self.name)?
        };
        let value = string(rest, &mut self.value)?;
        let known = (1..=STATIC.len()).contains(&index);
        let sound = is_value(value) && (known || name.first() == Some(&b':') || is_lower_token(name));
        each(Field { name, value, sound, line: b"" });
        if keeps {
            self.said.add(name, value, sound);
        }
        Ok(())
    }
}

/// An integer behind a prefix (RFC 7541 section 5.1). Nothing that it counts reaches 2^28.
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Broken> {
    let (first, more) = rest.split_first().ok_or(Broken)?;
    *rest = more;
    let mask = (1_usize << prefix) - 1;
    let begin = usize::from(*first) & mask;
    if begin < mask {
        return Ok(begin);
    }
    let mut sum = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, more) = rest.split_first().ok_or(Broken)?;
        *rest = more;
        sum |= (usize::from(*byte) & 0x7f) << shift;
        if *byte & 0x80 == 0 {
            return Ok(mask + sum);
        }
    }
    Err(Broken)
}

/// A string (RFC 7541 section 5.2); one in Huffman's code is put into `memory`.
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], memory: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    let coded = rest.first().ok_or(Broken)? & 0x80 != 0;
    let length = integer(rest, 7)?;
    let (text, more) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = more;
    if !coded {
        return Ok(text);
    }
    huffman::decode(text, memory)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn read(decoder: &mut Decoder, block: &[u8]) -> Result<String, Broken> {
        let mut out = String::new();
        decoder.read(block, |field| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            out += &format!("{}={}{};", text(field.name), text(field.value), if field.sound { "" } else { "!" });
        })?;
        Ok(out)
    }

    #[test]
    fn the_requests_of_appendix_c_read() {
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::default();
            let expected = [
                ":method=GET;:scheme=http;:path=/;:authority=www.example.com;",
                ":method=GET;:scheme=http;:path=/;:authority=www.example.com;cache-control=no-cache;",
                ":method=GET;:scheme=https;:path=/index.html;:authority=www.example.com;custom-key=custom-value;",
            ];
            for (block, expected) in blocks.into_iter().zip(expected) {
                assert_eq!(read(&mut decoder, &hex(block)).as_deref(), Ok(expected));
            }
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut decoder = Decoder::default();
        // A table of 80 bytes holds two fields of 36.
        let block =
            [&hex("3f31")[..], b"\x40\x01a\x03111", b"\x40\x01b\x03222", b"\x40\x01c\x03333", &hex("bebf")].concat();
        assert_eq!(read(&mut decoder, &block).as_deref(), Ok("a=111;b=222;c=333;c=333;b=222;"));
        assert_eq!(read(&mut decoder, &hex("c0")), Err(Broken));
        // One that is larger than the table empties it.
        let block = [b"\x40\x01d\x32", &[b'x'; 50][..]].concat();
        assert!(read(&mut decoder, &block).is_ok());
        assert_eq!(read(&mut decoder, &hex("be")), Err(Broken));
        assert_eq!(read(&mut decoder, &[&hex("20")[..], b"\x40\x01a\x011", &hex("be")].concat()), Err(Broken));
    }

    #[test]
    fn broken_blocks_are_broken() {
        for block in [
            "80",
            "ff8001",
            "7fff010161",
            "82ff",
            "ff808080808001",
            "00056162",
            "007fffffffff0f",
            "82 20",
            "3fe2 1f",
            "400161",
            "00 84ffffffff 0161",
        ] {
            assert_eq!(read(&mut Decoder::default(), &hex(block)), Err(Broken), "{block}");
        }
        assert!(
            read(&mut Decoder::default(), &hex("20 3fe1 1f 82")).is_ok(),
            "two sizes, the larger is what is allowed"
        );
    }

    #[test]
    fn what_no_field_may_have_is_told() {
        for (name, value, sound) in [
            ("a", "b", true),
            ("a", "", true),
            ("a", "b c", true),
            ("a", "\u{e9}", true),
            ("x_a.b", "b", true),
            ("A", "b", false),
            ("", "b", false),
            ("a b", "c", false),
            ("a:", "c", false),
            ("a", " b", false),
            ("a", "b\t", false),
            ("a", "b\0", false),
            ("a", "b\r\nc", false),
            ("a", "\u{7f}", false),
            (":path", "/\n", false),
            (":x", "y", true),
        ] {
            for kind in [0x00, 0x10, 0x40] {
                let mut block = vec![kind, name.len() as u8];
                block.extend(name.bytes());
                block.push(value.len() as u8);
                block.extend(value.bytes());
                let mut seen = None;
                let mut decoder = Decoder::default();
                decoder.read(&block, |field| seen = Some(field.sound)).unwrap();
                assert_eq!(seen, Some(sound), "{name:?}: {value:?}");
                if kind == 0x40 {
                    decoder.read(&[0xbe], |field| seen = Some(field.sound)).unwrap();
                    assert_eq!(seen, Some(sound), "again, {name:?}: {value:?}");
                    // The name alone from the table, where it stands although the field was refused.
                    let good_name = sound || ["a", ":path"].contains(&name);
                    decoder.read(b"\x7e\x01b", |field| seen = Some(field.sound)).unwrap();
                    assert_eq!(seen, Some(good_name), "again with another value, {name:?}");
                }
            }
        }
    }
}
