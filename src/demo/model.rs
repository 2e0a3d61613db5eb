//! The demo's scoring service: Azure's shape (a key as `Bearer`, JSON in and out) around a very small real model.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::iris;

/// Serves on a free port of loopback until the runtime ends.
///
/// # Errors
/// Where loopback has no free port.
pub(super) async fn serve(key: String) -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let expected: Arc<str> = format!("Bearer {key}").into();
    let app = Router::new().route("/score", post(score)).with_state(expected);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(address)
}

async fn score(
    State(expected): State<Arc<str>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> (StatusCode, Json<Value>) {
    let presented = headers.get("authorization").map_or(&b""[..], |value| value.as_bytes());
    if !bool::from(presented.ct_eq(expected.as_bytes())) {
        return (StatusCode::UNAUTHORIZED, Json(json!({ "message": "this service demands its own key" })));
    }
    match iris::score(&body) {
        Ok(result) => (StatusCode::OK, Json(result)),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))),
    }
}
