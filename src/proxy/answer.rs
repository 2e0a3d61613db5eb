//! What a request is answered with, before it is known which HTTP carries it.

use http::{HeaderMap, Response};

use super::{
    body::ResponseBody,
    head::ResponseHead,
    headers::{outgoing, survey::ResponseSurvey},
    worker::Worker,
};

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

impl Answer {
    /// As hyper wants it for HTTP/2.
    pub fn into_response(self, worker: &Worker) -> Response<ResponseBody> {
        let Self { head, body, .. } = self;
        let survey = ResponseSurvey::of(&head.fields);
        let mut fields = HeaderMap::with_capacity(head.fields.len() + 2);
        outgoing::write_answer(&mut fields, &head.fields, &survey, true, &body.exchange().request_id, &worker.date());
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = fields;
        response
    }
}
