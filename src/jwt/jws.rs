//! A signed token of a caller, in compact form (RFC 7515 section 3.1): taken apart strictly, and its signature checked against the
//! keys of an issuer.
//!
//! The data plane calls it. Keys come from the issuer's set and from nowhere else: `jwk`, `jku`, `x5c` and `x5u` of a header are not
//! looked at, `kid` is compared and nothing more (RFC 8725 sections 3.5 and 3.10).

use serde_json::{Map, Value};

use super::{
    algorithm::{Algorithm, Algorithms},
    key_set::KeySet,
    object, strict_base64url,
};

/// Entra's own tokens stay under 4 KiB, and with two hundred groups under 12.
const MAX_LENGTH: usize = 16 << 10;
/// Segments of base64url that a header has at most: nobody's is a tenth of it.
const MAX_HEADER: usize = 4 << 10;

/// A token taken apart. Of its payload nothing has been believed until [`Jws::verify`] said yes.
#[derive(Debug)]
pub struct Jws<'t> {
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'t [u8],
}

/// Why a token is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Flaw {
    /// Not three segments of base64url, or a header that is none.
    #[error("it is no signed token in compact form")]
    Malformed,
    /// `none`, a symmetric one, or one that is not allowed.
    #[error("its algorithm is not allowed")]
    Algorithm,
    /// It asks for something to be understood that is not (RFC 7515 section 4.1.11).
    #[error("its header has extensions that are not understood")]
    Extension,
    /// No key of the issuer can have signed it.
    #[error("no key of its issuer has its `kid` and algorithm")]
    KeyUnknown,
    /// The signature is not the key's.
    #[error("its signature is wrong")]
    Signature,
}

impl<'t> Jws<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Where it is none, or its header rules it out.
    pub fn parse(token: &'t [u8]) -> Result<Self, Flaw> {
        if token.len() > MAX_LENGTH {
            return Err(Flaw::Malformed);
        }
        let text = std::str::from_utf8(token).map_err(|_no_text| Flaw::Malformed)?;
        let mut segments = text.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(Flaw::Malformed);
        };
        if header.len() > MAX_HEADER {
            return Err(Flaw::Malformed);
        }
        let decode = |segment| strict_base64url(segment).ok_or(Flaw::Malformed);
        let mut fields = object::read(&decode(header)?).ok_or(Flaw::Malformed)?;
        let algorithm = match fields.get("alg") {
            Some(Value::String(name)) => Algorithm::named(name).ok_or(Flaw::Algorithm)?,
            _ => return Err(Flaw::Malformed),
        };
        if fields.contains_key("crit") || fields.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
            return Err(Flaw::Extension);
        }
        let signed = token.get(..header.len() + 1 + payload.len()).ok_or(Flaw::Malformed)?;
        Ok(Self {
            algorithm,
            kid: text_of(&mut fields, "kid")?,
            typ: text_of(&mut fields, "typ")?,
            payload: decode(payload)?,
            signature: decode(signature)?,
            signed,
        })
    }

    /// `typ` of the header.
    #[must_use]
    pub fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// `kid` of the header.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    pub(super) fn is_ed25519(&self) -> bool {
        self.algorithm == Algorithm::EdDsa
    }

    pub(super) const fn signed(&self) -> &'t [u8] {
        self.signed
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Checks the signature. `issuer`: whose tokens the key must be for, where the set says that of its keys.
    ///
    /// # Errors
    /// Why it is not the issuer's.
    pub fn verify(&self, keys: &KeySet, allowed: Algorithms, issuer: Option<&str>) -> Result<(), Flaw> {
        if !allowed.contains(self.algorithm) {
            return Err(Flaw::Algorithm);
        }
        let mut candidates = keys.candidates(self.kid.as_deref(), self.algorithm, issuer).peekable();
        if candidates.peek().is_none() {
            return Err(Flaw::KeyUnknown);
        }
        if candidates.any(|key| key.verify(self.signed, &self.signature)) { Ok(()) } else { Err(Flaw::Signature) }
    }

    /// What is signed.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The claims, if that is what is signed: an object of which every name stands once.
    #[must_use]
    pub fn claims(&self) -> Option<Map<String, Value>> {
        object::read(&self.payload)
    }
}

/// A text of the header, which nothing else may stand in place of.
fn text_of(fields: &mut Map<String, Value>, name: &str) -> Result<Option<String>, Flaw> {
    match fields.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Flaw::Malformed),
    }
}

#[cfg(test)]
mod tests;
