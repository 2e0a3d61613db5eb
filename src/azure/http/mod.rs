//! One request to Azure and its answer: deadlines, retries where they are safe, the environment's proxy, correlation ids.
//!
//! Every call of this client goes through [`Http::call`]. It never follows a redirect, never sends a secret in plain text
//! off this machine, never reads an answer without an end, and logs no body and no query.

mod connect;
mod reply;
mod request;
mod retry;
#[cfg(fuzzing)]
mod scripted;

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::{client::proxy::matcher::Matcher, rt::TokioIo};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use self::{connect::ConnectError, reply::Asked};
pub use self::{
    reply::Reply,
    request::{Body, Reach, Request},
    retry::{Attempts, Repeat},
};
use super::{
    calls::Calls,
    error::{Error, Fault},
};
use crate::{clock::Clock, random};

/// Name, TCP, proxy and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request to the last byte of its answer. Azure's own client gives a call 80 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest list of services that anyone was seen to have is a few hundred KiB.
const LARGEST_ANSWER: usize = 4 << 20;

/// An answer as it came.
type Answer = (http::response::Parts, Zeroizing<Vec<u8>>);

/// Whose certificates are believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those of the platform; `SSL_CERT_FILE` replaces them.
    Platform,
    /// These alone.
    Only(Arc<rustls::RootCertStore>),
}

/// Which proxies stand in between.
#[derive(Debug, Clone)]
pub struct Proxies(Arc<Matcher>);

impl Proxies {
    /// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of this process, in either case.
    #[must_use]
    pub fn from_env() -> Self {
        Self(Arc::new(Matcher::from_env()))
    }

    /// None, whatever the environment says.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(Matcher::builder().build()))
    }

    /// This one for everything but what `except` lists, as `NO_PROXY` does.
    #[must_use]
    pub fn all(proxy: &str, except: &str) -> Self {
        Self(Arc::new(Matcher::builder().all(proxy).no(except).build()))
    }
}

/// The client. Cloning gives the same one.
#[derive(Clone)]
pub struct Http(Arc<Parts>);

struct Parts {
    trust: Trust,
    /// Made when first needed: reading the platform's roots takes milliseconds, and plain addresses need none.
    tls: OnceLock<TlsConnector>,
    proxies: Proxies,
    clock: Clock,
    attempts: Attempts,
    /// Answers in the place of the network's.
    #[cfg(fuzzing)]
    script: Option<scripted::Script>,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    /// A client that trusts the platform's authorities.
    #[must_use]
    pub fn new(proxies: Proxies, clock: Clock, attempts: Attempts) -> Self {
        Self(Arc::new(Parts {
            trust: Trust::Platform,
            tls: OnceLock::new(),
            proxies,
            clock,
            attempts,
            #[cfg(fuzzing)]
            script: None,
        }))
    }

    /// The same client with other authorities.
    #[must_use]
    pub fn trusting(&self, trust: Trust) -> Self {
        let Parts { proxies, clock, attempts, .. } = &*self.0;
        let (proxies, clock, attempts) = (proxies.clone(), clock.clone(), *attempts);
        Self(Arc::new(Parts {
            trust,
            tls: OnceLock::new(),
            proxies,
            clock,
            attempts,
            #[cfg(fuzzing)]
            script: self.0.script.clone(),
        }))
    }

    /// The clock that its pauses are taken on.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Sends a request and reads its answer, whatever the status; again where that is safe and makes sense.
    ///
    /// # Errors
    /// Where no answer came, or one that cannot be read.
    pub async fn call(&self, request: Request, calls: &mut Calls) -> Result<Reply, Error> {
        let host = request.url.authority().to_owned();
        if !request.secrets.is_empty() && request.reach == Reach::Far && !request.url.keeps_secrets() {
            let what =
                format!("{} is plain http:// and not on this machine, so no credential is sent there", request.url);
            return Err(Error::local(request.doing, what).advise("use https://"));
        }
        let mut attempt = 1;
        loop {
            let correlation = correlation_id();
            calls.begun(request.why);
            let began = self.0.clock.now();
            // On the heap: everyone who waits for a call would carry the size of an exchange.
            let answered = Box::pin(self.once(&request, &correlation)).await;
            let (status, outcome) = match &answered {
                Ok(reply) => {
                    calls.answered(reply.status);
                    (reply.status, retry::Outcome::Answered(reply.status, reply.retry_after))
                }
                Err(Fault::Unreachable { .. }) => (0, retry::Outcome::NotSent),
                Err(Fault::Untrusted { .. } | Fault::Malformed { .. }) => (0, retry::Outcome::Hopeless),
                Err(_) => (0, retry::Outcome::Unanswered),
            };
            tracing::debug!(
                why = request.why.label(), method = %request.method, url = %request.url, status, attempt,
                milliseconds = u64::try_from(self.0.clock.now().since(began).as_millis()).unwrap_or(u64::MAX),
                correlation, "called Azure"
            );
            let dice = random::bytes().map_or(0, u64::from_ne_bytes);
            let this = retry::Attempt { number: attempt, repeat: request.repeat, also: request.also, outcome };
            let pause = self.0.attempts.next_pause(this, dice);
            let Some(pause) = pause else {
                let is_far = request.reach == Reach::Far;
                let asked = Asked { doing: request.doing, host, correlation, secrets: request.secrets };
                return match answered {
                    Ok(reply) => Ok(Reply { asked, ..reply }),
                    Err(fault) if is_far => Err(explained(asked.error(fault))),
                    Err(fault) => Err(asked.error(fault)),
                };
            };
            self.0.clock.sleep(pause).await;
            attempt += 1;
        }
    }

