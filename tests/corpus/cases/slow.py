"""Peers that take their time, with the gate's time-outs made short (threat 3). Each is found out, and nobody else waits for it.

Time-outs of this profile, seconds: handshake, head, idle, stall 2; response head and silent stream 3; a whole request 4. A caller
under 240 bytes a second is given 5 seconds.
"""

import asyncio
import contextlib
import socket
import time
from functools import partial

from ..core import frames as f
from ..core.case import Case, Outcome, demand
from ..core.h1 import CHUNKED, GET, POST, passes, post, sized
from ..core.h2 import head, request
from ..core.judge import USUAL, Forward, Wanted, check_rules
from ..core.talk import Talk
from ..core.upstream import usual

# A time-out of 2 to 4 seconds, and what a busy machine adds.
SOON = 8.0
# One that begins once the minimum rate is judged.
LATER = 15.0
LARGE = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (64 << 20)


def found_out(lane, talk, within, keep_busy=None, pause=0.2, reads=True):
    """The gate ends the connection in time, whatever the client goes on doing."""
    began = time.monotonic()
    over = lambda: talk.end is not None or talk.write_failed  # noqa: E731 - asked often
    while not over() and time.monotonic() - began < within:
        if keep_busy:
            keep_busy(talk)
        if reads:
            talk.until(over, pause)
        else:
            time.sleep(pause)
    took = time.monotonic() - began
    demand(over(), Outcome.HUNG, f"still served after {took:.0f} s")
    for answer in talk.answers:
        demand(answer.status in (400, 408, 504), Outcome.WRONG if answer.status != 200 else Outcome.CROSSED,
            f"answered {answer.status}")
    return took


def slow_client(lane, begin, drip=None, within=SOON, method=b"GET", tls=False):
    """A client that begins, and goes on with a drip or not at all."""
    talk = lane.talk(tls)
    talk.send(lane.fill(begin), method)
    found_out(lane, talk, within, (lambda one: one.send(lane.fill(drip))) if drip else None)
    talk.close()
    lane.canary()
    seen = lane.upstream.end()
    check_rules(seen, lane, USUAL)
    demand(not seen.requests, Outcome.CROSSED, f"a request that never ended was forwarded as complete: {seen.raw()[:300]!r}")


async def endless(wire):
    """64 MiB, as fast as they are taken."""
    await wire.request()
    await wire.send(LARGE)
    for _ in range(1024):
        await wire.send(b"x" * 65536)
    await usual(wire)


def slow_reader(lane, drip):
    """A client that asks for 64 MiB and reads none of it, or a byte now and then."""
    lane.upstream.script = endless
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", lane.ports.plain))
    with contextlib.closing(sock):
        sock.sendall(lane.fill(GET + b"\r\n"))
        wait_until(lambda: lane.upstream.seen().requests, "the request does not arrive")

        def released():
            return all(record.ended or record.was_reset for record in lane.upstream.seen().records)

        began = time.monotonic()
        while not released():
            demand(time.monotonic() - began < LATER, Outcome.HUNG,
                "the upstream's connection is still held for a client that does not read")
            if drip:
                with contextlib.suppress(OSError):
                    sock.recv(1)
            time.sleep(0.2)
    lane.upstream.script = usual
    lane.canary()


def wait_until(true, what, patience=SOON):
    deadline = time.monotonic() + patience
    while not true():
        demand(time.monotonic() < deadline, Outcome.HUNG, what)
        time.sleep(0.01)


def handshake(lane, begin, drip):
    """TLS that never comes to its end."""
    with Talk(lane.ports.tls, None) as talk:
        talk.send(begin)
        found_out(lane, talk, SOON, (lambda one: one.send(drip)) if drip else None)
    lane.canary()


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\x00"


