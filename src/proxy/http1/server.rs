//! A caller's HTTP/1.1 connection: heads in, answers out, one request at a time (RFC 9112 section 9.3).
//!
//! [`serve`] is small and lives as long as the connection; what a busy connection needs is in a box that goes when the connection
//! has been idle for a moment, so that ten thousand idle ones cost little. A caller that closes its side before its answer is
//! complete is gone, and its request is dropped (`half_close` on the listener says otherwise).

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{StatusCode, Version};
use http_body::{Body, Frame};

use super::{
    link::Link,
    output::Output,
    parse::{self, BadHead, HeadEnd},
    pipe::Pipe,
    write::HeadWriter,
};
use crate::{
    proxy::{
        answer::{Answer, Outcome},
        body::{CallerBody, CutOff, ResponseBody},
        connection::{Connection, Order},
        head::RequestHead,
        headers::{
            outgoing::{self, FieldSink},
            websocket,
        },
        io_watch::Phase,
        pipeline,
        server::arrives_soon,
        tunnel::{End, Tunnel, TunnelEnd},
        worker::Worker,
    },
    snapshot::Limits,
};

/// Bytes that are read ahead of an answer that is still under way.
const PIPELINED: usize = 16 << 10;
/// Bytes of a request that was answered without them, read and thrown away so that the connection can go on.
const DRAINED: usize = 64 << 10;

