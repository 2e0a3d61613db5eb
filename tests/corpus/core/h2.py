"""Words for the tables of HTTP/2 cases: frames out, and what must come of them."""

from dataclasses import dataclass
from functools import partial

from . import frames as f
from .case import Case, Ended, Outcome, demand
from .judge import USUAL, check_rules, told

# Behind every stream of a case.
SENTINEL = 0x70001
EVERY_CODE = frozenset(range(14))


def request(path=b"/score/<TOKEN>", method=b"GET", authority=b"localhost", scheme=b"https", key=b"<KEY-A>", more=()):
    """The fields of a sound request."""
    pseudo = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    return pseudo + ([(b"authorization", b"Bearer " + key)] if key else []) + list(more)


@dataclass(frozen=True)
class ConnectionError:
    """The connection ends, with one of these codes where it says one; nothing of the case goes through."""

    codes: frozenset = EVERY_CODE
    # Requests that were complete before it.
    before: int = 0

    def settle(self, h2):
        h2.until(lambda: h2.is_told_off, 6)

    def check(self, h2, seen, _lane):
        codes = [code for _, code in h2.goaways if code != f.NO_ERROR]
        demand(codes or h2.end in ("fin", "reset"), Outcome.LENIENT, f"the connection goes on: {h2.state()}")
        demand(not codes or codes[0] in self.codes, Outcome.WRONG, f"GOAWAY with {codes}, not {sorted(self.codes)}")
        demand(len(seen.requests) <= self.before, Outcome.CROSSED, f"forwarded: {told(seen.requests)}")


@dataclass(frozen=True)
class StreamError:
    """The stream is reset, or refused with a 4xx, or the connection ends (RFC 9113 section 5.4)."""

    stream: int = 1
    codes: frozenset = EVERY_CODE
    statuses: frozenset = frozenset(range(400, 500))
    # The upstream may have seen the beginning of the request, cut off.
    cut_ok: bool = False
    forwarded: Outcome = Outcome.LENIENT
    before: int = 0

    def settle(self, h2):
        h2.finish(self.stream, patience=6)

    def check(self, h2, seen, _lane):
        demand(len(seen.requests) <= self.before, self.forwarded, f"forwarded: {told(seen.requests)}")
        demand(self.cut_ok or not seen.cut, Outcome.CROSSED, f"the upstream saw a part of it: {seen.raw()[:300]!r}")
        one = h2.stream(self.stream)
        if one.status is not None:
            demand(one.status < 500, Outcome.BLAMED, f"answered {one.status}")
            demand(one.status in self.statuses, Outcome.WRONG, f"answered {one.status}")
            return
        ended = h2.is_told_off or h2.end in ("fin", "reset")
        demand(ended or one.reset is not None, Outcome.HUNG, f"neither an answer nor a reset: {h2.state()}")
        demand(one.reset is None or one.reset in self.codes, Outcome.WRONG,
            f"reset with {one.reset}, not {sorted(self.codes)}")


@dataclass(frozen=True)
class Answered:
    """The upstream answers, and saw exactly these requests."""

    requests: tuple = ()
    stream: int = 1

    def settle(self, h2):
        h2.finish(*range(self.stream, self.stream + 2 * max(len(self.requests), 1), 2))

    def check(self, h2, seen, lane):
        demand(not seen.cut, Outcome.CROSSED, f"a request that was never completed: {seen.raw()[:300]!r}")
        demand(len(seen.requests) <= len(self.requests), Outcome.CROSSED,
            f"{len(seen.requests)} requests: {told(seen.requests)}")
        for number in range(len(self.requests)):
            one = h2.stream(self.stream + 2 * number)
            demand(one.is_over, Outcome.HUNG, f"no answer: {h2.state()}")
            demand(one.status == 200, Outcome.BLAMED if (one.status or 0) >= 500 else Outcome.WRONG,
                f"answered {one.status}: {h2.state()}")
        demand(len(seen.requests) == len(self.requests), Outcome.WRONG, f"the upstream saw {told(seen.requests)}")
        # Streams run beside each other: in any order.
        left = list(seen.requests)
        for wanted in self.requests:
            fit = next((found for found in left if wanted.fits(found, lane)), None)
            demand(fit is not None, Outcome.CROSSED, f"what was forwarded is wrong: {wanted.misfit(left[0], lane)}")
            left.remove(fit)


