//! Heads that are not needed any more, for a worker's next requests and answers: in a box, since a head is moved several times on its
//! way, with the memory that the last one grew to.

use std::cell::RefCell;

use super::head::{Fields, RequestHead, ResponseHead};

/// Most heads that are kept.
const KEPT: usize = 128;

/// Heads of one kind.
#[derive(Debug)]
pub struct SpareHeads<T>(RefCell<Vec<Box<T>>>);

/// What is kept here.
pub trait Head: Default {
    /// Whether its memory is worth keeping for another.
    fn fits_another(&self) -> bool;
}

impl Head for RequestHead {
    fn fits_another(&self) -> bool {
        self.fields.capacity() + self.target_capacity() <= Fields::USUAL
    }
}

impl Head for ResponseHead {
    fn fits_another(&self) -> bool {
        self.fields.capacity() <= Fields::USUAL
    }
}

impl<T> Default for SpareHeads<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Head> SpareHeads<T> {
    /// A head for the next message. What stands in it is of the last: whoever takes it fills it anew.
    pub fn take(&self) -> Box<T> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// A head that is not needed any more.
    pub fn put_back(&self, head: Box<T>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT && head.fits_another() {
            kept.push(head);
        }
    }

    /// Lets go of all of them.
    pub fn clear(&self) {
        self.0.take();
    }
}
