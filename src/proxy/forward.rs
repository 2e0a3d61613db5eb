//! Doing what was decided: a place, a connection, the credential, the request, the answer; and sending again where that is safe.
//!
//! Called by `pipeline`. What may be sent again, and when, is `rotation.md`'s last rule: what never left, what the upstream says
//! it did not process, and on a reused HTTP/1.1 connection that closed without a byte of answer only idempotent requests.

use std::rc::Rc;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use http_body::Body;
use hyper::body::Incoming;

use super::{
    body::{ExpectGate, RequestBody, ResponseBody},
    credential,
    decide::Plan,
    endpoint::Handed,
    exchange::{Exchange, Watched},
    headers::{
        forwarded::{self, PreviousHop},
        framing, strip,
        survey::{Present, Survey},
        trace,
    },
    reject::Reject,
    upstream::pool::{Lease, LocalBackend, Unanswered},
    view::{EndpointView, View},
};

/// Most times a request is sent because connections lost it unprocessed; the last on a connection made for it.
const MAX_SENDS: usize = 4;

/// A plan without its borrows: what `forward` needs beside the head.
#[derive(Debug)]
pub struct Outbound {
    endpoint: usize,
    attach: bool,
    candidates: (usize, usize),
    /// The path below the base, where it is not the request's own.
    path: Option<Box<str>>,
    content_length: Option<u64>,
    body: u64,
    replay_body: u64,
    trailers: Box<[HeaderName]>,
    identity: Option<(HeaderName, HeaderValue)>,
    /// Whether the peer's word on where the request came from is believed.
    trusted: bool,
    /// What is in the head.
    present: Present,
    /// The caller's `authorization` stays until the credential takes its place.
    replaces_authorization: bool,
    expects: bool,
    crumbs: bool,
}

impl Outbound {
    /// From a plan.
    pub fn new(view: &View, plan: Plan<'_>, survey: &Survey<'_>, trusted: bool) -> Self {
        let forward = plan.forward;
        let identity = forward.identity_header.as_ref().and_then(|name| {
            let caller = view.caller(plan.caller)?;
            Some((name.clone(), HeaderValue::from_str(caller).ok()?))
        });
        let credential = view.endpoint(forward.endpoint).and_then(|endpoint| endpoint.credential.as_ref());
        let replaces_authorization = forward.attach && credential.is_some_and(|c| c.header == header::AUTHORIZATION);
        Self {
            endpoint: forward.endpoint,
            attach: forward.attach,
            candidates: plan.candidates,
            path: (!plan.path_unchanged).then(|| plan.path.into()),
            content_length: plan.content_length,
            body: forward.body,
            replay_body: forward.replay_body,
            trailers: forward.trailers.clone(),
            identity,
            trusted,
            present: survey.present,
            replaces_authorization,
            expects: survey.expects_continue(),
            crumbs: survey.cookie.is_repeated(),
        }
    }
}

/// The upstream's answer, with the connection it comes over.
#[derive(Debug)]
pub struct Answer {
    response: Response<Incoming>,
    lease: Lease,
}

/// Forwards a request and awaits the head of its answer.
///
/// # Errors
/// The answer of our own where the upstream gave none.
pub async fn forward(
    exchange: Rc<Exchange>,
    view: Rc<View>,
    mut outbound: Outbound,
    mut head: Parts,
    body: Incoming,
) -> Result<Answer, Reject> {
    let worker = &exchange.worker;
    let endpoint = view.endpoint(outbound.endpoint).ok_or(Reject::NoRoute)?;
    match exchange.within(endpoint.local.admission().admit()).await? {
        Ok(place) => drop(exchange.place.replace(Some(place))),
        Err(reject) => {
            worker.count_limit("queue");
            return Err(reject);
        }
    }
    let has_body = !body.is_end_stream();
    let expects = has_body && outbound.expects;
    prepare(&mut head, &exchange, &view, &outbound);
    if has_body {
        exchange.upload.borrow_mut().open(body, outbound.body, &outbound.trailers);
    }

    let mut fresh = false;
    for attempt in 1..=MAX_SENDS {
        let mut lease = connect(&exchange, endpoint, outbound.candidates, fresh).await?;
        let may_repeat = lease.is_h2() || endpoint.retry_unanswered || head.method.is_idempotent();
        if has_body && may_repeat {
            exchange.upload.borrow_mut().hold(outbound.replay_body);
        }
        exchange.upload.borrow_mut().begin_sending();
        let spare = may_repeat.then(|| head.clone());
        let mut request = address(head, &lease, &outbound, &exchange, has_body)?;
        if expects && !lease.is_h2() {
            await_continue(&mut request, &exchange);
        }
        let _handed = attach(&mut request, &exchange, &view, &outbound);
        note_upstream(&exchange, &lease);

        let sent = worker.coarse_now();
        exchange.sent(sent);
        let outcome = exchange.within(lease.send(request)).await?;
        if let Some(fault) = exchange.upload.borrow().fault() {
            return Err(fault);
        }
        let reason = match outcome {
            Ok(response) => {
                endpoint.local.answered(sent, worker.now());
                return accept(response, lease, &exchange);
            }
            Err(Unanswered::Unsent(request)) => {
                head = request.into_parts().0;
                unaddress(&mut head, &lease, &mut outbound);
                fresh = attempt + 1 == MAX_SENDS;
                worker.count_resend(&exchange, "unsent");
                continue;
            }
            Err(Unanswered::Unprocessed) => "unprocessed",
            Err(Unanswered::Silent)
                if endpoint.retry_unanswered || spare.as_ref().is_some_and(|s| s.method.is_idempotent()) =>
            {
                fresh = true;
                "silent"
            }
            Err(Unanswered::Silent) => return Err(Reject::UpstreamProtocolError),
            Err(Unanswered::Broken(error)) => {
                tracing::debug!(error = ?error, "an upstream broke off");
                return Err(Reject::UpstreamProtocolError);
            }
        };
        let sendable = !has_body || exchange.upload.borrow().is_held();
        head = spare.filter(|_| sendable).ok_or(Reject::UpstreamProtocolError)?;
        worker.count_resend(&exchange, reason);
    }
    Err(Reject::UpstreamProtocolError)
}

