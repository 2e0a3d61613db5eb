"""Callers that take their time in every way: each is found out, and nobody else waits for it.

Time-outs: handshake, head and stall 1 s, a whole request 4 s; under 240 bytes a second a caller is given 5 seconds.
"""

import contextlib
import csv
import re
import socket
import subprocess
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from harness import http1
from harness.until import until
from parts.peer import PIECE, Peer, large, medium
from parts.settings import two_endpoints
from parts.witness import Witness, ask, is_closed, told

CALLERS = 200
# What `slowhttptest` does at once; its own limit is select(2)'s.
SLOW = 300
GRACE = 3


@pytest.fixture
def stage(config, gate, caller_key):
    """A gate before an upstream; whoever comes from this machine may ask for `/open`, without a key."""
    with ExitStack() as stack:
        peer, well = stack.enter_context(Peer()), stack.enter_context(Peer())
        settings = two_endpoints(config, peer.url(), well.url())
        settings["callers"]["anyone"] = {"anonymous": {}}
        settings["routes"].append({
            "match": {"path_prefix": "/open", "listeners": ["local"]}, "rewrite": {"path_prefix": "/"}, "callers": ["anyone"],
            "endpoint": "faulty",
        })
        running = gate(settings)
        witness = stack.enter_context(Witness(running.port(), caller_key))
        yield SimpleNamespace(gate=running, port=running.port(), key=caller_key, peer=peer, witness=witness)


def connections(running):
    return running.metric("scoregate_connections")


# ---- in our own words ----

GET = b"GET /open HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /open HTTP/1.1\r\nhost: localhost\r\n"
FORMS = [
    # What it begins with, what it goes on with every 0.2 s, and when it is found out at the latest.
    ("a connection without a byte", "local", b"", b"", 1),
    ("a head by the byte", "local", GET + b"x-a: ", b"b", 1),
    ("a head by the field", "local", GET, b"x-a: b\r\n", 1),
    ("a TLS handshake by the byte", "tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0", 1),
    ("half a preface of HTTP/2", "local", b"PRI * HTTP/2.0\r\n\r\nSM", b"", 1),
    ("a body that stops", "local", POST + b"content-length: 1000\r\n\r\nhello", b"", 1),
    ("a body by the byte", "local", POST + b"content-length: 1000\r\n\r\n", b"x", 6),
    ("chunks of a byte", "local", POST + b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 6),
]


@pytest.mark.parametrize("form, listener, begin, drip, latest", FORMS, ids=[line[0] for line in FORMS])
def test_a_crowd_of_slow_writers_is_found_out(stage, found, form, listener, begin, drip, latest):
    with stage.witness.unharmed(), ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(("127.0.0.1", stage.gate.port(listener)))) for _ in range(CALLERS)]
        began = time.monotonic()
        for sock in crowd:
            sock.sendall(begin)
            sock.setblocking(False)
        left = crowd
        while left:
            assert time.monotonic() - began < latest + GRACE, f"{len(left)} of {CALLERS} are still served"
            time.sleep(0.2)
            for sock in left:
                with contextlib.suppress(OSError):
                    sock.send(drip)
            left = [sock for sock in left if not is_over(sock)]
        took = time.monotonic() - began
    assert not stage.peer.whole, "a request that never ended was forwarded as whole"
    found(f"{CALLERS} × {form}", f"closed within {latest} s (408 where a head came)",
          f"all closed after {told(took)}; others {told(stage.witness.slowest)} at most")


def is_over(sock):
    """An answer, if there is one, is 400 or 408; then comes the end."""
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                piece = sock.recv(PIECE)
            except ConnectionError:
                return True
            if not piece:
                return True
            if piece.startswith(b"HTTP/1.1"):
                assert re.match(rb"HTTP/1.1 40[08] ", piece), piece[:300]
    return False


@pytest.mark.parametrize("drip", [0, 1], ids=["nothing", "by the byte"])
def test_a_crowd_that_does_not_read_is_let_go(stage, found, drip):
    """64 MiB are asked for and not taken: the gate holds next to nothing of them, and ends it."""
    stage.peer.script = large
    crowd = 50
    with stage.witness.unharmed(), ExitStack() as stack:
        before = stage.gate.memory("VmRSS")
        sockets = []
        for _ in range(crowd):
            sock = stack.enter_context(contextlib.closing(socket.socket()))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", stage.port))
            sock.sendall(GET + b"\r\n")
            sockets.append(sock)
        until(lambda: stage.peer.requests == crowd, "all have asked")
        began = time.monotonic()
        while stage.peer.connections():
            assert time.monotonic() - began < 6 + GRACE, f"{stage.peer.connections()} upstream connections are held for who does not read"
            time.sleep(0.1)
            for sock in sockets if drip else []:
                with contextlib.suppress(OSError):
                    sock.recv(drip, socket.MSG_DONTWAIT)
        took = time.monotonic() - began
        grown = (stage.gate.memory("VmHWM") - before) >> 20
        assert grown < 48, f"{grown} MiB for {crowd} callers who do not read"
    found(f"{crowd} callers who read {'by the byte' if drip else 'nothing'} of 64 MiB",
          "cut off after `stall` or the minimum rate, upstreams let go",
          f"after {told(took)}, {grown} MiB at most for all; others {told(stage.witness.slowest)}")


