//! Which request it is: `x-request-id`, `x-ms-client-request-id`, `x-ms-request-id` and W3C `traceparent`.
//!
//! A caller's ids are kept. One that is longer than 100 characters or has anything but visible ASCII is replaced, since Azure's
//! container server answers 431 to longer ones and logs must not be written by callers.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::survey::One;

/// `x-request-id`
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_MS_CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const X_MS_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Longest id that passes, characters (azureml-inference-server-http answers 431 above).
const MAX_ID: usize = 100;

/// The id of a request: the caller's if it is sound, else one made of `random`.
pub fn request_id(callers: One<'_>, random: impl FnOnce() -> u128) -> HeaderValue {
    match callers.first() {
        Some(id) if is_sound(id) && !callers.is_repeated() => id.clone(),
        _ => generate(random()),
    }
}

/// Puts the ids of a request in order. `others`: there are ids beside `x-request-id`.
pub fn set_ids(headers: &mut HeaderMap, id: &HeaderValue, others: bool) {
    headers.insert(X_REQUEST_ID, id.clone());
    if !others {
        return;
    }
    for name in [X_MS_CLIENT_REQUEST_ID, X_MS_REQUEST_ID] {
        if headers.get_all(&name).iter().any(|value| !is_sound(value)) {
            headers.insert(name, id.clone());
        }
    }
    // More than one is to be ignored (W3C Trace Context section 3.2).
    let mut parents = headers.get_all(TRACEPARENT).iter();
    if parents.next().is_some_and(|value| !is_sound(value)) || parents.next().is_some() {
        headers.remove(TRACEPARENT);
    }
}

fn is_sound(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=MAX_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// 32 hexadecimal digits.
fn generate(random: u128) -> HeaderValue {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(random.to_be_bytes()) {
        pair.copy_from_slice(HEX_PAIRS.get(byte as usize).unwrap_or(b"00"));
    }
    HeaderValue::from_bytes(&digits).unwrap_or(HeaderValue::from_static("0"))
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
    use super::*;
    use crate::proxy::headers::survey::Survey;

    fn after(fields: &[(&'static str, &str)]) -> (String, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("value"));
        }
        let id = request_id(Survey::of(&headers).request_id, || 0xabc);
        set_ids(&mut headers, &id, true);
        (id.to_str().expect("ascii").to_owned(), headers)
    }

    #[test]
    fn sound_ids_are_kept() {
        let (id, headers) =
            after(&[("x-request-id", "abc-1"), ("x-ms-client-request-id", "c"), ("traceparent", "00-a-b-01")]);
        assert_eq!(id, "abc-1");
        assert_eq!(headers[X_MS_CLIENT_REQUEST_ID], "c");
        assert_eq!(headers[TRACEPARENT], "00-a-b-01");
    }

    #[test]
    fn others_are_replaced() {
        let long = "x".repeat(101);
        for bad in [long.as_str(), "", "a b", "caf\u{e9}"] {
            let (id, headers) = after(&[("x-request-id", bad), ("x-ms-client-request-id", bad), ("traceparent", bad)]);
            assert_eq!((id.len(), &id[28..]), (32, "0abc"), "{bad:?}");
            assert_eq!(headers[X_MS_CLIENT_REQUEST_ID], id);
            assert!(!headers.contains_key(TRACEPARENT));
        }
    }
}