/// What is the same for every sending: fields removed and added, but for the credential.
fn prepare(head: &mut Parts, exchange: &Exchange, view: &View, outbound: &Outbound) {
    let host = head.headers.get(header::HOST).cloned().or_else(|| {
        let authority = head.uri.authority()?;
        HeaderValue::from_str(authority.as_str()).ok()
    });
    // Room for what is added below, and for the credential.
    head.headers.reserve(8);
    let kept = if outbound.replaces_authorization { strip::AUTHORIZATION } else { 0 };
    strip::strip_request(&mut head.headers, outbound.present.strip & !kept, &view.snapshot.stripped);
    if outbound.crumbs {
        strip::join_cookies(&mut head.headers);
    }
    forwarded::set_forwarded(
        &mut head.headers,
        PreviousHop {
            claims: outbound.present.forwarded,
            address: &exchange.connection.address,
            tls: exchange.connection.tls,
            trusted: outbound.trusted,
            host: host.unwrap_or(HeaderValue::from_static("")),
            version: head.version,
        },
    );
    trace::set_ids(&mut head.headers, &exchange.request_id, outbound.present.trace);
    if let Some((name, caller)) = &outbound.identity {
        head.headers.insert(name.clone(), caller.clone());
    }
}

/// A connection to the less loaded candidate; to the other one where that cannot be reached, since nothing was sent yet.
async fn connect(
    exchange: &Exchange,
    endpoint: &EndpointView,
    candidates: (usize, usize),
    fresh: bool,
) -> Result<Lease, Reject> {
    let find = |at: usize| endpoint.backends.get(at).ok_or(Reject::UpstreamUnreachable);
    let (first, second) = (find(candidates.0)?, find(candidates.1)?);
    let (first, second): (&Rc<LocalBackend>, _) =
        if second.load() < first.load() { (second, first) } else { (first, second) };
    match exchange.within(first.lend(&exchange.worker, fresh)).await? {
        Ok(lease) => Ok(lease),
        Err(reject) if Rc::ptr_eq(first, second) => Err(reject),
        Err(_) => exchange.within(second.lend(&exchange.worker, fresh)).await?,
    }
}

