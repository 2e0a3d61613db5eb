//! The data plane: everything between accepting a connection and the last byte of an answer.
//!
//! It knows nothing of files, configuration or the control plane (a test reads the imports). In the order of a request's life:
//! `accept` → `worker` → `server` (`proxy_protocol`, `tls`, `connection`) → `http1::server` or `http2` → `pipeline` → `decide` (`headers::framing`, `authority`,
//! `path`, `route`, `auth`) → `forward` (`upstream::admission`,
//! `upstream::pool`; `sending`: `headers::outgoing`, `credential`, `http1::client`, `body`; `trail` after a 401) → `answer`, or `tunnel` where the connection becomes
//! something else, or `respond` where we answer ourselves.

pub mod accept;
pub mod answer;
pub mod auth;
pub mod authority;
pub mod body;
pub mod connection;
pub mod credential;
pub mod decide;
pub mod descriptors;
pub mod endpoint;
pub mod eviction;
pub mod exchange;
pub mod expect;
pub mod forward;
pub mod head;
pub mod headers;
pub mod http1;
pub mod http2;
pub mod io_watch;
pub mod limit;
pub mod memory;
pub mod pace;
pub mod path;
pub mod peer;
pub mod pipeline;
pub mod proxy_protocol;
pub mod reject;
pub mod respond;
pub mod route;
pub mod sending;
pub mod server;
pub mod socket;
pub mod spare_heads;
pub mod stream;
pub mod tls;
pub mod trail;
pub mod tunnel;
pub mod upstream;
pub mod view;
pub mod worker;
