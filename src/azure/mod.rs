//! Azure's side of things, as a client: signing in, finding a workspace and a service in it, reading and regenerating its
//! keys, fetching its tokens.
//!
//! The control plane and the command line call it; the data plane never does. Everything here is one call or a short row
//! of calls with an end: no task of its own, no memory but tokens and what a workspace's address leads to. Futures may be
//! dropped at any await. In reading order:
//!
//! 1. `url`, `http`: one request to one address, its deadlines, and what is tried again;
//! 2. `calls`: what a piece of work has sent, and why;
//! 3. `error`, `refusal`: whatever went wrong, as one sentence;
//! 4. `cloud`, `token`, `identity`: who we are, and the tokens that prove it;
//! 5. `control`, `permissions`: a request to Azure's control plane with such a token, and what role it needs;
//! 6. `config_json`, `workspace`, `discovery`: from a name to the addresses of a workspace;
//! 7. `service`: one scoring service, behind the seam that tests fake.

use std::pin::Pin;

pub mod calls;
pub mod cloud;
pub mod config_json;
pub mod control;
mod discovery;
pub mod error;
pub mod http;
pub mod identity;
pub mod permissions;
pub mod refusal;
pub mod service;
pub mod token;
pub mod url;
pub mod workspace;

/// A future behind a seam: the control plane calls these a few times a minute, so a box costs nothing.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
