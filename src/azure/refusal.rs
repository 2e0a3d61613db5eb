//! What Azure says when it refuses, in the five shapes it says it in, as one code and one line.
//!
//! `http` reads every answer outside 2xx with it. Nothing of a body is shown but the message of a known shape, and of that
//! no control character, nothing beyond `LONGEST`, and none of the secrets that were sent.

use std::fmt;

use serde_json::Value;

use crate::secret::Secret;

/// Characters of a message that are shown.
const LONGEST: usize = 300;

/// An answer outside 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Azure's own code, or that of OAuth; empty where it gave none.
    pub code: String,
    /// Azure's own words, one line; empty where it gave none.
    pub message: String,
    /// `AADSTS` numbers.
    pub numbers: Vec<u32>,
    /// Whose errors look like this.
    pub shape: Shape,
}

/// Whose errors look how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Resource manager: `{"error": {"code", "message", "details"}}`.
    ResourceManager,
    /// Model management of v1 services: `{"code", "statusCode", "message", "details"}`.
    ModelManagement,
    /// Identity provider and IMDS: `{"error", "error_description", "error_codes"}` (RFC 6749 section 5.2).
    OAuth,
    /// Managed identity of App Service: `{"statusCode", "message"}`.
    AppService,
    /// A scoring container: `{"message"}`.
    Container,
    /// None of Azure's: a proxy on the way, or a body that was cut off.
    Unknown,
}

impl Refusal {
    /// Reads the body of an answer. `secrets` are taken out of the message, should it quote one.
    #[must_use]
    pub fn read(status: u16, body: &[u8], secrets: &[Secret]) -> Self {
        // Whatever is no object is read as one without keys.
        let parsed: serde_json::Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| parsed.get(key).and_then(Value::as_str);
        let (shape, code, message, details) = match (parsed.get("error"), text("code"), text("message")) {
            (Some(Value::Object(error)), ..) => {
                let inner = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
                (Shape::ResourceManager, inner("code"), inner("message"), error.get("details"))
            }
            (Some(Value::String(error)), ..) => {
                (Shape::OAuth, error.as_str(), text("error_description").unwrap_or_default(), None)
            }
            (_, Some(code), message) => {
                (Shape::ModelManagement, code, message.unwrap_or_default(), parsed.get("details"))
            }
            (_, None, Some(message)) if parsed.contains_key("statusCode") => (Shape::AppService, "", message, None),
            (_, None, Some(message)) => (Shape::Container, "", message, None),
            (_, None, None) => (Shape::Unknown, "", "", None),
        };
        let numbers = parsed.get("error_codes").and_then(Value::as_array).into_iter().flatten();
        let detail = details.and_then(|details| details.get(0)?.get("code")?.as_str()).filter(|detail| *detail != code);
        Self {
            status,
            code: one_line(&detail.map_or_else(|| code.to_owned(), |detail| format!("{code}/{detail}")), secrets),
            message: one_line(without_traces(message), secrets),
            numbers: numbers.filter_map(|number| u32::try_from(number.as_u64()?).ok()).collect(),
            shape,
        }
    }

    /// The action that the message says is not permitted, as role definitions name it.
    #[must_use]
    pub fn denied_action(&self) -> Option<&str> {
        let (_, rest) = self.message.split_once("perform action '")?;
        rest.split_once('\'').map(|(action, _)| action)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => f.write_str(" without a reason"),
            (code, "") => write!(f, " {code}"),
            ("", message) => write!(f, ": {message}"),
            (code, message) => write!(f, " {code}: {message}"),
        }
    }
}

/// The identity provider adds ids of its own to every description; the correlation id is told apart from it.
fn without_traces(message: &str) -> &str {
    message.split(" Trace ID:").next().unwrap_or(message)
}

