//! The bodies of `listkeys`, `regenerateKeys` and `token`, as Azure's own control plane reads and writes them.

use serde_json::{Value, json};

use super::{
    keys::{BadKey, KeyValue, Keys, Slot},
    token::Issued,
};

/// The answer of `listkeys`, the same for web services and online endpoints.
#[must_use]
pub fn keys_body(keys: &Keys) -> Value {
    json!({ "primaryKey": keys.primary.expose_text(), "secondaryKey": keys.secondary.expose_text() })
}

/// The answer of `token` for a version 1 web service: Unix seconds, as integers.
#[must_use]
pub fn web_service_token_body(issued: &Issued) -> Value {
    json!({
        "accessToken": text(issued), "tokenType": "Bearer",
        "expiryOn": issued.expiry, "refreshAfter": issued.refresh_by,
    })
}

/// The answer of `token` for an online endpoint: the same times under other names.
#[must_use]
pub fn online_token_body(issued: &Issued) -> Value {
    json!({
        "accessToken": text(issued), "tokenType": "Bearer",
        "expiryTimeUtc": issued.expiry, "refreshAfterTimeUtc": issued.refresh_by,
    })
}

fn text(issued: &Issued) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(issued.token.expose_bytes())
}

/// What `regenerateKeys` asks for.
#[derive(Debug, Clone)]
pub struct Regenerate {
    /// Which key.
    pub slot: Slot,
    /// The value it is to have; none: the service makes one up.
    pub value: Option<KeyValue>,
}

/// Why a body asks for nothing that can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRegenerate {
    /// No JSON object.
    #[error("the body must be a JSON object with keyType")]
    NoObject,
    /// `keyType` is neither of the two words.
    #[error("keyType must be Primary or Secondary")]
    KeyType,
    /// `keyValue` is no text.
    #[error("keyValue must be a string or null")]
    KeyValue,
    /// `keyValue` is no key.
    #[error("keyValue: {0}")]
    BadKey(BadKey),
}

impl Regenerate {
    /// Reads a request's body. `keyValue` may be missing or null, which mean the same.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, BadRegenerate> {
        let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else {
            return Err(BadRegenerate::NoObject);
        };
        let word = body.get("keyType").and_then(Value::as_str);
        let slot = word.and_then(Slot::from_wire).ok_or(BadRegenerate::KeyType)?;
        let value = match body.get("keyValue") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(KeyValue::new(text).map_err(BadRegenerate::BadKey)?),
            Some(_) => return Err(BadRegenerate::KeyValue),
        };
        Ok(Self { slot, value })
    }
}
