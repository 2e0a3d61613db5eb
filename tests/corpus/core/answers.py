"""Words for cases in which the upstream is the one that misbehaves, or says something that must arrive as it is."""

from dataclasses import dataclass
from functools import partial

from .case import Case, Outcome, demand
from .h1 import GET
from .judge import USUAL, check_rules
from .upstream import usual

OK = b"HTTP/1.1 200 OK\r\n"
# What must never come to a client as a whole answer.
MARK = b"EVIL"


@dataclass(frozen=True)
class BadGateway:
    """502 where nothing was sent yet, else an answer that is visibly cut off. Never a whole one."""

    cut_ok: bool = True
    statuses: frozenset = frozenset([502])

    def check(self, talk, _lane):
        if talk.answers:
            answer = talk.answers[0]
            demand(answer.status in self.statuses, Outcome.CROSSED if answer.status < 500 else Outcome.WRONG,
                   f"passed on as whole: {answer.raw[:300]!r}")
            demand(MARK not in answer.raw, Outcome.CROSSED,
                f"what the upstream said is in the refusal: {answer.raw[:300]!r}")
            return
        demand(talk.end in ("fin", "reset"), Outcome.HUNG, "neither an answer nor an end")
        demand(talk.partial is None or talk.partial.head is None or talk.partial.head.framing != "close"
            or talk.end == "reset",
               Outcome.CROSSED, "an answer that broke off ends as if it were whole")
        demand(self.cut_ok and talk.raw, Outcome.HUNG, "the connection ends without a word")


@dataclass(frozen=True)
class Delivered:
    """The answer arrives, as sound HTTP."""

    status: int = 200
    body: bytes = b"hello"
    has: tuple = ()
    lacks: tuple = ()
    trailers: tuple | None = None
    # Informational answers that must come before it.
    informational: tuple | None = None
    framing: tuple = ("length", "chunked", "close", "none")

    def check(self, talk, _lane):
        demand(talk.answers, Outcome.HUNG, f"no whole answer: {talk.end} {bytes(talk.raw[:200])!r}")
        answer = talk.answers[0]
        demand(answer.status == self.status, Outcome.WRONG, f"answered {answer.status}")
        demand(answer.body == self.body, Outcome.CROSSED, f"the body is {answer.body[:200]!r}")
        for name, value in self.has:
            demand(answer.all(name) == [value], Outcome.WRONG, f"{name.decode()} is {answer.all(name)!r}, not {value!r}")
        for name in self.lacks:
            demand(not answer.all(name), Outcome.CROSSED, f"{name.decode()} came through: {answer.all(name)!r}")
        demand(self.trailers is None or tuple(answer.trailers) == self.trailers, Outcome.CROSSED,
            f"its trailers are {answer.trailers!r}")
        demand(answer.framing in self.framing, Outcome.WRONG, f"it is framed by {answer.framing}")
        if self.informational is not None:
            found = tuple(one.status for one in talk.informational)
            demand(found == self.informational, Outcome.WRONG, f"informational answers: {found}")


def replies(reply, then="keep", before_body=False):
    """A script: one reply of a case to one request; then the connection is kept, finished or reset."""
    pieces = [reply] if isinstance(reply, bytes) else reply

    async def script(wire):
        await (wire.head() if before_body else wire.request())
        for piece in pieces:
            await wire.send(piece)
        if then == "reset":
            wire.reset()
        elif then == "keep":
            await usual(wire)
        elif then == "hold":
            await wire.drain()

    return script


def upstream_says(lane, script, expect, request=GET + b"\r\n", method=b"GET", fresh=False, next_on_same=True, rules=USUAL,
    end=False,
                  settled=None):
    """Asks, and judges what comes. `fresh`: the upstream's connection must not serve another request."""
    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(request), method)
        talk.read_answers(1)
        if end:
            talk.read_end()
        first = len(lane.upstream.records)
        if settled:
            demand(settled.wait(5), Outcome.WRONG, "the upstream did not come to its end")
        # The next request comes right behind, so that what lies in the upstream's connection would be its answer.
        if next_on_same and talk.end is None and talk.answers:
            lane.sentinel(talk)
        talk.close()
        lane.canary()
        seen = lane.upstream.end()
        check_rules(seen, lane, rules)
        demand(talk.end != "broken", Outcome.CROSSED,
            f"the client got what is no sound HTTP ({talk.why}): {bytes(talk.raw[:300])!r}")
        demand(len(talk.answers) <= 1, Outcome.CROSSED, f"{len(talk.answers)} answers to one request")
        if fresh and first:
            used = lane.upstream.records[0].raw.count(b" HTTP/1.1\r\n")
            demand(used == 1, Outcome.CROSSED, "the upstream's connection was used again")
        checks = expect if isinstance(expect, tuple) else (expect,)
        failures = []
        for check in checks:
            try:
                check.check(talk, lane)
                return
            except Exception as failure:  # the first says best what was wanted
                failures.append(failure)
        raise failures[0]


def table(klass, rows):
    """Cases from rows of: name, section, script or reply, expectation, and options."""
    cases = []
    for name, section, script, expect, *options in rows:
        options = dict(options[0]) if options else {}
        of_case = {key: options.pop(key) for key in ("needs", "profile", "alone") if key in options}
        script = script if callable(script) else replies(script)
        cases.append(Case(name, "answers", klass, section, partial(upstream_says, script=script, expect=expect, **options),
            **of_case))
    return cases