/// Points a head at an upstream, in the form its protocol wants.
fn address(
    mut head: Parts,
    lease: &Lease,
    outbound: &Outbound,
    exchange: &Rc<Exchange>,
    has_body: bool,
) -> Result<Request<RequestBody>, Reject> {
    let backend = lease.backend();
    let target = target(&head.uri, outbound.path.as_deref(), &backend.base)?;
    head.uri = if lease.is_h2() {
        head.version = Version::HTTP_2;
        head.headers.remove(header::HOST);
        let scheme = if backend.tls.is_some() { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(backend.authority.clone()).path_and_query(target);
        uri.build().map_err(|_too_long| Reject::RequestHeadTooLarge)?
    } else {
        head.version = Version::HTTP_11;
        head.headers.insert(header::HOST, lease.host());
        if has_body && outbound.content_length.is_none() {
            // hyper sends no body of unknown length with GET or HEAD unless told so, and only trailers that are announced.
            head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            if !outbound.trailers.is_empty() {
                announce_trailers(&mut head.headers, &outbound.trailers);
            }
        }
        Uri::from(target)
    };
    head.extensions.clear();
    let body =
        if has_body { RequestBody::upload(Rc::clone(exchange), outbound.content_length) } else { RequestBody::Empty };
    Ok(Request::from_parts(head, body))
}

fn announce_trailers(headers: &mut HeaderMap, allowed: &[HeaderName]) {
    let names: Vec<&str> = allowed.iter().map(HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        headers.insert(header::TRAILER, names);
    }
}

/// Takes back what [`address`] did, so that the head can be pointed at another upstream.
fn unaddress(head: &mut Parts, lease: &Lease, outbound: &mut Outbound) {
    head.headers.remove(header::EXPECT);
    head.headers.remove(header::TRANSFER_ENCODING);
    if outbound.path.is_none()
        && let Some(below) = head.uri.path().strip_prefix(&*lease.backend().base)
    {
        outbound.path = Some(format!("/{below}").into());
    }
}

/// Base and path joined, with the query as it came.
fn target(uri: &Uri, path: Option<&str>, base: &str) -> Result<PathAndQuery, Reject> {
    if let (None, "/", Some(own)) = (path, base, uri.path_and_query()) {
        return Ok(own.clone());
    }
    let path = path.unwrap_or(uri.path());
    let below = path.strip_prefix('/').unwrap_or(path);
    let query = uri.query();
    let mut target = String::with_capacity(base.len() + below.len() + query.map_or(0, |q| q.len() + 1));
    target.push_str(base);
    target.push_str(below);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    // Escaped and joined it may be longer than a target can be (65,534 bytes): never anything but what was asked for.
    PathAndQuery::from_maybe_shared(bytes::Bytes::from(target)).map_err(|_too_long| Reject::RequestHeadTooLarge)
}

/// Attaches what the endpoint's service wants now: the present view is asked for each sending. Whatever it says, the caller's
/// own credential does not leave.
fn attach(
    request: &mut Request<RequestBody>,
    exchange: &Exchange,
    view: &Rc<View>,
    outbound: &Outbound,
) -> Option<Handed> {
    let present = exchange.worker.view();
    let began = view.endpoint(outbound.endpoint)?;
    let endpoint =
        if Rc::ptr_eq(&present, view) { began } else { present.endpoint_by_id(began.local.id()).unwrap_or(began) };
    let credential = endpoint.credential.as_ref().filter(|_| outbound.attach);
    if outbound.replaces_authorization && credential.is_none_or(|credential| credential.header != header::AUTHORIZATION)
    {
        request.headers_mut().remove(header::AUTHORIZATION);
    }
    Some(credential::attach(request.headers_mut(), credential?, &endpoint.local))
}

/// Passes `Expect: 100-continue` on: the body waits for the upstream's 100, so that a refused upload is never sent.
fn await_continue(request: &mut Request<RequestBody>, exchange: &Exchange) {
    let gate = ExpectGate::closed(exchange.worker.now());
    exchange.upload.borrow_mut().expect_continue(std::sync::Arc::clone(&gate));
    request.headers_mut().insert(header::EXPECT, HeaderValue::from_static("100-continue"));
    hyper::ext::on_informational(request, move |informational| {
        if informational.status() == StatusCode::CONTINUE {
            gate.open();
        }
    });
}

/// Takes an answer, if it is one that can be passed on, and makes its head ours.
fn accept(mut response: Response<Incoming>, lease: Lease, exchange: &Exchange) -> Result<Answer, Reject> {
    let survey = strip::survey_response(response.headers());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        || !framing::response_is_sound(survey.transfer_encoding, survey.content_length)
    {
        return Err(Reject::UpstreamProtocolError);
    }
    let (present, has_request_id) = (survey.present, survey.has_request_id);
    let headers = response.headers_mut();
    strip::strip_response(headers, present);
    if !has_request_id {
        headers.insert(trace::X_REQUEST_ID, exchange.request_id.clone());
    }
    exchange.upload.borrow_mut().settle(&exchange.worker);
    Ok(Answer { response, lease })
}

impl Answer {
    /// The answer as the caller gets it.
    pub fn respond(self, exchange: Watched) -> Response<ResponseBody> {
        let Self { mut response, lease } = self;
        exchange.0.record.status.set(response.status().as_u16());
        exchange.0.head_sent(exchange.0.worker.coarse_now());
        *response.version_mut() = Version::HTTP_11;
        response.map(|incoming| ResponseBody::upstream(exchange, incoming, lease))
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
        for (uri, path, base, expected) in [
            ("/score?a=1&b=%20", None, "/", "/score?a=1&b=%20"),
            ("/iris/score?x", Some("/score"), "/", "/score?x"),
            ("/score", None, "/api/v1/service/iris/", "/api/v1/service/iris/score"),
            ("/", None, "/base/", "/base/"),
            ("http://h/score?q", None, "/", "/score?q"),
        ] {
            let uri: Uri = uri.parse().expect("uri");
            assert_eq!(target(&uri, path, base).expect("short").as_str(), expected);
        }
    }

    #[test]
    fn a_target_that_grew_too_long_is_refused_and_never_another_one() {
        let uri = Uri::from_static("/iris");
        let grown = "/%7B".repeat(20_000);
        assert_eq!(target(&uri, Some(&grown), "/"), Err(Reject::RequestHeadTooLarge));
    }
}
