//! Caller keys: found by SHA-256 digest, so that neither the table nor its timing holds or tells a key.

use hashbrown::HashMap;

/// A live key of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Position of the caller in the snapshot.
    pub caller: usize,
    /// Unix seconds from which it is refused.
    pub expires: Option<u64>,
}

/// Every key of every caller, by digest. One lookup whatever their number.
#[derive(Debug, Default)]
pub struct KeyTable(HashMap<[u8; 32], KeyEntry>);

impl FromIterator<KeyEntry> for KeyTable {
    fn from_iter<I: IntoIterator<Item = KeyEntry>>(entries: I) -> Self {
        Self(entries.into_iter().map(|entry| (entry.sha256, entry)).collect())
    }
}

impl KeyTable {
    /// The entry of a presented key. What is compared is a digest: how long the search takes tells nothing about any key.
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Option<&KeyEntry> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&digest(presented))
    }
}

/// SHA-256.
#[must_use]
pub fn digest(key: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}
