//! One sending of a request: its head and body over a lent connection, the credential with it, and the head of the answer.
//!
//! Called by `forward` as often as a request is sent. What is attached is asked of the worker's present view each time.

use std::{pin::pin, rc::Rc};

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;

use super::{
    auth::Subject,
    body::RequestBody,
    credential::LocalAttachment,
    endpoint::Handed,
    exchange::Exchange,
    expect::ExpectGate,
    forward::Forwarding,
    head::ResponseHead,
    headers::{
        forwarded::PreviousHop,
        framing,
        outgoing::{FieldSink, Identity, Outgoing},
        survey::ResponseSurvey,
        websocket,
    },
    http1::{
        client::{self, NoAnswer},
        link::Link,
        upload::Framing,
        write::HeadWriter,
    },
    reject::Reject,
    trail::Trail,
    tunnel::End,
    upstream::{
        Backend,
        pool::{Lease, Unanswered},
    },
};

/// What came of one sending.
pub(super) enum Sent {
    /// The head of an answer.
    Answered(Box<ResponseHead>, Source),
    /// Nothing of it left.
    Unsent,
    /// There was nothing to attach any more, or nothing that was not refused: nothing left.
    Bare,
    /// By the connection's end or the upstream's word; why, for the metric.
    Lost(&'static str),
}

/// Where an answer's body comes from, or what the connection has become.
#[derive(Debug)]
pub(super) enum Source {
    /// Over HTTP/1.1.
    H1(Rc<Link>),
    /// A stream of HTTP/2.
    H2(Incoming),
    /// A WebSocket.
    Tunnel(End),
}
impl Forwarding<'_> {
    /// Sends it over HTTP/1.1.
    ///
    /// # Errors
    /// What ends the request.
    pub(super) async fn send_h1(
        &self,
        exchange: &Rc<Exchange>,
        lease: &mut Lease,
        mut memory: Vec<u8>,
        has_body: bool,
        trail: &mut Trail,
    ) -> Result<Sent, Reject> {
        let framing = match self.plan.content_length {
            Some(length) if has_body => Framing::Length(length),
            None if has_body => Framing::Chunked,
            // A method that means something by a body says that there is none (RFC 9110 section 8.6).
            _ if matches!(self.head.method, Method::POST | Method::PUT | Method::PATCH) => Framing::Length(0),
            _ => Framing::None,
        };
        let gate = (has_body && self.survey.expects_continue()).then(|| ExpectGate::closed(exchange.worker.now()));
        let target = self.target(&lease.backend().base);
        let method = if self.plan.websocket { &Method::GET } else { &self.head.method };
        let mut head = HeadWriter::request(&mut memory, method, &target);
        head.field(b"host", lease.backend().authority.as_str().as_bytes());
        let Ok(_handed) = self.write_fields(exchange, &mut head, trail) else {
            memory.clear();
            lease.put_memory_back(memory);
            return Ok(Sent::Bare);
        };
        let handshake = self.plan.websocket.then(|| Handshake::begin(self, exchange, &mut head));
        match framing {
            Framing::None => {}
            Framing::Length(length) => head.length(length),
            Framing::Chunked => {
                head.line(b"transfer-encoding: chunked\r\n");
                announce_trailers(&mut head, &self.plan.forward.trailers);
            }
        }
        if let Some(gate) = &gate {
            head.line(b"expect: 100-continue\r\n");
            exchange.upload.borrow_mut().expect_continue(Rc::clone(gate));
        }
        head.end();
        let request = client::Outbound {
            head: memory,
            body: request_body(exchange, has_body, self.plan.content_length),
            framing,
            is_head: self.head.method == Method::HEAD,
            upgrade: handshake.is_some(),
            answer: exchange.worker.answer_heads().take(),
        };
        let informational = |said: &ResponseHead| match (said.status, &gate) {
            (StatusCode::CONTINUE, Some(gate)) => gate.open(),
            // Nobody asked for it.
            (StatusCode::CONTINUE, None) => {}
            // HTTP/1.0 has none of these (RFC 9110 section 15.2).
            _ if self.head.version != Version::HTTP_10 => exchange.connection.say_ahead(said),
            _ => {}
        };
        let link = lease.link().ok_or(Reject::UpstreamProtocolError)?;
        let answered = exchange.within(pin!(lease.send_h1(request, informational))).await?;
        match answered {
            Ok(head) => match handshake {
                Some(handshake) => handshake.end(head, link),
                None => Ok(Sent::Answered(head, Source::H1(link))),
            },
            Err(NoAnswer::Unsent(first)) => {
                if let Some(first) = first {
                    exchange.upload.borrow_mut().put_back(first);
                }
                Ok(Sent::Unsent)
            }
            Err(NoAnswer::Silent) => Ok(Sent::Lost("silent")),
            Err(NoAnswer::Body) => Err(Reject::UpstreamProtocolError),
            Err(NoAnswer::Broken(error)) => {
                tracing::debug!(%error, "an upstream broke off");
                Err(Reject::UpstreamProtocolError)
            }
        }
    }

