//! Asks a running scoregate through its admin API.
//!
//! `status`, `reload` and `drain` call [`ask`]. It never sends a token in plain text off this machine, and never the
//! token of this machine's scoregate to another.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{
    address::{AdminAddress, Origin},
    exit::{Exit, Stop},
};
use crate::{
    control::admin::{
        places::{self, Fallbacks, TOKEN_FILE},
        report::ErrorReport,
        token,
    },
    secret::Secret,
};

const TOKEN_VARIABLE: &str = "SCOREGATE_ADMIN_TOKEN";
/// TCP and TLS to the other side.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A status of very many endpoints is a few MiB.
const ANSWER_BYTES: usize = 64 << 20;

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) method: Method,
    /// With the query.
    pub(super) path: Cow<'static, str>,
    /// JSON, which may hold a key.
    pub(super) body: Option<Secret>,
    /// How long the answer may take.
    pub(super) patience: Duration,
}

/// Asks the scoregate at `admin`, else at the default socket, and reads its answer.
pub(super) async fn ask<T: DeserializeOwned>(admin: Option<&AdminAddress>, question: Question) -> Result<T, Stop> {
    let fallbacks = Fallbacks::from_env();
    let state_dirs = fallbacks.state_dirs(&places::unwritten(places::STATE_DIR));
    let mut tokens = match admin {
        Some(AdminAddress::Tcp(origin)) => tokens_for(origin, &state_dirs)?.into_iter(),
        None | Some(AdminAddress::Socket(_)) => Vec::new().into_iter(),
    };
    let mut token = tokens.next();
    loop {
        let (stream, address) = match admin {
            None => connect_default(&fallbacks.sockets(&places::unwritten(places::SOCKET))).await?,
            Some(AdminAddress::Socket(path)) => connect_default(std::slice::from_ref(path)).await?,
            Some(AdminAddress::Tcp(origin)) => (connect(origin).await?, AdminAddress::Tcp(origin.clone())),
        };
        let patience = question.patience;
        let request = request(&address, &question, token.as_ref())?;
        let (status, body) = timeout(patience, exchange(stream, request))
            .await
            .map_err(|_elapsed| Stop::failed(format_args!("scoregate at {address} did not answer in {patience:?}")))?
            .map_err(|error| Stop::new(Exit::Unreachable, format_args!("scoregate at {address} broke off: {error}")))?;
        // Refused for its token, a question has done nothing; the next may be of the scoregate that was asked.
        match tokens.next() {
            Some(next) if status == StatusCode::UNAUTHORIZED => token = Some(next),
            _ => return read(&address, status, &body),
        }
    }
}

/// What HTTP is spoken over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The first of these sockets that somebody answers at.
async fn connect_default(sockets: &[PathBuf]) -> Result<(Box<dyn Stream>, AdminAddress), Stop> {
    let mut why_not = Vec::new();
    for path in sockets {
        match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => return Ok((Box::new(stream), AdminAddress::Socket(path.clone()))),
            Ok(Err(error)) => why_not.push(format!("{} ({error})", path.display())),
            Err(_elapsed) => why_not.push(format!("{} (it does not accept)", path.display())),
        }
    }
    let why_not = why_not.join(" or ");
    let message = format!("no scoregate answers at {why_not}: is it running? name its socket or URL with --admin");
    Err(Stop::new(Exit::Unreachable, message))
}

async fn connect(origin: &Origin) -> Result<Box<dyn Stream>, Stop> {
    let address = AdminAddress::Tcp(origin.clone());
    let unreachable = |why: String| {
        let message =
            format!("no scoregate answers at {address} ({why}): is it running, and is this its admin.address?");
        Stop::new(Exit::Unreachable, message)
    };
    let connecting = TcpStream::connect((origin.host(), origin.port()));
    let stream = timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_elapsed| unreachable("it does not accept".to_owned()))?
        .map_err(|error| unreachable(error.to_string()))?;
    if !origin.tls {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(origin.host().to_owned()).map_err(|error| unreachable(error.to_string()))?;
    let handshake = TlsConnector::from(tls_config()?).connect(name, stream);
    let stream = timeout(CONNECT_TIMEOUT, handshake)
        .await
        .map_err(|_elapsed| unreachable("it does not finish the TLS handshake".to_owned()))?
        .map_err(|error| unreachable(format!("{error}; a private CA is named with SSL_CERT_FILE")))?;
    Ok(Box::new(stream))
}

fn tls_config() -> Result<Arc<rustls::ClientConfig>, Stop> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Stop::failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The token that is named, else on this machine those that its scoregates keep: a file may be left of one that is gone. No token is no
/// fault yet: some paths are open.
fn tokens_for(origin: &Origin, state_dirs: &[PathBuf]) -> Result<Vec<Secret>, Stop> {
    let named = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
    if let Some(token) = named {
        if origin.tls || origin.is_loopback() {
            return Ok(vec![Secret::new(token.into_bytes())]);
        }
        let message = format!("the admin token is not sent in plain text to {}: use https", origin.authority);
        return Err(Stop::new(Exit::Refused, message));
    }
    Ok(if origin.is_loopback() { kept(state_dirs) } else { Vec::new() })
}

