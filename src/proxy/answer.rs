//! What a request is answered with, before it is known which HTTP carries it.

use http::{Method, StatusCode};

use super::{
    body::ResponseBody,
    head::ResponseHead,
    headers::outgoing::{self, FieldSink},
    tunnel::Tunnel,
    worker::Worker,
};

/// What comes of a request.
#[derive(Debug)]
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
    pub head: Box<ResponseHead>,
    /// The body.
    pub body: ResponseBody,
    /// It is our own.
    pub is_ours: bool,
}

impl Answer {
    /// Whether it has no body, whatever its head says (RFC 9110 sections 9.3.2, 15.3.5 and 15.4.5).
    pub fn is_bodiless(&self, request: &Method) -> bool {
        request == Method::HEAD || matches!(self.head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// Writes the fields that pass. The length that one without a body would have had stays (RFC 9110 section 8.6).
    pub fn write_fields(&self, sink: &mut impl FieldSink, bodiless: bool, worker: &Worker) {
        let keeps_length = bodiless && self.head.status != StatusCode::NO_CONTENT;
        let id = &self.body.exchange().request_id;
        outgoing::write_answer(sink, &self.head.fields, keeps_length, id, &worker.date());
    }
}
