//! A caller's connection that never blocks, plain or TLS.

use std::{
    fmt,
    io::{self, ErrorKind::WouldBlock, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

/// How a caller speaks TLS: TLS 1.3 with the one cipher suite and the one group that every server is asked for, no resumption.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the authority in that file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn new(authority: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        Ok(Self { config: Arc::new(config), name })
    }
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, now in the buffer.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
}

/// The connection.
#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
}

impl Wire {
    /// Connects. On loopback that is done before the call returns; the handshake is not.
    ///
    /// # Errors
    /// Where nobody listens.
    pub fn connect(address: SocketAddr, tls: Option<&Tls>) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let tls = tls.map(|tls| {
            let session = ClientConnection::new(Arc::clone(&tls.config), tls.name.clone()).map_err(io::Error::other)?;
            Ok::<_, io::Error>(Box::new(session))
        });
        Ok(Self { socket, tls: tls.transpose()? })
    }

    /// Sends what can be sent now; how many bytes were taken. Over TLS they may have been taken and still wait to be sent:
    /// ask [`Self::wants_write`].
    ///
    /// # Errors
    /// Where the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.write(bytes) {
                Err(error) if error.kind() == WouldBlock => Ok(0),
                done => done,
            };
        };
        // Before the handshake is over the session keeps what it is given, up to its limit.
        let taken = if bytes.is_empty() { 0 } else { tls.writer().write(bytes)? };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Whether bytes that were taken wait for room in the socket.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Reads once into the buffer.
    ///
    /// # Errors
    /// Where the connection ended or is gone: here nobody closes but the caller.
    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let read = match &mut self.tls {
            None => self.socket.read(buffer),
            Some(tls) => {
                match tls.read_tls(&mut self.socket) {
                    Ok(0) => return Err(closed()),
                    Ok(_) => tls.process_new_packets().map(|_| ()).map_err(io::Error::other)?,
                    Err(error) if error.kind() == WouldBlock => {}
                    Err(error) => return Err(error),
                }
                tls.reader().read(buffer)
            }
        };
        match read {
            Ok(0) => Err(closed()),
            Ok(count) => {
                // The handshake's own answers, and with them what was kept until it was over.
                self.send(&[])?;
                Ok(Received::Bytes(count))
            }
            Err(error) if error.kind() == WouldBlock => {
                self.send(&[])?;
                Ok(Received::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
}
