"""Large bodies both ways at once: each arrives as it was sent, and the gate keeps next to nothing of them."""

import threading

import pytest

from harness import http1, http2
from harness.until import until
from harness.upstream import Upstream

BODIES = 64
SIZE = 10 << 20
MAY_GROW = 32 << 20
PATTERN = bytes(range(256)) * 257  # its length is no multiple of any buffer's
assert len(PATTERN) % 4096


def body(number):
    """Ten mebibytes that no other number has."""
    text = b"%08d" % number + PATTERN
    return (text * (SIZE // len(text) + 1))[:SIZE]


class Check:
    """Compares an answer with what was sent, piece by piece."""

    def __init__(self, expected):
        self.expected, self.at, self.wrong = memoryview(expected), 0, None

    def __call__(self, piece):
        if self.wrong is None and self.expected[self.at : self.at + len(piece)] != piece:
            self.wrong = self.at
        self.at += len(piece)

    def assert_whole(self):
        assert (self.at, self.wrong) == (SIZE, None)


def quiet(count):
    """Waits until a count has stood still for a while: everything in between is full."""
    last = [None, 0]

    def still():
        now = count()
        last[:] = [now, last[1] + 1 if now == last[0] else 0]
        return last[1] >= 50

    until(still, "everything is full")


def over_h1(port, tls, headers):
    """64 connections; each sends all it can before it reads anything."""
    sent, problems = [0] * BODIES, []
    may_read = threading.Event()

    def write(number, connection, content):
        try:
            connection.send(connection.head("POST", "/echo", headers, SIZE))
            for at in range(0, SIZE, 1 << 16):
                connection.send(content[at : at + (1 << 16)])
                sent[number] = at
        except Exception as problem:
            problems.append(problem)

    def read(number, connection, content):
        try:
            may_read.wait()
            response = connection.response_head()
            assert response.status == 200
            check = Check(content)
            for piece in connection.body_of(response):
                check(piece)
            check.assert_whole()
        except Exception as problem:
            problems.append(problem)

    threads, connections = [], []
    for number in range(BODIES):
        connections.append(http1.Connection(port, tls))
        content = body(number)
        threads += [threading.Thread(target=run, args=(number, connections[-1], content)) for run in (write, read)]
    for thread in threads:
        thread.start()
    quiet(lambda: sum(sent))
    may_read.set()
    for thread in threads:
        thread.join()
    for connection in connections:
        connection.close()
    assert not problems, problems[:3]


def over_h2(port, tls, headers):
    """64 streams of one connection; nothing is read before nothing more can be sent."""
    with http2.Connection(port, tls) as connection:
        streams = []
        # The gate's settings first.
        connection.request("POST", "/score", headers, b"warm")
        for number in range(BODIES):
            content = body(number)
            streams.append(connection.begin("POST", "/echo", headers, content))
            streams[-1].sink = Check(content)
        connection.reads = False
        last = [-1, 0]
        while last[1] < 20:
            connection.pump(0.01)
            now = sum(stream.sent for stream in streams)
            last = [now, last[1] + 1 if now == last[0] else 0]
        connection.reads = True
        connection.run(lambda: all(stream.done for stream in streams), patience=300)
        for stream in streams:
            assert (stream.status, stream.reset) == (200, None)
            stream.sink.assert_whole()


@pytest.mark.parametrize("way", ["h1", "h2", "h2-tls"])
def test_64_bodies_of_10_mib_both_ways(way, config, gate, pki, caller_key, service_key, show):
    tls = way.endswith("tls")
    with Upstream(service_key.read_text().strip()) as service:
        running = gate(config(service.url("/echo")))
        port, context = running.port("tls" if tls else "local"), pki.client("h2") if tls else None
        headers = [("authorization", f"Bearer {caller_key}")]
        # At rest: it has served before.
        with http1.Connection(running.port()) as connection:
            assert connection.request("POST", "/score", headers, b"warm").body == b"warm"
        at_rest = running.memory("VmRSS")
        running.forget_peak()
        (over_h1 if way == "h1" else over_h2)(port, context, headers)
        peak = running.memory("VmHWM")
    show(f"{way}: {BODIES} bodies of {SIZE >> 20} MiB both ways at once: {at_rest / 2**20:.1f} MiB at rest, "
         f"{peak / 2**20:.1f} MiB at most, {(peak - at_rest) / 2**20:.1f} MiB more")
    assert peak <= at_rest + MAY_GROW


def test_a_large_body_through_the_real_server(model, config, gate, caller_key):
    """The inference server reads a body whole, and sends it back whole."""
    running = gate(config(model.url()))
    headers = [("authorization", f"Bearer {caller_key}"), ("content-type", "application/octet-stream")]
    content = body(7)
    with http1.Connection(running.port()) as connection:
        answer = connection.request("POST", "/score?echo=1", headers, content)
        assert answer.status == 200
        assert answer.body == content
