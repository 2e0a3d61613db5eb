//! Doing what was decided: a place, a connection, the credential, the request, the answer; and sending again where that is safe.
//!
//! Called by `pipeline`. Sent again is what never left, what the upstream says it did not process, and on a reused HTTP/1.1
//! connection that closed without a byte of answer only idempotent requests (RFC 9110 section 9.2.2), or what the endpoint allows.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use hyper::body::Incoming;

use super::{
    answer::{Answer, Outcome},
    body::{CallerBody, RequestBody, ResponseBody},
    credential,
    decide::Plan,
    endpoint::Handed,
    exchange::{Exchange, Watched},
    expect::ExpectGate,
    head::{RequestHead, ResponseHead},
    headers::{
        forwarded::PreviousHop,
        framing,
        outgoing::{FieldSink, Outgoing},
        survey::{ResponseSurvey, Survey},
        websocket,
    },
    http1::{
        client::{self, NoAnswer},
        link::Link,
        upload::Framing,
        write::HeadWriter,
    },
    reject::Reject,
    tunnel::{End, Tunnel},
    upstream::{
        Backend, Protocol,
        pool::{Lease, LocalBackend, Unanswered, Wish},
    },
    view::{EndpointView, View},
};

/// Most times a request is sent because connections lost it unprocessed; the last on a connection made for it.
const MAX_SENDS: usize = 4;

/// What is to be forwarded, and where.
#[derive(Debug)]
pub struct Forwarding<'a> {
    /// The view it was decided by.
    pub view: &'a Rc<View>,
    /// What was decided.
    pub plan: Plan<'a>,
    /// The request's head.
    pub head: &'a RequestHead,
    /// What stands in it.
    pub survey: &'a Survey<'a>,
    /// Whether the peer's word on where the request came from is believed.
    pub trusted: bool,
}

/// What came of one sending.
enum Sent {
    Answered(ResponseHead, Source),
    Unsent,
    /// By the connection's end or the upstream's word; why, for the metric.
    Lost(&'static str),
}

/// Where an answer's body comes from, or what the connection has become.
#[derive(Debug)]
enum Source {
    H1(Rc<Link>),
    H2(Incoming),
    Tunnel(End),
}

/// The upstream's answer, with the connection it comes over.
#[derive(Debug)]
pub struct Reached {
    head: ResponseHead,
    source: Source,
    lease: Lease,
}

impl Reached {
    /// The answer as the caller gets it.
    pub fn outcome(self, exchange: Watched) -> Outcome {
        let Self { head, source, lease } = self;
        exchange.0.record.status.set(head.status.as_u16());
        exchange.0.head_sent(exchange.0.worker.coarse_now());
        let body = match source {
            Source::H1(link) => ResponseBody::h1(exchange, link, lease),
            Source::H2(incoming) => ResponseBody::h2(exchange, incoming, lease),
            Source::Tunnel(end) => return Outcome::Tunnel(Box::new(Tunnel::new(head, exchange, end, lease))),
        };
        Outcome::Answer(Answer { head, body, is_ours: false })
    }
}

impl Forwarding<'_> {
    /// Forwards a request and awaits the head of its answer.
    ///
    /// # Errors
    /// The answer of our own where the upstream gave none.
    pub async fn run(&self, exchange: &Rc<Exchange>, body: CallerBody) -> Result<Reached, Reject> {
        let worker = &exchange.worker;
        let endpoint = self.view.endpoint(self.plan.forward.endpoint).ok_or(Reject::NoRoute)?;
        match exchange.within(endpoint.local.admission().admit()).await? {
            Ok(place) => drop(exchange.place.replace(Some(place))),
            Err(reject) => {
                worker.count_limit("queue");
                return Err(reject);
            }
        }
        let forward = self.plan.forward;
        let has_body = !body.is_end_stream();
        if has_body {
            exchange.upload.borrow_mut().open(body, forward.body, &forward.trailers);
        }
        let idempotent = self.head.method.is_idempotent();

        let mut fresh = false;
        for attempt in 1..=MAX_SENDS {
            let mut lease = self.connect(exchange, endpoint, fresh).await?;
            let may_repeat = lease.is_h2() || endpoint.retry_unanswered || idempotent;
            {
                let mut upload = exchange.upload.borrow_mut();
                if has_body && may_repeat && self.plan.content_length.is_none_or(|length| length <= forward.replay_body)
                {
                    upload.hold(forward.replay_body);
                } else if has_body && may_repeat && attempt == 1 {
                    // What cannot be held whole is not held at all.
                    worker.count_limit("replay_body");
                }
                upload.begin_sending();
            }
            note_upstream(exchange, &lease);
            let sent = worker.coarse_now();
            exchange.sent(sent);
            let outcome = match lease.take_memory() {
                Some(memory) => self.send_h1(exchange, &mut lease, memory, has_body).await,
                None => self.send_h2(exchange, &mut lease, has_body).await,
            };
            if let Some(fault) = exchange.upload.borrow().fault() {
                return Err(fault);
            }
            match outcome? {
                Sent::Answered(head, source) => {
                    endpoint.local.answered(sent, worker.now());
                    exchange.upload.borrow_mut().settle(worker);
                    return Ok(Reached { head, source, lease });
                }
                Sent::Unsent => {
                    fresh = attempt + 1 == MAX_SENDS;
                    worker.count_resend(exchange, "unsent");
                }
                Sent::Lost("silent") if !(lease.reused && (endpoint.retry_unanswered || idempotent)) => {
                    return Err(Reject::UpstreamProtocolError);
                }
                Sent::Lost(_) if has_body && !exchange.upload.borrow().is_held() => {
                    return Err(Reject::UpstreamProtocolError);
                }
                Sent::Lost(reason) => {
                    fresh = reason == "silent";
                    worker.count_resend(exchange, reason);
                }
            }
        }
        Err(Reject::UpstreamProtocolError)
    }

