"""Upstreams that break HTTP/2 (RFC 9113, from the client's side), asked over HTTP/1.1."""

from functools import partial

from ..core import frames as f
from ..core.answers import BadGateway, Delivered
from ..core.case import Case, Ended, Outcome, demand
from ..core.judge import echoed

BAD = BadGateway(statuses=frozenset([502, 503, 504]))
GET = b"GET /h2/<TOKEN> HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer <KEY-A>\r\n\r\n"
NEEDS = frozenset(["h2-upstream"])


def says(lane, frames, expect, then=None, request=GET, method=b"GET", wanted=None):
    """The upstream sends these frames in place of an answer. The next request is answered all the same."""
    async def on_request(h2, stream, asked):
        for frame in frames:
            await h2.send(frame(stream))
        if then == "close":
            await h2.wire.finish()
        elif then == "reset":
            h2.wire.reset()

    lane.upstream_h2.on_request = on_request
    with lane.talk() as talk:
        talk.send(lane.fill(request), method)
        talk.read_answers(1)
        talk.close()
        failures = []
        for check in expect if isinstance(expect, tuple) else (expect,):
            try:
                check.check(talk, lane)
                break
            except Ended as ended:
                failures.append(ended)
        else:
            raise failures[0]
        demand(talk.end != "broken", Outcome.CROSSED,
            f"the client got what is no sound HTTP ({talk.why}): {bytes(talk.raw[:300])!r}")
        check_asked(lane, wanted)
    lane.upstream_h2.on_request = None
    with lane.talk() as talk:
        talk.send(lane.fill(GET.replace(b"/h2/", b"/h2/canary-")), b"GET")
        demand(talk.read_answers(1), Outcome.HUNG, "the next caller gets no answer")
        demand(talk.answers[0].status == 200 and echoed(talk.answers[0]) == lane.fill(b"/h2/canary-<TOKEN>"),
            Outcome.CROSSED,
               f"the next caller gets {talk.answers[0].status} {talk.answers[0].body[:200]!r}")


def check_asked(lane, wanted):
    """What went to the upstream is sound HTTP/2 with the service's key and nobody else's."""
    for asked in lane.upstream_h2.asked:
        demand(asked.all(b"authorization") == [b"Bearer " + lane.keys.service.encode()], Outcome.BYPASS,
            f"attached is {asked.all(b'authorization')!r}")
        demand(asked.all(b"x-auth-subject") == [b"team-a"], Outcome.SPOOFED,
            f"the upstream is told that it is {asked.all(b'x-auth-subject')!r}")
        for name in (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"proxy-connection", b"host"):
            demand(not asked.all(name), Outcome.CROSSED, f"{name.decode()} in HTTP/2")
        demand(not any(name != name.lower() for name, _ in asked.fields), Outcome.CROSSED, "a name in capitals in HTTP/2")
    if wanted:
        demand(any(wanted(asked) for asked in lane.upstream_h2.asked), Outcome.CROSSED,
            f"the upstream saw {[a.fields for a in lane.upstream_h2.asked]}")


def head(*fields, status=b"200", end=False):
    return lambda stream: f.headers(stream, [(b":status", status), *fields], end_stream=end)


def data(body, end=True):
    return lambda stream: f.data(stream, body, end_stream=end)


def of(name, section, frames, expect, **options):
    return Case(name, "h2", "h2: upstream", section, partial(says, frames=frames, expect=expect, **options), needs=NEEDS)


POST = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\nhello")
CHUNKS = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n",
    b"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
HOPS = GET.replace(b"\r\n\r\n",
    b"\r\nconnection: x-a, keep-alive\r\nx-a: b\r\nkeep-alive: 5\r\nupgrade: x\r\nproxy-connection: x\r\nte: gzip\r\nx-auth-subject: spoofed\r\nCookie: a=1\r\n\r\n")