/// A text of Azure's as it may be shown: one line, not too long, and none of what was sent.
pub(super) fn one_line(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        // Shorter ones would take letters out of words, and are not kept by chance.
        if let Ok(secret) = std::str::from_utf8(secret.expose_bytes())
            && secret.len() >= 4
        {
            text = text.replace(secret, "[redacted]");
        }
    }
    let visible: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: &str) -> Refusal {
        Refusal::read(400, body.as_bytes(), &[Secret::new(b"canary-secret".to_vec())])
    }

    #[test]
    fn each_shape_gives_its_code_and_its_words() {
        for (body, shape, shown) in [
            (
                r#"{"error":{"code":"AuthorizationFailed","message":"The client has no authorization.","details":[]}}"#,
                Shape::ResourceManager,
                "status 400 AuthorizationFailed: The client has no authorization",
            ),
            (
                r#"{"code":"BadRequest","statusCode":400,"message":"No.","details":[{"code":"TokenAuthDisabled"}]}"#,
                Shape::ModelManagement,
                "status 400 BadRequest/TokenAuthDisabled: No",
            ),
            (
                r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2","error_codes":[7000215]}"#,
                Shape::OAuth,
                "status 400 invalid_client: AADSTS7000215: Invalid client secret provided",
            ),
            (r#"{"statusCode":400,"message":"No identity"}"#, Shape::AppService, "status 400: No identity"),
            (r#"{"message":"no such path"}"#, Shape::Container, "status 400: no such path"),
            ("{}", Shape::Unknown, "status 400 without a reason"),
            ("<html>canary</html>", Shape::Unknown, "status 400 without a reason"),
            ("", Shape::Unknown, "status 400 without a reason"),
            ("[1]", Shape::Unknown, "status 400 without a reason"),
            (r#"{"error":null,"code":7}"#, Shape::Unknown, "status 400 without a reason"),
        ] {
            let refusal = read(body);
            assert_eq!((refusal.shape, refusal.to_string().as_str()), (shape, shown), "{body}");
        }
        assert_eq!(read(r#"{"error":"x","error_codes":[7000215,"no",-1]}"#).numbers, [7_000_215]);
    }

    #[test]
    fn a_message_is_one_line_of_bounded_length_without_what_was_sent() {
        let refusal = read(r#"{"message":"a\u001b[31m\nb  canary-secret c"}"#);
        assert_eq!(refusal.message, "a [31m b [redacted] c");
        let long = read(&format!(r#"{{"message":"{}"}}"#, "é".repeat(5000)));
        assert_eq!(long.message.chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_short_line_without_what_was_sent(status in 300_u16..600, body: Vec<u8>) {
            let refusal = Refusal::read(status, &body, &[]);
            prop_assert_eq!(refusal.status, status);
        }

        #[test]
        fn no_shape_lets_a_secret_or_a_control_character_through(
            key in "error|code|message|error_description|details",
            before in "\\PC{0,20}", after in "(\\PC|\\PC\n|\u{1b}){0,400}",
        ) {
            let text = format!("{before}canary-secret{after}");
            for body in [
                serde_json::json!({ &key: text, "message": text }),
                serde_json::json!({ "error": { &key: text, "message": text } }),
                serde_json::json!({ "code": "c", "details": [{ "code": text }] }),
            ] {
                let refusal = Refusal::read(400, body.to_string().as_bytes(), &[Secret::new(b"canary-secret".to_vec())]);
                let shown = refusal.to_string();
                prop_assert!(!shown.contains("canary"), "{}", shown);
                prop_assert!(!shown.contains(char::is_control) && shown.chars().count() < 3 * LONGEST, "{}", shown);
            }
        }
    }

    #[test]
    fn the_action_that_is_missing_is_found_in_the_message() {
        let body = r#"{"error":{"code":"AuthorizationFailed","message":"The client 'x' does not have authorization to perform action 'Microsoft.A/b/action' over scope '/s'"}}"#;
        assert_eq!(read(body).denied_action(), Some("Microsoft.A/b/action"));
        assert_eq!(read("{}").denied_action(), None);
    }
}
