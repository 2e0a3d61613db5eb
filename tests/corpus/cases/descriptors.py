"""More connections than the gate has descriptors (threat 3): some are refused at once, the others served, and all is well again afterwards."""

import asyncio
import contextlib
import socket
import time

from ..core.case import Case, Outcome, demand
from ..core.h1 import GET
from ..core.judge import echoed
from ..core.talk import Talk
from ..core.upstream import usual

MANY = 200
# Whether a descriptor that was given up for a refusal comes back is a matter of luck each time.
ROUNDS = 8
PATIENCE = 8.0


def open_many(lane):
    sockets = []
    for _ in range(MANY):
        sock = socket.socket()
        sock.settimeout(PATIENCE)
        try:
            sock.connect(("127.0.0.1", lane.ports.plain))
        except OSError:
            sock.close()
            continue
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def is_closed(sock):
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def served(lane, talk):
    before = len(talk.answers)
    talk.send(lane.fill(GET + b"\r\n"), b"GET")
    demand(talk.read_answers(before + 1), Outcome.HUNG, f"a connection that was there before is not served: {talk.end}")
    answer = talk.answers[before]
    demand(answer.status == 200 and echoed(answer) == lane.fill(b"/score/<TOKEN>"), Outcome.WRONG,
        f"answered {answer.status}")


def recovers(lane):
    """Once the others have gone, the next caller is served."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return lane.canary(2)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def idle_connections(lane):
    """Two hundred connections that say nothing: who is too many is told at once, and who was there before is served."""
    with lane.talk() as talk:
        served(lane, talk)
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(contextlib.closing(sock)) for sock in open_many(lane)]
            began = time.monotonic()
            while not any(map(is_closed, sockets)) and time.monotonic() - began < PATIENCE:
                time.sleep(0.05)
            refused = sum(map(is_closed, sockets))
            demand(refused or len(sockets) < MANY, Outcome.HUNG, "nobody is refused: those who are too many wait for ever")
            served(lane, talk)
        recovers(lane)
        served(lane, talk)


def busy_connections(lane):
    """Two hundred requests at once, each of which needs a connection to the upstream as well, several times over: each has an end."""
    async def slow(wire):
        while True:
            asked = await wire.request()
            await asyncio.sleep(0.3)
            await wire.answer(asked)

    for _ in range(ROUNDS):
        lane.upstream.script = slow
        burst(lane)
        lane.upstream.script = usual
        recovers(lane)


def burst(lane):
    talks = []
    try:
        for _ in range(MANY):
            with contextlib.suppress(OSError):
                talk = Talk(lane.ports.plain, None, PATIENCE)
                talk.send(lane.fill(GET + b"\r\n"), b"GET")
                talks.append(talk)
        deadline = time.monotonic() + PATIENCE
        for talk in talks:
            talk.until(lambda talk=talk: talk.answers or talk.end, max(deadline - time.monotonic(), 0.01))
        hanging = [talk for talk in talks if not talk.answers and not talk.end]
        demand(not hanging, Outcome.HUNG, f"{len(hanging)} of {len(talks)} requests have no end")
        statuses = {talk.answers[0].status for talk in talks if talk.answers}
        demand(statuses <= {200, 502, 503}, Outcome.WRONG, f"answered {statuses}")
        demand(200 in statuses, Outcome.WRONG, f"nobody was served: {statuses}")
    finally:
        for talk in talks:
            talk.close()


def tls_connections(lane):
    """Two hundred handshakes that go no further."""
    with contextlib.ExitStack() as stack:
        for _ in range(MANY):
            sock = stack.enter_context(contextlib.closing(socket.socket()))
            sock.settimeout(2)
            with contextlib.suppress(OSError):
                sock.connect(("127.0.0.1", lane.ports.tls))
                sock.sendall(b"\x16\x03\x01")
    recovers(lane)


CASES = [
    Case(name, "slow", "descriptors", "threat 3", play, profile="few-descriptors", alone=True) for name, play in (
        ("two hundred connections that say nothing", idle_connections),
        ("two hundred requests at once", busy_connections),
        ("two hundred handshakes that go no further", tls_connections),
    )
]
