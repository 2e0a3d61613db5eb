//! The other side: keys, how `listKeys` and front ends lag behind them, and calls on their way.

use scoregate::{
    clock::Moment,
    rotation::{
        digest::Digest,
        slot::{PerSlot, Slot},
    },
};

/// A key value; made in this order.
pub type Value = u8;

/// What stands for it.
pub fn digest(value: Value) -> Digest {
    Digest::from_bytes([value; 32])
}

/// And back.
pub fn value(digest: Digest) -> Value {
    (0..=Value::MAX).find(|value| self::digest(*value) == digest).unwrap()
}

/// Who made a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maker {
    /// It was there.
    Before,
    /// A transaction of ours.
    Ours,
    /// Somebody else.
    Outside,
}

/// The service. What nobody looks at is not decided before somebody does: which of its keys a front end knows, and whether
/// `listKeys` is late.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Azure {
    pub keys: PerSlot<Value>,
    pub made: Vec<(Slot, Maker)>,
    /// A call of ours that may still take effect, until then.
    pub pending: Option<Pending>,
    /// The last operation did not do what it was to do, and says so.
    pub failed: bool,
    /// What each front end was last seen to accept: one value per slot. The first of them is the one that the next fresh
    /// connection meets.
    pub fronts: [PerSlot<Value>; 2],
}

/// A call that was received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    pub slot: Slot,
    pub deadline: Moment,
    /// Whether it can be asked how it stands.
    pub operation: bool,
}

impl Azure {
    pub fn new() -> Self {
        let keys = PerSlot { primary: 0, secondary: 1 };
        let made = vec![(Slot::Primary, Maker::Before), (Slot::Secondary, Maker::Before)];
        Self { keys, made, pending: None, failed: false, fronts: [keys; 2] }
    }

    /// A key is replaced. Front ends and `listKeys` learn of it later.
    pub fn regenerate(&mut self, slot: Slot, maker: Maker) {
        self.keys[slot] = Value::try_from(self.made.len()).unwrap();
        self.made.push((slot, maker));
    }

    pub fn slot_of(&self, value: Value) -> Slot {
        self.made[usize::from(value)].0
    }

    pub fn maker_of(&self, value: Value) -> Maker {
        self.made[usize::from(value)].1
    }

    /// What a front end may accept by now: what it did, or anything newer.
    pub fn may_accept(&self, front: usize, slot: Slot) -> impl Iterator<Item = Value> + use<'_> {
        let known = self.fronts[front][slot];
        (known..=self.keys[slot]).filter(move |value| self.slot_of(*value) == slot)
    }

    /// The value of a slot before the present one, which a late `listKeys` shows.
    pub fn before(&self, slot: Slot) -> Option<Value> {
        (0..self.keys[slot]).rev().find(|value| self.slot_of(*value) == slot)
    }

    /// Whether somebody else made any of the values of this slot between two of them.
    pub fn outside_between(&self, one: Value, other: Value) -> bool {
        let (older, newer) = (one.min(other), one.max(other));
        let slot = self.slot_of(newer);
        (older + 1..=newer).any(|value| self.slot_of(value) == slot && self.maker_of(value) == Maker::Outside)
    }
}
