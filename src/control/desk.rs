//! The desk: where people ask for changes of a service's credential, and read how it stands.
//!
//! The drivers of `control::azure` register here, one per service; the admin side asks by the endpoint's name. Nothing here decides
//! anything, and no value of a key comes out again.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::admin::report::ServiceStatus;
use crate::{
    rotation::{operation::OperationId, plan::Plan, refusal::Refusal, slot::Slot},
    secret::Secret,
};

/// What somebody wants.
#[derive(Debug, Clone)]
pub enum Wish {
    /// A key regenerated; none: the one that requests do not get.
    Regenerate {
        /// Which.
        slot: Option<Slot>,
        /// The value it is to have; none: the service makes one.
        set_key: Option<Secret>,
    },
    /// Both keys regenerated, one after the other, since one is in wrong hands.
    Leaked,
    /// The other key for new requests.
    Rollback,
    /// No regeneration until unfrozen.
    Freeze,
    /// Regenerations again.
    Unfreeze,
}

/// Whether it is to be done, or to be said what would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Done.
    Wet,
    /// Said.
    Dry,
}

/// What came of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// An operation has begun, or has been done already.
    Begun(OperationId),
    /// What would be done.
    Planned(Plan),
    /// It is done.
    Done,
}

/// A wish on its way to a driver.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub wish: Wish,
    /// Whether it is to be done.
    pub run: Run,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Granted, Refusal>>,
}

/// The way to the driver of a service.
#[derive(Debug, Clone)]
pub struct Handle {
    /// What is asked of it.
    pub requests: mpsc::UnboundedSender<Request>,
    /// How its service stands; none while nothing is known.
    pub status: watch::Receiver<Option<ServiceStatus>>,
}

/// Every driver, by the names of the endpoints that it serves.
#[derive(Debug, Default)]
pub struct Desk(Mutex<HashMap<String, Handle>>);

impl Desk {
    /// These drivers and no others from now on.
    pub fn seat(&self, handles: HashMap<String, Handle>) {
        *self.handles() = handles;
    }

    /// How the service of an endpoint stands. None: it is none of Azure's, or nothing is known of it yet.
    #[must_use]
    pub fn status(&self, endpoint: &str) -> Option<ServiceStatus> {
        let mut status = self.handles().get(endpoint)?.status.borrow().clone()?;
        // Endpoints that are one service have its operations, each by its own name.
        for operation in status.rotation.iter_mut().flat_map(|rotation| &mut rotation.operations) {
            if let Some((_, number)) = operation.id.rsplit_once('-') {
                operation.id = format!("{endpoint}-{number}");
            }
        }
        Some(status)
    }

    /// Asks the driver of an endpoint.
    ///
    /// # Errors
    /// Where a rule stands against it, or there is no driver: nothing was touched.
    pub async fn ask(&self, endpoint: &str, wish: Wish, run: Run) -> Result<Granted, Refusal> {
        let requests = self.handles().get(endpoint).map(|handle| handle.requests.clone()).ok_or(Refusal::NoKeys)?;
        let (answer, answered) = oneshot::channel();
        // A driver that ends drops what it was asked.
        let _sent = requests.send(Request { wish, run, answer });
        answered.await.unwrap_or(Err(Refusal::NotReady))
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, HashMap<String, Handle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
