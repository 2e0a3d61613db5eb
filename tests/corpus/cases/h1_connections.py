"""Several requests on one connection, and what becomes of it behind a refusal (RFC 9112 section 9)."""

import time

from ..core.case import Case, Outcome, demand
from ..core.h1 import AUTH, CHUNKED, GET, HOST, POST, SMUGGLED, passes, post, sized, table
from ..core.judge import Forward, Refuse, Wanted, judge
from ..core.talk import Talk

END = b"\r\n"
DENIED = GET.replace(b"/score", b"/admin")
DENIED_POST = POST.replace(b"/score", b"/admin")
NO_KEY = POST.replace(AUTH, b"")


def second(number):
    return Wanted(target=b"/score/<TOKEN>/%d" % number)


def get(number):
    return b"GET /score/<TOKEN>/%d HTTP/1.1\r\n" % number + HOST + AUTH + END


MANY = tuple(second(number) for number in range(20))
ROWS = table("h1", "pipelining", [
    ("twenty requests at once are answered in order", "RFC 9112 9.3.2", b"".join(get(n) for n in range(20)), Forward(MANY),
     {"methods": (b"GET",) * 20}),
    ("requests with and without a body", "RFC 9112 9.3.2", sized(POST,
         b"one") + get(1) + CHUNKED + b"3\r\ntwo\r\n0\r\n\r\n" + get(3),
     passes(post(b"one"), second(1), post(b"two"), second(3)), {"methods": (b"POST", b"GET", b"POST", b"GET")}),
    ("a HEAD between two GETs", "RFC 9112 9.3.2", get(0) + GET.replace(b"GET", b"HEAD") + END + get(2),
     passes(second(0), Wanted(b"HEAD"), second(2)), {"methods": (b"GET", b"HEAD", b"GET")}),
    ("nothing behind a close is served", "RFC 9112 9.6", GET + b"connection: close\r\n\r\n" + get(1), passes(closes=True),
         {"end": True}),
    ("nothing behind HTTP/1.0 is served", "RFC 9112 9.3", (GET + END).replace(b"1.1", b"1.0") + get(1), passes(closes=True),
         {"end": True}),
    ("a body behind a refusal is not read as a request", "RFC 9112 9.3", sized(DENIED_POST, SMUGGLED),
         Refuse(frozenset([403]))),
    ("a body of chunks behind a refusal is not read as a request", "RFC 9112 9.3",
     DENIED_POST + b"transfer-encoding: chunked\r\n\r\n46\r\n" + b"GET /score/x HTTP/1.1\r\nhost: localhost\r\nx-fill: ".ljust(66, b"x") + b"\r\n\r\n\r\n0\r\n\r\n",
     Refuse(frozenset([403]))),
    ("a body behind a missing key is not read as a request", "RFC 9112 9.3", sized(NO_KEY, GET + END),
         Refuse(frozenset([401]))),
    ("a body of 1 MiB behind a refusal is not read as a request", "RFC 9112 9.3",
     sized(DENIED_POST, b"x" * (1 << 20) + GET + END), Refuse(frozenset([403]))),
    ("broken chunks behind a refusal are not read as a request", "RFC 9112 9.3",
     DENIED_POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhello" + SMUGGLED, Refuse(frozenset([400, 403]), closes=True)),
    ("a body that is announced twice behind a refusal", "RFC 9112 6.3",
     DENIED_POST + b"content-length: 0\r\ncontent-length: 5\r\n\r\nhello" + get(1), Refuse(closes=True)),
    ("a refused method with a body that hides a request", "RFC 9112 9.3", sized(POST.replace(b"/score", b"/read"),
         GET + END), Refuse(frozenset([405]))),
    ("a broken request behind a sound one", "RFC 9112 9.3.2", get(0) + b"GET / HTTP/1.1\r\nhost localhost\r\n\r\n",
     Refuse(before=(second(0),), closes=True), {"methods": (b"GET", b"GET"), "answers": 2}),
    ("two lengths behind a sound request", "RFC 9112 6.3",
         get(0) + POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
     Refuse(before=(second(0),), closes=True), {"methods": (b"GET", b"POST"), "answers": 2}),
])


def refused_then_sound(lane):
    """A refusal for a rule of ours does not cost the connection: the next request on it is served, as itself."""
    with lane.talk() as talk:
        talk.send(lane.fill(DENIED + END), b"GET")
        talk.read_answers(1)
        demand(talk.answers and talk.answers[0].status == 403, Outcome.WRONG, "a denied path is not 403")
        if talk.end:
            return lane.judge(talk, Refuse(frozenset([403])))
        talk.send(lane.fill(get(1)), b"GET")
        talk.read_answers(2)
        demand(len(talk.answers) == 2, Outcome.HUNG, "the next request is not answered")
        del talk.answers[0]
        return lane.judge(talk, Forward((second(1),)))


def cut_off_by_client(lane, head, body):
    """The client goes away within its body: what the upstream sees is cut off, never completed."""
    with lane.talk() as talk:
        talk.send(lane.fill(head), b"POST")
        talk.send(lane.fill(body))
        # The request is on its way once its head is at the upstream.
        wait_for_head(lane)
        talk.abort()
        lane.canary()
        seen = lane.upstream.end()
        talk.end = "reset"
        judge(talk, seen, lane, (Refuse(cut_ok=True, silent_ok=True),))


def wait_for_head(lane):
    """Until the upstream has seen something of the case."""
    deadline = time.monotonic() + 5
    while b"/score/" not in lane.upstream.seen().raw() and time.monotonic() < deadline:
        time.sleep(0.005)


def answers_stay_with_their_connection(lane):
    """Twenty connections at once, each with its own answers."""
    talks = [Talk(lane.ports.plain) for _ in range(20)]
    try:
        for number, talk in enumerate(talks):
            talk.send(lane.fill(get(number)), b"GET")
        for number, talk in enumerate(talks):
            demand(talk.read_answers(1), Outcome.HUNG, f"connection {number} gets no answer")
            path = lane.fill(b"/score/<TOKEN>/%d" % number)
            demand(path in talk.answers[0].body, Outcome.CROSSED, f"connection {number} gets {talk.answers[0].body!r}")
    finally:
        for talk in talks:
            talk.close()
    lane.canary()


def of(name, section, play):
    return Case(name, "h1", "pipelining", section, play)


CASES = [
    *ROWS,
    of("a refusal by rule keeps the connection in order", "RFC 9112 9.3", refused_then_sound),
    of("a client that resets within a body of a known length", "RFC 9112 8",
       lambda lane: cut_off_by_client(lane, POST + b"content-length: 100\r\n\r\n", b"x" * 50)),
    of("a client that resets between chunks", "RFC 9112 8", lambda lane: cut_off_by_client(lane, CHUNKED,
        b"5\r\nhello\r\n")),
    of("a client that resets before the last empty line", "RFC 9112 8", lambda lane: cut_off_by_client(lane, CHUNKED,
        b"5\r\nhello\r\n0\r\n")),
    of("twenty connections at once", "RFC 9112 9.4", answers_stay_with_their_connection),
]
