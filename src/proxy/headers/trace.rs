//! Which request it is: `x-request-id`, `x-ms-client-request-id`, `x-ms-request-id` and W3C `traceparent`.
//!
//! A caller's ids are kept. One that is longer than 100 characters or has anything but visible ASCII is replaced, since Azure's
//! container server answers 431 to longer ones and logs must not be written by callers.

use super::survey::One;

/// Longest id that passes, characters (azureml-inference-server-http answers 431 above).
const MAX_ID: usize = 100;

/// The id of a request: visible ASCII, up to 100 characters.
#[derive(Clone, Copy)]
pub struct RequestId {
    text: [u8; MAX_ID],
    length: u8,
}

impl RequestId {
    fn new(id: &[u8]) -> Self {
        let mut text = [0; MAX_ID];
        let length = id.len().min(MAX_ID);
        if let (Some(to), Some(from)) = (text.get_mut(..length), id.get(..length)) {
            to.copy_from_slice(from);
        }
        Self { text, length: u8::try_from(length).unwrap_or(0) }
    }

    /// As it is written into heads.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id of a request: the caller's if it is sound, else one made of `random`.
pub fn request_id(callers: One<'_>, random: impl FnOnce() -> u128) -> RequestId {
    match callers.first() {
        Some(id) if is_sound(id) && !callers.is_repeated() => RequestId::new(id),
        _ => generate(random()),
    }
}

/// Whether an id of any kind may be passed on.
#[must_use]
pub fn is_sound(id: &[u8]) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// 32 hexadecimal digits.
fn generate(random: u128) -> RequestId {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(random.to_be_bytes()) {
        pair.copy_from_slice(HEX_PAIRS.get(byte as usize).unwrap_or(b"00"));
    }
    RequestId::new(&digits)
}

/// Both digits of every byte.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::proxy::{head::Fields, headers::survey::Survey};

    fn id(values: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for value in values {
            map.append("x-request-id", HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        }
        request_id(Survey::of(&Fields::from(map)).request_id, || 0xabc).as_str().to_owned()
    }

    #[test]
    fn sound_ids_are_kept_and_others_replaced() {
        let longest = "x".repeat(100);
        assert_eq!(id(&["abc-1"]), "abc-1");
        assert_eq!(id(&[&longest]), longest);
        let long = "x".repeat(101);
        for bad in [&[][..], &["a", "a"], &[&long], &[""], &["a b"], &["caf\u{e9}"]] {
            assert_eq!(id(bad), "00000000000000000000000000000abc", "{bad:?}");
        }
    }
}
