//! The Huffman code of HPACK's strings (RFC 7541 section 5.2 and appendix B), read; what we write is never coded.
//!
//! The code is canonical: symbols of the same length follow each other, and so do the lengths. The lengths alone are kept, and
//! what decodes them is made of them at compile time.

use super::Broken;

/// Bits of each symbol's code; the last is the end of string, which no string may contain.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
const END: u16 = 256;
const LONGEST: usize = 30;
/// Codes of up to this many bits are found in one look.
const QUICK: usize = 8;

/// Where the codes of one length begin.
#[derive(Clone, Copy)]
struct Run {
    /// The first of them.
    code: u64,
    /// How many there are.
    count: u64,
    /// Place of the first one's symbol in `BY_CODE`.
    at: usize,
}

/// Symbols in the order of their codes.
static BY_CODE: [u16; SYMBOLS] = TABLES.0;
/// By length, which is one more than the place.
static RUNS: [Run; LONGEST] = TABLES.1;
/// By the next eight bits: length in the upper byte, symbol in the lower; 0 where the code is longer.
static SHORT: [u16; 1 << QUICK] = TABLES.2;

const TABLES: ([u16; SYMBOLS], [Run; LONGEST], [u16; 1 << QUICK]) = tables();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn tables() -> ([u16; SYMBOLS], [Run; LONGEST], [u16; 1 << QUICK]) {
    let mut by_code = [0; SYMBOLS];
    let mut runs = [Run { code: 0, count: 0, at: 0 }; LONGEST];
    let mut short = [0; 1 << QUICK];
    let (mut code, mut at, mut length) = (0_u64, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        runs[length - 1] = Run { code, count: 0, at };
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                by_code[at] = symbol as u16;
                if length <= QUICK {
                    let spare = QUICK - length;
                    let mut rest = 0;
                    while rest < 1 << spare {
                        short[((code as usize) << spare) | rest] = ((length as u16) << 8) | symbol as u16;
                        rest += 1;
                    }
                }
                runs[length - 1].count += 1;
                code += 1;
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    (by_code, runs, short)
}

/// Appends what `coded` stands for.
///
/// # Errors
/// Where it has the end of string in it, or ends in anything but less than eight bits of its beginning.
pub(super) fn decode(coded: &[u8], into: &mut Vec<u8>) -> Result<(), Broken> {
    let begin = into.len();
    // No code is shorter than five bits.
    into.resize(begin + coded.len() * 8 / 5, 0);
    let mut decoded = begin;
    let mut rest = coded;
    // The bits to come, from the uppermost down, and how many there are.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if let Some((four, more)) = rest.split_first_chunk::<4>()
            && have <= 32
        {
            bits |= u64::from(u32::from_be_bytes(*four)) << (32 - have);
            have += 32;
            rest = more;
        }
        while have <= 56
            && rest.len() < 4
            && let Some((byte, more)) = rest.split_first()
        {
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
            rest = more;
        }
        // Four short codes, for which there are bits enough whatever they are.
        if have >= 4 * QUICK as u32
            && let Some(places) = into.get_mut(decoded..).and_then(<[u8]>::first_chunk_mut::<4>)
        {
            let before = decoded;
            for place in places {
                let [length, symbol] = quick(bits).to_be_bytes();
                if length == 0 {
                    break;
                }
                *place = symbol;
                decoded += 1;
                bits <<= length;
                have -= u32::from(length);
            }
            if decoded > before {
                // What follows may want bits that are not here yet.
                continue;
            }
        }
        let short = quick(bits);
        let (symbol, length) = if short == 0 { long(bits) } else { (short & 0xff, u32::from(short >> 8)) };
        if length > have {
            into.truncate(decoded);
            // The beginning of the end of string, which is all ones (RFC 7541 section 5.2).
            let padding = have < 8 && (have == 0 || bits >> (64 - have) == (1 << have) - 1);
            return if padding { Ok(()) } else { Err(Broken) };
        }
        let (Ok(byte), Some(place)) = (u8::try_from(symbol), into.get_mut(decoded)) else { return Err(Broken) };
        *place = byte;
        decoded += 1;
        bits <<= length;
        have -= length;
    }
}

