"""The life of streams, and flow control (RFC 9113 sections 5, 6.9 and 8)."""

import asyncio
import threading
import time
from functools import partial

from ..core import frames as f
from ..core.case import Case, Outcome, demand
from ..core.h2 import ConnectionError, Ignored, StreamError, codes, finish, head, look, request, table
from ..core.upstream import usual


async def deaf(wire):
    """Reads no body, so that nobody on the way can take more than what buffers hold, and no window opens for ever."""
    await wire.head()
    await asyncio.Event().wait()


SOUND = head(request())
POST = head(request(method=b"POST"), end=False)
CLOSED = codes(f.STREAM_CLOSED, f.PROTOCOL_ERROR)
STREAMS = table("h2: streams", [
    ("DATA behind the end of a stream", "RFC 9113 5.1", [SOUND, f.data(1, b"hello")], (StreamError(codes=CLOSED, before=1),
         ConnectionError(CLOSED, before=1))),
    ("HEADERS behind the end of a stream", "RFC 9113 5.1", [SOUND, head(request())], (StreamError(codes=CLOSED, before=1),
         ConnectionError(CLOSED, before=1))),
    ("DATA behind a reset", "RFC 9113 5.1", [POST, f.rst(1), f.data(1, b"hello")], (Ignored(cut_ok=True),
         ConnectionError(CLOSED))),
    ("HEADERS behind a reset", "RFC 9113 5.1", [POST, f.rst(1), head(request())], (Ignored(cut_ok=True),
         StreamError(codes=CLOSED, cut_ok=True), ConnectionError(CLOSED))),
    ("WINDOW_UPDATE behind a reset is ignored", "RFC 9113 5.1", [POST, f.rst(1), f.window_update(1, 1)],
         Ignored(cut_ok=True)),
    ("PRIORITY behind a reset is ignored", "RFC 9113 5.1", [POST, f.rst(1), f.priority(1)], Ignored(cut_ok=True)),
    ("a second reset is ignored", "RFC 9113 5.1", [POST, f.rst(1), f.rst(1)], (Ignored(cut_ok=True),
         ConnectionError(CLOSED))),
    ("PRIORITY on a stream that was never opened is ignored", "RFC 9113 5.1", [f.priority(9), f.priority(4)], Ignored()),
    ("more than the stream's window", "RFC 9113 6.9.1", [POST, *[f.data(1, b"x" * 16384, end_stream=False)] * 1000],
     (StreamError(codes=codes(f.FLOW_CONTROL_ERROR), cut_ok=True), ConnectionError(codes(f.FLOW_CONTROL_ERROR))),
         {"script": deaf}),
    ("an identifier that was skipped cannot be used later", "RFC 9113 5.1.1", [head(request(), 7), head(request(), 5)],
         ConnectionError(CLOSED, before=1)),
])

# ---- what needs several steps ----

def many_streams(lane, count):
    """A hundred requests at once, each with its own answer."""
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        numbers = [1 + 2 * n for n in range(count)]
        h2.send(*(head(request(b"/score/<TOKEN>/%d" % n), n)(lane) for n in numbers))
        h2.finish(*numbers)
        for n in numbers:
            one = h2.stream(n)
            demand(one.status == 200, Outcome.HUNG, f"stream {n}: {one.status} {one.reset}")
            demand(one.echoed() == lane.fill(b"/score/<TOKEN>/%d" % n), Outcome.CROSSED, f"stream {n} got {one.body!r}")
        look(lane, h2)
        lane.canary()


def too_many_streams(lane):
    """Streams over the limit are refused as not processed, and do not go on."""
    async def held(wire):
        await wire.request()
        await wire.drain()

    lane.upstream.script = held
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        limit = dict(h2.settings).get(f.MAX_CONCURRENT_STREAMS)
        demand(limit and limit <= 1000, Outcome.WRONG, f"the limit of streams is {limit}")
        numbers = [1 + 2 * n for n in range(limit + 50)]
        h2.send(*(head(request(b"/score/<TOKEN>/%d" % n), n)(lane) for n in numbers))
        h2.until(lambda: sum(h2.stream(n).reset is not None for n in numbers) >= 50 or h2.is_told_off, 6)
        refused = [h2.stream(n).reset for n in numbers if h2.stream(n).reset is not None]
        demand(h2.is_told_off or h2.end or len(refused) >= 50, Outcome.LENIENT,
            f"of 50 streams too many {len(refused)} were refused")
        demand(set(refused) <= {f.REFUSED_STREAM, f.PROTOCOL_ERROR, f.ENHANCE_YOUR_CALM}, Outcome.WRONG,
            f"refused with {set(refused)}")
        over = [request for request in lane.upstream.seen().requests]
        demand(len(over) <= limit, Outcome.CROSSED, f"{len(over)} of {limit} went on")
    lane.upstream.script = usual
    lane.canary()