def slow_h2(lane, begin, drip=None, within=SOON, preface=True):
    """The same over HTTP/2: the stream is reset or the connection ends."""
    with lane.http2(preface=preface) as h2:
        if preface:
            h2.until(lambda: h2.settings or h2.end)
        h2.send(*(part(lane) if callable(part) else part for part in begin))
        began = time.monotonic()

        def over():
            return h2.end or h2.goaways or h2.write_failed or any(one.is_over for one in h2.streams.values())

        while not over() and time.monotonic() - began < within:
            if drip:
                h2.send(drip)
            h2.until(over, 0.2)
        demand(over(), Outcome.HUNG, f"still served after {time.monotonic() - began:.0f} s: {h2.state()}")
        for one in h2.streams.values():
            demand(one.status in (None, 400, 408, 504), Outcome.CROSSED if one.status == 200 else Outcome.WRONG,
                f"answered {one.status}")
    lane.canary()
    seen = lane.upstream.end()
    check_rules(seen, lane, USUAL)
    demand(not seen.requests, Outcome.CROSSED, f"forwarded as complete: {seen.raw()[:300]!r}")


def h2_reader(lane):
    """A client of HTTP/2 that opens no window: the upstream is let go."""
    lane.upstream.script = endless
    with lane.http2(settings=((f.INITIAL_WINDOW_SIZE, 0),)) as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(head(request())(lane))
        over = lambda: h2.end or h2.goaways or h2.stream(1).reset is not None  # noqa: E731
        demand(h2.until(over, LATER), Outcome.HUNG, f"the answer is still held: {h2.state()}")
    lane.upstream.script = usual
    lane.canary()


def idle(lane, h2):
    """A connection with nothing to do is closed in order: no answer that nobody asked for, and not before its time."""
    if h2:
        with lane.http2() as one:
            one.until(lambda: one.settings or one.end)
            one.send(head(request())(lane))
            one.finish(1)
            began = time.monotonic()
            demand(one.until(lambda: one.goaways or one.end, SOON), Outcome.HUNG, "an idle connection stays open")
            demand(not one.is_told_off, Outcome.WRONG, f"an idle connection ends with an error: {one.state()}")
    else:
        with lane.talk() as one:
            one.send(lane.fill(GET + b"\r\n"), b"GET")
            one.read_answers(1)
            began = time.monotonic()
            demand(one.read_end(SOON), Outcome.HUNG, "an idle connection stays open")
            demand(one.end == "fin" and len(one.answers) == 1, Outcome.WRONG,
                f"an idle connection ends with {one.end} and {len(one.answers)} answers")
    demand(time.monotonic() - began > 1.0, Outcome.WRONG, "an idle connection is closed long before its time")
    lane.canary()


# ---- upstreams ----

def slow_upstream(lane, script, statuses=(504, 502), cut=False, within=SOON):
    """An upstream that does not come to the point."""
    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(GET + b"\r\n"), b"GET")
        began = time.monotonic()
        done = talk.until(lambda: talk.answers or talk.end, within)
        demand(done, Outcome.HUNG, f"no end after {time.monotonic() - began:.0f} s")
        if cut:
            demand(not talk.answers and talk.end, Outcome.CROSSED,
                f"an answer that stopped ends as whole: {bytes(talk.raw[:200])!r}")
        else:
            demand(talk.answers and talk.answers[0].status in statuses, Outcome.WRONG,
                f"answered {bytes(talk.raw[:100])!r}, {talk.end}")
    lane.upstream.script = usual
    lane.canary()


def says_then(*pieces, pause=None, forever=b"", then=None):
    """A script that answers a request with pieces, a pause between them, and then goes on for ever, or falls silent, or does as it
    is told."""
    async def script(wire):
        await wire.request()
        for piece in pieces:
            await wire.send(piece)
            if pause:
                await asyncio.sleep(pause)
        while forever:
            await wire.send(forever)
            await asyncio.sleep(0.2)
        await (then(wire) if then else wire.drain())

    return script


