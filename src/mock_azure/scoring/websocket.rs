//! WebSocket echo (RFC 6455), over HTTP/1.1 and over HTTP/2 (RFC 8441): data frames come back as they are, pings are answered.

use std::io;

use axum::{body::Body, response::Response};
use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, Method, Request, StatusCode, header};
use hyper::{body::Incoming, ext::Protocol};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::trouble;
use crate::mock_azure::wire::with;

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Largest frame that is kept in memory.
const MAX_FRAME: u64 = 16 << 20;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Accepts, and echoes until the client closes.
pub(super) fn accept(mut request: Request<Incoming>) -> Response {
    let over_h2 = request.method() == Method::CONNECT
        && request.extensions().get::<Protocol>().is_some_and(|protocol| protocol.as_str() == "websocket");
    let accepted = if over_h2 { Some(Response::new(Body::empty())) } else { switch(request.headers()) };
    let Some(response) = accepted else {
        return with(
            trouble::message(StatusCode::UPGRADE_REQUIRED, "this path speaks WebSocket, version 13"),
            "upgrade",
            "websocket",
        );
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await
            && let Err(error) = echo(TokioIo::new(upgraded)).await
        {
            tracing::debug!(%error, "a WebSocket broke off");
        }
    });
    response
}

/// 101, if the request is for it.
fn switch(headers: &HeaderMap) -> Option<Response> {
    let has = |name: header::HeaderName, word: &str| {
        let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    if !has(header::UPGRADE, "websocket")
        || !has(header::CONNECTION, "upgrade")
        || !has(header::SEC_WEBSOCKET_VERSION, "13")
    {
        return None;
    }
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(ACCEPT_GUID);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let response = with(response, "upgrade", "websocket");
    let response = with(response, "connection", "upgrade");
    Some(with(response, "sec-websocket-accept", &BASE64_STANDARD.encode(digest.finish())))
}

struct WsFrame {
    /// FIN and opcode.
    first: u8,
    payload: Vec<u8>,
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let frame = read(&mut stream).await?;
        match frame.first & 0x0f {
            CLOSE => {
                write(&mut stream, &frame).await?;
                return stream.shutdown().await;
            }
            PING => write(&mut stream, &WsFrame { first: 0x80 | PONG, payload: frame.payload }).await?,
            PONG => {}
            _ => write(&mut stream, &frame).await?,
        }
    }
}

/// One frame of a client, unmasked (section 5.2).
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<WsFrame> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let length = match second & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    if second & 0x80 == 0 || length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that is not masked, or larger than 16 MiB"));
    }
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).await?;
    let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(WsFrame { first, payload })
}

/// One frame of ours, which is not masked.
async fn write(stream: &mut (impl AsyncWrite + Unpin), frame: &WsFrame) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(frame.payload.len() + 10);
    bytes.push(frame.first);
    match (u8::try_from(frame.payload.len()), u16::try_from(frame.payload.len())) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend((frame.payload.len() as u64).to_be_bytes());
        }
    }
    bytes.extend(&frame.payload);
    stream.write_all(&bytes).await?;
    stream.flush().await
}
