//! What the embedded Azure remembers. Pure: time and randomness come in a [`Tick`], nothing here does IO.

pub(super) mod counters;
pub(super) mod directory;
pub(super) mod faults;
pub(super) mod grants;
pub(super) mod role;
pub(super) mod service;

use crate::{clock::Moment, service_auth::When};

/// The moment of a step, and randomness enough for one secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tick {
    /// Monotonic: lags, operations and stale reads are counted by it, so that a shifted clock moves none of them.
    pub(super) now: Moment,
    /// Unix seconds by the mock's own clock, which `PUT /clock` shifts.
    pub(super) unix: u64,
    /// Random bytes.
    pub(super) random: [u8; 32],
}

impl Tick {
    pub(super) const fn when(&self) -> When {
        When { now: self.now, unix: self.unix }
    }

    /// A random GUID (RFC 9562 version 4) of the bytes from `from` on.
    pub(super) fn guid(&self, from: usize) -> String {
        let mut bytes = [0; 16];
        for (byte, random) in bytes.iter_mut().zip(self.random.iter().cycle().skip(from)) {
            *byte = *random;
        }
        guid(bytes)
    }
}

/// Sixteen random bytes as a GUID of version 4.
pub(super) fn guid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes) & !(0xf000 << 64) & !(0xc000 << 48) | 0x4000 << 64 | 0x8000 << 48;
    let hex = format!("{number:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

#[cfg(test)]
mod tests;
