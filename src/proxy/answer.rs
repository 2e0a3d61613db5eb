//! What a request is answered with, before it is known which HTTP carries it.

use http::{HeaderMap, Response};

use super::{body::ResponseBody, head::ResponseHead, headers::outgoing, tunnel::Tunnel, worker::Worker};

/// What comes of a request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "the rare one is boxed; the other is moved once a request")]
pub enum Outcome {
    /// An answer.
    Answer(Answer),
    /// The caller's connection or stream becomes something else, whose far end is open.
    Tunnel(Box<Tunnel>),
}

/// An answer: head and body.
#[derive(Debug)]
pub struct Answer {
    /// The head, as the upstream or we made it: what passes is for `headers::outgoing` to say.
    pub head: ResponseHead,
    /// The body.
    pub body: ResponseBody,
    /// It is our own.
    pub is_ours: bool,
}

impl Tunnel {
    /// What grants it, as hyper wants that for HTTP/2 (RFC 8441 section 5).
    pub fn answer(&self, worker: &Worker) -> Response<()> {
        let mut fields = HeaderMap::new();
        let id = &self.exchange.0.request_id;
        outgoing::write_answer(&mut fields, &self.head.fields, false, id, &worker.date());
        let mut response = Response::new(());
        *response.headers_mut() = fields;
        response
    }
}

impl Answer {
    /// As hyper wants it for HTTP/2.
    pub fn into_response(self, worker: &Worker) -> Response<ResponseBody> {
        let Self { head, body, .. } = self;
        let mut fields = HeaderMap::with_capacity(head.fields.len() + 2);
        outgoing::write_answer(&mut fields, &head.fields, true, &body.exchange().request_id, &worker.date());
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = fields;
        response
    }
}
