//! Secrets in memory: wiped when dropped, never printed.
//!
//! Every value that must not be seen travels as a [`Secret`] from the file it was read from to the header it is attached in.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, header::InvalidHeaderValue};
use zeroize::Zeroizing;

/// A key, token or password. `Debug` prints `[redacted]`; there is no `Display`; the bytes are wiped on drop.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. The name is long so that every use stands out in review.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }

    /// As the value of a field, behind `prefix`. See [`secret_field`].
    ///
    /// # Errors
    /// Where it has characters that no field can have.
    pub fn to_field(&self, prefix: &str) -> Result<HeaderValue, InvalidHeaderValue> {
        secret_field(&[prefix.as_bytes(), &self.0])
    }
}

/// The value of a field that is secret: marked so that neither `Debug` nor HPACK shows or keeps it, and wiped with its last clone.
///
/// # Errors
/// Where it has characters that no field can have.
pub fn secret_field(parts: &[&[u8]]) -> Result<HeaderValue, InvalidHeaderValue> {
    // `concat` knows the length before it copies: nothing is left behind in a shorter allocation.
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(Zeroizing::new(parts.concat())))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_value() {
        let secret = Secret::new(b"canary".to_vec());
        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "[redacted] Some([redacted])");
        let field = secret.to_field("Bearer ").unwrap();
        assert_eq!((field.as_bytes(), format!("{field:?}")), (&b"Bearer canary"[..], "Sensitive".to_owned()));
        assert!(Secret::new(b"two\nlines".to_vec()).to_field("").is_err());
    }
}