def window(lane, initial, steps, body):
    """The answer comes as far as the window lets it, and no further."""
    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await usual(wire)

    lane.upstream.script = script
    with lane.http2(settings=((f.INITIAL_WINDOW_SIZE, initial),)) as h2:
        h2.gives_window = False
        h2.until(lambda: h2.settings or h2.end)
        h2.send(SOUND(lane))
        allowed = initial
        for step in (0, *steps):
            if step:
                h2.send(f.window_update(1, step))
                allowed += step
            h2.until(lambda allowed=allowed: len(h2.stream(1).body) >= min(allowed, len(body)))
            # What was sent too much is there before the answer to this.
            demand(h2.barrier(b"step%04d" % step), Outcome.HUNG, f"no answer to PING: {h2.state()}")
            demand(len(h2.stream(1).body) == min(allowed, len(body)), Outcome.CROSSED,
                f"{len(h2.stream(1).body)} bytes where {allowed} are allowed")
        demand(h2.stream(1).body == body[:allowed], Outcome.CROSSED, "the body is not what the upstream sent")
        h2.send(f.window_update(1, len(body)))
        h2.finish(1)
        demand(h2.stream(1).body == body and h2.stream(1).ended, Outcome.HUNG,
            f"the rest did not come: {len(h2.stream(1).body)} bytes")
    lane.canary()


def connection_window(lane):
    """Four answers share the connection's window of 65,535 bytes."""
    body = b"x" * 40000

    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await usual(wire)

    lane.upstream.script = script
    with lane.http2() as h2:
        h2.gives_window = False
        h2.until(lambda: h2.settings or h2.end)
        h2.send(*(head(request(), n)(lane) for n in (1, 3, 5, 7)))
        total = lambda: sum(len(h2.stream(n).body) for n in (1, 3, 5, 7))  # noqa: E731 - asked often
        h2.until(lambda: total() >= 65535)
        demand(h2.barrier(), Outcome.HUNG, f"no answer to PING: {h2.state()}")
        demand(total() == 65535, Outcome.CROSSED, f"{total()} bytes in a window of 65,535")
        h2.send(f.window_update(0, 1 << 20))
        h2.finish(1, 3, 5, 7)
        demand(total() == 160000, Outcome.HUNG, f"{total()} bytes of 160,000")
    lane.canary()


def shrinking_window(lane):
    """A setting that makes the window negative stops the answer until it is positive again (RFC 9113 section 6.9.2)."""
    body = b"x" * 30000

    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await usual(wire)

    lane.upstream.script = script
    with lane.http2(settings=((f.INITIAL_WINDOW_SIZE, 10000),)) as h2:
        h2.gives_window = False
        h2.until(lambda: h2.settings or h2.end)
        h2.send(SOUND(lane))
        h2.until(lambda: len(h2.stream(1).body) >= 10000)
        h2.send(f.settings((f.INITIAL_WINDOW_SIZE, 5000)), f.window_update(1, 5000))
        demand(h2.barrier(), Outcome.HUNG, f"no answer to PING: {h2.state()}")
        demand(len(h2.stream(1).body) == 10000, Outcome.CROSSED, f"{len(h2.stream(1).body)} bytes where 10,000 are allowed")
        h2.send(f.window_update(1, 100))
        h2.until(lambda: len(h2.stream(1).body) >= 10100)
        h2.send(f.window_update(1, 1 << 20))
        h2.finish(1)
        demand(h2.stream(1).body == body, Outcome.HUNG, f"{len(h2.stream(1).body)} bytes of 30,000")
    lane.canary()


