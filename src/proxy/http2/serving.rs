//! One stream's task: its request goes through the proxy, and what comes of it goes out.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http::{Method, StatusCode};
use http_body::Body;

use super::{
    frame::Reason,
    runner::Begun,
    session::Session,
    stream::{Duplex, Inbound, Open, Stream},
};
use crate::proxy::{
    answer::{Answer, Outcome},
    body::{CallerBody, CutOff, ResponseBody},
    headers::outgoing,
    pipeline,
    tunnel::{End, Tunnel},
};

/// Serves a request.
pub(super) async fn serve(begun: Begun) {
    let Begun { session, stream, head } = begun;
    let mut open = Open { session, stream, otherwise: Reason::Cancel };
    let (session, stream) = (Rc::clone(&open.session), Rc::clone(&open.stream));
    let outcome = {
        let inbound = || Inbound::new(Rc::clone(&session), Rc::clone(&stream));
        let body = if head.extended_connect { CallerBody::None } else { CallerBody::H2(inbound()) };
        let mut handler = pin!(pipeline::handle(&session.worker, &session.connection, &head, body));
        poll_fn(|cx| {
            let outcome = handler.as_mut().poll(cx);
            say_ahead(&session, &stream);
            outcome
        })
        .await
    };
    match outcome {
        Outcome::Answer(answer) => {
            if answer_with(&session, &stream, &head.method, answer).await.is_err() {
                open.otherwise = Reason::Internal;
            }
        }
        Outcome::Tunnel(tunnel) => join(&session, &stream, *tunnel).await,
    }
    session.worker.request_heads().put_back(head);
}

/// What the upstream said before its answer.
fn say_ahead(session: &Session, stream: &Stream) {
    for said in session.connection.take_ahead() {
        session.send_head(stream, said.status, false, |head| outgoing::write_informational(head, &said.fields));
    }
}

/// Sends an answer.
///
/// # Errors
/// Where the upstream broke off.
async fn answer_with(session: &Session, stream: &Rc<Stream>, method: &Method, answer: Answer) -> Result<(), CutOff> {
    let bodiless = answer.is_bodiless(method);
    let length = answer.body.length().filter(|_| !bodiless);
    let ends = bodiless || answer.body.is_end_stream();
    session.send_head(stream, answer.head.status, ends, |block| {
        answer.write_fields(block, bodiless, &session.worker);
        if let Some(length) = length {
            block.length(length);
        }
    });
    let Answer { head, mut body, .. } = answer;
    session.worker.answer_heads().put_back(head);
    if ends {
        return Ok(());
    }
    let mut piece = Bytes::new();
    poll_fn(|cx| poll_body(session, stream, &mut body, &mut piece, cx)).await
}

fn poll_body(
    session: &Session,
    stream: &Rc<Stream>,
    body: &mut ResponseBody,
    piece: &mut Bytes,
    cx: &mut Context<'_>,
) -> Poll<Result<(), CutOff>> {
    loop {
        while !piece.is_empty() {
            match session.poll_send(stream, piece, body.is_end_stream(), cx) {
                Poll::Pending => {
                    // Waiting for others is not its caller's delay.
                    let exchange = body.exchange();
                    let now = session.worker.coarse_now();
                    if stream.is_shut() {
                        exchange.reading.wait(now)
                    } else {
                        exchange.reading.progress(now, 0)
                    }
                    return Poll::Pending;
                }
                // The caller has reset it.
                Poll::Ready(Err(_reset)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(sent)) => piece.advance(sent),
            }
        }
        if stream.is_sent.get() {
            return Poll::Ready(Ok(()));
        }
        let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else {
            session.pass(stream);
            return Poll::Pending;
        };
        let frame = match frame {
            None => {
                session.send_end(stream);
                return Poll::Ready(Ok(()));
            }
            Some(frame) => frame?,
        };
        match frame.into_data() {
            Ok(data) => *piece = data,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    session.send_trailers(stream, &trailers);
                }
            }
        }
    }
}

/// Grants a WebSocket, and joins the stream to its upstream (RFC 8441 section 5).
async fn join(session: &Rc<Session>, stream: &Rc<Stream>, tunnel: Tunnel) {
    session.send_head(stream, StatusCode::OK, false, |block| {
        let id = &tunnel.exchange.0.request_id;
        outgoing::write_answer(block, &tunnel.head.fields, false, id, &session.worker.date());
    });
    let inbound = Inbound::new(Rc::clone(session), Rc::clone(stream));
    tunnel.join(End::Stream(Box::new(Duplex::new(inbound)))).await;
}
