//! One request over one connection to an upstream: sent, and its answer's head read. The body is read by `body::ResponseBody`.
//!
//! An upstream that answers early and resets has its answer lying in our receive buffer. So a failed write is not reported at
//! once: the read side decides, and an answer wins over the write error.

use std::{
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::StatusCode;

use super::{
    chunked::Decoder,
    link::Link,
    parse::{self, BadHead, HeadEnd},
    upload::{Broken, Framing, Sending},
};
use crate::proxy::{
    body::RequestBody,
    head::ResponseHead,
    headers::{framing, survey::ResponseSurvey},
};

/// Largest head of an answer, bytes and fields: twice what a caller may send.
const MAX_HEAD: usize = 64 << 10;
const MAX_FIELDS: usize = 200;
/// Informational answers before the final one: more than this is a loop.
const MAX_INFORMATIONAL: usize = 16;

/// What is to be sent.
#[derive(Debug)]
pub struct Outbound {
    /// The whole head.
    pub head: Vec<u8>,
    /// The body.
    pub body: RequestBody,
    /// How that is framed.
    pub framing: Framing,
    /// The method is HEAD: the answer has no body.
    pub is_head: bool,
    /// A 101 is asked for: with it the connection becomes what was asked for.
    pub upgrade: bool,
    /// Where the head of the answer goes.
    pub answer: Box<ResponseHead>,
}

/// The head of an answer, and whether the connection may serve again after it.
#[derive(Debug)]
pub struct Answered {
    /// The head.
    pub head: Box<ResponseHead>,
    /// Whether the upstream keeps the connection.
    pub keeps: bool,
    /// The memory that the request's head was written in, where the request is sent already.
    pub memory: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nothing of the request was written. The frame that was taken of its body already, if one was.
    Unsent(Option<Bytes>),
    /// The connection ended with no byte of answer.
    Silent,
    /// The body broke off, by the caller's doing.
    Body,
    /// Something that is not HTTP, or an end in the middle of a head.
    Broken(Unreadable),
}

/// What an upstream said.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The stream.
    #[error("the connection failed: {0}")]
    Io(io::Error),
    /// The head.
    #[error("the answer is not HTTP/1.1: {0}")]
    Head(BadHead),
    /// Framing that two readers could understand in two ways, or none.
    #[error("the answer's framing has no one meaning")]
    Framing,
    /// A 101 that nobody asked for, or informational answers without end.
    #[error("an informational answer that nobody asked for")]
    Informational,
}

/// Sends a request and reads the head of its answer. What the upstream says before that is given to `informational`: a 100 asks for
/// the body.
///
/// # Errors
/// See [`NoAnswer`]. The connection is of no further use then.
pub async fn exchange(
    link: &Rc<Link>,
    request: Outbound,
    informational: impl Fn(&ResponseHead),
) -> Result<Answered, NoAnswer> {
    let Outbound { head, body, framing, is_head, upgrade, answer } = request;
    let before = link.bytes_read();
    let mut sending = Some(Sending::new(Rc::clone(link), head, body, framing));
    let mut memory = Vec::new();
    let mut reading = Reading { end: HeadEnd::default(), head: answer, informational: 0, upgrade };
    let line = poll_fn(|cx| {
        if let Some(active) = &mut sending {
            match active.poll(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => memory = sending.take().map(Sending::into_memory).unwrap_or_default(),
                Poll::Ready(Err(Broken::Body)) => return Poll::Ready(Err(NoAnswer::Body)),
                Poll::Ready(Err(Broken::Io(error))) => {
                    link.fail_writes();
                    if let Some(first) = active.untouched() {
                        return Poll::Ready(Err(NoAnswer::Unsent(first)));
                    }
                    tracing::debug!(%error, "an upstream does not take the request");
                    sending = None;
                }
            }
        }
        reading.poll(link, cx, &informational).map_err(|why| match why {
            Unreadable::Io(_) if link.bytes_read() == before => NoAnswer::Silent,
            other => NoAnswer::Broken(other),
        })
    })
    .await?;
    let Reading { head, .. } = reading;
    let survey = ResponseSurvey::of(&head.fields);
    let decoder = body_of(head.status, is_head, &survey).ok_or(NoAnswer::Broken(Unreadable::Framing))?;
    let says = head.fields.connection();
    let keeps = decoder != Decoder::UntilClose && !says.close && (!line.old || says.keep_alive);
    link.begin_body(decoder, false);
    if let Some(rest) = sending {
        send_rest(Rc::clone(link), rest);
    }
    Ok(Answered { head, keeps, memory })
}

/// The answer came before the request was sent: a task of its own sends the rest. It ends when the exchange lets go of the
/// upload, or the connection is closed.
fn send_rest(link: Rc<Link>, mut rest: Sending) {
    link.set_uploading(true);
    tokio::task::spawn_local(async move {
        match poll_fn(|cx| rest.poll(cx)).await {
            Ok(()) => link.set_uploading(false),
            Err(_broken) => link.fail_writes(),
        }
    });
}

struct Reading {
    end: HeadEnd,
    head: Box<ResponseHead>,
    informational: usize,
    upgrade: bool,
}

impl Reading {
    fn poll(
        &mut self,
        link: &Link,
        cx: &mut Context<'_>,
        informational: &impl Fn(&ResponseHead),
    ) -> Poll<Result<parse::StatusLine, Unreadable>> {
        loop {
            let found = link.with_ahead(|bytes| {
                self.end.read(bytes, MAX_HEAD, |bytes| parse::response(bytes, MAX_FIELDS, &mut self.head))
            });
            let Some((length, line)) = found.map_err(Unreadable::Head)? else {
                if ready!(link.poll_fill(cx)).map_err(Unreadable::Io)? == 0 {
                    return Poll::Ready(Err(Unreadable::Io(io::ErrorKind::UnexpectedEof.into())));
                }
                continue;
            };
            link.take_ahead(length);
            let switches = self.upgrade && self.head.status == StatusCode::SWITCHING_PROTOCOLS;
            if switches || !self.head.status.is_informational() {
                return Poll::Ready(Ok(line));
            }
            self.end = HeadEnd::default();
            self.informational += 1;
            if self.head.status == StatusCode::SWITCHING_PROTOCOLS || self.informational > MAX_INFORMATIONAL {
                return Poll::Ready(Err(Unreadable::Informational));
            }
            informational(&self.head);
        }
    }
}

/// How the body of an answer ends (RFC 9112 section 6.3). None where that is not clear.
fn body_of(status: StatusCode, is_head: bool, survey: &ResponseSurvey<'_>) -> Option<Decoder> {
    if !framing::response_is_sound(survey.transfer_encoding, survey.content_length) {
        return None;
    }
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::SWITCHING_PROTOCOLS];
    if is_head || bodiless.contains(&status) {
        return Some(Decoder::Done);
    }
    if survey.transfer_encoding.first().is_some() {
        return Some(Decoder::chunked());
    }
    Some(match survey.content_length.first() {
        None => Decoder::UntilClose,
        Some(digits) => match framing::plain_number(digits)? {
            0 => Decoder::Done,
            length => Decoder::Length(length),
        },
    })
}
