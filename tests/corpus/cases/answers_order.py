"""Upstreams that answer too early, too often, or what nobody asked (RFC 9110 section 15, RFC 9112 section 9)."""

import asyncio
import threading

from ..core.answers import OK, BadGateway, Delivered, replies, table, upstream_says
from ..core.case import Case, Outcome, demand
from ..core.h1 import CHUNKED, GET, POST, SMUGGLED
from ..core.judge import USUAL, check_rules
from ..core.upstream import usual

BAD = BadGateway()
HELLO = OK + b"content-length: 5\r\n\r\nhello"
EVIL = OK + b"content-length: 4\r\n\r\nEVIL"
FRESH = {"fresh": True}
HEAD = {"request": (GET + b"\r\n").replace(b"GET", b"HEAD"), "method": b"HEAD"}
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n"

ROWS = table("answers: order", [
    ("two answers to one request", "RFC 9112 9.2", replies(HELLO + EVIL), Delivered(), FRESH),
    ("ten answers to one request", "RFC 9112 9.2", replies(HELLO + EVIL * 9), Delivered(), FRESH),
    ("half an answer behind the answer", "RFC 9112 9.2", replies(HELLO + b"HTTP/1.1 200 OK\r\nx-evil: "), Delivered(),
         FRESH),
    ("CRLF behind the answer", "RFC 9112 2.2", replies(HELLO + b"\r\n"), Delivered()),
    ("103 before the answer is passed on", "RFC 9110 15.2", replies(HINTS + HELLO), Delivered(informational=(103,))),
    ("103 is not sent to HTTP/1.0", "RFC 9110 15.2", replies(HINTS + HELLO), Delivered(informational=()),
     {"request": (GET + b"\r\n").replace(b"1.1", b"1.0"), "end": True}),
    ("102 before the answer does no harm", "RFC 9110 15.2", replies(b"HTTP/1.1 102 Processing\r\n\r\n" + HELLO),
         Delivered()),
    ("100 that nobody asked for", "RFC 9110 15.2.1", replies(b"HTTP/1.1 100 Continue\r\n\r\n" + HELLO), Delivered()),
    ("1xx that nobody knows", "RFC 9110 15.2", replies(b"HTTP/1.1 199 Odd\r\n\r\n" + HELLO), (Delivered(), BAD)),
    ("1xx with a length and a body", "RFC 9110 15.2",
         replies(b"HTTP/1.1 103 Early Hints\r\ncontent-length: 4\r\n\r\nEVIL" + HELLO, "fin"), BAD),
    ("ten thousand times 103", "RFC 9110 15.2", replies(HINTS * 10000 + HELLO), (BAD, Delivered())),
    ("103 and an end", "RFC 9110 15.2", replies(HINTS, "fin"), BAD),
    ("101 that nobody asked for", "RFC 9110 15.2.2",
         replies(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nEVIL"), BAD, FRESH),
    ("204 with a body by length", "RFC 9110 15.3.5", replies(b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nEVIL"),
     (Delivered(204, b"", lacks=(b"content-length",)), BAD), FRESH),
    ("204 with a body in chunks", "RFC 9110 15.3.5",
         replies(b"HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
     (Delivered(204, b"", lacks=(b"transfer-encoding",)), BAD), FRESH),
    ("204 and another answer", "RFC 9110 15.3.5", replies(b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL), (Delivered(204, b""),
         BAD), FRESH),
    ("304 with a body", "RFC 9110 15.4.5", replies(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nEVIL"),
         (Delivered(304, b""), BAD), FRESH),
    ("205 with a body", "RFC 9110 15.3.6", replies(b"HTTP/1.1 205 Reset Content\r\ncontent-length: 4\r\n\r\nEVIL"),
     (Delivered(205, b""), Delivered(205, b"EVIL"), BAD)),
    ("an answer to HEAD with a body", "RFC 9110 9.3.2", replies(OK + b"content-length: 4\r\n\r\nEVIL"),
     Delivered(body=b"", has=((b"content-length", b"4"),)), {**HEAD, **FRESH}),
    ("an answer to HEAD with a body in chunks", "RFC 9110 9.3.2",
         replies(OK + b"transfer-encoding: chunked\r\n\r\n4\r\nEVIL\r\n0\r\n\r\n"),
     Delivered(body=b""), {**HEAD, **FRESH}),
    ("an answer to HEAD and another answer", "RFC 9110 9.3.2", replies(OK + b"content-length: 4\r\n\r\n" + EVIL),
         Delivered(body=b""), {**HEAD, **FRESH}),
    ("a close that is announced", "RFC 9112 9.6", replies(OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
         "keep"), Delivered(), FRESH),
    ("HTTP/1.0 with a length", "RFC 9112 9.3", replies(HELLO.replace(b"1.1", b"1.0")), Delivered(), FRESH),
    ("an early answer to a long body, and an end", "RFC 9112 9.5",
     replies(b"HTTP/1.1 413 Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", "fin", before_body=True),
         Delivered(413),
     {"request": POST + b"content-length: 100000\r\n\r\n" + b"x" * 50000, "method": b"POST"}),
    ("an early answer to a body in chunks, and an end", "RFC 9112 9.5",
     replies(b"HTTP/1.1 400 Bad\r\ncontent-length: 5\r\n\r\nhello", "fin", before_body=True), Delivered(400),
     {"request": CHUNKED + b"5\r\nhello\r\n", "method": b"POST"}),
    ("an early answer, and the body read as an answer's request", "RFC 9112 9.3",
     replies(HELLO, "keep", before_body=True), Delivered(), {"request": POST + b"content-length: 100000\r\n\r\n" + SMUGGLED,
         "method": b"POST"}),
    ("an answer in many small pieces", "RFC 9112 2.2", replies([bytes([byte]) for byte in HELLO]), Delivered()),
])


def late_answer(lane):
    """An answer whose request its client has given up must not become the next one's."""
    asked, go_on = threading.Event(), threading.Event()

    async def script(wire):
        await wire.request()
        asked.set()
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        await wire.send(EVIL)
        await usual(wire)

    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(GET + b"\r\n"), b"GET")
        demand(asked.wait(5), Outcome.HUNG, "the request does not arrive")
        talk.abort()
    lane.upstream.script = usual
    go_on.set()
    for _ in range(5):
        lane.canary()
    check_rules(lane.upstream.end(), lane, USUAL)


class FromUpstream:
    """Answered by the upstream."""

    @staticmethod
    def check(talk, _lane):
        demand(talk.answers and talk.answers[0].status == 200, Outcome.WRONG, f"answered {bytes(talk.raw[:100])!r}")


def idle_answer(lane):
    """An upstream that says 408 on an idle connection, as many do: the next request does not get it."""
    spoke = threading.Event()

    async def script(wire):
        await wire.answer(await wire.request())
        await wire.send(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nEVIL")
        # On loopback what was sent is in the gate's socket.
        spoke.set()

    upstream_says(lane, script, FromUpstream(), settled=spoke)


def of(name, section, play):
    return Case(name, "answers", "answers: order", section, play)


CASES = [
    *ROWS,
    of("an answer whose client has gone", "RFC 9112 9.2", late_answer),
    of("an answer on an idle connection", "RFC 9110 15.5.9", idle_answer),
]
