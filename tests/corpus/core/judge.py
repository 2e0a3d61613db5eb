"""Judges a case of HTTP/1.1: by the answers its client got, and by everything its upstream saw."""

import json
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from . import strict
from .case import PASSED, Ended, Outcome, Verdict, demand

# What a test writes into fields that say who or where somebody is: it must not arrive anywhere.
SPOOF = b"spoofed"
HOP_BY_HOP = {b"keep-alive", b"proxy-connection", b"proxy-authorization", b"upgrade"}
# A server that does not know a transfer coding, an expectation or a version may say so (RFC 9112 section 6.1, RFC 9110 10.1.1).
CLIENTS_FAULT = {501, 505}


@dataclass(frozen=True)
class Refuse:
    """A 4xx, and nothing at the upstream."""

    statuses: frozenset = frozenset(range(400, 500))
    # The upstream may have seen the beginning of the request, cut off: never a complete one.
    cut_ok: bool = False
    # The connection may be closed without a word: what came was no request.
    silent_ok: bool = False
    # The connection must be closed behind the answer.
    closes: bool = False
    # Sound requests that came before it on the same connection, which are answered.
    before: tuple = ()
    # What it is if it is forwarded all the same.
    forwarded: Outcome = Outcome.LENIENT

    def check(self, talk, seen, lane):
        answers = list(talk.answers)
        for _ in self.before:
            demand(answers and answers.pop(0).status == 200, Outcome.WRONG, "a sound request before it was not answered")
        requests = list(seen.requests)
        for wanted in self.before:
            demand(requests and wanted.fits(requests.pop(0), lane), Outcome.CROSSED, "a sound request before it went wrong")
        demand(not requests, self.forwarded, f"forwarded what must be refused: {told(requests)}")
        demand(self.cut_ok or not seen.cut, Outcome.CROSSED, f"the upstream saw a part of it: {seen.raw()[:300]!r}")
        if not answers:
            demand(self.silent_ok and talk.end in ("fin", "reset"), Outcome.HUNG, f"no answer; the connection: {talk.end}")
            return
        status = answers[0].status
        demand(status < 500 or status in self.statuses, Outcome.BLAMED, f"answered {status}")
        demand(status in self.statuses, Outcome.WRONG, f"answered {status}, not {brief(self.statuses)}")
        demand(not self.closes or talk.end in ("fin", "reset"), Outcome.HUNG,
               "the connection stays open although where the next request begins is anybody's guess")
        demand(len(answers) == 1, Outcome.CROSSED,
            f"answers that nobody asked for: {[answer.status for answer in answers[1:]]}")


@dataclass(frozen=True)
class Wanted:
    """A request as the upstream must see it."""

    method: bytes = b"GET"
    target: bytes = b"/score/<TOKEN>"
    body: bytes = b""
    # Fields that must be there with these values, and names that must not be there.
    has: tuple = ()
    lacks: tuple = ()
    trailers: tuple = ()

    def fits(self, request, lane):
        return not self.misfit(request, lane)

    def misfit(self, request, lane):
        """Why a request is not the one that is wanted; empty where it is."""
        for what, found, wanted in (("method", request.method, self.method),
                                    ("target", request.target, lane.fill(self.target)),
                                    ("body", request.body, lane.fill(self.body))):
            if found != wanted:
                return f"its {what} is {found[:200]!r}, not {wanted[:200]!r}"
        for name, value in self.has:
            if request.all(name) != [lane.fill(value)]:
                return f"its {name.decode()} is {request.all(name)!r}, not {lane.fill(value)!r}"
        for name in self.lacks:
            if request.all(name):
                return f"it has {name.decode()}: {request.all(name)!r}"
        if tuple(request.trailers) != self.trailers:
            return f"its trailers are {request.trailers!r}"
        return ""


@dataclass(frozen=True)
class Forward:
    """Answered by the upstream, which saw exactly these requests."""

    requests: tuple = (Wanted(),)
    status: int = 200
    # The connection must be closed behind the answer, or must stay open.
    closes: bool | None = None

    def check(self, talk, seen, lane):
        demand(not seen.cut, Outcome.CROSSED, f"a request that was never completed: {seen.raw()[:300]!r}")
        demand(len(seen.requests) <= len(self.requests), Outcome.CROSSED,
               f"{len(seen.requests)} requests went to the upstream: {told(seen.requests)}")
        statuses = [answer.status for answer in talk.answers[: len(self.requests)]]
        refused = [status for status in statuses if status >= 400]
        demand(not refused, Outcome.BLAMED if refused and refused[0] >= 500 else Outcome.WRONG, f"answered {statuses}")
        demand(len(statuses) == len(self.requests), Outcome.HUNG,
            f"answers: {statuses}; the connection: {talk.end} {talk.why}")
        demand(len(seen.requests) == len(self.requests), Outcome.WRONG, f"the upstream saw {told(seen.requests)}")
        for wanted, found in zip(self.requests, seen.requests):
            misfit = wanted.misfit(found, lane)
            demand(not misfit, Outcome.CROSSED, f"what was forwarded is wrong: {misfit}")
        demand(all(status == self.status for status in statuses), Outcome.WRONG, f"answered {statuses}")
        demand(len(talk.answers) == len(self.requests), Outcome.CROSSED,
               f"answers that nobody asked for: {[answer.status for answer in talk.answers]}")
        if self.closes is not None:
            is_closed = talk.end in ("fin", "reset")
            demand(is_closed == self.closes, Outcome.WRONG, f"the connection is {talk.end or 'open'} behind the answer")
        if self.status == 200:
            for answer, found in zip(talk.answers, seen.requests):
                demand(found.method == b"HEAD" or echoed(answer) == found.target, Outcome.CROSSED,
                       "a client got the answer to another request")


