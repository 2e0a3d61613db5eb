//! What a front end does with a credential, whoever runs it: the embedded Azure, or scoregate in front of a container.

use super::{
    AuthMode,
    credential::{Accepted, EntraTokens, Refusal},
    keys::KeyDigests,
    token::TokenVerifiers,
};

/// A front end at a moment: nothing in it is secret.
#[derive(Debug, Clone, Copy)]
pub struct FrontEnd<'a> {
    /// The service's name.
    pub name: &'a str,
    /// What it asks of callers.
    pub auth: AuthMode,
    /// What it knows of the keys.
    pub keys: KeyDigests,
    /// What it opens tokens with.
    pub tokens: &'a TokenVerifiers,
}

impl FrontEnd<'_> {
    /// Judges a value that was presented as a bearer's. `digest`: its SHA-256.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn judge(
        &self,
        value: &[u8],
        digest: impl FnOnce() -> [u8; 32],
        unix: u64,
        entra: &dyn EntraTokens,
    ) -> Result<Accepted, Refusal> {
        match self.auth {
            AuthMode::None => Ok(Accepted::Open),
            AuthMode::Key => self.keys.slot_of(&digest()).map(Accepted::Key).ok_or(Refusal::UnknownKey),
            AuthMode::Token => self.tokens.open(self.name, value, unix).map(Accepted::Token),
            AuthMode::Entra => {
                let token = std::str::from_utf8(value).map_err(|_no_text| Refusal::MalformedToken)?;
                entra.check(token, unix).map(|()| Accepted::Entra).map_err(Refusal::Entra)
            }
        }
    }
}
