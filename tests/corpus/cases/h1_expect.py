"""Waiting for 100 (RFC 9110 section 10.1.1)."""

from ..core.case import Case, Outcome, demand
from ..core.h1 import AUTH, POST, passes, post, sized, table
from ..core.judge import Refuse
from ..core.upstream import Request

EXPECT = POST + b"expect: 100-continue\r\n"
OTHER = Refuse(frozenset([400, 417]))

ROWS = table("h1", "expect", [
    ("an expectation that nobody knows", "RFC 9110 10.1.1", sized(POST + b"expect: magic\r\n", b"hello"), (OTHER,
         passes(post(b"hello")))),
    ("two expectations", "RFC 9110 10.1.1", sized(POST + b"expect: 100-continue\r\nexpect: magic\r\n", b"hello"), (OTHER,
         passes(post(b"hello")))),
    ("an expectation in capitals, the body already there", "RFC 9110 10.1.1", sized(POST + b"Expect: 100-CONTINUE\r\n",
         b"hello"), passes(post(b"hello"))),
    ("an expectation without a body", "RFC 9110 10.1.1", EXPECT + b"\r\n", passes(post())),
    ("an expectation in HTTP/1.0 is ignored", "RFC 9110 10.1.1", sized(EXPECT, b"hello").replace(b"1.1", b"1.0"),
         passes(post(b"hello"))),
    ("an expectation with an empty item", "RFC 9110 10.1.1", sized(POST + b"expect: ,100-continue\r\n", b"hello"),
         (passes(post(b"hello")), OTHER)),
])


def waits(lane, head, expect, upstream_continues=True, refused=False):
    """A client that sends its body only once it is told to."""
    async def script(wire):
        while True:
            head = await wire.head()
            if upstream_continues and b"expect" in head.lower():
                await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await wire.answer(Request(head, await wire.body(head)))

    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(head), b"POST")
        told = talk.until(lambda: talk.informational or talk.answers)
        demand(told, Outcome.HUNG, "neither 100 nor an answer")
        demand(refused == bool(talk.answers), Outcome.WRONG, "100 for what is refused" if refused
            else f"no 100, but {bytes(talk.raw[:100])!r}")
        if not talk.answers:
            talk.send(b"hello")
        talk.read_answers(1)
        demand(len(talk.informational) <= 1, Outcome.CROSSED, f"{len(talk.informational)} times 100")
        if not talk.end and talk.answers and not refused:
            lane.sentinel(talk)
        lane.judge(talk, expect)


def refused_then_next(lane):
    """A refusal in place of 100: the client does not send its body, and what it sends next is a request or the connection closes."""
    with lane.talk() as talk:
        talk.send(lane.fill(sized(EXPECT.replace(b"/score", b"/admin"), b"hello")[:-5]), b"POST")
        demand(talk.read_answers(1), Outcome.HUNG, "no refusal before the body")
        demand(not talk.informational, Outcome.WRONG, "100 for what is refused")
        if not talk.end:
            talk.send(lane.own(b"sentinel"), b"GET")
            talk.until(lambda: len(talk.answers) > 1)
            if len(talk.answers) > 1:
                answer = talk.answers.pop()
                demand(answer.status == 200, Outcome.CROSSED,
                    f"the next request gets {answer.status}: it was taken for a body")
        lane.judge(talk, Refuse(frozenset([403])))


def of(name, section, play):
    return Case(name, "h1", "expect", section, play)


LENGTH = EXPECT + b"content-length: 5\r\n\r\n"
CASES = [
    *ROWS,
    of("100 comes, and the body passes", "RFC 9110 10.1.1", lambda lane: waits(lane, LENGTH, passes(post(b"hello")))),
    of("100 comes although the upstream keeps silent", "RFC 9110 10.1.1",
       lambda lane: waits(lane, LENGTH, passes(post(b"hello")), upstream_continues=False)),
    of("no 100 for a denied path", "RFC 9110 10.1.1",
       lambda lane: waits(lane, LENGTH.replace(b"/score", b"/admin"), Refuse(frozenset([403])), refused=True)),
    of("no 100 without a key", "RFC 9110 10.1.1", lambda lane: waits(lane, LENGTH.replace(AUTH, b""),
        Refuse(frozenset([401])), refused=True)),
    of("no 100 for a body that is too large", "RFC 9110 15.5.14",
       lambda lane: waits(lane, (EXPECT + b"content-length: 5000\r\n\r\n").replace(b"/score", b"/small"),
           Refuse(frozenset([413])), refused=True)),
    of("a refusal in place of 100, then another request", "RFC 9112 9.3", refused_then_next),
]
