"""Upgrades, h2c and tunnels (RFC 9110 section 7.8): what the gate does not speak is not begun."""

from ..core import frames as f
from ..core.case import Case, Outcome, demand
from ..core.h1 import AUTH, GET, POST, SMUGGLED, passes, post, sized, table
from ..core.judge import Refuse, Wanted
from ..core.upstream import usual

WS = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
# An upgrade may be ignored (RFC 9110 section 7.8), and the request is then an ordinary one; or refused.
IGNORED = (Refuse(frozenset([400, 403, 405, 426, 501])), passes(Wanted(lacks=(b"upgrade", b"http2-settings"))))

ROWS = table("h1", "upgrade", [
    ("a WebSocket on a route without", "RFC 6455 4.2", GET + WS + b"\r\n", IGNORED),
    ("a WebSocket without a key", "RFC 6455 4.2", GET.replace(AUTH, b"") + WS + b"\r\n", Refuse(frozenset([400, 401]))),
    ("a WebSocket, and frames behind it", "threat 10", GET + WS + b"\r\n" + b"\x81\x85\0\0\0\0hello",
     (Refuse(closes=True), Refuse(before=(Wanted(),), closes=True, silent_ok=True))),
    ("an upgrade, and a request behind it", "threat 10", GET + WS + b"\r\n" + SMUGGLED,
     (Refuse(closes=True), Refuse(frozenset([403]), before=(Wanted(),)), Refuse(frozenset([401, 403]))), {"answers": 2}),
    ("h2c by upgrade", "RFC 9113 3.1", GET + H2C + b"\r\n", IGNORED),
    ("h2c by upgrade, Connection not naming it", "RFC 9110 7.8", GET + b"upgrade: h2c\r\n\r\n", IGNORED),
    ("h2c by upgrade with a body", "RFC 9113 3.1", sized(POST + H2C, b"hello"),
     (Refuse(), passes(post(b"hello", lacks=(b"upgrade", b"http2-settings"))))),
    ("h2c by upgrade without a key", "RFC 9113 3.1", GET.replace(AUTH, b"") + H2C + b"\r\n", Refuse(frozenset([400, 401]))),
    ("an upgrade to TLS", "RFC 2817 3.1", GET + b"connection: Upgrade\r\nupgrade: TLS/1.2\r\n\r\n", IGNORED),
    ("an upgrade to HTTP/1.1", "RFC 9110 7.8", GET + b"connection: Upgrade\r\nupgrade: HTTP/1.1\r\n\r\n", IGNORED),
    ("an upgrade in HTTP/1.0", "RFC 9110 7.8", (GET + WS + b"\r\n").replace(b"HTTP/1.1", b"HTTP/1.0"), IGNORED),
    ("several upgrades", "RFC 9110 7.8", GET + b"connection: upgrade\r\nupgrade: websocket, h2c\r\n\r\n", IGNORED),
    ("an upgrade with a length", "threat 10", sized(GET + WS, SMUGGLED), (Refuse(), passes(Wanted(body=SMUGGLED)))),
    ("the preface of HTTP/2 behind a request of HTTP/1.1", "RFC 9113 3.4", GET + b"\r\n" + f.PREFACE + f.settings(),
     Refuse(frozenset([400, 405, 505]), before=(Wanted(),), silent_ok=True, closes=True), {"answers": 2}),
    ("half a preface of HTTP/2", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\n", Refuse(frozenset([400, 405, 505]),
         silent_ok=True, closes=True), {"methods": (b"GET",), "fin": True}),
    ("a preface of HTTP/2 that goes on as HTTP/1.1", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nXX" + GET + b"\r\n",
     Refuse(frozenset([400, 405, 505]), silent_ok=True, closes=True), {"methods": (b"GET",)}),
])


def switches(lane, ask, body=b""):
    """The upstream switches protocols although nobody asked it to: what follows must not become a tunnel."""
    async def script(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nTUNNEL-TO-CLIENT")
        await wire.drain()

    lane.upstream.script = script
    with lane.talk() as talk:
        talk.send(lane.fill(ask), b"GET")
        talk.read_answers(1)
        demand(talk.answers, Outcome.HUNG, f"no answer: {talk.end}")
        demand(talk.answers[0].status != 101 and b"TUNNEL" not in talk.raw, Outcome.CROSSED, "a tunnel that nobody may open")
        demand(talk.answers[0].status in (400, 403, 426, 501, 502), Outcome.WRONG, f"answered {talk.answers[0].status}")
        talk.send(b"TUNNEL-TO-UPSTREAM" + body)
        talk.read_end(1)
        lane.upstream.script = usual
        lane.canary()
        lane.no_trace(rb"TUNNEL-TO-UPSTREAM")


CASES = [
    *ROWS,
    Case("101 that nobody asked for", "h1", "upgrade", "RFC 9110 15.2.2", lambda lane: switches(lane, GET + b"\r\n")),
    Case("101 for a WebSocket on a route without", "h1", "upgrade", "RFC 9110 15.2.2", lambda lane: switches(lane,
        GET + WS + b"\r\n")),
    Case("101 for another protocol than was asked for", "h1", "upgrade", "RFC 9110 7.8", lambda lane: switches(lane,
        GET + H2C + b"\r\n")),
]
