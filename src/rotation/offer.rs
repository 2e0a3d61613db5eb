//! What a service offers to requests: the one value that passes from here to the data plane.
//!
//! Small and immutable. The control plane turns digests into attachable values ([`Offer::try_map`]) and builds the result into
//! the next snapshot; the data plane reads it for every sending.

use crate::ids::Generation;

/// Most values beyond the two that are attached: the other slot's, one not adopted yet of each slot, and the one before.
pub const FURTHER: usize = 4;

/// Which values requests get. `V` identifies a value: a digest here, a `ValueId` in the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Offer<V> {
    /// Grows by one each time anything below changes. A request remembers the one it was handed its value by.
    pub generation: Generation,
    /// What requests get that are held for certain: no body, or one that fits the room reserved for it. Differs from `others`
    /// while a new value is on trial.
    pub held: V,
    /// What all other requests get: the active value.
    pub others: V,
    /// What a resend may try after these, in order.
    pub further: [Option<V>; FURTHER],
    /// Whether requests are let through.
    pub access: Access,
}

/// Whether requests are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// All.
    Open,
    /// Every value was refused and a read brought no other: one a second as a trial, the rest is answered 503 at once.
    Locked,
}

/// Whether a request can be sent again whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// Every byte read from the caller is in memory, and the rest has room.
    Held,
    /// Some of it is gone, or may have to go.
    NotHeld,
}

impl<V: Copy + PartialEq> Offer<V> {
    /// The value of a first sending.
    #[must_use]
    pub const fn first(&self, hold: Hold) -> V {
        match hold {
            Hold::Held => self.held,
            Hold::NotHeld => self.others,
        }
    }

    /// Every value, in the order in which a held request tries them. Some may be there twice.
    pub fn values(&self) -> impl Iterator<Item = V> {
        [self.held, self.others].into_iter().chain(self.further.into_iter().flatten())
    }

    /// Whether a request may still be sent with this value.
    #[must_use]
    pub fn names(&self, value: V) -> bool {
        self.values().any(|named| named == value)
    }

    /// The same offer of what stands for these values elsewhere. None where one of them is missing there.
    pub fn try_map<W: Copy>(&self, mut of: impl FnMut(V) -> Option<W>) -> Option<Offer<W>> {
        let mut further = [None; FURTHER];
        for (place, value) in further.iter_mut().zip(self.further) {
            *place = match value {
                Some(value) => Some(of(value)?),
                None => None,
            };
        }
        Some(Offer {
            generation: self.generation,
            held: of(self.held)?,
            others: of(self.others)?,
            further,
            access: self.access,
        })
    }

    /// An offer that never changes by itself: keys by hand, or a token. The second value is tried where the first is refused.
    #[must_use]
    pub const fn fixed(generation: Generation, value: V, other: Option<V>) -> Self {
        Self { generation, held: value, others: value, further: [other, None, None, None], access: Access::Open }
    }
}
