//! A JSON object of which every name stands once. RFC 7515 section 4 and RFC 7519 section 4 leave it to the reader whether two are
//! refused; where two programs read one token, each its own of them, an attacker says two things at once.

use std::fmt;

use serde::{
    Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// Reads one. None where it is not that.
pub(super) fn read(json: &[u8]) -> Option<Map<String, Value>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let object = reader.deserialize_map(Once).ok()?;
    reader.end().is_ok().then_some(object)
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = entries.next_entry::<String, Value>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name that stands twice"));
            }
        }
        Ok(object)
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn every_name_stands_once() {
        assert_eq!(read(br#"{"a":1,"b":{"a":2}}"#).map(|object| object.len()), Some(2));
        for wrong in [r#"{"a":1,"a":1}"#, "[]", "1", "", "{", "{}x", "{} {}", r#"{"a":1,}"#, "null"] {
            assert!(read(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(read(&[b"{\"a\":".repeat(10_000), b"1".to_vec(), b"}".repeat(10_000)].concat()).is_none());
    }
}
