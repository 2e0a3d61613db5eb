//! A fresh 256-bit key as text: what the admin token and `keygen` are made of.
//!
//! It must never be logged or kept outside a [`Secret`].

use anyhow::Context;
use zeroize::Zeroizing;

use crate::{random, secret::Secret};

/// 43 characters of base64url, which every header, URL and YAML scalar takes as they are.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new() -> anyhow::Result<Secret> {
    let bytes: Zeroizing<[u8; 32]> =
        Zeroizing::new(random::bytes().context("the operating system gave no random bytes")?);
    Ok(Secret::new(base64url(bytes.as_ref())))
}

/// RFC 4648 section 5, without padding.
fn base64url(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().chain(&[0, 0]).take(3).fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        // Of three bytes four characters, of two three, of one two.
        for shift in [18, 12, 6, 0].into_iter().take(chunk.len() + 1) {
            text.extend(ALPHABET.get((group >> shift) as usize & 63));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_that_of_rfc_4648() {
        let vectors = [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")];
        for (bytes, text) in vectors {
            assert_eq!(base64url(bytes.as_bytes()), text.as_bytes());
        }
        assert_eq!(base64url(&[0xfb, 0xff]), b"-_8");
    }

    #[test]
    fn keys_are_long_and_differ() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_eq!(one.expose_bytes().len(), 43);
        assert_ne!(one.expose_bytes(), other.expose_bytes());
    }
}
