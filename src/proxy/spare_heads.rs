//! Heads that are not needed any more, for a worker's next requests and answers: in a box, since a head is moved several times on its
//! way, with the memory that the last one grew to.

use std::cell::RefCell;

use http::Version;

use super::head::{RequestHead, ResponseHead};

/// Most heads that are kept.
const KEPT: usize = 128;

/// Heads of one kind.
#[derive(Debug)]
pub struct SpareHeads<T>(RefCell<Vec<Box<T>>>);

/// What is kept here.
pub trait Head: Default {
    /// Forgets what stands in it. False where its memory is not worth keeping for another.
    fn empty(&mut self) -> bool;
}

impl Head for RequestHead {
    fn empty(&mut self) -> bool {
        self.begin(Version::HTTP_2);
        self.fits_another()
    }
}

impl Head for ResponseHead {
    fn empty(&mut self) -> bool {
        self.fields.clear();
        self.fields.fit_another()
    }
}

impl<T> Default for SpareHeads<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T: Head> SpareHeads<T> {
    /// A head for the next message.
    pub fn take(&self) -> Box<T> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// A head that is not needed any more.
    pub fn put_back(&self, mut head: Box<T>) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT && head.empty() {
            kept.push(head);
        }
    }

    /// Lets go of all of them.
    pub fn clear(&self) {
        self.0.take();
    }
}
