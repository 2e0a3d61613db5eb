"""What a case is, and what can come of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What came of a case, from bad to worse."""

    PASSED = "passed"
    # Accepted and forwarded in a clean form what had to be refused, or refused what had to pass.
    LENIENT = "lenient"
    WRONG = "wrong"
    # No answer where one is owed; a connection that stays open where it must not.
    HUNG = "hung"
    # A 5xx for what is the client's fault.
    BLAMED = "blamed"
    # Something that has two meanings, or that nobody sent, went to the upstream or came to a client.
    CROSSED = "crossed"
    # Served without a right to it.
    BYPASS = "bypass"
    # The upstream was told of somebody whom nobody proved to be.
    SPOOFED = "spoofed"


@dataclass(frozen=True)
class Verdict:
    """The outcome of a case, and why, for whoever has to mend it."""

    outcome: Outcome
    why: str = ""

    def __bool__(self):
        return self.outcome is Outcome.PASSED


PASSED = Verdict(Outcome.PASSED)


class Ended(Exception):
    """A case is over with this verdict."""

    def __init__(self, outcome, why):
        super().__init__(why)
        self.verdict = Verdict(outcome, why)


def demand(true, outcome, why):
    """Ends the case where it is not true."""
    if not true:
        raise Ended(outcome, why)


# The classes of attack.
CLASSES = {
    "framing": "length and coding of a request's body",
    "chunks": "chunks that two servers read differently",
    "line ends": "bare LF, bare CR, folds, NUL, bytes beyond ASCII",
    "request line": "method, target and version",
    "fields": "names, values and numbers of fields",
    "host": "which host a request is for",
    "hop by hop": "fields that end at this hop",
    "methods": "methods with a meaning of their own",
    "pipelining": "several requests on one connection, and what follows a refusal",
    "expect": "waiting for 100",
    "upgrade": "upgrades, h2c and tunnels",
    "websocket": "WebSockets on a route that allows them",
    "trailers": "fields behind a body",
    "limits": "more than is served",
    "answers: framing": "upstreams that lie about their answer's length",
    "answers: head": "upstreams that speak no sound HTTP",
    "answers: order": "upstreams that answer too early, too often or not at all",
    "answers: passed on": "sound answers that must arrive as they are",
    "redirects": "redirects that would carry a credential elsewhere",
    "h2: frames": "frames that break RFC 9113",
    "h2: settings": "settings and flow control",
    "h2: fields": "malformed requests, pseudo-headers and HPACK",
    "h2: downgrade": "what HTTP/2 lets in and HTTP/1.1 reads otherwise",
    "h2: streams": "the life of streams",
    "h2: floods": "work without end",
    "h2: sound": "well-formed HTTP/2 that must pass",
    "h2: plain": "HTTP/2 without TLS",
    "h2: upstream": "upstreams that break HTTP/2",
    "credentials: form": "keys padded, joined, encoded, cut or bent",
    "credentials: number": "two credentials, or none",
    "credentials: place": "keys in query, cookie, body and other places",
    "callers": "whose key opens which route",
    "identity": "fields that tell the upstream who calls",
    "paths": "ways around a rule for a path",
    "hosts": "ways from one host's routes to another's",
    "overrides": "fields that claim another method, path, address or trust",
    "proxy protocol": "where a load balancer says that a connection came from",
    "admin": "the admin side reached through the public side",
    "leaks": "secrets in any output",
    "timing": "what the time of an answer tells",
    "slow": "peers that take their time",
    "descriptors": "more connections than descriptors",
    "tls": "versions, suites, renegotiation, early data",
    "jwt": "tokens of an issuer, and what passes for one",
}


@dataclass(frozen=True)
class Case:
    """One attack, or one sound request that looks like one."""

    name: str
    corpus: str
    klass: str
    # Where the demand comes from: a section of an RFC, or an item of the threat list in README.md.
    section: str
    # Does it; ends by returning, or by raising Ended.
    play: Callable
    # Runs with nothing heavy beside it.
    alone: bool = False
    # Which configuration of the gate: usual, or slow (short time-outs), or few-descriptors.
    profile: str = "usual"
    # What the target must have; a peer that lacks it is marked n/a, scoregate has all.
    needs: frozenset = frozenset()
