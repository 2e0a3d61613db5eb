//! What callers do to a proxy, by the command of `callers`.

pub mod bodies;
pub mod handshakes;
pub mod idle;
pub mod paced;

use std::{io, net::SocketAddr};

use crate::{arguments::Arguments, wire::Tls};

/// Where the proxy is, and how it is spoken to.
#[derive(Debug)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// TLS, if it speaks that.
    pub tls: Option<Tls>,
}

impl Target {
    /// From `--address` and `--ca`.
    ///
    /// # Errors
    /// Where they are missing or cannot be read.
    pub fn read(arguments: &Arguments) -> io::Result<Self> {
        let tls = arguments.optional::<String>("ca")?.map(|file| Tls::new(&file)).transpose()?;
        Ok(Self { address: arguments.needed("address")?, tls })
    }
}

/// A fault of one of the callers, with its number.
fn of_caller(number: usize, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("caller {number}: {error}"))
}
