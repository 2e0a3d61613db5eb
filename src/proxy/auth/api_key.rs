//! Caller keys: found by SHA-256 digest, so that neither the table nor its timing holds or tells a key.

use std::cell::RefCell;

use hashbrown::HashMap;
use zeroize::Zeroizing;

use crate::digest::sha256;

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
    pub fn find(&self, presented: &[u8], memo: &DigestMemo) -> Option<&KeyEntry> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&memo.digest(presented))
    }

    /// Whether the key of this digest still lets anybody in.
    #[must_use]
    pub fn holds(&self, digest: &[u8; 32], unix: u64) -> bool {
        self.0.get(digest).is_some_and(|entry| entry.expires.is_none_or(|expires| expires > unix))
    }
}

/// The digest of the key that a connection showed last, since most show the same with every request. Only the digest is
/// remembered with its input, never a verdict: each request is judged by the present table.
#[derive(Default)]
pub struct DigestMemo(RefCell<Option<Remembered>>);

struct Remembered {
    input: Zeroizing<[u8; MEMO_INPUT]>,
    len: usize,
    digest: [u8; 32],
}

/// Longer keys than this are hashed each time.
const MEMO_INPUT: usize = 64;

impl DigestMemo {
    /// SHA-256 of what was presented.
    pub fn digest(&self, presented: &[u8]) -> [u8; 32] {
        let mut memo = self.0.borrow_mut();
        if let Some(last) = &*memo
            && last.input.get(..last.len).is_some_and(|input| equal_in_constant_time(input, presented))
        {
            return last.digest;
        }
        let digest = sha256(presented);
        let mut input = Zeroizing::new([0; MEMO_INPUT]);
        if let Some(place) = input.get_mut(..presented.len()) {
            place.copy_from_slice(presented);
            *memo = Some(Remembered { input, len: presented.len(), digest });
        }
        digest
    }
}

impl std::fmt::Debug for DigestMemo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestMemo")
    }
}

/// A proxy in front may send many callers' keys over one connection: the time must not tell how much of the last one fits.
fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memo_never_changes_an_answer() {
        let memo = DigestMemo::default();
        let long = [b'x'; 200];
        for key in [&b"a"[..], b"a", b"b", b"", b"ab", b"a", &long, &long, b"a"] {
            assert_eq!(memo.digest(key), sha256(key));
        }
    }
}
