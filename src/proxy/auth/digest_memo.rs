//! The digest of what a connection showed last: most show the same with every request.
//!
//! Only the digest is remembered with its input, never a verdict: each request is judged by the present snapshot.

use std::cell::RefCell;

use zeroize::Zeroizing;

use crate::digest::sha256;

/// The digest of the key or token that a connection showed last.
#[derive(Default)]
pub struct DigestMemo(RefCell<Memory>);

/// Keys fit in place. Tokens are longer, and kept while the connection is busy.
#[derive(Default)]
struct Memory {
    short: Option<Short>,
    long: Option<Long>,
}

struct Short {
    input: Zeroizing<[u8; SHORT]>,
    len: usize,
    digest: [u8; 32],
}

struct Long {
    input: Zeroizing<Vec<u8>>,
    digest: [u8; 32],
}

const SHORT: usize = 64;
/// Longer ones are hashed each time.
const LONGEST: usize = 4 << 10;

impl DigestMemo {
    /// SHA-256 of what was presented.
    pub fn digest(&self, presented: &[u8]) -> [u8; 32] {
        let mut memory = self.0.borrow_mut();
        if presented.len() <= SHORT {
            if let Some(last) = &memory.short
                && last.input.get(..last.len).is_some_and(|input| equal_in_constant_time(input, presented))
            {
                return last.digest;
            }
        } else if let Some(last) = &memory.long
            && equal_in_constant_time(&last.input, presented)
        {
            return last.digest;
        }
        let digest = sha256(presented);
        let mut input = Zeroizing::new([0; SHORT]);
        if let Some(place) = input.get_mut(..presented.len()) {
            place.copy_from_slice(presented);
            memory.short = Some(Short { input, len: presented.len(), digest });
        } else if presented.len() <= LONGEST {
            memory.long = Some(Long { input: Zeroizing::new(presented.to_vec()), digest });
        }
        digest
    }

    /// Gives back what only a busy connection needs.
    pub fn shrink(&self) {
        self.0.borrow_mut().long = None;
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
        let [long, other, longest] = [vec![b'x'; 200], vec![b'y'; 200], vec![b'z'; 5_000]];
        for key in
            [&b"a"[..], b"a", b"b", b"", b"ab", b"a", &long, &long, &other, b"a", &longest, &longest, &other, &long]
        {
            assert_eq!(memo.digest(key), sha256(key));
        }
        memo.shrink();
        assert_eq!(memo.digest(&long), sha256(&long));
        assert!(!format!("{memo:?}").contains('x'));
    }
}