@dataclass(frozen=True)
class Ignored:
    """Nothing comes of it, and the connection goes on."""

    # The upstream may have seen the beginning of a request, cut off.
    cut_ok: bool = False

    def settle(self, h2):
        h2.barrier()

    def check(self, h2, seen, _lane):
        demand(not h2.is_told_off and h2.end is None, Outcome.WRONG, f"the connection ends: {h2.state()}")
        demand(not seen.requests and (self.cut_ok or not seen.cut), Outcome.CROSSED, f"forwarded: {seen.raw()[:300]!r}")


def fill(lane, frame):
    """Frames as bytes, with this run's keys; a function of the lane where the length of a frame depends on them."""
    return frame(lane) if callable(frame) else frame


def head(fields, stream=1, end=True, **options):
    """HEADERS, once the keys are known."""
    def make(lane):
        filled = [(lane.fill(name), lane.fill(value)) for name, value in fields]
        return f.headers(stream, filled, end_stream=end, **options)

    return make


def play_frames(lane, frames, expect, rules=USUAL, sentinel=True, script=None, options=None, bytewise=False):
    """Sends frames, reads what comes, looks whether the connection still serves, and judges both sides."""
    if script:
        lane.upstream.script = script
    with lane.http2(**(options or {})) as h2:
        if (options or {}).get("preface", True):
            h2.until(lambda: h2.settings or h2.end)
        filled = b"".join(fill(lane, frame) for frame in frames)
        for part in [bytes([byte]) for byte in filled] if bytewise else [filled]:
            h2.send(part)
        checks = expect if isinstance(expect, tuple) else (expect,)
        checks[0].settle(h2)
        failed = None
        try:
            if sentinel and not h2.is_told_off and h2.end is None:
                look(lane, h2)
        except Ended as ended:
            failed = ended
        finish(lane, h2, checks, rules)
        if failed:
            raise failed


def look(lane, h2):
    """The next request on the connection is served, unless the connection ends."""
    h2.send(head(request(b"/sentinel-<TOKEN>"), SENTINEL)(lane))
    h2.finish(SENTINEL)
    one = h2.stream(SENTINEL)
    if h2.is_told_off or h2.end in ("fin", "reset"):
        return
    demand(one.status == 200 and one.echoed() == lane.fill(b"/sentinel-<TOKEN>"), Outcome.HUNG,
        f"the next request on the connection is not served: {h2.state()}")


def finish(lane, h2, checks, rules=USUAL):
    """Judges both sides."""
    try:
        lane.canary()
        failed = None
    except Ended as ended:
        failed = ended
    seen = lane.upstream.end()
    check_rules(seen, lane, rules)
    demand(h2.end != "broken", Outcome.CROSSED, f"the client got what is no HTTP/2: {h2.why}")
    failures = []
    for check in checks:
        try:
            check.check(h2, seen, lane)
            break
        except Ended as ended:
            failures.append(ended)
    else:
        raise failures[0]
    if failed:
        raise failed


def table(klass, rows):
    """Cases from rows of: name, section, frames, expectation, and options of `play_frames` or of the case."""
    cases = []
    for name, section, frames, expect, *options in rows:
        options = dict(options[0]) if options else {}
        of_case = {key: options.pop(key) for key in ("needs", "profile", "alone") if key in options}
        cases.append(Case(name, "h2", klass, section, partial(play_frames, frames=frames, expect=expect, **options),
            **of_case))
    return cases


def codes(*numbers):
    return frozenset(numbers)