/// What begins with the next bits: length in the upper byte, symbol in the lower; 0 where its code is longer than one look.
fn quick(bits: u64) -> u16 {
    let [first, ..] = bits.to_be_bytes();
    SHORT.get(usize::from(first)).copied().unwrap_or_default()
}

/// A symbol whose code is longer than one look, and its length.
fn long(bits: u64) -> (u16, u32) {
    for (length, run) in (1..).zip(&RUNS).skip(QUICK) {
        let Some(beyond) = (bits >> (64 - length)).checked_sub(run.code) else { continue };
        if beyond < run.count {
            let at = usize::try_from(beyond).map_or(usize::MAX, |beyond| run.at + beyond);
            return (BY_CODE.get(at).copied().unwrap_or(END), length);
        }
    }
    (END, u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(hex: &str) -> Option<String> {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let mut out = Vec::new();
        decode(&bytes, &mut out).ok().map(|()| String::from_utf8_lossy(&out).into_owned())
    }

    /// A code's bits, made by counting as appendix B does.
    fn code(symbol: usize) -> (u64, u32) {
        let run = RUNS[usize::from(LENGTHS[symbol]) - 1];
        let place = BY_CODE.iter().position(|other| usize::from(*other) == symbol).unwrap();
        (run.code + (place - run.at) as u64, u32::from(LENGTHS[symbol]))
    }

    #[test]
    fn the_examples_of_appendix_c_decode() {
        for (coded, text) in [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("25a849e95ba97d7f", "custom-key"),
            ("25a849e95bb8e8b4bf", "custom-value"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("9d29ad171863c78f0b97c8e9ae82ae43d3", "https://www.example.com"),
            ("", ""),
        ] {
            assert_eq!(decoded(coded).as_deref(), Some(text), "{coded}");
        }
    }

    #[test]
    fn codes_are_those_of_appendix_b() {
        for (symbol, expected) in [
            (0, (0x1ff8, 13)),
            (48, (0, 5)),
            (58, (0x5c, 7)),
            (92, (0x7fff0, 19)),
            (255, (0x03ff_ffee, 26)),
            (256, (0x3fff_ffff, 30)),
        ] {
            assert_eq!(code(symbol), expected, "{symbol}");
        }
    }

    /// As an encoder writes it: RFC 7541 section 5.2.
    fn coded(text: &[u8]) -> Vec<u8> {
        let (mut bytes, mut bits, mut have) = (Vec::new(), 0_u128, 0);
        for symbol in text {
            let (code, length) = code(usize::from(*symbol));
            bits |= u128::from(code) << (128 - have - length);
            have += length;
            while have >= 8 {
                bytes.push((bits >> 120) as u8);
                bits <<= 8;
                have -= 8;
            }
        }
        if have > 0 {
            bytes.push((bits >> 120) as u8 | (0xff >> have) as u8);
        }
        bytes
    }

    fn come_back(text: &[u8]) -> bool {
        let mut out = b"before".to_vec();
        decode(&coded(text), &mut out).is_ok() && out.strip_prefix(b"before") == Some(text)
    }

    #[test]
    fn every_byte_comes_back() {
        assert!(come_back(&(0..=255).collect::<Vec<u8>>()));
    }

    #[test]
    fn a_long_code_behind_short_ones_comes_back() {
        for text in ["XXX!abcdefgh", "Jos\u{e9} Garc\u{ed}a", r"C:\Users\me\x"] {
            assert!(come_back(text.as_bytes()), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_coded_comes_back(text: Vec<u8>, readable in "[ -~\u{e9}\u{65e5}]{0,80}") {
            assert!(come_back(&text) && come_back(readable.as_bytes()));
        }
    }

    #[test]
    fn what_ends_in_anything_but_ones_is_broken() {
        for coded in ["ffffffff", "1fff", "18", "f1e3c2e5f23a6ba0ab90f4fe", "fffffffffc", "ff"] {
            assert_eq!(decoded(coded), None, "{coded}");
        }
        assert_eq!(decoded("1f").as_deref(), Some("a"), "three ones");
    }
}
