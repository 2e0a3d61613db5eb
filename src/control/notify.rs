//! What the service manager is told (sd_notify(3), `NOTIFY_SOCKET`): ready, reloading, stopping. Nothing where nobody asks.

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{ffi::OsStrExt, net::SocketAddr, net::UnixDatagram},
    },
};

/// Where the service manager listens.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager.
#[derive(Debug)]
pub struct Notify(Option<SocketAddr>);

impl Notify {
    /// The one that started this process, if it wants to know.
    #[must_use]
    pub fn from_env() -> Self {
        Self(std::env::var_os(VARIABLE).and_then(|place| {
            address(&place)
                .inspect_err(|error| tracing::warn!(place = %place.display(), %error, "{VARIABLE} cannot be used"))
                .ok()
        }))
    }

    /// Serving.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving");
    }

    /// Reading the configuration again; [`Notify::ready`] follows. `Type=notify-reload` wants the time with it.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration again"));
    }

    /// Draining; the end follows.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    fn tell(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        if let Err(error) = send(address, state.as_bytes()) {
            tracing::warn!(%error, "the service manager cannot be told of: {state:?}");
        }
    }
}

fn address(place: &OsString) -> io::Result<SocketAddr> {
    match place.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(place),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    }
}

fn send(address: &SocketAddr, state: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not stop us.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state, address).map(|_sent| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_it_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("scoregate-test-{}", std::process::id());
        let managers = [
            (UnixDatagram::bind(&path).unwrap(), path.into_os_string()),
            (
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
                OsString::from(format!("@{name}")),
            ),
        ];
        for (manager, place) in managers {
            let notify = Notify(Some(address(&place).unwrap()));
            let mut heard = [0; 200];
            let mut hear = || {
                let length = manager.recv(&mut heard).unwrap();
                String::from_utf8(heard[..length].to_vec()).unwrap()
            };
            notify.ready();
            assert!(hear().starts_with("READY=1\n"));
            notify.reloading();
            let text = hear();
            let micros = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
            assert!(text.starts_with("RELOADING=1\n") && micros.parse::<u64>().unwrap() > 0);
            notify.stopping();
            assert!(hear().starts_with("STOPPING=1\n"));
        }
        assert!(address(&OsString::from("run/notify")).is_err());
    }
}
