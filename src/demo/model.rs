//! The demo's scoring service: Azure's shape (a key as `Bearer`, JSON in and out) around a very small real model.
//!
//! The model is a nearest-centroid classifier of iris flowers; its centroids are the class means of Fisher's 1936 data set.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

/// Sepal length, sepal width, petal length, petal width: centimetres.
const CENTROIDS: [(&str, [f64; 4]); 3] = [
    ("setosa", [5.006, 3.428, 1.462, 0.246]),
    ("versicolor", [5.936, 2.770, 4.260, 1.326]),
    ("virginica", [6.588, 2.974, 5.552, 2.026]),
];

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
    match serde_json::from_slice::<Flowers>(&body) {
        Ok(flowers) => {
            (StatusCode::OK, Json(json!({ "result": flowers.data.iter().map(classify).collect::<Vec<_>>() })))
        }
        Err(error) => {
            let message = format!(
                "expected {{\"data\": [[sepal length, sepal width, petal length, petal width], ...]}}: {error}"
            );
            (StatusCode::BAD_REQUEST, Json(json!({ "message": message })))
        }
    }
}

#[derive(Debug, serde::Deserialize)]
struct Flowers {
    data: Vec<[f64; 4]>,
}

fn classify(flower: &[f64; 4]) -> &'static str {
    let distance = |centroid: &[f64; 4]| -> f64 { centroid.iter().zip(flower).map(|(a, b)| (a - b).powi(2)).sum() };
    let nearest = CENTROIDS.iter().min_by(|(_, a), (_, b)| distance(a).total_cmp(&distance(b)));
    nearest.map_or("unknown", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flowers_of_the_data_set_are_told_apart() {
        for (flower, species) in [
            ([5.1, 3.5, 1.4, 0.2], "setosa"),
            ([5.7, 2.8, 4.5, 1.3], "versicolor"),
            ([6.7, 3.0, 5.2, 2.3], "virginica"),
        ] {
            assert_eq!(classify(&flower), species);
        }
    }
}