/// How a connection came to its end.
#[derive(Debug)]
pub enum Ended {
    /// It is to be closed in an orderly way; why, where that is worth counting.
    Close(Result<(), &'static str>),
    /// It is to be reset: its last answer must not look complete.
    Reset(&'static str),
}

/// Serves a connection to its end.
pub async fn serve(
    worker: &Rc<Worker>,
    connection: &Rc<Connection>,
    link: &Rc<Link>,
    limits: &Limits,
    half_close: bool,
) -> Ended {
    loop {
        let busy =
            Busy { worker, connection, link, limits, half_close, output: Output::default(), old: false, ended: None };
        if let Some(ended) = Box::pin(busy.run()).await {
            return ended;
        }
        link.shrink();
        poll_fn(|cx| {
            let told = connection.leash.poll_order(cx) != Order::Go;
            if told || link.stream().borrow().poll_read_ready(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

struct Busy<'a> {
    worker: &'a Rc<Worker>,
    connection: &'a Rc<Connection>,
    link: &'a Rc<Link>,
    limits: &'a Limits,
    half_close: bool,
    output: Output,
    /// The request is HTTP/1.0.
    old: bool,
    /// The answer's body was taken to its end, whichever that was.
    ended: Option<Result<(), Unsent>>,
}

/// What awaiting a head came to.
enum Awaited {
    Head,
    Parked,
    Told,
    Closed,
    Bad(BadHead),
    Broken(&'static str),
}

impl Busy<'_> {
    /// None: it has been idle for a moment.
    async fn run(mut self) -> Option<Ended> {
        let mut head = RequestHead::default();
        loop {
            let mut awaited = self.await_head(&mut head, false).await;
            if matches!(awaited, Awaited::Told) {
                if !arrives_soon(self.link).await {
                    return Some(Ended::Close(Ok(())));
                }
                // The next request is still served, and its answer says `connection: close`.
                self.connection.watch.enter(Phase::Head);
                awaited = self.await_head(&mut head, true).await;
            }
            match awaited {
                Awaited::Head => {}
                Awaited::Parked => return None,
                Awaited::Told | Awaited::Closed => return Some(Ended::Close(Ok(()))),
                Awaited::Broken(why) => return Some(Ended::Close(Err(why))),
                Awaited::Bad(bad) => return Some(Ended::Close(Err(self.refuse(bad).await))),
            }
            if let Err(ended) = self.answer(&head).await {
                return Some(ended);
            }
        }
    }

    async fn await_head(&self, head: &mut RequestHead, told: bool) -> Awaited {
        let mut end = HeadEnd::default();
        poll_fn(|cx| {
            loop {
                let found = self.link.with_ahead(|bytes| {
                    let read = end.read(bytes, self.limits.head, |bytes| {
                        let length = parse::request(bytes, self.limits.fields, head)?;
                        Ok(length.map(|length| (length, ())))
                    })?;
                    Ok(read.map_or((0, !bytes.is_empty()), |(length, ())| (length, true)))
                });
                let begun = match found {
                    Err(bad) => return Poll::Ready(Awaited::Bad(bad)),
                    Ok((0, begun)) => begun,
                    Ok((length, _)) => {
                        self.link.take_ahead(length);
                        return Poll::Ready(Awaited::Head);
                    }
                };
                if begun {
                    if self.connection.watch.phase().0 == Phase::Idle {
                        self.connection.watch.enter(Phase::Head);
                    }
                } else if !told && self.connection.leash.poll_order(cx) != Order::Go {
                    return Poll::Ready(Awaited::Told);
                } else if self.connection.may_park.take() {
                    return Poll::Ready(Awaited::Parked);
                }
                match self.link.poll_fill(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(0)) if begun => return Poll::Ready(Awaited::Broken("cut_off_by_client")),
                    Poll::Ready(Ok(0)) => return Poll::Ready(Awaited::Closed),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) if begun => return Poll::Ready(Awaited::Broken("io")),
                    Poll::Ready(Err(_)) => return Poll::Ready(Awaited::Closed),
                }
            }
        })
        .await
    }

    /// Answers what is no request: there is nothing in it to answer to but its status.
    async fn refuse(&mut self, bad: BadHead) -> &'static str {
        let (status, why) = match bad {
            BadHead::Malformed => (StatusCode::BAD_REQUEST, "parse"),
            BadHead::Version => (StatusCode::HTTP_VERSION_NOT_SUPPORTED, "parse"),
            BadHead::TooLarge => {
                self.worker.count_limit("head");
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_head_too_large")
            }
        };
        let mut head = HeadWriter::response(self.output.head(), status);
        head.line(b"connection: close\r\n");
        head.length(0);
        head.end();
        let _unread = poll_fn(|cx| self.output.poll_write(self.link, cx)).await;
        why
    }

    /// Answers one request. An error where the connection cannot go on.
    async fn answer(&mut self, head: &RequestHead) -> Result<(), Ended> {
        self.old = head.version == Version::HTTP_10;
        let gone = || Ended::Close(Err("cut_off_by_client"));
        let answer = {
            let body = CallerBody::H1(Rc::clone(self.link));
            let mut handler = pin!(pipeline::handle(self.worker, self.connection, head, body));
            let (output, ahead) = (&mut self.output, self.connection);
            let answer = poll_fn(|cx| {
                let answer = handler.as_mut().poll(cx);
                for said in ahead.take_ahead() {
                    let mut head = HeadWriter::response(output.head(), said.status);
                    outgoing::write_informational(&mut head, &said.fields);
                    head.end();
                }
                match answer {
                    Poll::Ready(answer) => Poll::Ready(Some(answer)),
                    Poll::Pending if matches!(output.poll_write(self.link, cx), Poll::Ready(Err(_))) => {
                        Poll::Ready(None)
                    }
                    Poll::Pending if is_gone(self.link, self.half_close, cx) => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            answer.await.ok_or_else(gone)?
        };
        let answer = match answer {
            Outcome::Answer(answer) => answer,
            Outcome::Tunnel(tunnel) => return Err(self.join(head, *tunnel).await),
        };
        let (goes_on, chunked) = self.write_head(head, &answer);
        let Answer { head: written, mut body, .. } = answer;
        self.worker.answer_heads().put_back(written);
        self.ended = None;
        let sent = poll_fn(|cx| self.send_body(&mut body, chunked, cx)).await;
        drop(body);
        match sent {
            Ok(()) if goes_on && self.drains() => Ok(()),
            Ok(()) => Err(Ended::Close(Ok(()))),
            Err(Unsent::Gone) => Err(gone()),
            // To HTTP/1.0 an orderly close is the end of an answer without a length (RFC 9112 section 6.3).
            Err(Unsent::CutOff) if self.old => Err(Ended::Reset("cut_off_by_upstream")),
            Err(Unsent::CutOff) => Err(Ended::Close(Err("cut_off_by_upstream"))),
        }
    }

    /// Switches protocols. What was read behind the request goes first through the tunnel.
    async fn join(&mut self, request: &RequestHead, tunnel: Tunnel) -> Ended {
        let id = &tunnel.exchange.0.request_id;
        let mut head = HeadWriter::response(self.output.head(), StatusCode::SWITCHING_PROTOCOLS);
        outgoing::write_answer(&mut head, &tunnel.head.fields, false, id, &self.worker.date());
        head.line(b"connection: Upgrade\r\nupgrade: websocket\r\n");
        // The upstream's own where it speaks HTTP/1.1 too, which is nothing else.
        if let Some(key) = request.fields.all("sec-websocket-key").next() {
            head.field(b"sec-websocket-accept", websocket::accept(key).as_bytes());
        }
        head.end();
        let written = poll_fn(|cx| match self.output.poll_write(self.link, cx) {
            Poll::Ready(Ok(())) => self.link.poll_flush(cx),
            other => other,
        });
        if written.await.is_err() {
            return Ended::Close(Err("cut_off_by_client"));
        }
        match tunnel.join(End::H1(Rc::clone(self.link))).await {
            TunnelEnd::Finished => Ended::Close(Ok(())),
            TunnelEnd::Broken => Ended::Reset("tunnel_broken"),
        }
    }

    /// Writes an answer's head. Says whether the connection may go on after it, and whether the body goes in chunks.
    fn write_head(&mut self, request: &RequestHead, answer: &Answer) -> (bool, bool) {
        let length = answer.body.length();
        let says = request.fields.connection();
        let bodiless = answer.is_bodiless(&request.method);
        let chunked = !bodiless && length.is_none() && !self.old;
        let goes_on = self.connection.leash.order() == Order::Go
            && (bodiless || chunked || length.is_some())
            && !says.close
            // What follows a request for a WebSocket that was not granted may be anything but a request.
            && request.method != http::Method::CONNECT
            && !(says.upgrade && request.fields.all("upgrade").any(|to| to.eq_ignore_ascii_case(b"websocket")))
            && (!self.old || says.keep_alive)
            // The rest of a request that we refuse is thrown away where it is there already; else the connection ends here.
            && (!answer.is_ours || self.drains());
        let mut head = HeadWriter::response(self.output.head(), answer.head.status);
        answer.write_fields(&mut head, bodiless, self.worker);
        if chunked {
            head.line(b"transfer-encoding: chunked\r\n");
        } else if let Some(length) = length.filter(|_| !bodiless) {
            head.length(length);
        }
        if !goes_on {
            head.line(b"connection: close\r\n");
        } else if self.old {
            head.line(b"connection: keep-alive\r\n");
        }
        head.end();
        (goes_on, chunked)
    }

    fn send_body(&mut self, body: &mut ResponseBody, chunked: bool, cx: &mut Context<'_>) -> Poll<Result<(), Unsent>> {
        loop {
            let mut dry = false;
            while self.ended.is_none() && !dry && self.output.has_room() {
                if body.is_piped()
                    && self.link.is_plain()
                    && let Some(mut pipe) = Pipe::open()
                {
                    match body.poll_take(&mut pipe, cx) {
                        Poll::Pending => dry = true,
                        Poll::Ready(Ok(())) => self.output.put_pipe(pipe),
                        Poll::Ready(Err(CutOff)) => self.ended = Some(Err(Unsent::CutOff)),
                    }
                    continue;
                }
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending => dry = true,
                    Poll::Ready(frame) => self.ended = self.put(frame, chunked),
                }
                if self.ended.is_none() && body.is_end_stream() {
                    self.ended = self.put(None, chunked);
                }
            }
            match self.output.poll_write(self.link, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Unsent::Gone)),
                Poll::Pending if self.ended.is_some() => return Poll::Pending,
                Poll::Pending => {
                    return if is_gone(self.link, self.half_close, cx) {
                        Poll::Ready(Err(Unsent::Gone))
                    } else {
                        Poll::Pending
                    };
                }
            }
            if let Some(ended) = self.ended {
                return self.link.poll_flush(cx).map(|flushed| flushed.map_err(|_lost| Unsent::Gone).and(ended));
            }
            if dry {
                let flushed = self.link.poll_flush(cx);
                let gone = matches!(flushed, Poll::Ready(Err(_))) || is_gone(self.link, self.half_close, cx);
                return if gone { Poll::Ready(Err(Unsent::Gone)) } else { Poll::Pending };
            }
        }
    }

    /// Takes what a body gave. Some: that was its end.
    fn put(&mut self, frame: Option<Result<Frame<Bytes>, CutOff>>, chunked: bool) -> Option<Result<(), Unsent>> {
        let trailers = match frame {
            Some(Err(CutOff)) => return Some(Err(Unsent::CutOff)),
            None => None,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.output.put(&data, chunked);
                    return None;
                }
                Err(frame) => frame.into_trailers().ok(),
            },
        };
        if chunked {
            self.output.end_chunks(trailers.as_ref());
        }
        Some(Ok(()))
    }

    /// Whether the request was read to its end, once what is there of it is thrown away.
    fn drains(&self) -> bool {
        let mut drained = 0;
        while !self.link.is_body_done() && drained < DRAINED && !self.link.awaits_continue() {
            match self.link.poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => drained += frame.data_ref().map_or(0, Bytes::len),
                Poll::Ready(None) => break,
                Poll::Ready(Some(Err(_))) | Poll::Pending => return false,
            }
        }
        self.link.is_body_done()
    }
}

/// Whether the caller has closed its side. What it sends meanwhile is its next request.
fn is_gone(link: &Link, half_close: bool, cx: &mut Context<'_>) -> bool {
    while !half_close && link.is_body_done() && link.with_ahead(<[u8]>::len) < PIPELINED {
        match link.poll_fill(cx) {
            Poll::Pending => return false,
            Poll::Ready(Ok(0) | Err(_)) => return true,
            Poll::Ready(Ok(_)) => {}
        }
    }
    false
}

/// Why an answer did not get through.
#[derive(Debug, Clone, Copy)]
enum Unsent {
    /// The caller is gone.
    Gone,
    /// The upstream broke off.
    CutOff,
}