    async fn once(&self, request: &Request, correlation: &str) -> Result<Reply, Fault> {
        let (head, body) = self.exchange(request, correlation).await?;
        let now = self.0.clock.unix_seconds();
        let proven = request.url.keeps_secrets();
        let ahead = retry::date(&head.headers)
            .filter(|_| proven)
            .and_then(|date| Some(i64::try_from(date).ok()? - i64::try_from(now).ok()?));
        let host = request.url.authority().to_owned();
        let nobody = Asked { doing: String::new(), host, correlation: String::new(), secrets: Vec::new() };
        let retry_after = retry::retry_after(&head.headers, now);
        Ok(Reply { status: head.status.as_u16(), fields: head.headers, body, asked: nobody, ahead, retry_after })
    }

    async fn exchange(&self, request: &Request, correlation: &str) -> Result<Answer, Fault> {
        #[cfg(fuzzing)]
        if let Some(script) = &self.0.script {
            return script.answer(request);
        }
        let host = request.url.authority().to_owned();
        let unreachable = |why: String| Fault::Unreachable { host: host.clone(), why };
        let no_answer = |why: String| Fault::NoAnswer { host: host.clone(), why };
        // What stays on this machine needs nobody in between.
        let direct = request.reach == Reach::Host || request.url.is_loopback();
        let proxy = if direct { None } else { self.0.proxies.0.intercept(&request.url.to_uri()) };
        let connecting = connect::connect(&request.url, proxy.as_ref(), || self.tls());
        let (stream, form) = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(ConnectError::Unreachable(why))) => return Err(unreachable(why)),
            Ok(Err(ConnectError::Untrusted(why))) => return Err(Fault::Untrusted { host: host.clone(), why }),
            Err(_elapsed) => return Err(unreachable(format!("no connection within {CONNECT_TIMEOUT:?}"))),
        };
        let message = request::message(request, correlation, form).map_err(unreachable)?;
        let exchange = async {
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|e| unreachable(e.to_string()))?;
            let answer = async {
                let response = match sender.try_send_request(message).await {
                    Ok(response) => response,
                    Err(mut error) => {
                        // Given back is what was not written.
                        let unsent = error.take_message().is_some();
                        let why = broken(&error.into_error());
                        return Err(if unsent { unreachable(why) } else { no_answer(why) });
                    }
                };
                let (head, body) = response.into_parts();
                let body = match Limited::new(body, LARGEST_ANSWER).collect().await {
                    Ok(body) => Zeroizing::new(body.to_bytes().to_vec()),
                    Err(error) if error.is::<LengthLimitError>() => {
                        let found = format!("more than {} MiB", LARGEST_ANSWER >> 20);
                        let status = head.status.as_u16();
                        return Err(Fault::Malformed { host: host.clone(), status, found, expected: "an answer" });
                    }
                    Err(_) => return Err(no_answer("it broke off within its answer".to_owned())),
                };
                drop(sender);
                Ok((head, body))
            };
            // Both to their end: a connection may close before its answer was read here.
            tokio::join!(connection, answer).1
        };
        timeout(ANSWER_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_elapsed| Err(no_answer(format!("nothing within {ANSWER_TIMEOUT:?}"))))
    }

    fn tls(&self) -> &TlsConnector {
        self.0.tls.get_or_init(|| {
            let roots = match &self.0.trust {
                Trust::Only(roots) => Arc::clone(roots),
                Trust::Platform => {
                    let mut roots = rustls::RootCertStore::empty();
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    Arc::new(roots)
                }
            };
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let versions = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
            #[expect(clippy::expect_used, reason = "the provider has the versions that it calls its defaults")]
            let config = versions.expect("TLS 1.2 and 1.3").with_root_certificates(roots).with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        })
    }
}

fn broken(error: &hyper::Error) -> String {
    match error {
        _ if error.is_incomplete_message() || error.is_closed() => "it closed the connection without one".to_owned(),
        _ if error.is_parse() => "what it sent is not HTTP".to_owned(),
        _ => error.to_string(),
    }
}

fn explained(error: Error) -> Error {
    match error.fault() {
        Fault::Untrusted { .. } => error.advise(
            "a private authority is named in `cloud.ca`, or with SSL_CERT_FILE where there is no configuration",
        ),
        Fault::Unreachable { .. } => error.advise("is the network, a proxy (HTTPS_PROXY) or a firewall in the way?"),
        _ => error,
    }
}

/// A random id of RFC 9562 version 4: Azure's side wants a GUID.
pub(crate) fn correlation_id() -> String {
    let number: u128 = random::bytes().map_or(0, u128::from_be_bytes);
    let number = number & !(0xf << 76) | 0x4 << 76;
    let number = number & !(0x3 << 62) | 0x2 << 62;
    let part = |shift: u32, digits: usize| {
        let mask = (1_u128 << (digits * 4)) - 1;
        format!("{:0digits$x}", number >> shift & mask)
    };
    [part(96, 8), part(80, 4), part(64, 4), part(48, 4), part(0, 12)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_excepted_goes_without_the_proxy() {
        let proxies = Proxies::all("http://127.0.0.1:1", "azureml.ms, 10.0.0.0/8");
        let stands_before = |url: &str| proxies.0.intercept(&url.parse().unwrap()).is_some();
        assert!(stands_before("https://management.azure.com/") && stands_before("https://azureml.ms.example/"));
        assert!(!stands_before("https://eastus.api.azureml.ms/") && !stands_before("https://10.1.2.3/"));
    }

    #[test]
    fn correlation_ids_are_guids() {
        let (one, other) = (correlation_id(), correlation_id());
        assert_ne!(one, other);
        let lengths: Vec<usize> = one.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&one.as_bytes()[19]));
    }
}
