//! What names and values of fields are made of (RFC 9110 sections 5.5 and 5.6.2).

/// How many bytes of a token `bytes` begin with (RFC 9110 section 5.6.2); makes them lower-case.
pub fn lower_token(bytes: &mut [u8]) -> usize {
    let mut length = 0;
    // Eight bytes at once, up to the colon that mostly stands behind letters, digits and hyphens.
    while let Some(word) = bytes.get_mut(length..).and_then(<[u8]>::first_chunk_mut::<8>) {
        let before = u64::from_le_bytes(*word);
        let lower = lower_case(before);
        let others = !(within(lower, b'a', b'z') | within(lower, b'0', b'9') | within(lower, b'-', b'-')) & HIGH;
        let plain = others.trailing_zeros() / 8;
        if plain == 8 {
            *word = lower.to_le_bytes();
            length += 8;
            continue;
        }
        let kept = u64::MAX << (8 * plain);
        *word = (before & kept | lower & !kept).to_le_bytes();
        length += plain as usize;
        break;
    }
    for byte in bytes.get_mut(length..).unwrap_or_default() {
        let lower = TOKEN.get(usize::from(*byte)).copied().unwrap_or_default();
        if lower == 0 {
            break;
        }
        *byte = lower;
        length += 1;
    }
    length
}

/// One in each of eight bytes.
const EACH: u64 = u64::from_le_bytes([1; 8]);
/// The highest bit of each.
const HIGH: u64 = EACH * 0x80;

/// Of eight bytes, the highest bit of each that is within a range of ASCII.
const fn within(word: u64, from: u8, to: u8) -> u64 {
    let low = word & !HIGH;
    ((low + EACH * (0x80 - from as u64)) ^ (low + EACH * (0x7f - to as u64))) & !word & HIGH
}

/// Eight bytes, those of `A` to `Z` made lower-case.
const fn lower_case(word: u64) -> u64 {
    word | within(word, b'A', b'Z') >> 2
}

/// How many bytes `bytes` begin with that may stand in a value or a reason: no control but the tab (RFC 9110 section 5.5).
pub fn text_length(bytes: &[u8]) -> usize {
    let one_by_one = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        from + rest.iter().position(|byte| is_control(*byte)).unwrap_or(rest.len())
    };
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let controls = controls(u64::from_le_bytes(*word));
        if controls != 0 {
            let at = index * 8 + controls.trailing_zeros() as usize / 8;
            return if bytes.get(at) == Some(&b'\t') { one_by_one(at) } else { at };
        }
    }
    one_by_one(words.len() * 8)
}

/// Eight bytes at once: of the first that is a control, tabs included, the highest bit is set, and none before that.
const fn controls(word: u64) -> u64 {
    let low = word.wrapping_sub(EACH * 0x20) & !word;
    let flipped = word ^ (EACH * 0x7f);
    let delete = flipped.wrapping_sub(EACH) & !flipped;
    (low | delete) & HIGH
}

const fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// Space or tab.
pub const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Of each byte of a token the lower-case; of every other 0.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static TOKEN: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        if byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
        {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// How many bytes of a token `bytes` begin with.
pub fn token_length(bytes: &[u8]) -> usize {
    let is_token = |byte: &u8| TOKEN.get(usize::from(*byte)).is_some_and(|lower| *lower != 0);
    bytes.iter().position(|byte| !is_token(byte)).unwrap_or(bytes.len())
}

/// Whether it is a token in lower case (RFC 9113 section 8.2.1).
pub fn is_lower_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| *byte != 0 && TOKEN.get(usize::from(*byte)) == Some(byte))
}

/// Whether it is a value: neither controls, nor blanks around it (RFC 9110 section 5.5, RFC 9113 section 8.2.1).
pub fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| byte.is_some_and(|byte| is_blank(*byte));
    !blank(value.first()) && !blank(value.last()) && text_length(value) == value.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_over_http2_are_lower_case() {
        for (name, sound) in
            [(&b"x-a"[..], true), (b"X-a", false), (b"", false), (b"a b", false), (b"a\0", false), (b"a:", false)]
        {
            assert_eq!(is_lower_token(name), sound, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn names_are_made_lower_case_up_to_what_is_no_token(
            name in "[a-zA-Z0-9!#$%&'*+.^_`|~-]{0,20}",
            behind in prop::collection::vec(any::<u8>(), 0..12),
        ) {
            let end = behind.iter().position(|byte| !byte.is_ascii_graphic() || b"\"(),/:;<=>?@[\\]{}".contains(byte));
            let length = name.len() + end.unwrap_or(behind.len());
            let before = [name.as_bytes(), &behind].concat();
            let mut text = before.clone();
            prop_assert_eq!(lower_token(&mut text), length);
            prop_assert_eq!(token_length(&before), length);
            prop_assert_eq!(&text[..length], before[..length].to_ascii_lowercase());
            prop_assert_eq!(&text[length..], &before[length..]);
        }

        #[test]
        fn controls_are_found_wherever_they_stand(
            mut text in prop::collection::vec(prop_oneof![Just(b'\t'), Just(0x7e), Just(0x80), Just(0xff), b' '..=b'~'], 0..40),
            at in 0..40_usize,
            control in prop_oneof![0..b'\t', 10..b' ', Just(0x7f)],
        ) {
            prop_assert_eq!(text_length(&text), text.len());
            let at = at.min(text.len());
            text.insert(at, control);
            prop_assert_eq!(text_length(&text), at);
        }
    }
}