CASES = [
    of("a sound answer", "RFC 9113 8.1", [head((b"x-a", b"b")), data(b"hello")], Delivered(has=((b"x-a", b"b"),))),
    of("an answer without a status", "RFC 9113 8.3.2", [lambda s: f.headers(s, [(b"x-a", b"b")], end_stream=False),
        data(b"EVIL")], BAD),
    of("a status that is no number", "RFC 9113 8.3.2", [head(status=b"abc"), data(b"EVIL")], BAD),
    of("a status of 099", "RFC 9113 8.3.2", [head(status=b"099"), data(b"EVIL")], BAD),
    of("two statuses", "RFC 9113 8.3", [head((b":status", b"500")), data(b"EVIL")], BAD),
    of("a pseudo-header of requests", "RFC 9113 8.3", [head((b":path", b"/")), data(b"EVIL")], BAD),
    of("101 in HTTP/2", "RFC 9113 8.6", [head(status=b"101"), data(b"EVIL")], BAD),
    of("a name with a capital", "RFC 9113 8.2.1", [head((b"X-A", b"EVIL")), data(b"EVIL")], BAD),
    of("CR LF in a value", "RFC 9113 10.3", [head((b"x-a", b"b\r\nset-cookie: EVIL")), data(b"EVIL")], BAD),
    of("LF in a name", "RFC 9113 10.3", [head((b"x-a: b\nset-cookie", b"EVIL")), data(b"EVIL")], BAD),
    of("NUL in a value", "RFC 9113 10.3", [head((b"x-a", b"b\0")), data(b"EVIL")], BAD),
    of("transfer-encoding in HTTP/2", "RFC 9113 8.2.2", [head((b"transfer-encoding", b"chunked")), data(b"0\r\n\r\nEVIL")],
        BAD),
    of("connection in HTTP/2", "RFC 9113 8.2.2", [head((b"connection", b"close")), data(b"hello")], (BAD, Delivered())),
    of("two lengths", "RFC 9110 8.6", [head((b"content-length", b"5"), (b"content-length", b"6")), data(b"hello")], BAD),
    of("a body shorter than its length", "RFC 9113 8.1.1", [head((b"content-length", b"50")), data(b"hello")], BAD),
    of("a body longer than its length", "RFC 9113 8.1.1", [head((b"content-length", b"3")), data(b"hello")], BAD),
    of("a reset in place of an answer", "RFC 9113 8.1", [lambda s: f.rst(s, f.INTERNAL_ERROR)], BAD),
    of("a reset within an answer", "RFC 9113 8.1", [head(), data(b"hel", False), lambda s: f.rst(s, f.INTERNAL_ERROR)], BAD),
    of("a reset without an error within an answer is no end", "RFC 9113 8.1", [head(), data(b"hel", False),
        lambda s: f.rst(s, f.NO_ERROR)], BAD),
    of("a cancellation within an answer is no end", "RFC 9113 8.1", [head(), data(b"hel", False), lambda s: f.rst(s,
        f.CANCEL)], BAD),
    of("an end of the connection within an answer", "RFC 9113 8.1", [head(), data(b"hel", False)], BAD, then="close"),
    of("a reset of the connection within an answer", "RFC 9113 8.1", [head(), data(b"hel", False)], BAD, then="reset"),
    of("GOAWAY within an answer that goes on", "RFC 9113 6.8", [head(), lambda s: f.goaway(s), data(b"hello")], Delivered()),
    of("DATA before HEADERS", "RFC 9113 8.1", [data(b"EVIL")], BAD),
    of("DATA behind the end", "RFC 9113 5.1", [head((b"content-length", b"5")), data(b"hello"), data(b"EVIL")], Delivered()),
    of("a promise that nobody asked for", "RFC 9113 8.4", [lambda s: f.frame(f.PUSH_PROMISE, 4, s,
        b"\0\0\0\x02" + f.block([(b":method", b"GET"), (b":path", b"/"), (b":scheme", b"http"), (b":authority", b"x")])),
                                                          head(), data(b"hello")], (BAD, Delivered())),
    of("more DATA than the window", "RFC 9113 6.9", [head(), *[data(b"x" * 16384, False)] * 2000], BAD),
    of("trailers with a pseudo-header", "RFC 9113 8.1", [head(), data(b"hello", False), lambda s: f.headers(s, [(b":status",
        b"500")])], (BAD, Delivered())),
    of("a frame over the largest", "RFC 9113 4.2", [head(), data(b"x" * 16385)], BAD),
    of("a block of HPACK that is broken", "RFC 9113 4.3", [lambda s: f.headers(s, b"\xff\x80\x01", end_stream=False)], BAD),
    of("HTTP/1.1 in place of HTTP/2", "RFC 9113 3.4", [lambda _s: b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nEVIL"], BAD),
    of("a body goes up with its length", "RFC 9113 8.1.1", [head(), data(b"hello")], Delivered(), request=POST,
        method=b"POST",
       wanted=lambda asked: asked.body == b"hello" and asked.all(b"content-length") in ([b"5"], [])),
    of("a body in chunks goes up as DATA", "RFC 9113 8.1", [head(), data(b"hello")], Delivered(), request=CHUNKS,
        method=b"POST",
       wanted=lambda asked: asked.body == b"hello" and not asked.all(b"x-sum")),
    of("hop-by-hop fields do not go up", "RFC 9113 8.2.2", [head(), data(b"hello")], Delivered(), request=HOPS,
       wanted=lambda asked: not asked.all(b"x-a") and not asked.all(b"te") and asked.all(b"cookie") == [b"a=1"]),
]