fn kept(state_dirs: &[PathBuf]) -> Vec<Secret> {
    state_dirs.iter().filter_map(|dir| token::read(&dir.join(TOKEN_FILE)).ok().flatten()).collect()
}

fn request(address: &AdminAddress, question: &Question, token: Option<&Secret>) -> Result<Request<Full<Bytes>>, Stop> {
    let host = match address {
        AdminAddress::Socket(_) => "localhost",
        AdminAddress::Tcp(origin) => origin.authority.as_str(),
    };
    let mut request = Request::builder().method(&question.method).uri(&*question.path).header(header::HOST, host);
    if let Some(token) = token {
        let value = token.to_field("Bearer ").map_err(|_no_reason_that_shows_it| {
            Stop::new(Exit::Usage, format_args!("{TOKEN_VARIABLE} holds what no header can: one line of visible ASCII"))
        })?;
        request = request.header(header::AUTHORIZATION, value);
    }
    let body = match &question.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Bytes::copy_from_slice(body.expose_bytes())
        }
        None => Bytes::new(),
    };
    request.body(Full::new(body)).map_err(Stop::failed)
}

type ExchangeError = Box<dyn std::error::Error + Send + Sync>;

/// One request on one connection.
async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), ExchangeError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await?.to_bytes();
        // The connection ends with its sender.
        drop(sender);
        Ok((status, body))
    };
    // Both to their end: a connection may close before its answer was read here.
    let (_, answer) = tokio::join!(connection, answer);
    answer
}

fn read<T: DeserializeOwned>(address: &AdminAddress, status: StatusCode, body: &[u8]) -> Result<T, Stop> {
    if status.is_success() {
        return serde_json::from_slice(body).map_err(|error| {
            Stop::failed(format_args!("what {address} says is not what this version reads: {error}"))
        });
    }
    let Ok(ErrorReport { error }) = serde_json::from_slice(body) else {
        let message = format!("what answers at {address} is not the admin side of a scoregate (HTTP {status})");
        return Err(Stop::failed(message));
    };
    Err(match (status, error.code.as_str()) {
        (_, "config_invalid") => Stop::new(Exit::Config, error.message),
        // A rule stood against it.
        (StatusCode::CONFLICT, code) if code != "reload_not_drained" => {
            Stop::new(Exit::Refused, format_args!("nothing was touched: {}", error.message))
        }
        (StatusCode::UNAUTHORIZED, _) => Stop::new(
            Exit::Refused,
            format_args!(
                "scoregate at {address} wants its admin token: set {TOKEN_VARIABLE} (it is in {TOKEN_FILE} in its \
                 state_dir, unless admin.token is written), or name its socket with --admin"
            ),
        ),
        (StatusCode::FORBIDDEN, _) => Stop::new(Exit::Refused, format_args!("{address}: {}", error.message)),
        _ => Stop::failed(format_args!("{address}: {} ({}, {})", error.message, error.code, error.request_id)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(status: StatusCode, body: &str) -> Stop {
        read::<serde_json::Value>(&AdminAddress::Socket("/s".into()), status, body.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_token_that_is_kept_is_tried_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let [left, none, own] = ["left", "none", "own"].map(|name| dir.path().join(name));
        for (place, token) in [(&left, "of-one-that-is-gone"), (&own, "of-ours")] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join(TOKEN_FILE), token).unwrap();
        }
        let found: Vec<Vec<u8>> = kept(&[left, none, own]).iter().map(|token| token.expose_bytes().to_vec()).collect();
        assert_eq!(found, [b"of-one-that-is-gone".to_vec(), b"of-ours".to_vec()]);
    }

    #[test]
    fn every_refusal_has_its_exit_code() {
        let body = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"why","request_id":"r"}}}}"#);
        for (status, code, exit) in [
            (StatusCode::UNPROCESSABLE_ENTITY, "config_invalid", Exit::Config),
            (StatusCode::CONFLICT, "reload_not_drained", Exit::Failed),
            (StatusCode::CONFLICT, "min_gap", Exit::Refused),
            (StatusCode::UNAUTHORIZED, "unauthorized", Exit::Refused),
            (StatusCode::FORBIDDEN, "no_admin_token", Exit::Refused),
            (StatusCode::INTERNAL_SERVER_ERROR, "internal", Exit::Failed),
        ] {
            assert_eq!(stop(status, &body(code)).exit, exit, "{code}");
        }
        assert_eq!(stop(StatusCode::BAD_GATEWAY, "<html>").exit, Exit::Failed);
        assert_eq!(stop(StatusCode::OK, "<html>").exit, Exit::Failed);
    }
}
