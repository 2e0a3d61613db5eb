//! Caller keys: found by SHA-256 digest, so that neither the table nor its timing holds or tells a key.

use hashbrown::HashMap;

/// What a key gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyGrant {
    /// Position of the caller in the snapshot.
    pub caller: usize,
    /// What the key is called, for logs and the upstream.
    pub name: Option<Box<str>>,
    /// Unix seconds from which it is taken; 0 = always.
    pub not_before: u64,
    /// Unix seconds from which it is refused; the last there is = never.
    pub expires: u64,
}

/// Every key of every caller, by digest. One lookup whatever their number.
#[derive(Debug, Default)]
pub struct KeyTable(HashMap<[u8; 32], KeyGrant>);

impl FromIterator<([u8; 32], KeyGrant)> for KeyTable {
    fn from_iter<I: IntoIterator<Item = ([u8; 32], KeyGrant)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl KeyTable {
    /// What the key of this digest gives. What is compared is a digest: how long the search takes tells nothing about any key.
    #[must_use]
    pub fn find(&self, digest: &[u8; 32]) -> Option<&KeyGrant> {
        self.0.get(digest)
    }

    /// Whether there is any key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key of this digest still lets anybody in.
    #[must_use]
    pub fn holds(&self, digest: &[u8; 32], unix: u64) -> bool {
        self.0.get(digest).is_some_and(|grant| grant.expires > unix)
    }
}