    /// A connection to the less loaded candidate; to the other one where that cannot be reached, since nothing was sent yet.
    async fn connect(&self, exchange: &Exchange, endpoint: &EndpointView, fresh: bool) -> Result<Lease, Reject> {
        let find = |at: usize| endpoint.backends.get(at).ok_or(Reject::UpstreamUnreachable);
        let (first, second) = (find(self.plan.candidates.0)?, find(self.plan.candidates.1)?);
        let (first, second): (&Rc<LocalBackend>, _) =
            if second.load() < first.load() { (second, first) } else { (first, second) };
        // A WebSocket is HTTP/1.1's wherever that can be had: few servers know it over HTTP/2.
        let wish = |of: &LocalBackend| Wish { fresh, h1: self.plan.websocket && of.backend.protocol != Protocol::H2 };
        match exchange.within(first.lend(&exchange.worker, wish(first))).await? {
            Ok(lease) => Ok(lease),
            Err(reject) if Rc::ptr_eq(first, second) => Err(reject),
            Err(_) => exchange.within(second.lend(&exchange.worker, wish(second))).await?,
        }
    }

    async fn send_h1(
        &self,
        exchange: &Rc<Exchange>,
        lease: &mut Lease,
        mut memory: Vec<u8>,
        has_body: bool,
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
        let _handed = self.write_fields(exchange, &mut head);
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
        };
        let informational = |said: &ResponseHead| match (said.status, &gate) {
            (StatusCode::CONTINUE, Some(gate)) => gate.open(),
            // Nobody asked for it.
            (StatusCode::CONTINUE, None) => {}
            // HTTP/1.0 has none of these (RFC 9110 section 15.2), and hyper no way to send them over HTTP/2.
            _ if self.head.version == Version::HTTP_11 => exchange.connection.say_ahead(said),
            _ => {}
        };
        let link = lease.link().ok_or(Reject::UpstreamProtocolError)?;
        match exchange.within(lease.send_h1(request, informational)).await? {
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

    async fn send_h2(&self, exchange: &Rc<Exchange>, lease: &mut Lease, has_body: bool) -> Result<Sent, Reject> {
        let backend = lease.backend();
        let mut request = Request::new(request_body(exchange, has_body, self.plan.content_length));
        *request.method_mut() = self.head.method.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri(backend, &self.target(&backend.base).concat())?;
        let mut fields = HeaderMap::with_capacity(self.head.fields.len() + 8);
        let _handed = self.write_fields(exchange, &mut fields);
        if let Some(length) = self.plan.content_length.filter(|_| has_body) {
            fields.insert(header::CONTENT_LENGTH, length.into());
        }
        *request.headers_mut() = fields;
        if self.plan.websocket {
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(hyper::ext::Protocol::from_static("websocket"));
        }
        match exchange.within(lease.send_h2(request)).await? {
            Ok(mut response) if self.plan.websocket && response.status() == StatusCode::OK => {
                let stream = hyper::upgrade::on(&mut response);
                let Ok(stream) = exchange.within(stream).await? else { return Err(Reject::UpstreamProtocolError) };
                let mut head = ResponseHead::from(response.into_parts().0);
                if self.head.version != Version::HTTP_2 {
                    head.status = StatusCode::SWITCHING_PROTOCOLS;
                }
                Ok(Sent::Answered(head, Source::Tunnel(End::h2(stream))))
            }
            Ok(response) => {
                let (parts, incoming) = response.into_parts();
                let head = ResponseHead::from(parts);
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

    /// The request's fields as they go on, and what the endpoint's service wants now: the present view is asked for each
    /// sending. Whatever it says, the caller's own credential does not leave.
    fn write_fields(&self, exchange: &Exchange, sink: &mut impl FieldSink) -> Option<Handed> {
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
            identity: forward.identity_header.as_ref().zip(self.view.caller(self.plan.caller).map(|name| &**name)),
            websocket_key: false,
        }
        .write(sink);
        let present = exchange.worker.view();
        let began = self.view.endpoint(forward.endpoint)?;
        let endpoint = if Rc::ptr_eq(&present, self.view) {
            began
        } else {
            present.endpoint_by_id(began.local.id()).unwrap_or(began)
        };
        let credential = endpoint.credential.as_ref().filter(|_| forward.attach)?;
        Some(credential::attach(sink, credential, &endpoint.local))
    }

    /// Base and path joined, with the query as it came.
    fn target<'t>(&'t self, base: &'t str) -> [&'t str; 4] {
        target(base, &self.plan.path, self.head.query())
    }
}

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

    fn end(self, mut head: ResponseHead, link: Rc<Link>) -> Result<Sent, Reject> {
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

fn note_upstream(exchange: &Exchange, lease: &Lease) {
    if let Some(logged) = &mut *exchange.record.logged.borrow_mut() {
        logged.upstream = Some(Rc::clone(lease.pool()));
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
