//! The data plane: everything between accepting a connection and the last byte of an answer.
//!
//! It knows nothing of files, configuration or the control plane (a test reads the imports). In the order of a request's life:
//! `accept` → `worker` → `server` (`tls`, `stream`, `connection`) → `pipeline` → `decide` (`headers::framing`, `authority`,
//! `path`, `route`, `auth`) → `forward` (`upstream::admission`, `upstream::pool`, `headers`, `credential`, `body`) → `respond`.

pub mod accept;
pub mod auth;
pub mod authority;
pub mod body;
pub mod connection;
pub mod credential;
pub mod decide;
pub mod endpoint;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod path;
pub mod pipeline;
pub mod quiet;
pub mod reject;
pub mod respond;
pub mod route;
pub mod server;
pub mod stream;
pub mod tls;
pub mod upstream;
pub mod view;
pub mod worker;
