//! A real scoring container behind a front end: bodies stream both ways, fields pass untouched but for the credential.

use std::net::SocketAddr;

use axum::{body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};

use super::trouble;

/// Fields that belong to one connection (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// Where a container is, and the connections to it.
#[derive(Debug)]
pub(in crate::mock_azure) struct Backend {
    client: Client<HttpConnector, Incoming>,
    /// Its scoring URI up to the last slash.
    base: String,
}

impl Backend {
    /// From its scoring URI, over plain HTTP.
    pub(in crate::mock_azure) fn new(uri: &Uri) -> Self {
        let whole = uri.to_string();
        let base = match uri.path().rsplit_once('/') {
            Some((path, _)) => format!(
                "{}://{}{path}/",
                uri.scheme_str().unwrap_or("http"),
                uri.authority().map_or("", |a| a.as_str())
            ),
            None => whole,
        };
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), base }
    }

    /// Sends a request on and brings the answer back; where both sides switch protocols, bytes from then on.
    pub(in crate::mock_azure) async fn forward(
        &self,
        mut request: Request<Incoming>,
        rest: &str,
        local: SocketAddr,
    ) -> Response {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let Ok(uri) = format!("{}{rest}{query}", self.base).parse::<Uri>() else {
            return trouble::message(StatusCode::BAD_REQUEST, "the path cannot be sent on");
        };
        let switches = request.headers().contains_key(header::UPGRADE);
        let ours = switches.then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let host = parts.headers.get(header::HOST).cloned();
        parts.headers.remove(header::AUTHORIZATION);
        strip(&mut parts.headers, switches);
        if parts.version != Version::HTTP_11 {
            parts.version = Version::HTTP_11;
            let named = parts.uri.authority().map_or_else(|| local.to_string(), ToString::to_string);
            if let (None, Ok(named)) = (host, named.parse()) {
                parts.headers.insert(header::HOST, named);
            }
        }
        parts.uri = uri;
        // What belongs to the connection to the caller must not go along.
        parts.extensions.clear();
        let mut response = match self.client.request(Request::from_parts(parts, body)).await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "a container does not answer");
                return trouble::message(StatusCode::BAD_GATEWAY, "the container behind the front end does not answer");
            }
        };
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let (true, Some(ours)) = (switched, ours) {
            let theirs = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                let (Ok(ours), Ok(theirs)) = (ours.await, theirs.await) else { return };
                // Either side's end is the end.
                drop(tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await);
            });
        }
        let (mut parts, body) = response.into_parts();
        strip(&mut parts.headers, switched);
        parts.version = Version::default();
        Response::from_parts(parts, Body::new(body))
    }
}

/// Takes out what belongs to one connection; a switch of protocols belongs to both.
fn strip(headers: &mut HeaderMap, switches: bool) {
    for name in HOP_BY_HOP {
        if name != header::CONNECTION || !switches {
            headers.remove(name);
        }
    }
    if !switches {
        headers.remove(header::UPGRADE);
        headers.remove("keep-alive");
    }
}
