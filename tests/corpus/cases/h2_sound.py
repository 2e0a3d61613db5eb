"""HTTP/2 that is sound and must pass, however oddly it is cut into frames (RFC 9113 sections 4 to 6, RFC 7541)."""

from ..core import frames as f
from ..core.h2 import Answered, ConnectionError, codes, head, request, table
from ..core.judge import Wanted

SOUND = head(request())
POST = head(request(method=b"POST"), end=False)
ONE = Answered((Wanted(),))
HELLO = Answered((Wanted(b"POST", body=b"hello"),))


def hello(*frames):
    return [POST, *frames]


BIG = b"0123456789abcdef" * 512
CASES = table("h2: sound", [
    ("a request", "RFC 9113 8.1", [SOUND], ONE),
    ("HEADERS with padding and priority", "RFC 9113 6.2",
     [lambda lane: f.headers(1, [(lane.fill(n), lane.fill(v)) for n, v in request()], flags=f.PADDED | f.PRIORITY_FLAG,
         prefix=b"\x09\0\0\0\0\x0f", suffix=b"\0" * 9)], ONE),
    ("a head over four frames", "RFC 9113 6.10", [lambda lane: split_head(lane, 4)], ONE),
    ("a head over a hundred frames", "RFC 9113 6.10", [lambda lane: split_head(lane, 100)], (ONE,
         ConnectionError(codes(f.ENHANCE_YOUR_CALM)))),
    ("a head with empty frames between", "RFC 9113 6.10", [lambda lane: f.headers(1, b"",
         end_headers=False) + f.continuation(1, b"", False) + f.continuation(
        1, f.block([(lane.fill(n), lane.fill(v)) for n, v in request()]))], (ONE, ConnectionError())),
    ("DATA with padding", "RFC 9113 6.1", hello(f.frame(f.DATA, f.PADDED | 1, 1, b"\x05hello" + b"\0" * 5)), HELLO),
    ("DATA in frames of one byte", "RFC 9113 6.1", hello(*[f.data(1, bytes([c]), end_stream=False) for c in b"hello"],
         f.data(1, b"")), HELLO),
    ("empty DATA before the body", "RFC 9113 6.1", hello(f.data(1, b"", False), f.data(1, b"hello")), HELLO),
    ("a body of no bytes", "RFC 9113 8.1", hello(f.data(1, b"")), Answered((Wanted(b"POST"),))),
    ("a length that fits", "RFC 9113 8.1.1", [head(request(method=b"POST", more=[(b"content-length", b"5")]), end=False),
         f.data(1, b"hello")], HELLO),
    ("trailers", "RFC 9113 8.1", hello(f.data(1, b"hello", False), f.headers(1, [(b"x-sum", b"1")])),
     (HELLO, Answered((Wanted(b"POST", body=b"hello", trailers=((b"x-sum", b"1"),)),)))),
    ("a frame that nobody knows is ignored", "RFC 9113 5.5", [f.frame(0x42, 0xff, 0, b"x" * 100), f.frame(0x16, 0, 1, b""),
         SOUND, f.frame(0x42, 0, 1, b"x")], ONE),
    ("flags that nobody knows are ignored", "RFC 9113 4.1", [lambda lane: f.headers(1, [(lane.fill(n), lane.fill(v)) for n,
         v in request()], flags=0xd2)], ONE),
    ("the reserved bit is ignored", "RFC 9113 4.1",
     [lambda lane: f.frame(f.HEADERS, 5, 1 | 1 << 31, f.block([(lane.fill(n), lane.fill(v)) for n, v in request()])),
         f.frame(f.PING, 0, 0, b"reserved")], ONE),
    ("PING is answered", "RFC 9113 6.7", [f.ping(b"12345678"), SOUND], ONE),
    ("a table of no bytes", "RFC 7541 4.2", [f.settings((f.HEADER_TABLE_SIZE, 0)), lambda lane: f.headers(1,
         b"\x20" + f.block([(lane.fill(n), lane.fill(v)) for n, v in request()]))], ONE),
    ("fields from the table", "RFC 7541 6.1", [lambda lane: from_table(lane)], Answered((Wanted(has=((b"x-a", b"b"),)),
         Wanted(has=((b"x-a", b"b"),))))),
    ("fields that are never indexed", "RFC 7541 6.2.3", [lambda lane: f.headers(1, b"".join(f.field(lane.fill(n),
         lane.fill(v), 0x10) for n, v in request()))], ONE),
    ("a value of 8 KiB", "RFC 9113 6.10", [lambda lane: f.headers(1, [(lane.fill(n), lane.fill(v)) for n,
         v in request(more=[(b"x-a", BIG)])])],
     Answered((Wanted(has=((b"x-a", BIG),)),))),
    ("GOAWAY of the client: what has begun is answered", "RFC 9113 6.8", [SOUND, f.goaway()], ONE, {"sentinel": False}),
    ("a stream whose number is far ahead", "RFC 9113 5.1.1", [head(request(), 0x6fff1)], Answered((Wanted(),), 0x6fff1)),
    ("priority signals of RFC 9218 are ignored", "RFC 9218 7.1", [f.frame(0x10, 0, 0, b"\0\0\0\x01u=1"),
         head(request(more=[(b"priority", b"u=1")]))], ONE),
])


def split_head(lane, count):
    block = f.block([(lane.fill(n), lane.fill(v)) for n, v in request()])
    size = len(block) // count + 1
    parts = [block[at : at + size] for at in range(0, len(block), size)]
    frames = [f.headers(1, parts[0], end_headers=False)]
    return b"".join(frames + [f.continuation(1, part, part is parts[-1]) for part in parts[1:]])


def from_table(lane):
    """Two requests, of which the second takes its fields from the table that the first has filled."""
    fields = [(lane.fill(n), lane.fill(v)) for n, v in request(more=[(b"x-a", b"b")])]
    into = b"".join(f.field(name, value, 0x40) for name, value in fields)
    count = len(fields)
    out = b"".join(f.integer(62 + count - 1 - at, 7, 0x80) for at in range(count))
    return f.headers(1, into) + f.headers(3, out)
