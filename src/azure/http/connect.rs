//! A connection to whom a request is for: over a proxy where the environment says so, with TLS where the URL says so.
//!
//! Each call has a connection of its own. Calls are rare, and one that fails on a fresh connection before the request was
//! written certainly did nothing.

use std::{io, net::IpAddr};

use http::HeaderValue;
use hyper_util::client::proxy::matcher::Intercept;
use rustls::CertificateError;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::azure::url::Url;

/// What HTTP is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How the request target is written (RFC 9112 section 3.2).
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// To the server itself.
    Origin,
    /// To a proxy that forwards plain HTTP, with what it asks for.
    Absolute(Option<HeaderValue>),
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Nobody there.
    Unreachable(String),
    /// Somebody else, or nobody whom we believe.
    Untrusted(String),
}

/// The answer of a proxy to CONNECT: status line and fields.
const LONGEST_HEAD: usize = 8 << 10;

/// Connects. `tls` is asked for where TLS is spoken.
pub(super) async fn connect<'t>(
    url: &Url,
    proxy: Option<&Intercept>,
    tls: impl Fn() -> &'t TlsConnector,
) -> Result<(Box<dyn Stream>, Form), ConnectError> {
    let Some(proxy) = proxy else {
        let stream = tcp(url.host(), url.port()).await.map_err(ConnectError::Unreachable)?;
        return Ok((secure(url, stream, &tls).await?, Form::Origin));
    };
    let address = proxy.uri();
    let is_tls = match address.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        scheme => {
            let scheme = scheme.unwrap_or("nothing");
            let why = format!("the proxy of the environment is spoken to over {scheme}, which is not supported");
            return Err(ConnectError::Unreachable(why));
        }
    };
    let host = address.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = address.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let by_proxy = |why: String| ConnectError::Unreachable(format!("by the proxy {host}:{port}: {why}"));
    let stream = tcp(host, port).await.map_err(by_proxy)?;
    let mut stream: Box<dyn Stream> = if is_tls { handshake(host, stream, tls()).await? } else { Box::new(stream) };
    let authorization = proxy.basic_auth().cloned();
    if !url.is_tls() {
        return Ok((stream, Form::Absolute(authorization)));
    }
    tunnel(&mut stream, url, authorization.as_ref()).await.map_err(by_proxy)?;
    Ok((secure(url, stream, &tls).await?, Form::Origin))
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    // One small request: waiting for more of it would only delay it.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn secure<'t, S: Stream + 'static>(
    url: &Url,
    stream: S,
    tls: &impl Fn() -> &'t TlsConnector,
) -> Result<Box<dyn Stream>, ConnectError> {
    if url.is_tls() { handshake(url.host(), stream, tls()).await } else { Ok(Box::new(stream)) }
}

async fn handshake<S: Stream + 'static>(
    host: &str,
    stream: S,
    tls: &TlsConnector,
) -> Result<Box<dyn Stream>, ConnectError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_not_a_name| ConnectError::Untrusted("this is no name that a certificate can be for".to_owned()))?;
    match tls.connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(of_handshake(&error)),
    }
}

fn of_handshake(error: &io::Error) -> ConnectError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => ConnectError::Untrusted(described(why)),
        Some(other) => ConnectError::Unreachable(format!("TLS: {other}")),
        None => ConnectError::Unreachable(format!("TLS: {error}")),
    }
}

fn described(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "nobody whom this machine trusts has issued it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired, or this machine's clock is ahead".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or this machine's clock is behind".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name".to_owned()
        }
        other => other.to_string(),
    }
}

/// RFC 9110 section 9.3.6.
async fn tunnel(
    stream: &mut (impl Stream + ?Sized),
    url: &Url,
    authorization: Option<&HeaderValue>,
) -> Result<(), String> {
    let host = match url.host().parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        Ok(IpAddr::V4(_)) | Err(_) => url.host().to_owned(),
    };
    let place = format!("{host}:{}", url.port());
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nhost: {place}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"proxy-authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await.map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    loop {
        // Byte by byte: what follows the head belongs to TLS. It is short and there is one of it.
        head.push(stream.read_u8().await.map_err(|error| error.to_string())?);
        if head.ends_with(b"\r\n\r\n") {
            break;
        }
        if head.len() > LONGEST_HEAD {
            return Err("it answers without an end".to_owned());
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut fields);
    match answer.parse(&head) {
        Ok(_) if answer.code.is_some_and(|code| (200..300).contains(&code)) => Ok(()),
        Ok(_) if answer.code == Some(407) => {
            Err("it wants a user and password: HTTPS_PROXY=http://USER:PASSWORD@HOST".into())
        }
        Ok(_) => Err(format!("it refuses with status {}", answer.code.unwrap_or_default())),
        Err(_) => Err("it does not speak HTTP".to_owned()),
    }
}
