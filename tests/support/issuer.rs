//! An issuer of tokens: keys of its own, a document with them that can change, tokens of any kind.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use bytes::Bytes;
use scoregate::jwt::{assemble, encode_base64url};
use serde_json::{Value, json};

use super::upstream::Upstream;

/// A signing key on P-256.
pub struct Key {
    pair: EcdsaKeyPair,
    pub kid: String,
}

impl Key {
    pub fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { pair, kid: kid.to_owned() }
    }

    pub fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let [x, y] = [x, y].map(encode_base64url);
        json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid, "x": x, "y": y })
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid });
        self.sign_with(&header, claims)
    }

    pub fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let sign =
            |signed: &[u8]| self.pair.sign(&SystemRandom::new(), signed).map(|signature| signature.as_ref().to_vec());
        assemble(header, claims, sign).unwrap()
    }
}

pub fn document(keys: &[&Key]) -> Vec<u8> {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

/// Where keys are published.
pub struct Issuer {
    pub server: Upstream,
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
}

impl Issuer {
    pub async fn start(keys: &[&Key]) -> Self {
        let answer = Arc::new(Mutex::new((200, document(keys))));
        let shown = Arc::clone(&answer);
        let server = Upstream::scripted(move |_| {
            let (status, body) = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
            http::Response::builder().status(status).body(Bytes::from(body)).unwrap()
        })
        .await;
        Self { server, answer }
    }

    pub fn url(&self) -> String {
        format!("http://{}/keys", self.server.address)
    }

    pub fn publish(&self, keys: &[&Key]) {
        *self.answer.lock().unwrap() = (200, document(keys));
    }

    pub fn answer(&self, status: u16, body: &[u8]) {
        *self.answer.lock().unwrap() = (status, body.to_vec());
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.server.seen().len()
    }
}
