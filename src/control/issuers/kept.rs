//! The last good answer of each issuer, in the state directory. Nothing in it is secret, but who can write it can let anyone in: the
//! directory is its owner's alone.

use std::{io, path::PathBuf};

use crate::{config::model::KeySource, control::durable, digest::sha256, jwt::key_set::KeySet};

/// No issuer publishes a hundredth of it.
const LARGEST: u64 = 1 << 20;

/// Where answers are kept, if anywhere.
#[derive(Debug, Clone)]
pub struct Kept(Option<PathBuf>);

impl Kept {
    /// In this directory.
    #[must_use]
    pub const fn new(dir: Option<PathBuf>) -> Self {
        Self(dir)
    }

    /// The last good answer of an issuer, if there was one.
    #[must_use]
    pub fn read(&self, source: &KeySource) -> Option<KeySet> {
        let path = self.0.as_ref()?.join(name(source));
        let document = match durable::read(&path, LARGEST) {
            Ok(document) => document,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kept keys of an issuer cannot be read");
                return None;
            }
        };
        let set = KeySet::read(&document);
        set.inspect_err(|why| tracing::warn!(path = %path.display(), %why, "the kept keys of an issuer are none")).ok()
    }

    /// Keeps an answer.
    pub async fn keep(&self, source: &KeySource, document: Vec<u8>) {
        let Some(dir) = self.0.clone() else { return };
        let name = name(source);
        let written = tokio::task::spawn_blocking(move || durable::write(&dir, &name, &document)).await;
        let why = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic.to_string(),
        };
        tracing::warn!(issuer = %source.url, why, "the keys of an issuer cannot be kept for the next start");
    }
}

/// By the address, whatever it may be made of.
fn name(source: &KeySource) -> String {
    let digest = sha256(source.url.to_string().as_bytes());
    format!("jwks-{}.json", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}
