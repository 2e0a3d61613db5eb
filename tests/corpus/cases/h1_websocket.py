"""WebSockets on a route that allows them (RFC 6455, RFC 8441): a tunnel for whom both sides agreed to open one, and for nobody else."""

import asyncio
import base64
import hashlib
import re
import threading
import time
from functools import partial

from ..core import frames as f
from ..core.case import Case, Outcome, demand
from ..core.h1 import AUTH, HOST, SMUGGLED
from ..core.h2 import head, request
from ..core.upstream import usual

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
WS = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: " + KEY + b"\r\n"
ASK = b"GET /ws/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + WS + b"\r\n"
AGREED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: " + ACCEPT + b"\r\n\r\n"
# What a client sends through a tunnel, and what an upstream answers.
UP, DOWN = b"TUNNEL-UP", b"TUNNEL-DOWN"


def tunnel(reply, then=b"", wait=None):
    """A script: one answer to an upgrade, then bytes, then whatever comes is recorded."""
    async def script(wire):
        asked = await wire.head()
        while wait and not wait.is_set():
            await asyncio.sleep(0.005)
        # The accept is that of the key that was sent: over HTTP/2 the gate makes one.
        key = re.search(rb"sec-websocket-key: *([^\r]+)", asked, re.I)
        accept = base64.b64encode(hashlib.sha1((key.group(1) if key
            else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        await wire.send(reply.replace(ACCEPT, accept) + then)
        await (wire.drain() if reply.startswith(AGREED[:12]) else usual(wire))

    return script


def rules(lane, seen):
    """The upgrade carries the service's key and the caller's name, as every request does."""
    for record in seen.records if lane.target.attaches else []:
        first = bytes(record.raw).split(b"\r\n\r\n")[0].lower()
        if b"/ws/" in first:
            demand(b"authorization: bearer " + lane.keys.service.encode().lower() in first, Outcome.BYPASS,
                f"attached is not the key: {first!r}")
            demand(lane.keys.a.encode() not in first, Outcome.CROSSED, "the caller's key went on")
            demand(first.count(b"x-auth-subject:") == 1 and b"x-auth-subject: team-a" in first, Outcome.SPOOFED,
                f"who calls: {first!r}")


def opens(lane, ask=ASK, then=DOWN):
    """A tunnel that both agreed to: bytes go both ways, and its end goes on."""
    lane.upstream.script = tunnel(AGREED, then)
    with lane.talk() as talk:
        talk.send(lane.fill(ask), b"GET")
        talk.until(lambda: DOWN in talk.raw or talk.end == "fin")
        demand(talk.raw.startswith(b"HTTP/1.1 101 ") and DOWN in talk.raw, Outcome.WRONG,
            f"no tunnel: {bytes(talk.raw[:200])!r}")
        demand(b"sec-websocket-accept: " + ACCEPT in talk.raw, Outcome.WRONG, "the agreement did not arrive")
        talk.send(UP)
        wait_for(lane, UP)
        talk.close()
        wait_ended(lane)
    lane.upstream.script = usual
    lane.canary()
    rules(lane, lane.upstream.end())


def wait_for(lane, what, patience=5):
    deadline = time.monotonic() + patience
    while what not in lane.upstream.seen().raw():
        demand(time.monotonic() < deadline, Outcome.HUNG, f"{what!r} does not arrive")
        time.sleep(0.005)


def wait_ended(lane, patience=5):
    """Until the gate has closed the upstream's end of the tunnel."""
    deadline = time.monotonic() + patience
    while not all(record.ended or record.was_reset for record in lane.upstream.records if b"/ws/" in record.raw):
        demand(time.monotonic() < deadline, Outcome.HUNG, "the upstream's end stays open although the client has gone")
        time.sleep(0.005)


def early(lane):
    """Bytes behind the request wait for the agreement (threat 10)."""
    agree = threading.Event()
    lane.upstream.script = tunnel(AGREED, DOWN, agree)
    with lane.talk() as talk:
        talk.send(lane.fill(ASK) + UP, b"GET")
        wait_for(lane, b"/ws/")
        # A relay would have sent them on long ago.
        time.sleep(0.2)
        demand(UP not in lane.upstream.seen().raw(), Outcome.CROSSED, "bytes of the tunnel went on before it was agreed to")
        agree.set()
        talk.until(lambda: DOWN in talk.raw)
        demand(DOWN in talk.raw or talk.end, Outcome.HUNG, f"neither a tunnel nor an end: {bytes(talk.raw[:100])!r}")
    lane.upstream.script = usual
    lane.canary()
    rules(lane, lane.upstream.end())


def no_tunnel(lane, ask, reply, statuses, behind=UP):
    """Whatever comes of it, it is no tunnel: bytes of the client do not reach the upstream as they are."""
    if reply:
        lane.upstream.script = tunnel(reply)
    with lane.talk() as talk:
        talk.send(lane.fill(ask), b"GET")
        talk.until(lambda: talk.answers or talk.end)
        demand(talk.answers, Outcome.HUNG, f"no answer: {talk.end} {talk.why}")
        status = talk.answers[0].status
        demand(status != 101, Outcome.CROSSED, "a tunnel that nobody agreed to")
        demand(status in statuses, Outcome.BLAMED if status >= 500 else Outcome.WRONG, f"answered {status}")
        talk.send(lane.fill(behind))
        talk.read_some(0.3)
    lane.upstream.script = usual
    lane.canary()
    seen = lane.upstream.end()
    rules(lane, seen)
    for text in (UP, b"/admin"):
        demand(text not in seen.raw(), Outcome.CROSSED, f"{text!r} reached the upstream: {seen.raw()[-300:]!r}")


def over_h2(lane, protocol=b"websocket", path=b"/ws/<TOKEN>", key=b"<KEY-A>", reply=AGREED, opens_tunnel=True, statuses=(200,
    )):
    """The same by extended CONNECT."""
    lane.upstream.script = tunnel(reply, DOWN)
    with lane.http2() as h2:
        h2.until(lambda: h2.settings or h2.end)
        demand(dict(h2.settings).get(8) == 1, Outcome.WRONG, f"extended CONNECT is not offered: {h2.settings}")
        fields = request(path, b"CONNECT", key=key, more=[(b"sec-websocket-version", b"13")])
        fields.insert(1, (b":protocol", protocol))
        h2.send(head(fields, end=False)(lane), f.data(1, UP, end_stream=False))
        one = h2.stream(1)
        h2.until(lambda: one.is_over or h2.is_told_off or DOWN in one.body)
        if opens_tunnel:
            demand(one.status == 200 and DOWN in one.body, Outcome.WRONG, f"no tunnel: {h2.state()} {one.body!r}")
            wait_for(lane, UP)
        else:
            demand(one.status in statuses or one.reset is not None or h2.is_told_off, Outcome.WRONG,
                f"answered {one.status}")
            demand(DOWN not in one.body, Outcome.CROSSED, "a tunnel that nobody agreed to")
    lane.upstream.script = usual
    lane.canary()
    seen = lane.upstream.end()
    rules(lane, seen)
    demand(opens_tunnel or UP not in seen.raw(), Outcome.CROSSED, f"bytes reached the upstream: {seen.raw()[-300:]!r}")


def upstream_ends(lane):
    """The upstream's end of a tunnel ends the client's."""
    async def script(wire):
        await wire.head()
        await wire.send(AGREED + DOWN)

    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(ASK), b"GET")
        demand(talk.until(lambda: DOWN in talk.raw), Outcome.WRONG, f"no tunnel: {bytes(talk.raw[:200])!r}")
        # What follows the 101 is no HTTP, and is not read as such.
        talk.end = None
        demand(talk.read_end(5) or talk.end, Outcome.HUNG, "the client's end stays open although the upstream has gone")
    lane.upstream.script = usual
    lane.canary()
    rules(lane, lane.upstream.end())


def of(name, section, play, *arguments, **options):
    return Case(name, "h1", "websocket", section, partial(call, play, arguments, options), needs=frozenset(["websocket"]))


def call(play, arguments, options, lane):
    play(lane, *arguments, **options)


def refused(name, section, ask, statuses=(400, 401, 403, 405, 426, 501), reply=None, behind=UP):
    return of(name, section, no_tunnel, ask, reply, statuses, behind)


REFUSED = b"HTTP/1.1 426 Upgrade Required\r\nsec-websocket-version: 13\r\ncontent-length: 0\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
CASES = [
    of("a tunnel that both agreed to", "RFC 6455 4", opens),
    of("a tunnel with the words of Connection in other letters", "RFC 9110 7.8", opens, ASK.replace(b"connection: Upgrade",
        b"Connection: keep-alive, uPGRADE").replace(b": websocket", b": WebSocket")),
    of("a tunnel whose caller claims another name", "threat 9", opens, ASK.replace(WS, WS + b"x-auth-subject: spoofed\r\n")),
    of("bytes before the agreement wait", "threat 10", early),
    of("the upstream's end of a tunnel", "RFC 6455 7", upstream_ends),
    refused("an upgrade without a key", "RFC 6455 4", ASK.replace(AUTH, b""), (401,)),
    refused("an upgrade with another caller's key", "RFC 6455 4", ASK.replace(b"<KEY-A>", b"<KEY-B>"), (401, 403)),
    refused("an upgrade that the upstream refuses, and a request in the tunnel", "threat 10", ASK.replace(b"version: 13",
        b"version: 777"), (426, 400), REFUSED, SMUGGLED),
    refused("an upgrade that the upstream answers with 200", "threat 10", ASK, (200, 502), PLAIN, SMUGGLED),
    refused("an upgrade that the upstream refuses, and bytes behind it", "threat 10", ASK, (426,), REFUSED),
    refused("101 to another protocol", "RFC 9110 7.8", ASK, (502,), AGREED.replace(b"upgrade: websocket", b"upgrade: h2c")),
    refused("101 that names no protocol", "RFC 9110 7.8", ASK, (502,), AGREED.replace(b"upgrade: websocket\r\n", b"")),
    refused("101 for a request that asked for no upgrade", "RFC 9110 15.2.2", ASK.replace(WS, b""), (502,), AGREED),
    refused("an upgrade that Connection does not name", "RFC 9110 7.8", ASK.replace(b"connection: Upgrade\r\n", b""), (200,
        400, 502), PLAIN),
    refused("an upgrade with a body by length", "RFC 6455 4.1", ASK.replace(WS, WS + b"content-length: 5\r\n") + b"hello",
        (200, 400, 502), PLAIN),
    refused("an upgrade with a body in chunks", "RFC 6455 4.1", ASK.replace(WS,
        WS + b"transfer-encoding: chunked\r\n") + b"0\r\n\r\n", (200, 400, 502), PLAIN),
    refused("an upgrade by POST", "RFC 6455 4.1", ASK.replace(b"GET", b"POST"), (200, 400, 405, 501, 502), PLAIN),
    refused("an upgrade in HTTP/1.0", "RFC 9110 7.8", ASK.replace(b"HTTP/1.1", b"HTTP/1.0"), (200, 400, 426, 501, 502),
        PLAIN),
    refused("two protocols to choose from", "RFC 9110 7.8", ASK.replace(b"upgrade: websocket", b"upgrade: h2c, websocket"),
        (200, 400, 502), AGREED.replace(b"websocket\r\n", b"h2c\r\n")),
    refused("h2c on a route for WebSockets", "RFC 9113 3.1", ASK.replace(b"upgrade: websocket", b"upgrade: h2c"), (200, 400,
        501, 502), AGREED.replace(b": websocket", b": h2c")),
    refused("an upgrade on the denied path", "threat 6", ASK.replace(b"/ws/", b"/ws/../admin/"), (400, 403, 404)),
    of("a tunnel over HTTP/2", "RFC 8441 5", over_h2),
    of("a tunnel over HTTP/2 without a key", "RFC 8441 4", over_h2, key=b"", opens_tunnel=False, statuses=(401,)),
    of("a tunnel over HTTP/2 for another protocol", "RFC 8441 4", over_h2, protocol=b"connect-udp", opens_tunnel=False,
        statuses=(400, 405, 501)),
    of("a tunnel over HTTP/2 on a route without", "RFC 8441 4", over_h2, path=b"/score/<TOKEN>", opens_tunnel=False,
        statuses=(400, 403, 405, 501)),
    of("a tunnel over HTTP/2 that the upstream refuses", "RFC 8441 5", over_h2, reply=REFUSED, opens_tunnel=False,
        statuses=(426, 400, 502)),
    of("a tunnel over HTTP/2 to the denied path", "threat 6", over_h2, path=b"/admin", opens_tunnel=False, statuses=(400,
        403)),
]