def large_upload(lane):
    """3 MiB, as the gate's windows let them through."""
    body = bytes(range(256)) * (3 << 12)
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        settings = dict(h2.settings)
        largest = settings.get(f.MAX_FRAME_SIZE, 16384)
        h2.send(POST(lane))
        sent = 0
        while sent < len(body):
            stream = settings.get(f.INITIAL_WINDOW_SIZE, 65535) + h2.given.get(1, 0)
            count = min(stream - sent, 65535 + h2.given.get(0, 0) - sent, largest, len(body) - sent)
            if count <= 0:
                demand(h2.read_some(8), Outcome.HUNG, f"no more window behind {sent} bytes: {h2.state()}")
                continue
            h2.send(f.data(1, body[sent : sent + count], end_stream=sent + count == len(body)))
            sent += count
        h2.finish(1)
        demand(h2.stream(1).status == 200, Outcome.WRONG, h2.state())
        seen = lane.upstream.end()
        demand(len(seen.requests) == 1 and seen.requests[0].body == body, Outcome.CROSSED,
            "the upstream did not see the body that was sent")
    lane.canary()


def gone(lane, before_answer):
    """A client that resets its stream: the upstream's connection does not serve the next request with that answer."""
    asked, go_on = threading.Event(), threading.Event()

    async def script(wire):
        await wire.request()
        if not before_answer:
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + b"EVIL" * 10)
        asked.set()
        while not go_on.is_set():
            await asyncio.sleep(0.005)
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL")
        await usual(wire)

    lane.upstream.script = script
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(SOUND(lane))
        demand(asked.wait(5), Outcome.HUNG, "the request does not arrive")
        if not before_answer:
            h2.until(lambda: h2.stream(1).body)
        h2.send(f.rst(1))
        demand(h2.barrier(), Outcome.HUNG, f"no answer to PING: {h2.state()}")
        lane.upstream.script = usual
        go_on.set()
        look(lane, h2)
    for _ in range(3):
        lane.canary()


def broken_off(lane, reply, then):
    """An upstream's answer that breaks off: the stream is reset, never ended."""
    async def script(wire):
        await wire.request()
        await wire.send(reply)
        if then == "reset":
            wire.reset()

    lane.upstream.script = script
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(SOUND(lane))
        h2.finish(1)
        one = h2.stream(1)
        if one.status == 502:
            demand(one.ended, Outcome.HUNG, "a refusal without an end")
        else:
            demand(one.reset is not None or h2.is_told_off or h2.end, Outcome.CROSSED,
                f"an answer that broke off ends as whole: {one.status} {one.body!r}")
        lane.upstream.script = usual
        look(lane, h2)
        finish(lane, h2, (AnyOutcome(),))


def cut_upload(lane, how, more=()):
    """A client that gives its upload up while it is under way: the upstream sees it cut off, never complete."""
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(head(request(method=b"POST", more=more), end=False)(lane), f.data(1, b"hello", end_stream=False))
        deadline = time.monotonic() + 5
        while b"hello" not in lane.upstream.seen().raw():
            demand(time.monotonic() < deadline, Outcome.HUNG, "the upload does not arrive")
            time.sleep(0.002)
        if how == "close":
            h2.close()
        elif how == "goaway":
            h2.send(f.goaway(0, f.INTERNAL_ERROR))
            h2.close()
        else:
            h2.send(f.rst(1, how))
            demand(h2.barrier(), Outcome.HUNG, f"no answer to PING: {h2.state()}")
        finish(lane, h2, (Ignored(cut_ok=True),) if isinstance(how, int) else (CutOff(),))


class CutOff:
    """No complete request."""

    @staticmethod
    def check(_h2, seen, _lane):
        demand(not seen.requests, Outcome.CROSSED, f"forwarded as complete: {seen.raw()[:600]!r}")


class AnyOutcome:
    """The rules of every request, and nothing more."""

    @staticmethod
    def check(_h2, _seen, _lane):
        return


def bodiless(lane, method, path, status, reply=None):
    """An answer that has no body has no DATA."""
    async def script(wire):
        await wire.request()
        await wire.send(reply)
        await usual(wire)

    if reply:
        lane.upstream.script = script
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(head(request(path, method))(lane))
        h2.finish(1)
        one = h2.stream(1)
        demand(one.status == status and one.ended, Outcome.WRONG, h2.state())
        demand(not one.body, Outcome.CROSSED, f"a body where there may be none: {one.body!r}")
        for name in (b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"proxy-connection"):
            demand(not one.all(name), Outcome.CROSSED, f"{name.decode()} in HTTP/2")
        lane.upstream.script = usual
        look(lane, h2)
        lane.canary()


