//! A request: made by whoever asks, written by `http` for each attempt anew.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::{Repeat, connect::Form};
use crate::{
    azure::{calls::Why, error::Error, url::Url},
    secret::Secret,
};

/// Whom a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Somebody out there: over the proxy of the environment, and with a secret over TLS alone.
    Far,
    /// A service of this machine's own host, such as the one that knows its managed identity: no proxy, and plain HTTP.
    Host,
}

/// A request's body.
#[derive(Debug, Clone)]
pub enum Body {
    /// None, with `content-length: 0` where the method means something by a body.
    None,
    /// `application/x-www-form-urlencoded`.
    Form(Secret),
    /// `application/json`.
    Json(Secret),
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// For the ledger.
    pub why: Why,
    /// For the sentence about its failure: goes on after "cannot".
    pub doing: String,
    /// Its method.
    pub method: Method,
    /// Its address.
    pub url: Url,
    /// Fields besides those that every request has.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Body,
    /// Whether it may be sent again.
    pub repeat: Repeat,
    /// Statuses that mean "not now" here, besides the usual ones.
    pub also: &'static [u16],
    /// Whom it is for.
    pub reach: Reach,
    /// What in it is secret: decides over which way it may go, and is taken out of whatever is said about its answer.
    pub secrets: Vec<Secret>,
}

impl Request {
    /// A read.
    pub fn get(why: Why, doing: impl Into<String>, url: Url) -> Self {
        Self {
            why,
            doing: doing.into(),
            method: Method::GET,
            url,
            fields: HeaderMap::new(),
            body: Body::None,
            repeat: Repeat::Freely,
            also: &[],
            reach: Reach::Far,
            secrets: Vec::new(),
        }
    }

    /// A POST that changes nothing when it is sent twice.
    pub fn post(why: Why, doing: impl Into<String>, url: Url, body: Body) -> Self {
        Self { method: Method::POST, body, ..Self::get(why, doing, url) }
    }

    /// With a field; one that cannot be sent is left out.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.fields.insert(name, value);
        }
        self
    }

    /// With a field whose value is secret.
    ///
    /// # Errors
    /// Where the secret has characters that no field can have.
    pub fn with_secret(mut self, name: HeaderName, prefix: &str, secret: &Secret) -> Result<Self, Error> {
        let Ok(value) = secret.to_field(prefix) else {
            let what = format!("what should stand in `{name}` has characters that cannot stand in a header");
            return Err(Error::local(self.doing, what));
        };
        self.fields.insert(name, value);
        self.secrets.push(secret.clone());
        Ok(self)
    }
}

/// The message of one attempt.
pub(super) fn message(request: &Request, correlation: &str, form: Form) -> Result<http::Request<Full<Bytes>>, String> {
    let (body, kind) = match &request.body {
        Body::None => (Bytes::new(), None),
        Body::Form(form) => (wiped(form), Some("application/x-www-form-urlencoded")),
        Body::Json(json) => (wiped(json), Some("application/json")),
    };
    let length = body.len();
    let mut message = http::Request::new(Full::new(body));
    *message.method_mut() = request.method.clone();
    let fields = message.headers_mut();
    fields.extend(request.fields.clone());
    let field = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
    fields.insert(header::HOST, field(request.url.authority())?);
    fields.insert(header::USER_AGENT, HeaderValue::from_static(concat!("scoregate/", env!("CARGO_PKG_VERSION"))));
    fields.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(kind) = kind {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if request.method == Method::POST {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    // The resource manager reads the first, the identity provider the others.
    fields.insert("x-ms-client-request-id", field(correlation)?);
    fields.insert("client-request-id", field(correlation)?);
    fields.insert("return-client-request-id", HeaderValue::from_static("true"));
    *message.uri_mut() = match form {
        Form::Origin => request.url.target().parse().map_err(|_parsed_before| "the target is none".to_owned())?,
        Form::Absolute(authorization) => {
            if let Some(value) = authorization {
                fields.insert(header::PROXY_AUTHORIZATION, value);
            }
            request.url.to_uri()
        }
    };
    Ok(message)
}

/// Bytes that are wiped when the last of the connection lets go of them.
fn wiped(secret: &Secret) -> Bytes {
    Bytes::from_owner(Zeroizing::new(secret.expose_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_requests_nor_answers_show_their_secrets() {
        let secret = Secret::new(b"canary".to_vec());
        let url = Url::parse("https://h/").unwrap();
        let request = Request::post(Why::SignIn, "sign in", url, Body::Form(secret.clone()));
        let request = request.with_secret(header::AUTHORIZATION, "Bearer ", &secret).unwrap();
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
        let bad = Secret::new(b"a\nb".to_vec());
        let url = Url::parse("https://h/").unwrap();
        let error = Request::get(Why::Token, "ask", url).with_secret(header::AUTHORIZATION, "", &bad).unwrap_err();
        assert!(error.to_string().contains("cannot stand in a header"), "{error}");
    }
}
