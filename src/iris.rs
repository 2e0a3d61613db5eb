//! A very small real model: a nearest-centroid classifier of iris flowers.
//!
//! The demo and the embedded Azure score with it where no container stands behind them. Its centroids are the class means of Fisher's
//! 1936 data set.

use serde_json::{Value, json};

/// Sepal length, sepal width, petal length, petal width: centimetres.
const CENTROIDS: [(&str, [f64; 4]); 3] = [
    ("setosa", [5.006, 3.428, 1.462, 0.246]),
    ("versicolor", [5.936, 2.770, 4.260, 1.326]),
    ("virginica", [6.588, 2.974, 5.552, 2.026]),
];

#[derive(Debug, serde::Deserialize)]
struct Flowers {
    data: Vec<[f64; 4]>,
}

/// Scores `{"data": [[5.1, 3.5, 1.4, 0.2], …]}`: `{"result": ["setosa", …]}`.
///
/// # Errors
/// What the body should have been, for a person.
pub fn score(body: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice::<Flowers>(body) {
        Ok(flowers) => Ok(json!({ "result": flowers.data.iter().map(classify).collect::<Vec<_>>() })),
        Err(error) => Err(format!(
            "expected {{\"data\": [[sepal length, sepal width, petal length, petal width], ...]}}: {error}"
        )),
    }
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
        let body = br#"{"data": [[5.1, 3.5, 1.4, 0.2], [5.7, 2.8, 4.5, 1.3], [6.7, 3.0, 5.2, 2.3]]}"#;
        assert_eq!(score(body).unwrap(), json!({ "result": ["setosa", "versicolor", "virginica"] }));
    }

    #[test]
    fn what_is_no_flower_is_said() {
        for wrong in [&b""[..], b"{}", b"{\"data\": [[1, 2, 3]]}", b"\xff"] {
            assert!(score(wrong).unwrap_err().starts_with("expected {\"data\""));
        }
    }
}