def informational(lane):
    """103 from the upstream goes on to the client (RFC 9110 section 15.2)."""
    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        await usual(wire)

    lane.upstream.script = script
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        h2.send(SOUND(lane))
        h2.finish(1)
        demand(h2.stream(1).status == 200 and h2.stream(1).body == b"hello", Outcome.WRONG, h2.state())
        demand([h[0][1] for h in h2.stream(1).heads] == [b"103", b"200"], Outcome.WRONG,
            f"heads: {[h[0][1] for h in h2.stream(1).heads]}")
    lane.canary()


def of(klass, name, section, play, *arguments):
    return Case(name, "h2", klass, section, partial(call, play, arguments))


def call(play, arguments, lane):
    play(lane, *arguments)


STEPS = [
    *[of("h2: streams", f"an upload that is reset with {name}", "RFC 9113 8.1", cut_upload, code) for name, code in (
        ("CANCEL", f.CANCEL), ("NO_ERROR", f.NO_ERROR), ("INTERNAL_ERROR", f.INTERNAL_ERROR))],
    of("h2: streams", "an upload with a length that is reset with CANCEL", "RFC 9113 8.1", cut_upload, f.CANCEL,
        [(b"content-length", b"100")]),
    of("h2: streams", "an upload whose connection ends", "RFC 9113 8.1", cut_upload, "close"),
    of("h2: streams", "an upload whose client goes away with an error", "RFC 9113 6.8", cut_upload, "goaway"),
    of("h2: sound", "a hundred requests at once", "RFC 9113 5.1.2", many_streams, 100),
    of("h2: streams", "more streams than are allowed", "RFC 9113 5.1.2", too_many_streams),
    of("h2: settings", "an answer in steps of the stream's window", "RFC 9113 6.9", window, 10, (1, 5, 100),
        b"0123456789" * 100),
    of("h2: settings", "a window of zero from the start", "RFC 9113 6.9.2", window, 0, (1, 1, 1), b"0123456789"),
    of("h2: settings", "answers share the connection's window", "RFC 9113 6.9.1", connection_window),
    of("h2: settings", "a window that becomes negative", "RFC 9113 6.9.2", shrinking_window),
    of("h2: sound", "a body of 3 MiB", "RFC 9113 6.9", large_upload),
    of("h2: streams", "a client that resets before the answer", "RFC 9113 5.4.2", gone, True),
    of("h2: streams", "a client that resets within the answer", "RFC 9113 5.4.2", gone, False),
    of("h2: streams", "an answer that ends before its length", "RFC 9113 8.1", broken_off,
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "fin"),
    of("h2: streams", "an answer that ends before its last chunk", "RFC 9113 8.1", broken_off,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "fin"),
    of("h2: streams", "an answer with a broken chunk", "RFC 9113 8.1", broken_off,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n", "fin"),
    of("h2: streams", "an answer that is reset", "RFC 9113 8.1", broken_off,
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "reset"),
    of("h2: streams", "an answer that is no HTTP", "RFC 9113 8.1", broken_off, b"EVIL\r\n\r\n", "fin"),
    of("h2: streams", "an answer with two lengths", "RFC 9112 6.3", broken_off,
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", "fin"),
    of("h2: sound", "HEAD has no body", "RFC 9110 9.3.2", bodiless, b"HEAD", b"/score/<TOKEN>", 200),
    of("h2: sound", "a refusal of HEAD has no body", "RFC 9110 9.3.2", bodiless, b"HEAD", b"/admin", 403),
    of("h2: sound", "204 has no body", "RFC 9110 15.3.5", bodiless, b"GET", b"/score/<TOKEN>", 204,
       b"HTTP/1.1 204 No Content\r\nconnection: keep-alive, x-a\r\nkeep-alive: timeout=5\r\nx-a: b\r\n\r\n"),
    of("h2: sound", "304 has no body", "RFC 9110 15.4.5", bodiless, b"GET", b"/score/<TOKEN>", 304,
        b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"),
    of("h2: sound", "103 goes on to the client", "RFC 9110 15.2", informational),
]
CASES = STREAMS + STEPS
