//! The sockets of listeners: bound, inherited from a service manager, handed on from the listener that had the address before.
//!
//! `run` binds them before anything else starts; a reload binds what is new before it publishes anything, so that an address that
//! cannot be had leaves the old configuration whole.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use anyhow::{Context, anyhow, bail};
use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

use super::unix_socket::{self, SocketFile};
use crate::{
    config::model::{ListenAddress, Listener},
    proxy::socket::Listening,
};

/// Connections that may wait to be accepted. The kernel caps it at `net.core.somaxconn` (4096 since Linux 5.4).
const BACKLOG: i32 = 4096;
/// Names of the sockets that a service manager hands over (sd_listen_fds_with_names(3)).
const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";

/// A socket that is listened on, shared by whoever accepts from it. The file of a Unix socket goes with the last of them.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The socket.
    pub socket: Arc<Listening>,
    _file: Option<Arc<SocketFile>>,
}

impl Bound {
    /// A socket that somebody else has bound.
    #[must_use]
    pub fn foreign(socket: Listening) -> Self {
        Self { socket: Arc::new(socket), _file: None }
    }
}

/// Which socket is whose: a listener's name, and where it listens. Another name or another address is another listener.
pub type ListenerKey = (String, ListenAddress);

/// The key of a listener.
#[must_use]
pub fn key(listener: &Listener) -> ListenerKey {
    (listener.name.clone(), listener.address.clone())
}

/// Listening sockets, by listener.
#[derive(Debug, Default)]
pub struct Sockets {
    bound: HashMap<ListenerKey, Bound>,
    inherited: HashMap<String, Bound>,
}

impl Sockets {
    /// Takes the sockets that a service manager hands over (`LISTEN_FDS`, `LISTEN_FDNAMES`).
    ///
    /// # Errors
    /// Where one of them is no stream socket that is listened on.
    pub fn inherit(mut self) -> anyhow::Result<Self> {
        let mut handed = ListenFd::from_env();
        let names = std::env::var(NAMES_VARIABLE).unwrap_or_default();
        // Without names systemd's own word for it is this.
        let mut names = names.split(':').filter(|name| !name.is_empty()).chain(std::iter::repeat("unknown"));
        for at in 0..handed.len() {
            let name = names.next().unwrap_or("unknown").to_owned();
            let socket = match handed.take_tcp_listener(at) {
                Ok(socket) => socket.map(Listening::Tcp),
                Err(_other_family) => handed
                    .take_unix_listener(at)
                    .with_context(|| format!("the inherited socket `{name}` is no stream socket that is listened on"))?
                    .map(Listening::Unix),
            };
            if let Some(socket) = socket {
                self.inherited.insert(name, Bound::foreign(socket));
            }
        }
        Ok(self)
    }

    /// Uses a socket that somebody else has bound.
    #[must_use]
    pub fn with(mut self, listener: &Listener, socket: TcpListener) -> Self {
        self.bound.insert(key(listener), Bound::foreign(Listening::Tcp(socket)));
        self
    }

    /// Binds every listener that has no socket yet. One that only changed its name keeps the socket it had.
    ///
    /// # Errors
    /// Names the listener and the address, and what to do where it is in use.
    pub fn bind(&mut self, listeners: &[Listener]) -> anyhow::Result<()> {
        let mut added = Vec::new();
        for listener in listeners {
            let key = key(listener);
            if self.bound.contains_key(&key) {
                continue;
            }
            // Port 0 is another port each time.
            let any_port = matches!(listener.address, ListenAddress::Tcp(address) if address.port() == 0);
            let before = self.bound.iter().find(|((_, address), _)| *address == listener.address && !any_port);
            let bound = match before {
                Some((_, bound)) => bound.clone(),
                None => self
                    .open(&listener.address)
                    .with_context(|| format!("listener `{}` cannot listen on {}", listener.name, listener.address))?,
            };
            added.push((key, bound));
        }
        self.bound.extend(added);
        Ok(())
    }

    /// The socket of a listener.
    #[must_use]
    pub fn get(&self, listener: &Listener) -> Option<&Bound> {
        self.bound.get(&key(listener))
    }

    /// Lets go of every socket that none of these has.
    pub fn keep(&mut self, listeners: &[Listener]) {
        self.bound.retain(|known, _| listeners.iter().any(|listener| key(listener) == *known));
    }

    fn open(&self, address: &ListenAddress) -> anyhow::Result<Bound> {
        match address {
            ListenAddress::Tcp(address) => match bind_tcp(*address) {
                Ok(socket) => Ok(Bound::foreign(Listening::Tcp(socket))),
                Err(error) => {
                    let hint = match error.kind() {
                        io::ErrorKind::AddrInUse => "; another process has it: `ss -ltnp` shows which",
                        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
                        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
                        _ => "",
                    };
                    Err(anyhow!("{error}{hint}"))
                }
            },
            ListenAddress::Unix { path, mode } => {
                let (socket, file) = unix_socket::bind(path, *mode)?;
                Ok(Bound { socket: Arc::new(Listening::Unix(socket)), _file: Some(Arc::new(file)) })
            }
            ListenAddress::Inherited(name) => match self.inherited.get(name) {
                Some(bound) => Ok(bound.clone()),
                None if self.inherited.is_empty() => {
                    bail!("no socket was handed over: the service manager sets LISTEN_FDS (systemd: a .socket unit)")
                }
                None => {
                    let mut names: Vec<&str> = self.inherited.keys().map(String::as_str).collect();
                    names.sort_unstable();
                    bail!("no socket of that name was handed over, but {}", names.join(", "))
                }
            },
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // So that a restart need not wait for connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, as nginx and Envoy users expect of a wildcard.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
