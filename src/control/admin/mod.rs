//! The admin side: what people, `scoregate status`, kubelet and Prometheus ask a running process.
//!
//! `run` calls [`serve`] with [`Operations`], the one view of the rest that this module has; the command line speaks to
//! it with the types of [`report`]. It must never show a secret, and never be reachable through a data-plane listener.
//!
//! Life of a request: `connection` (cap, TLS, head time-out) → `guard` (foreign pages, token) → `routes` → `failure`.

use std::{pin::Pin, sync::Arc};

mod connection;
mod failure;
mod guard;
mod keys;
pub mod places;
pub mod report;
mod routes;
mod serve;
mod socket;
mod tls;
pub mod token;

pub use serve::{AdminHandle, Listening, serve};

use super::played::{
    NotChanged,
    manage::{Answer, Asked},
    owner::{Order, ServiceKeys},
};
use report::{ReadyReport, ReloadError, ReloadReport, Status};

use super::desk::{Granted, Run, Wish};
use crate::rotation::refusal::Refusal;

/// What the admin side asks of the rest of the process.
pub trait Operations: Send + Sync + 'static {
    /// Whether requests can be served, and which endpoints are why not.
    fn ready(&self) -> ReadyReport;
    /// Whether the process works at all; `false` asks to be restarted.
    fn live(&self) -> bool;
    /// Everything `scoregate status` shows.
    fn status(&self) -> Status;
    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The configuration that is served, without secrets.
    fn config(&self) -> serde_json::Value;
    /// Reads the configuration again. `drained`: ends once every worker has the new snapshot and no request that was
    /// handed a value no longer active is without a response head. The future is dropped when its asker goes away;
    /// a reload that has begun must go on then.
    fn reload(&self, drained: bool) -> BoxFuture<'static, Result<ReloadReport, ReloadError>>;
    /// Asks the driver of an endpoint's service for a change of its keys.
    fn change_keys<'a>(&'a self, endpoint: &'a str, wish: Wish, run: Run) -> BoxFuture<'a, Result<Granted, Refusal>>;
    /// Begins to drain, as SIGTERM does. Returns at once.
    fn drain(&self);
    /// Answers a manager of a service that is played, at the paths of the model management service.
    fn manage(&self, _asked: Asked) -> BoxFuture<'static, Answer> {
        Box::pin(std::future::ready(Answer { status: 404, operation: None, body: None }))
    }
    /// Does what the owner of a service that is played asks for.
    fn order(&self, _service: String, _order: Order) -> BoxFuture<'static, Result<ServiceKeys, NotChanged>> {
        Box::pin(std::future::ready(Err(NotChanged::NoService)))
    }
    /// Changes what is logged.
    fn set_log_level(&self, level: tracing::Level);
}

/// [`Operations`], shared by every connection.
pub type SharedOperations = Arc<dyn Operations>;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