@dataclass(frozen=True)
class Rules:
    """What holds for every request that reaches the upstream, whatever the case."""

    # Names of callers that may be told to the upstream.
    identity: tuple = (b"team-a",)
    # The service's key is attached: main, or extra (another header), or none.
    attached: str = "main"
    # The caller's key may be in the request: in its query, cookies or body, which pass unread.
    key_may_pass: bool = False
    # A spoofed value may be in the request, in a field without a meaning.
    spoof_may_pass: bool = False
    # The case asks for a denied path in a way that only some servers would read so.
    denied_may_pass: bool = False
    lacks: tuple = field(default=())


USUAL = Rules()


def check_rules(seen, lane, rules):
    """Demands of every request that got through, before anything else."""
    for rest, why in seen.broken:
        raise Ended(Outcome.CROSSED, f"the upstream saw what is no sound HTTP ({why}): {rest[:300]!r}")
    for request in seen.requests + seen.own + [head for head, _ in seen.cut if head]:
        own = request in seen.own
        # A relay attaches nothing and tells nobody: it is judged by what each case demands, or it would fail all of them alike.
        if lane.target.attaches:
            check_credentials(request, lane, USUAL if own else rules)
            check_identity(request, USUAL if own else rules)
        if own:
            continue
        demand(rules.denied_may_pass or not is_denied(request.target), Outcome.BYPASS,
               f"a denied path was reached: {request.target!r}")
        for name, _ in request.fields:
            demand(name.lower() not in HOP_BY_HOP and name.lower() not in rules.lacks, Outcome.CROSSED,
                   f"a field that ends at this hop went on: {name!r}")
        for value in request.all(b"connection"):
            demand(value.lower() in (b"close", b"keep-alive", b"te"), Outcome.CROSSED, f"connection: {value!r} went on")
        demand(rules.spoof_may_pass or SPOOF not in request.raw, Outcome.SPOOFED,
            f"a spoofed value went on: {request.raw[:600]!r}")


def check_credentials(request, lane, rules):
    keys = lane.keys
    found = [(name.lower(), value) for name, value in request.fields if keys.service.encode() in value
        or keys.extra.encode() in value]
    wanted = {
        "main": [(b"authorization", b"Bearer " + keys.service.encode())],
        "extra": [(b"x-service-key", keys.extra.encode())],
        "none": [],
    }[rules.attached]
    demand(found == wanted, Outcome.BYPASS, f"attached is {found!r}")
    for name, value in request.fields:
        if name.lower() in (b"authorization", b"x-api-key", b"api-key", b"proxy-authorization"):
            demand((name.lower(), value) in wanted, Outcome.CROSSED, f"a caller's credential went on: {name!r}")
    demand(rules.key_may_pass or not any(key.encode() in request.raw for key in keys.callers()), Outcome.CROSSED,
           "the caller's key went on")


def check_identity(request, rules):
    told_as = [value for name, value in request.fields if re.sub(rb"[_.]", b"-", name.lower()) == b"x-auth-subject"]
    wanted = 0 if not rules.identity else 1
    demand(len(told_as) == wanted and all(value in rules.identity for value in told_as), Outcome.SPOOFED,
           f"the upstream is told that it is {told_as!r}")


def is_denied(target):
    """Whether a server that drops parameters, decodes once and resolves dots would serve `/admin` for this."""
    path = re.sub(rb";[^/]*", b"", target.split(b"?")[0])
    kept = []
    for segment in unquote_to_bytes(path).replace(b"\\", b"/").split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment.split(b"\0")[0])
    return bool(kept) and kept[0] == b"admin"


def judge(talk, seen, lane, expectations, rules=USUAL):
    """The verdict. `expectations` are alternatives; the first is what its author would rather see."""
    check_rules(seen, lane, rules)
    demand(talk.end != "broken", Outcome.CROSSED,
        f"the client got what is no sound HTTP ({talk.why}): {bytes(talk.raw[:300])!r}")
    failures = []
    for expectation in expectations:
        try:
            expectation.check(talk, seen, lane)
            return
        except Ended as ended:
            failures.append(ended)
    raise failures[0]


def echoed(answer):
    """The target that the upstream says it answered."""
    try:
        return json.loads(answer.body)["target"].encode("latin-1")
    except (ValueError, KeyError, TypeError):
        return None


def told(requests):
    return ", ".join(f"{request.method.decode()} {request.target[:80].decode()} ({len(request.body)} bytes)"
        for request in requests)


def brief(statuses):
    return "a 4xx" if len(statuses) > 20 else " or ".join(str(status) for status in sorted(statuses))


__all__ = ["PASSED", "Forward", "Refuse", "Rules", "USUAL", "Verdict", "Wanted", "check_rules", "judge", "strict"]