    /// Sends it over HTTP/2.
    ///
    /// # Errors
    /// What ends the request.
    pub(super) async fn send_h2(
        &self,
        exchange: &Rc<Exchange>,
        lease: &mut Lease,
        has_body: bool,
        trail: &mut Trail,
    ) -> Result<Sent, Reject> {
        let backend = lease.backend();
        let mut request = Request::new(request_body(exchange, has_body, self.plan.content_length));
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri(backend, &self.target(&backend.base).concat())?;
        let mut fields = HeaderMap::with_capacity(self.head.fields.len() + 8);
        let Ok(_handed) = self.write_fields(exchange, &mut fields, trail) else { return Ok(Sent::Bare) };
        if let Some(length) = self.plan.content_length.filter(|_| has_body) {
            fields.insert(header::CONTENT_LENGTH, length.into());
        }
        *request.headers_mut() = fields;
        if self.plan.websocket {
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        }
        let answered = exchange.within(pin!(lease.send_h2(request))).await?;
        match answered {
            Ok(mut response) if self.plan.websocket && response.status() == StatusCode::OK => {
                let stream = hyper::upgrade::on(&mut response);
                let Ok(stream) = exchange.within(stream).await? else { return Err(Reject::UpstreamProtocolError) };
                let mut head = Box::new(ResponseHead::from(response.into_parts().0));
                if self.head.version != Version::HTTP_2 {
                    head.status = StatusCode::SWITCHING_PROTOCOLS;
                }
                Ok(Sent::Answered(head, Source::Tunnel(End::h2(stream))))
            }
            Ok(response) => {
                let (parts, incoming) = response.into_parts();
                let head = Box::new(ResponseHead::from(parts));
                let survey = ResponseSurvey::of(&head.fields);
                if !framing::response_is_sound(survey.transfer_encoding, survey.content_length) {
                    return Err(Reject::UpstreamProtocolError);
                }
                Ok(Sent::Answered(head, Source::H2(incoming)))
            }
            Err(Unanswered::Unsent) => Ok(Sent::Unsent),
            Err(Unanswered::Unprocessed) => Ok(Sent::Lost("unprocessed")),
            Err(Unanswered::Broken(error)) => {
                tracing::debug!(%error, "an upstream broke off");
                Err(Reject::UpstreamProtocolError)
            }
        }
    }

    /// Who was let in.
    fn identity(&self) -> Option<Identity<'_>> {
        let caller = self.view.caller(self.plan.caller)?;
        Some(Identity { caller, who: self.plan.subject.as_ref().and_then(Subject::who) })
    }

    /// The request's fields as they go on, and what the endpoint's service wants now: the present view is asked for each
    /// sending. Whatever it says, the caller's own credential does not leave.
    ///
    /// # Errors
    /// Where there is nothing to attach any more.
    fn write_fields(
        &self,
        exchange: &Exchange,
        sink: &mut impl FieldSink,
        trail: &mut Trail,
    ) -> Result<Option<Handed>, Bare> {
        let forward = self.plan.forward;
        let connection = &exchange.connection;
        let host = self.survey.host.first().or_else(|| self.head.authority().map(str::as_bytes)).unwrap_or_default();
        Outgoing {
            head: self.head,
            survey: self.survey,
            configured: &self.view.snapshot.stripped,
            hop: PreviousHop {
                address: connection.address().as_bytes(),
                tls: connection.tls,
                trusted: self.trusted,
                host,
                version: self.head.version,
            },
            id: &exchange.request_id,
            identity: forward.identity_header.as_ref().zip(self.identity()),
            websocket_key: false,
        }
        .write(sink);
        if !forward.attach {
            trail.choose_nothing();
            return Ok(None);
        }
        let worker = &exchange.worker;
        self.with_present(worker, |present| {
            if matches!(present.attachment, LocalAttachment::Nothing) {
                trail.choose_nothing();
                return Some(Ok(None));
            }
            let offered = present.attachment.valid(worker.coarse_now())?;
            let hold = exchange.upload.borrow().hold_for(present.replay, self.plan.content_length);
            let value = trail.choose(offered, hold, exchange.started.as_micros())?;
            offered.write(sink, value).then(|| Ok(Some(present.local.hand(value))))
        })
        .unwrap_or(Err(Bare))
    }

    /// Base and path joined, with the query as it came.
    fn target<'t>(&'t self, base: &'t str) -> [&'t str; 4] {
        target(base, &self.plan.path, self.head.query())
    }
}

