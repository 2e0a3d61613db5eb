"""A lane: one set of ports of the gate and the upstream behind them, used by one case at a time.

Everything that a lane's upstream sees during a case belongs to that case.
"""

import contextlib
import re
import secrets as random
from dataclasses import dataclass

from .case import Ended, Outcome, demand
from .http2 import Http2
from .judge import USUAL, echoed, judge
from .talk import PATIENCE, Talk


@dataclass(frozen=True)
class Keys:
    """Every secret of a run."""

    a: str
    b: str
    expired: str
    service: str
    extra: str

    def callers(self):
        return (self.a, self.b, self.expired)


@dataclass
class Ports:
    """Where the gate listens for a lane."""

    plain: int
    tls: int
    # Takes the PROXY protocol from loopback; 0 where a target has no such port.
    proxy: int = 0


class Lane:
    """What a case plays on."""

    def __init__(self, number, target, ports, upstream, upstream_h2, keys, pki):
        self.number, self.target, self.ports = number, target, ports
        self.upstream, self.upstream_h2, self.keys, self.pki = upstream, upstream_h2, keys, pki
        self.token = ""
        self.talks = []

    # ---- a case's life ----

    def begin(self):
        self.token = random.token_hex(6)
        self.talks = []
        self.upstream.begin()
        self.upstream_h2.begin()

    def end(self):
        for talk in self.talks:
            talk.close()
        self.upstream.end()
        self.upstream_h2.end()

    def transcript(self):
        """What was sent and came back, for a report."""
        return [(bytes(talk.sent), bytes(talk.raw)) for talk in self.talks if hasattr(talk, "sent")]

    # ---- bytes ----

    def fill(self, text):
        """A case's text with this run's keys and this case's mark."""
        for mark, value in ((b"<TOKEN>", self.token), (b"<KEY-A>", self.keys.a), (b"<KEY-B>", self.keys.b),
                            (b"<KEY-EXPIRED>", self.keys.expired), (b"<SERVICE>", self.keys.service), (b"<EXTRA>",
                                self.keys.extra)):
            text = text.replace(mark, value.encode())
        return text

    def talk(self, tls=False, patience=PATIENCE):
        """A connection of HTTP/1.1."""
        context = self.pki.client("http/1.1") if tls else None
        talk = Talk(self.ports.tls if tls else self.ports.plain, context, patience)
        self.talks.append(talk)
        return talk

    def http2(self, plain=False, name="localhost", **options):
        """A connection of HTTP/2: over TLS, or plain with prior knowledge."""
        one = Http2(self.ports.plain, None, **options) if plain else Http2(self.ports.tls, self.pki.client("h2"), name=name,
            **options)
        self.talks.append(one)
        return one

    def own(self, kind):
        """A request of the harness: a canary on a connection of its own, or a sentinel behind a case's requests."""
        text = b"GET /%b-<TOKEN> HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer <KEY-A>\r\n\r\n" % kind
        return self.fill(text)

    # ---- what most cases do ----

    def canary(self, patience=PATIENCE):
        """The next caller, on a connection of its own, gets its own answer."""
        with contextlib.closing(Talk(self.ports.plain, None, patience)) as talk:
            talk.send(self.own(b"canary"), b"GET")
            talk.read_answers(1)
            demand(talk.answers, Outcome.HUNG, f"the next caller gets no answer: {talk.end} {talk.why}")
            answer = talk.answers[0]
            path = self.fill(b"/canary-<TOKEN>")
            demand(answer.status == 200 and echoed(answer) == path, Outcome.CROSSED,
                   f"the next caller gets {answer.status} {answer.body[:200]!r}")

    def sentinel(self, talk):
        """Where the connection is still open, the next request on it gets the next answer."""
        mine = self.fill(b"/sentinel-<TOKEN>")
        talk.send(self.own(b"sentinel"), b"GET")
        if talk.until(lambda: any(echoed(answer) == mine for answer in talk.answers)):
            # What else came is for the judge to look at.
            demand(echoed(talk.answers[-1]) == mine and talk.partial is None, Outcome.CROSSED,
                   f"an answer that nobody asked for behind the last one: {bytes(talk.raw[-300:])!r}")
            talk.answers.pop()
        else:
            demand(talk.end, Outcome.HUNG,
                f"the next request on the connection is not answered, but {bytes(talk.raw[-300:])!r}")

    def converse(self, payload, expect, methods=(b"GET",), answers=None, fin=False, tls=False, sentinel=True, rules=USUAL,
                 script=None, end=False, bytewise=False):
        """Sends a payload (bytes, or several pieces), reads the answers, looks whether the connection is still in order, and
        judges both sides."""
        self.upstream.script = script or self.upstream.script
        with self.talk(tls) as talk:
            talk.methods.extend(methods)
            pieces = [payload] if isinstance(payload, bytes) else payload
            for piece in pieces:
                filled = self.fill(piece)
                for part in [bytes([byte]) for byte in filled] if bytewise else [filled]:
                    talk.send(part)
            if fin:
                talk.half_close()
            talk.read_answers(len(methods) if answers is None else answers)
            if end or fin:
                talk.read_end()
            if sentinel and not fin and talk.end is None and talk.answers:
                talk.methods.clear()
                self.sentinel(talk)
            talk.close()
            self.judge(talk, expect, rules)

    def judge(self, talk, expect, rules=USUAL):
        """The next caller first: by then whatever the case set off has happened."""
        failed = None
        try:
            self.canary()
        except Ended as ended:
            failed = ended
        seen = self.upstream.end()
        judge(talk, seen, self, expect if isinstance(expect, tuple) else (expect,), rules)
        if failed:
            raise failed

    def no_trace(self, what):
        """Nothing of the case is in what the upstream saw."""
        found = re.search(what, self.upstream.seen().raw())
        demand(not found, Outcome.CROSSED, f"the upstream saw {found and found.group(0)!r}")
