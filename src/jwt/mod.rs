//! JSON Web Tokens in their compact form (RFC 7515, 7519): taken apart, put together, and the signatures that Azure's sides use.
//!
//! Two readers. [`jws`] is the strict one, for what callers send: a closed list of algorithms ([`algorithm`]) and the keys that an
//! issuer publishes ([`key_set`]). [`Compact`] is the lenient one, for the embedded Azure, which takes what Microsoft's libraries
//! send. Who is trusted, and until when, is said by [`terms`]. `jsonwebtoken` was not taken: it refuses the padding that one of
//! those libraries leaves in its assertions, parses keys anew for each token, and passes over names that stand twice.

pub mod algorithm;
pub mod ed25519;
pub mod jws;
pub mod key_set;
mod object;
pub mod rsa;
pub mod terms;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

/// Writes no padding (RFC 7515 section 2), and reads with it or without: azure-identity's own builder of assertions leaves it in.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Neither writes nor reads padding, and no stray bits at the end: each value has one spelling.
const STRICT_BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// A token longer than this is none of ours: Entra's own are under 4 KiB.
const MAX_LENGTH: usize = 64 * 1024;

/// Base64url without padding.
#[must_use]
pub fn encode_base64url(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// Reads base64url, padded or not. None where it is not that.
#[must_use]
pub fn decode_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64URL.decode(text).ok()
}

/// Reads base64url in its one canonical spelling (RFC 7515 section 2). None where it is anything else.
fn strict_base64url(text: &str) -> Option<Vec<u8>> {
    STRICT_BASE64URL.decode(text).ok()
}

/// A token taken apart. Nothing of it has been checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Compact<'a> {
    /// The protected header.
    pub header: Map<String, Value>,
    /// The claims.
    pub claims: Map<String, Value>,
    /// What the signature is over.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: Vec<u8>,
}

/// Not three dot-separated segments of base64url, the first two of them JSON objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no JSON Web Token in compact form")]
pub struct Malformed;

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(token: &'a str) -> Result<Self, Malformed> {
        if token.len() > MAX_LENGTH {
            return Err(Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed)?;
        if claims.contains('.') {
            return Err(Malformed);
        }
        let object = |segment: &str| match serde_json::from_slice(&decode_base64url(segment)?) {
            Ok(Value::Object(object)) => Some(object),
            _ => None,
        };
        Ok(Self {
            header: object(header).ok_or(Malformed)?,
            claims: object(claims).ok_or(Malformed)?,
            signed: signed.as_bytes(),
            signature: decode_base64url(signature).ok_or(Malformed)?,
        })
    }

    /// A text of the header.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A text among the claims.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A NumericDate among the claims (RFC 7519 section 2), in whole Unix seconds. None where it is missing, negative or no number.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let value = self.claims.get(name)?;
        value.as_u64().or_else(|| value.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
    }

    /// `aud`, which is one text or several (RFC 7519 section 4.1.3).
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        let audiences = match self.claims.get("aud") {
            Some(Value::Array(several)) => several.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        audiences.iter().filter_map(Value::as_str)
    }
}

/// Puts a token together; `sign` gives the signature over what it is given.
///
/// # Errors
/// What `sign` says.
pub fn assemble<E>(
    header: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<String, E> {
    let mut token = format!(
        "{}.{}",
        encode_base64url(header.to_string().as_bytes()),
        encode_base64url(claims.to_string().as_bytes())
    );
    let signature = sign(token.as_bytes())?;
    token.push('.');
    token.push_str(&encode_base64url(&signature));
    Ok(token)
}

#[cfg(test)]
mod tests;