/// There was nothing to attach.
struct Bare;

/// The opening handshake of a WebSocket with an upstream that speaks HTTP/1.1 (RFC 6455 section 4). The caller's key passes where it has
/// one; in the place of a caller that speaks HTTP/2 it is ours, and so is the look at the answer (RFC 8441 section 5).
struct Handshake {
    /// What must come back, and the status that the caller gets with it.
    ours: Option<String>,
}

impl Handshake {
    fn begin(forwarding: &Forwarding<'_>, exchange: &Exchange, head: &mut HeadWriter<'_>) -> Self {
        head.line(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        if forwarding.head.version != Version::HTTP_2 {
            for key in forwarding.head.fields.all("sec-websocket-key") {
                head.field(b"sec-websocket-key", key);
            }
            return Self { ours: None };
        }
        let key = websocket::key([exchange.worker.dice(), exchange.worker.dice()]);
        head.field(b"sec-websocket-key", key.as_bytes());
        Self { ours: Some(websocket::accept(key.as_bytes())) }
    }

    fn end(self, mut head: Box<ResponseHead>, link: Rc<Link>) -> Result<Sent, Reject> {
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            // To a caller that speaks HTTP/2 any success would say that the stream is a WebSocket now.
            let misleads = self.ours.is_some() && head.status.is_success();
            return if misleads {
                Err(Reject::UpstreamProtocolError)
            } else {
                Ok(Sent::Answered(head, Source::H1(link)))
            };
        }
        let survey = ResponseSurvey::of(&head.fields);
        let switched = survey.upgrade.first().is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
            && head.fields.connection().upgrade;
        let understood = self.ours.as_ref().is_none_or(|key| survey.websocket_accept.first() == Some(key.as_bytes()));
        if !switched || !understood {
            return Err(Reject::UpstreamProtocolError);
        }
        if self.ours.is_some() {
            head.status = StatusCode::OK;
        }
        Ok(Sent::Answered(head, Source::Tunnel(End::H1(link))))
    }
}

fn target<'t>(base: &'t str, path: &'t str, query: Option<&'t str>) -> [&'t str; 4] {
    let below = path.strip_prefix('/').unwrap_or(path);
    [base, below, if query.is_some() { "?" } else { "" }, query.unwrap_or_default()]
}

/// Escaped and joined a target may be longer than hyper takes one (65,534 bytes): never anything but what was asked for.
fn uri(backend: &Backend, target: &str) -> Result<Uri, Reject> {
    let target = PathAndQuery::try_from(target).map_err(|_too_long| Reject::RequestHeadTooLarge)?;
    let scheme = if backend.tls.is_some() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(backend.authority.clone()).path_and_query(target);
    uri.build().map_err(|_too_long| Reject::RequestHeadTooLarge)
}

fn request_body(exchange: &Rc<Exchange>, has_body: bool, length: Option<u64>) -> RequestBody {
    if has_body { RequestBody::upload(Rc::clone(exchange), length) } else { RequestBody::Empty }
}

fn announce_trailers(head: &mut HeadWriter<'_>, allowed: &[HeaderName]) {
    if !allowed.is_empty() {
        let names: Vec<&str> = allowed.iter().map(HeaderName::as_str).collect();
        head.field(b"trailer", names.join(", ").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_base_path_and_query() {
        for (path, query, base, expected) in [
            ("/score", Some("a=1&b=%20"), "/", "/score?a=1&b=%20"),
            ("/score", None, "/api/v1/service/iris/", "/api/v1/service/iris/score"),
            ("/", None, "/base/", "/base/"),
            ("/score", Some(""), "/", "/score?"),
        ] {
            assert_eq!(target(base, path, query).concat(), expected);
        }
    }
}
