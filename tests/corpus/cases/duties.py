"""What a proxy owes: to say that it was there, to date what is undated, and to leave the rest as it is (RFC 9110 sections 6, 7, 13, 14)."""

import re
from dataclasses import dataclass

from ..core.answers import OK, Delivered, replies
from ..core.answers import table as answers
from ..core.case import Case, Outcome, demand
from ..core.h1 import GET, POST, passes, sized, table
from ..core.h2 import Answered, head, request
from ..core.h2 import table as over_h2
from ..core.judge import Wanted
from ..core.upstream import usual

END = b"\r\ncontent-length: 5\r\n\r\nhello"
IMF_DATE = rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"
ODD = bytes(range(256)) * 8


@dataclass(frozen=True)
class Passed(Wanted):
    """It says in `via` by which protocol it came to whom, behind what was there before."""

    protocol: bytes = b"1.1"
    before: tuple = ()

    def misfit(self, request, lane):
        if why := super().misfit(request, lane):
            return why
        hops = [hop.strip() for value in request.all(b"via") for hop in value.split(b",")]
        # Who leaves it out has done no more than that.
        demand(hops and tuple(hops[:-1]) == self.before, Outcome.WRONG, f"its via is {hops!r}")
        received = re.fullmatch(rb"(?:HTTP/)?(\d(?:\.\d)?) [^\s,]+(?: \(.*\))?", hops[-1])
        names = (self.protocol, self.protocol.removesuffix(b".0"))
        demand(received and received[1] in names, Outcome.WRONG, f"the last of its via is {hops[-1]!r}")
        return ""


@dataclass(frozen=True)
class Dated(Delivered):
    """The answer has one date, of the form that every sender writes (RFC 9110 section 5.6.7)."""

    def check(self, talk, lane):
        super().check(talk, lane)
        dates = talk.answers[0].all(b"date")
        demand(len(dates) == 1 and re.fullmatch(IMF_DATE, dates[0]), Outcome.WRONG, f"its dates are {dates!r}")


def sent_once(lane):
    """A POST whose kept connection ends with no byte of an answer may have run: nobody sends it again."""
    async def script(wire):
        await wire.answer(await wire.request())
        await wire.request()
        wire.reset()

    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(GET + b"\r\n"), b"GET")
        demand(talk.read_answers(1), Outcome.HUNG, "the first request is not answered")
        talk.send(lane.fill(sized(POST, b"hello")), b"POST")
        talk.read_answers(2)
        posts = [request for request in lane.upstream.seen().requests if request.method == b"POST"]
        demand(len(posts) == 1, Outcome.CROSSED, f"the upstream got it {len(posts)} times")
        statuses = [answer.status for answer in talk.answers]
        demand(talk.end or statuses == [200, 502], Outcome.WRONG, f"answered {statuses}")
    lane.upstream.script = usual
    lane.canary()


def same(name, section, *fields):
    """Fields that the gate has no part in go on as they are."""
    text = b"".join(field + b": " + value + b"\r\n" for field, value in fields)
    return name, section, GET + text + b"\r\n", passes(Wanted(has=fields))


REQUESTS = table("h1", "hop by hop", [
    ("Via is written", "RFC 9110 7.6.3", GET + b"\r\n", passes(Passed())),
    ("Via of others stays in front", "RFC 9110 7.6.3", GET + b"via: 1.0 fred, 1.1 p.example.net\r\n\r\n",
     passes(Passed(before=(b"1.0 fred", b"1.1 p.example.net")))),
    ("Via tells HTTP/1.0", "RFC 9110 7.6.3", (GET + b"\r\n").replace(b"1.1", b"1.0"),
     passes(Passed(protocol=b"1.0"), closes=True), {"end": True}),
]) + table("h1", "fields", [
    same("conditions go on", "RFC 9110 13.1.1", (b"if-match", b"\"a\", \"b\""), (b"if-unmodified-since", b"Sat, 29 Oct 1994 19:43:31 GMT")),
    same("a range goes on", "RFC 9110 14.2", (b"range", b"bytes=0-4, -5"), (b"if-range", b"\"a\"")),
    ("content of any bytes goes on as it is", "RFC 9110 7.7",
     sized((GET + b"cache-control: no-transform\r\ncontent-encoding: gzip\r\n").replace(b"GET", b"POST"), ODD),
     passes(Wanted(b"POST", body=ODD, has=((b"content-encoding", b"gzip"), (b"cache-control", b"no-transform"))))),
])
REQUESTS_H2 = over_h2("h2: sound", [
    ("Via tells HTTP/2", "RFC 9110 7.6.3", [head(request())], Answered((Passed(protocol=b"2.0"),))),
])
ANSWERS = answers("answers: passed on", [
    ("what has no date gets one", "RFC 9110 6.6.1", replies(OK[:-2] + END), Dated()),
    ("a date is left as it is", "RFC 9110 6.6.1", replies(OK + b"date: Tue, 15 Nov 1994 08:12:31 GMT" + END),
     Delivered(has=((b"date", b"Tue, 15 Nov 1994 08:12:31 GMT"),))),
    ("a part of the content passes", "RFC 9110 14.2", replies(b"HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-4/10" + END),
     Delivered(206, has=((b"content-range", b"bytes 0-4/10"),))),
    ("bytes of any kind arrive as they are", "RFC 9110 7.7",
     replies(OK + b"content-encoding: gzip\r\ncache-control: no-transform\r\ncontent-length: %d\r\n\r\n" % len(ODD) + ODD),
     Delivered(body=ODD, has=((b"content-encoding", b"gzip"),))),
])
CASES = REQUESTS + REQUESTS_H2 + ANSWERS + [
    Case("a POST that may have run is not sent again", "answers", "answers: order", "RFC 9110 9.2.2", sent_once),
]
