"""Words for the tables of cases on authentication."""

from dataclasses import dataclass

from . import h1
from .case import Outcome, demand
from .judge import Forward, Refuse, Rules, Wanted, told

BYPASS = Outcome.BYPASS
# Nobody whom the gate knows. A request that is malformed on top of that may be refused as such.
UNKNOWN = Refuse(frozenset([400, 401, 403]), forwarded=BYPASS)
# Two credentials, or one that is none.
AMBIGUOUS = Refuse(frozenset([400, 401]), forwarded=BYPASS)
FORBIDDEN = Refuse(frozenset([400, 401, 403, 404, 421]), forwarded=BYPASS)
KEY_PASSES = Rules(key_may_pass=True)
TEAM_B = Rules(identity=(b"team-b",))
NOBODY = Rules(identity=(), attached="none")
ANYONE = Rules(identity=(b"anyone",))
HOST = h1.HOST
LINE = b"GET /score/<TOKEN> HTTP/1.1\r\n"


def with_line(text, path=b"/score/<TOKEN>", method=b"GET"):
    """A request with these fields beside its host."""
    return method + b" " + path + b" HTTP/1.1\r\n" + HOST + text + b"\r\n"


def bearer(value, **options):
    return with_line(b"authorization: " + value + b"\r\n", **options)


def table(klass, rows):
    return h1.table("auth", klass, rows)


@dataclass(frozen=True)
class NotReached:
    """The rule's path was not reached: refused, or taken for another path, which the rules of every request look at."""

    statuses: frozenset = frozenset(range(400, 500))
    # Prefixes under which it may have been forwarded; none: not at all.
    under: tuple = (b"/",)

    def check(self, talk, seen, lane):
        for request in seen.requests:
            demand(any(request.target.startswith(prefix) for prefix in self.under), Outcome.BYPASS,
                f"forwarded as {told([request])}")
        demand(not seen.cut and len(seen.requests) <= 1, Outcome.CROSSED, f"the upstream saw {told(seen.requests)}")
        demand(talk.answers, Outcome.HUNG, f"no answer: {talk.end}")
        status = talk.answers[0].status
        wanted = [200] if seen.requests else sorted(self.statuses)
        demand(status < 500, Outcome.BLAMED, f"answered {status}")
        demand(status in wanted, Outcome.WRONG, f"answered {status}")
        demand(len(talk.answers) == 1, Outcome.CROSSED, f"{len(talk.answers)} answers")


def passes(*requests, **others):
    return Forward(requests or (Wanted(),), **others)