# ---- in slowhttptest's ----

ATTACKS = [
    ("slow headers (-H)", ["-H", "-t", "GET", "-u", "/open"]),
    ("slow body (-B)", ["-B", "-t", "POST", "-s", "100000", "-u", "/open"]),
    ("slow read (-X)", ["-X", "-k", "3", "-n", "1", "-z", "5", "-w", "1", "-y", "64", "-u", "/open"]),
    ("ranges (-R)", ["-R", "-a", "10", "-b", "3000", "-t", "HEAD", "-u", "/open"]),
]


@pytest.mark.parametrize("attack, options", ATTACKS, ids=[line[0] for line in ATTACKS])
def test_slowhttptest_finds_the_gate_available(stage, found, tmp_path, attack, options):
    size = SLOW
    if attack.startswith("slow read"):
        # Each of them makes the upstream work, which is slower than the gate.
        stage.peer.script, size = medium, SLOW // 2
    *options, path = options
    command = [
        "slowhttptest", *options, f"http://127.0.0.1:{stage.port}{path}", "-c", str(size), "-r", str(size),
        "-i", "1", "-x", "24", "-p", "2", "-l", "8", "-g", "-o", tmp_path / "slow",
    ]
    with stage.witness.unharmed():
        began = time.monotonic()
        attacker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            until(lambda: attacker.poll() is not None or connections(stage.gate) > size // 2, "it has begun")
            # Who reads slowly finds out late that nobody writes any more, so it is the gate that is asked.
            until(lambda: connections(stage.gate) <= 4, "the gate has ended all of them", 15)
            took = time.monotonic() - began
            said = attacker.communicate(timeout=30)[0].decode()
        finally:
            attacker.kill()
            attacker.wait()
    with open(tmp_path / "slow.csv") as file:
        seconds = list(csv.DictReader(file, skipinitialspace=True))
    assert seconds, said[-2000:]
    most = max(int(second["Connected"]) for second in seconds)
    # Its word for it is the number of connections, or 0.
    assert {second["Service Available"] for second in seconds if int(second["Seconds"])} == {str(size)}, seconds
    assert took < 7, said[-2000:]
    found(f"slowhttptest, {attack}, {size} connections", "its probes are answered, the gate ends every connection",
          f"available throughout, {most} connected at most, ended after {told(took)}; others {told(stage.witness.slowest)} at most")


# ---- callers that end in odd ways ----

def test_a_caller_that_ends_within_its_upload(stage, found):
    """By FIN or by reset: what the upstream has got of it is cut off, never whole."""
    for how in ("fin", "reset"):
        with http1.Connection(stage.port) as connection:
            connection.send(connection.head("POST", "/faulty", [("authorization", f"Bearer {stage.key}")], 1 << 20) + bytes(1000))
            until(lambda: stage.peer.requests, "the upload has begun")
            if how == "reset":
                connection.wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until(lambda: not stage.peer.connections(), "the upstream's connection is let go")
        assert not stage.peer.whole
        stage.peer.requests = 0
    with stage.witness.unharmed():
        assert ask(stage.port, stage.key)[0].status == 200
    found("caller that ends or resets within its upload", "the upstream sees it cut off, never whole", "cut off, both")


def test_a_thousand_callers_that_connect_and_leave(stage, found):
    with stage.witness.unharmed():
        began = time.monotonic()
        for number in range(1000):
            with contextlib.closing(socket.create_connection(("127.0.0.1", stage.port))) as sock:
                if number % 2:
                    sock.sendall(GET[: number % len(GET)])
                if number % 3:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        took = time.monotonic() - began
        until(lambda: connections(stage.gate) <= 2, "only the witness is left", 5)
    found("1,000 callers that connect and leave or reset", "nothing is left of them",
          f"in {told(took)}; others {told(stage.witness.slowest)} at most")


def test_half_close_is_as_the_listener_says(config, gate, caller_key, found):
    listeners = [
        {"name": "local", "address": "127.0.0.1:0"}, {"name": "patient", "address": "127.0.0.1:0", "half_close": True},
    ]

    def slow(wire):
        wire.request()
        time.sleep(0.5)
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with Peer(slow) as peer, Peer() as well:
        running = gate(two_endpoints(config, peer.url(), well.url(), listeners))
        got = {}
        for name in ("local", "patient"):
            with http1.Connection(running.port(name)) as connection:
                connection.send(connection.head("POST", "/faulty", [("authorization", f"Bearer {caller_key}")], 2) + b"{}")
                until(lambda: peer.requests, "it arrives")
                connection.wire.sock.shutdown(socket.SHUT_WR)
                try:
                    got[name] = connection.response().status
                except http1.Closed:
                    got[name] = None
            peer.requests = 0
        assert got == {"local": None, "patient": 200}
        assert not is_closed(socket.create_connection(("127.0.0.1", running.port())))
    found("caller that half-closes before its answer", "cancelled; answered where the listener says `half_close`", "cancelled, and 200")
