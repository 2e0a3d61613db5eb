"""HTTP/2 without TLS, for who knows beforehand (RFC 9113 section 3.3): told from HTTP/1.1 by its preface, and by nothing less."""

from ..core import frames as f
from ..core import h1
from ..core.case import Outcome
from ..core.h2 import Answered, ConnectionError, StreamError, head, request, table
from ..core.judge import Refuse, Wanted

NEEDS = {"needs": frozenset(["prior-knowledge"])}
PLAIN = {"options": {"plain": True}, **NEEDS}
RAW = {"options": {"plain": True, "preface": False}, **NEEDS}
SOUND = head(request(scheme=b"http"))
ONE = Answered((Wanted(),))


def http1(lane):
    return lane.fill(b"GET /score/<TOKEN> HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer <KEY-A>\r\n\r\n")


# What is no preface is read as HTTP/1.1, and is none.
REFUSED = Refuse(frozenset([400, 405, 505]), silent_ok=True, closes=True)
GET = (b"GET",)
NO_PREFACE = h1.table("h2", "h2: plain", [
    ("half a preface, then HTTP/1.1", "RFC 9113 3.4", f.PREFACE[:16] + h1.GET + b"\r\n", REFUSED, {"methods": GET, **NEEDS}),
    ("a preface with a letter changed", "RFC 9113 3.4", f.PREFACE.replace(b"SM", b"sm") + f.settings(), REFUSED,
         {"methods": GET, **NEEDS}),
    ("a preface with its last byte changed", "RFC 9113 3.4", f.PREFACE[:-1] + b"x" + f.settings(), REFUSED, {"methods": GET,
         **NEEDS}),
    ("SETTINGS without a preface", "RFC 9113 3.4", f.settings() + f.ping(), REFUSED, {"methods": GET, **NEEDS}),
])
CASES = NO_PREFACE + table("h2: plain", [
    ("a request", "RFC 9113 3.3", [SOUND], ONE, PLAIN),
    ("a preface and a request byte by byte", "RFC 9113 3.4", [f.PREFACE, f.settings(), SOUND], ONE, {**RAW,
         "bytewise": True}),
    ("a request without a key", "threat 7", [head(request(scheme=b"http", key=b""))], StreamError(statuses=frozenset([401]),
         forwarded=Outcome.BYPASS), PLAIN),
    ("the denied path", "threat 6", [head(request(b"/score/../admin", scheme=b"http"))],
         StreamError(forwarded=Outcome.BYPASS), PLAIN),
    ("the scheme of TLS", "RFC 9110 7.4", [head(request())], (ONE, StreamError()), PLAIN),
    ("a preface, then HTTP/1.1", "RFC 9113 3.4", [f.PREFACE, http1], ConnectionError(), {**RAW, "sentinel": False}),
    ("a request with Upgrade among its fields", "RFC 9113 8.2.2", [head(request(scheme=b"http", more=[(b"upgrade",
         b"h2c")]))], StreamError(), PLAIN),
    ("a length and no body", "RFC 9113 8.1.1", [head(request(scheme=b"http", method=b"POST", more=[(b"content-length",
         b"5")]))], StreamError(), PLAIN),
])
