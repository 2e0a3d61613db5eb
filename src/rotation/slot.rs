//! The two keys of a service, and a pair of anything that there is one of per key.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One of a service's two keys. Either is accepted at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// The first key.
    Primary,
    /// The second key.
    Secondary,
}

impl Slot {
    /// Both, Primary first.
    pub const BOTH: [Self; 2] = [Self::Primary, Self::Secondary];

    /// The one beside it.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Primary => Self::Secondary,
            Self::Secondary => Self::Primary,
        }
    }

    /// As people write it, and as labels of metrics have it. On Azure's wire it is capitalised.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}

/// Something that there is one of per slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerSlot<T> {
    /// Of the first key.
    pub primary: T,
    /// Of the second key.
    pub secondary: T,
}

impl<T> PerSlot<T> {
    /// Made slot by slot.
    pub fn from_fn(mut make: impl FnMut(Slot) -> T) -> Self {
        Self { primary: make(Slot::Primary), secondary: make(Slot::Secondary) }
    }
}

impl<T> Index<Slot> for PerSlot<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        match slot {
            Slot::Primary => &self.primary,
            Slot::Secondary => &self.secondary,
        }
    }
}

impl<T> IndexMut<Slot> for PerSlot<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        match slot {
            Slot::Primary => &mut self.primary,
            Slot::Secondary => &mut self.secondary,
        }
    }
}
