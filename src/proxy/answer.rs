//! What a request is answered with, before it is known which HTTP carries it.

use super::{body::ResponseBody, head::ResponseHead, tunnel::Tunnel};

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
