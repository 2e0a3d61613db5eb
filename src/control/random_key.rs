//! A fresh 256-bit key as text: what the admin token and `keygen` are made of.
//!
//! It must never be logged or kept outside a [`Secret`].

use anyhow::Context;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use crate::{random, secret::Secret};

/// 43 characters of base64url without padding (RFC 4648 section 5), which every header, URL and YAML scalar takes as they are.
///
/// # Errors
/// When the operating system gives no randomness.
pub fn new() -> anyhow::Result<Secret> {
    let bytes: Zeroizing<[u8; 32]> =
        Zeroizing::new(random::bytes().context("the operating system gave no random bytes")?);
    // Allocated once, at its length: no copy is left behind that nobody wipes.
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_text_that_needs_no_quotes() {
        for _ in 0..100 {
            let key = new().unwrap();
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            assert!(key.expose_bytes().len() == 43 && key.expose_bytes().iter().all(plain), "{key:?}");
        }
    }

    #[test]
    fn keys_differ() {
        assert_ne!(new().unwrap().expose_bytes(), new().unwrap().expose_bytes());
    }
}
