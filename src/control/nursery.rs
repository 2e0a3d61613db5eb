//! Starts the data plane's threads: a thread has the priority of the one that started it, and may not raise it.
//!
//! The control plane lowers its own once everything runs (`run`). A listener that a reload adds must not be served at that: its thread is
//! started here, by one that is as old as the workers.

use std::{
    io,
    sync::mpsc::{self, Sender},
    thread::{Builder, JoinHandle},
};

/// The thread that starts others.
#[derive(Debug)]
pub struct Nursery(Sender<Order>);

struct Order {
    name: String,
    body: Box<dyn FnOnce() + Send>,
    started: Sender<io::Result<JoinHandle<()>>>,
}

impl Nursery {
    /// Starts it, at the priority of whoever calls. It ends when this is dropped.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn open() -> io::Result<Self> {
        let (orders, taken) = mpsc::channel::<Order>();
        Builder::new().name("nursery".to_owned()).spawn(move || {
            for Order { name, body, started } in taken {
                // Whoever ordered it is gone only when the process ends.
                let _ = started.send(Builder::new().name(name).spawn(body));
            }
        })?;
        Ok(Self(orders))
    }

    /// Starts a thread.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub fn start(&self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let gone = || io::Error::other("the thread that starts others is gone");
        let (started, answer) = mpsc::channel();
        let order = Order { name: name.to_owned(), body: Box::new(body), started };
        self.0.send(order).map_err(|_ended| gone())?;
        answer.recv().map_err(|_ended| gone())?
    }
}
