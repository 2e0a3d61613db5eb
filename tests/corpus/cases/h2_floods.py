"""Work without end over one connection (RFC 9113 section 10.5): ended, or borne without harm to anybody else.

While a flood goes on, other callers must be served at once, memory must not grow, and the upstream must not see more than a handful
of requests.
"""

import threading
import time
from functools import partial

from ..core import frames as f
from ..core.case import Case, Outcome, demand
from ..core.h2 import head, request
from ..core.judge import USUAL, check_rules
from ..core.talk import Talk
from ..core.upstream import usual

# How long a flood goes on at most, seconds; how long another caller may wait meanwhile; how much memory may be taken.
LASTS, PATIENCE, MEMORY = 2.0, 4.0, 64 << 20
# Requests that may reach the upstream.
REACH = 500


class Watch:
    """Other callers and the gate's memory while a flood goes on."""

    def __init__(self, lane):
        self.lane, self.over = lane, threading.Event()
        self.before = self.peak = lane.target.memory()
        self.longest, self.answers, self.failed = 0.0, 0, None
        self.threads = [threading.Thread(target=self.call), threading.Thread(target=self.weigh)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def call(self):
        while not self.over.is_set() and not self.failed:
            began = time.monotonic()
            try:
                with Talk(self.lane.ports.plain, None, PATIENCE * 2) as talk:
                    talk.send(self.lane.own(b"canary"), b"GET")
                    if not talk.read_answers(1) or talk.answers[0].status != 200:
                        self.failed = f"another caller got {bytes(talk.raw[:100])!r} ({talk.end})"
            except OSError as why:
                self.failed = f"another caller could not connect: {why}"
            self.longest = max(self.longest, time.monotonic() - began)
            self.answers += 1
            self.over.wait(0.02)

    def weigh(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, self.lane.target.memory())

    def check(self):
        demand(not self.failed, Outcome.HUNG, self.failed)
        demand(self.answers, Outcome.HUNG, "no other caller was served")
        demand(self.longest < PATIENCE, Outcome.HUNG, f"another caller waited {self.longest:.1f} s")
        demand(self.peak - self.before < MEMORY, Outcome.WRONG, f"memory grew by {(self.peak - self.before) >> 20} MiB")


def flood(lane, begin, more, reads=True, script=None, ends=False, options=None, reach=REACH):
    """Sends `begin`, then what `more` gives, again and again until the connection ends or time is up.

    `ends`: the gate must end it; what goes on for so long would go on for ever.
    """
    lane.upstream.script = script or usual
    with Watch(lane) as watch, lane.http2(**(options or {})) as h2:
        h2.patience = 1.0
        h2.until(lambda: h2.settings or h2.end, 5)
        h2.send(*(part(lane) if callable(part) else part for part in begin))
        stop, sent = time.monotonic() + LASTS, 0
        while time.monotonic() < stop and not h2.end and not h2.write_failed and not h2.is_told_off:
            h2.send(more(lane, sent))
            sent += 1
            if reads:
                while h2.read_some(0.0005):
                    pass
        # Whatever the gate has to say about it.
        h2.until(lambda: h2.is_told_off, 1.0)
    watch.check()
    ended = h2.is_told_off or h2.end or h2.write_failed
    demand(not ends or ended, Outcome.LENIENT, f"the gate let it go on: {sent} rounds, {h2.state()[:200]}")
    lane.upstream.script = usual
    lane.canary()
    seen = lane.upstream.end()
    check_rules(seen, lane, USUAL)
    demand(len(seen.requests) + len(seen.cut) <= reach, Outcome.CROSSED,
        f"the upstream saw {len(seen.requests)} requests and {len(seen.cut)} cut off")


class Streams:
    """Rounds of so many new streams each, with frames made from their numbers."""

    def __init__(self, per_round, make, **fields):
        self.per_round, self.make, self.fields = per_round, make, fields

    def __call__(self, lane, turn):
        first = 1 + 2 * self.per_round * turn
        block = f.block([(lane.fill(name), lane.fill(value)) for name, value in request(**self.fields)])
        return b"".join(self.make(first + 2 * at, block) for at in range(self.per_round))


def same(frames, count):
    """The same frames again and again."""
    text = frames * count
    return lambda _lane, _turn: text


def of(name, section, begin, more, **options):
    return Case(name, "h2", "h2: floods", section, partial(flood, begin=begin, more=more, **options), alone=True)


async def large(wire):
    """Answers everything with 4 MiB."""
    while True:
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4194304\r\n\r\n")
        for _ in range(64):
            await wire.send(b"x" * 65536)


async def deaf(wire):
    """Reads heads and no bodies."""
    await wire.head()
    wire.reader._transport.pause_reading()
    await wire.drain()


OPEN = head(request(method=b"POST"), end=False)
SECTION = "RFC 9113 10.5"
RESET = "CVE-2023-44487"
MADE = "CVE-2025-8671"


def open_and(*frames, flags=f.END_HEADERS):
    """A stream that is opened, and frames behind it, made from its number."""
    return lambda stream, block: f.frame(f.HEADERS, flags, stream, block) + b"".join(frame(stream) for frame in frames)


BOMB = f.field(b"x-a", b"b" * 3900, 0x40)
CASES = [
    of("rapid reset", RESET, [], Streams(200, open_and(lambda s: f.rst(s), flags=5)), ends=True),
    of("rapid reset of bodies that have begun", RESET, [], Streams(100, open_and(lambda s: f.data(s, b"hello", False),
        lambda s: f.rst(s)), method=b"POST"), ends=True),
    of("rapid reset without a key", RESET, [], Streams(200, open_and(lambda s: f.rst(s), flags=5), key=b"")),
    of("resets that the gate is made to send: no increment of a window", MADE, [], Streams(100,
        open_and(lambda s: f.window_update(s, 0), flags=5)), ends=True),
    of("resets that the gate is made to send: a window over its limit", MADE, [], Streams(100,
        open_and(lambda s: f.window_update(s, (1 << 31) - 1), flags=5)), ends=True),
    of("resets that the gate is made to send: a length that lies", MADE, [],
       Streams(100, open_and(lambda s: f.data(s, b"hello")), method=b"POST", more=[(b"content-length", b"3")]), ends=True),
    of("resets that the gate is made to send: DATA behind the end", MADE, [], Streams(100, open_and(lambda s: f.data(s,
        b"x"), flags=5)), ends=True),
    of("resets that the gate is made to send: malformed requests", MADE, [], Streams(100, open_and(flags=5), more=[(b"X-A",
        b"b")]), ends=True),
    of("streams over the limit, none of them closed", SECTION, [], Streams(200, open_and(), method=b"POST")),
    of("CONTINUATION without end", "CVE-2024-24549", [lambda lane: f.headers(1, b"\x82", end_headers=False)],
       same(f.continuation(1, f.field(b"x-a", b"b" * 8000), False), 8), ends=True),
    of("empty CONTINUATION without end", "CVE-2024-24549", [lambda lane: f.headers(1, b"\x82", end_headers=False)],
        same(f.continuation(1, b"", False), 5000), ends=True),
    of("CONTINUATION of one byte without end", "CVE-2024-24549", [lambda lane: f.headers(1, b"\x82", end_headers=False)],
        same(f.continuation(1, b"\x82", False), 5000), ends=True),
    of("SETTINGS without end", "CVE-2019-9515", [], same(f.settings((f.INITIAL_WINDOW_SIZE, 65535)), 3000)),
    of("SETTINGS without end, acknowledgements not read", "CVE-2019-9515", [], same(f.settings(), 5000), reads=False),
    of("a table that changes its size without end", "RFC 9113 10.5", [], same(f.settings((f.HEADER_TABLE_SIZE,
        0)) + f.settings((f.HEADER_TABLE_SIZE, 65536)), 2000)),
    of("PING without end", "CVE-2019-9512", [], same(f.ping(), 4000)),
    of("PING without end, answers not read", "CVE-2019-9512", [], same(f.ping(), 4000), reads=False),
    of("empty DATA without end", "CVE-2019-9518", [OPEN], same(f.data(1, b"", False), 7000)),
    of("DATA of padding alone without end", "CVE-2019-9518", [OPEN], same(f.frame(f.DATA, f.PADDED, 1,
        b"\xff" + b"\0" * 255), 200)),
    of("WINDOW_UPDATE of one byte without end", SECTION, [], same(f.window_update(0, 1), 5000)),
    of("PRIORITY without end", "CVE-2019-9513", [], lambda _lane, turn: b"".join(f.priority(1 + 2 * at, on=2 * at + 3)
        for at in range(5000))),
    of("frames that nobody knows, without end", SECTION, [], same(f.frame(0x42, 0, 0, b"x" * 100), 600)),
    of("GOAWAY without end", SECTION, [], same(f.goaway(0, 0, b"x" * 100), 500)),
    of("RST_STREAM on a closed stream without end", "CVE-2019-9514", [OPEN, f.rst(1)], same(f.rst(1), 5000)),
    of("fields without a name", "CVE-2019-9516", [], Streams(20, lambda s, block: f.frame(f.HEADERS, 5, s,
        block + f.field(b"", b"") * 4000))),
    of("a field of 4 KiB from the table, 4,000 times", "RFC 7541 7.3", [lambda lane: f.headers(1,
        BOMB + f.block([(lane.fill(n), lane.fill(v)) for n, v in request()]))],
       lambda lane, turn: b"".join(f.headers(3 + 2 * (4 * turn + at), f.block([(lane.fill(n), lane.fill(v)) for n,
           v in request()]) + b"\xbe" * 4000) for at in range(4))),
    of("a table that is filled and emptied without end", "RFC 7541 7.3", [],
       Streams(50, lambda s, block: f.frame(f.HEADERS, 5, s, b"\x20\x3f\xe1\x1f" + block + f.field(b"x-%d" % s, b"b" * 2000,
           0x40)), path=b"/admin")),
    of("answers of 4 MiB that are never read", "CVE-2019-9517", [f.window_update(0, 1 << 30)],
       lambda lane, turn: b"".join(f.headers(1 + 2 * at, [(lane.fill(n), lane.fill(v)) for n, v in request()])
           for at in range(100)) if turn == 0 else f.ping(),
       reads=False, script=large, options={"settings": ((f.INITIAL_WINDOW_SIZE, (1 << 31) - 1),)}),
    of("answers of 4 MiB in a window of none", "CVE-2019-9517", [],
       lambda lane, turn: b"".join(f.headers(1 + 2 * at, [(lane.fill(n), lane.fill(v)) for n, v in request()])
           for at in range(100)) if turn == 0 else f.ping(),
       script=large, options={"settings": ((f.INITIAL_WINDOW_SIZE, 0),)}),
    of("answers of 4 MiB, a byte of window at a time", "CVE-2019-9511", [lambda lane: b"".join(
        f.headers(1 + 2 * at, [(lane.fill(n), lane.fill(v)) for n, v in request()]) for at in range(20))],
       lambda lane, turn: b"".join(f.window_update(1 + 2 * at, 1) for at in range(20)) * 50, script=large,
           options={"settings": ((f.INITIAL_WINDOW_SIZE, 1),)}),
    of("bodies for an upstream that does not read", SECTION, [lambda lane: b"".join(
        f.headers(1 + 2 * at, [(lane.fill(n), lane.fill(v)) for n, v in request(method=b"POST")], end_stream=False)
            for at in range(50))],
       lambda lane, turn: b"".join(f.data(1 + 2 * at, b"x" * 16000, False) for at in range(50)) if turn < 1 else f.ping(),
           script=deaf),
    of("requests with 16 KiB of head each", SECTION, [], Streams(20, open_and(flags=5), path=b"/admin", more=[(b"x-%d" % n,
        b"b" * 1000) for n in range(15)])),
]