def patient_stream(lane):
    """A slow answer that never falls silent for long is passed on to its end: models stream their words."""
    words = [b"4\r\nword\r\n"] * 12
    lane.upstream.script = says_then(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", *words, b"0\r\n\r\n",
        pause=0.5, then=usual)
    with lane.talk() as talk:
        talk.send(lane.fill(GET + b"\r\n"), b"GET")
        talk.read_answers(1, 20)
        demand(talk.answers and talk.answers[0].body == b"word" * 12, Outcome.WRONG,
            f"a slow answer is cut off: {bytes(talk.raw[-200:])!r} {talk.end}")
    lane.upstream.script = usual
    lane.canary()


def patient_upload(lane):
    """A body that comes in pieces, each in time, is forwarded."""
    text = sized(POST, b"0123456789" * 100)
    lane.converse([text[:-1000], *[text[len(text) - 1000 + at : len(text) - 1000 + at + 100] for at in range(0, 1000, 100)]],
        passes(post(b"0123456789" * 100)), (b"POST",))


def patient_head(lane):
    """A head that comes in pieces within its time is served."""
    with lane.talk() as talk:
        filled = lane.fill(GET + b"\r\n")
        talk.methods.append(b"GET")
        for at in range(0, len(filled), len(filled) // 8):
            talk.send(filled[at : at + len(filled) // 8])
            time.sleep(0.1)
        talk.read_answers(1)
        lane.judge(talk, Forward((Wanted(),)))


def loris(lane):
    """Three hundred callers that send their heads by the byte: the next caller is served at once, and all of them are found out."""
    talks = []
    try:
        for _ in range(300):
            talk = Talk(lane.ports.plain)
            talk.send(b"GET / HTTP/1.1\r\nx-a: ")
            talks.append(talk)
        began = time.monotonic()
        while time.monotonic() - began < SOON and any(not talk.end and not talk.write_failed for talk in talks):
            asked = time.monotonic()
            lane.canary()
            demand(time.monotonic() - asked < 3, Outcome.HUNG, f"the next caller waited {time.monotonic() - asked:.1f} s")
            for talk in talks:
                talk.send(b"b")
                talk.read_some(0.0)
            time.sleep(0.2)
        left = sum(not talk.end and not talk.write_failed for talk in talks)
        demand(not left, Outcome.HUNG, f"{left} of 300 are still served")
    finally:
        for talk in talks:
            talk.close()
    lane.canary()


def behind_a_refusal(lane):
    """A client that goes on sending behind its refusal is not read for ever."""
    with lane.talk() as talk:
        talk.send(lane.fill(POST.replace(b"/score", b"/admin") + b"content-length: 100000000\r\n\r\n"), b"POST")
        talk.read_answers(1)
        demand(talk.answers and talk.answers[0].status == 403, Outcome.WRONG, f"answered {bytes(talk.raw[:100])!r}")
        began = time.monotonic()
        while not talk.write_failed and time.monotonic() - began < LATER:
            talk.send(b"x" * 100)
            time.sleep(0.1)
        demand(talk.write_failed, Outcome.HUNG, "still read after 15 s")
    lane.canary()


def never_continues(lane):
    """A client that waits for 100, gets it, and sends nothing."""
    slow_client(lane, POST + b"expect: 100-continue\r\ncontent-length: 5\r\n\r\n", method=b"POST")


def of(name, section, play, *arguments, **options):
    return Case(name, "slow", "slow", section, partial(call, play, arguments, options), profile="slow")


def call(play, arguments, options, lane):
    play(lane, *arguments, **options)


SECTION = "RFC 9112 9.5"
CASES = [
    of("a connection without a byte", SECTION, slow_client, b""),
    of("a head by the byte", SECTION, slow_client, b"GET /score/<TOKEN> HTTP/1.1\r\nx-a: ", b"b"),
    of("a head by the field", SECTION, slow_client, b"GET /score/<TOKEN> HTTP/1.1\r\n", b"x-a: b\r\n"),
    of("a head without its last line", SECTION, slow_client, GET),
    of("a request line by the byte", SECTION, slow_client, b"GET /", b"a"),
    of("a head by the byte over TLS", SECTION, slow_client, b"GET /score/<TOKEN> HTTP/1.1\r\nx-a: ", b"b", tls=True),
    of("a body that stops", SECTION, slow_client, POST + b"content-length: 100000\r\n\r\n" + b"x" * 50000, method=b"POST"),
    of("a body by the byte", SECTION, slow_client, POST + b"content-length: 100000\r\n\r\n", b"x", LATER, method=b"POST"),
    of("a body that never begins", SECTION, slow_client, POST + b"content-length: 5\r\n\r\n", method=b"POST"),
    of("chunks of a byte", SECTION, slow_client, CHUNKED, b"1\r\nx\r\n", LATER, method=b"POST"),
    of("a chunk's size by the digit", SECTION, slow_client, CHUNKED + b"0", b"0", LATER, method=b"POST"),
    of("a chunk's extension by the byte", SECTION, slow_client, CHUNKED + b"5;a=", b"b", LATER, method=b"POST"),
    of("trailers by the field", SECTION, slow_client, CHUNKED + b"5\r\nhello\r\n0\r\n", b"x-a: b\r\n", LATER,
        method=b"POST"),
    of("a body that is waited for with 100", "RFC 9110 10.1.1", never_continues),
    of("a client that does not read", SECTION, slow_reader, False),
    of("a client that reads by the byte", SECTION, slow_reader, True),
    of("a client that goes on behind its refusal", "RFC 9112 9.6", behind_a_refusal),
    of("TLS without a byte", "RFC 8446 4", handshake, b"", None),
    of("TLS by the byte", "RFC 8446 4", handshake, HELLO, b"\0"),
    of("HTTP/2 without a byte", "RFC 9113 3.4", slow_h2, [], preface=False),
    of("HTTP/2 with half a preface", "RFC 9113 3.4", slow_h2, [f.PREFACE[:10]], preface=False),
    of("HTTP/2 with a head that never ends", "RFC 9113 6.10", slow_h2, [head(request(), end_headers=False)]),
    of("HTTP/2 with a head by the frame", "RFC 9113 6.10", slow_h2, [head(request(), end_headers=False)], f.continuation(1,
        b"", False)),
    of("HTTP/2 with a frame that never ends", "RFC 9113 4.1", slow_h2, [f.frame(f.HEADERS, 5, 1, b"\x82", length=100)],
        b"\x82"),
    of("HTTP/2 with a frame's header that never ends", "RFC 9113 4.1", slow_h2, [b"\0\0\x08"]),
    of("HTTP/2 with a body that never comes", "RFC 9113 8.1", slow_h2, [head(request(method=b"POST"), end=False)]),
    of("HTTP/2 with a body by the byte", "RFC 9113 8.1", slow_h2, [head(request(method=b"POST"), end=False)], f.data(1, b"x",
        False), LATER),
    of("HTTP/2 with no window for the answer", "RFC 9113 6.9", h2_reader),
    of("an idle connection", "RFC 9112 9.5", idle, False),
    of("an idle connection of HTTP/2", "RFC 9113 9.1", idle, True),
    of("three hundred slow callers", SECTION, loris),
    of("an upstream that does not answer", "RFC 9110 15.6.5", slow_upstream, says_then()),
    of("an upstream whose head comes by the byte", "RFC 9110 15.6.5", slow_upstream, says_then(b"HTTP/1.1 200 OK\r\nx-a: ",
        forever=b"b")),
    of("an upstream that says 103 for ever", "RFC 9110 15.2", slow_upstream,
        says_then(forever=b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    of("an upstream whose body stops", "RFC 9112 8", slow_upstream,
        says_then(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello"), cut=True),
    of("an upstream whose chunks stop", "RFC 9112 8", slow_upstream,
        says_then(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"), cut=True),
    of("a slow answer passes", "RFC 9112 9.5", patient_stream),
    of("a slow body passes", "RFC 9112 9.5", patient_upload),
    of("a slow head passes", "RFC 9112 9.5", patient_head),
]
