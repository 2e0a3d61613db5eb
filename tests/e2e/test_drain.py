"""Taking leave: whatever has begun is answered, nothing is reset, and a second signal does not wait."""

import signal

import pytest

from harness import http1, http2
from harness.load import Load
from harness.until import until
from harness.upstream import Upstream

WAYS = ["h1", "h1-tls", "h2", "h2-tls"]


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as service:
        yield service


def begin(load, way, running, pki, connections):
    tls = way.endswith("tls")
    port = running.port("tls" if tls else "local")
    if way.startswith("h1"):
        load.h1(port, connections, pki.client() if tls else None)
    else:
        load.h2(port, connections, 4, pki.client("h2") if tls else None)


@pytest.mark.parametrize("lame_duck", ["0s", "500ms"])
@pytest.mark.parametrize("way", WAYS)
def test_a_drain_under_load_answers_everything(way, lame_duck, service, config, gate, pki, caller_key, show):
    running = gate(config(service.url(), timeouts={"lame_duck": lame_duck}))
    load = Load(caller_key)
    begin(load, way, running, pki, 64)
    until(lambda: load.answered > 1000, "load runs")
    running.signal(signal.SIGTERM)
    load.join()
    assert running.wait() == 0, running.stderr()[-2000:]
    assert not load.failures, (len(load.failures), load.failures[:5])
    assert len(load.endings) == 64 and "stopped" not in load.endings
    endings = {how: load.endings.count(how) for how in sorted(set(load.endings))}
    show(f"{way}, lame duck {lame_duck}: {load.answered} answered, 0 failed, 64 connections: {endings}")


@pytest.mark.parametrize("way", ["h1", "h1-tls"])
def test_a_request_whose_first_byte_came_before_the_end_is_answered(way, service, config, gate, pki, caller_key):
    tls = way.endswith("tls")
    running = gate(config(service.url()))
    port, context = running.port("tls" if tls else "local"), pki.client() if tls else None
    headers = [("authorization", f"Bearer {caller_key}")]
    idle = http1.Connection(port, context)
    used = http1.Connection(port, context)
    begun = [http1.Connection(port, context) for _ in range(62)]
    for connection in (used, *begun[:31]):
        assert connection.request("POST", "/score", headers, b"warm").body == b"warm"
    # Half of them have been used before, half have not.
    heads = [connection.head("POST", "/score", headers, 4) for connection in begun]
    for connection, head in zip(begun, heads):
        connection.send(head[:1])
    running.signal(signal.SIGTERM)
    # Those with nothing begun are closed, cleanly; from there the drain is under way.
    used.end()
    idle.end()
    for connection, head in zip(begun, heads):
        connection.send(head[1:] + b"body")
        answer = connection.response()
        assert (answer.status, answer.body) == (200, b"body")
        assert answer.says_close()
        connection.end()
    assert running.wait() == 0


@pytest.mark.parametrize("way", WAYS)
def test_what_waits_for_its_answer_gets_it(way, service, config, gate, pki, caller_key):
    tls = way.endswith("tls")
    running = gate(config(service.url("/held")))
    port, headers = running.port("tls" if tls else "local"), [("authorization", f"Bearer {caller_key}")]
    if way.startswith("h1"):
        waiting = [http1.Connection(port, pki.client() if tls else None) for _ in range(64)]
        for connection in waiting:
            connection.send(connection.head("POST", "/held", headers, 4) + b"body")
    else:
        connection = http2.Connection(port, pki.client("h2") if tls else None)
        streams = [connection.begin("POST", "/held", headers, b"body") for _ in range(64)]
        connection.run(lambda: service.held == 64)
    until(lambda: service.held == 64, "64 requests wait at the service")
    running.signal(signal.SIGTERM)
    if way.startswith("h1"):
        until(lambda: running.status()["draining"], "the gate takes leave")
        service.release.set()
        for connection in waiting:
            answer = connection.response()
            assert (answer.status, answer.body, answer.says_close()) == (200, b"body", True)
            connection.end()
    else:
        connection.run(lambda: connection.goaway)
        service.release.set()
        connection.run(lambda: all(stream.done for stream in streams))
        assert [(stream.status, stream.content, stream.reset) for stream in streams] == [(200, b"body", None)] * 64
        connection.run(lambda: False)
        assert connection.closed == "clean"
        connection.close()
        assert all(code == 0 for _, code in connection.goaway)
    assert running.wait() == 0


def test_a_gate_that_takes_leave_says_so_and_still_serves(service, config, gate, caller_key):
    running = gate(config(service.url(), timeouts={"lame_duck": "60s"}))
    assert running.probe("/livez")[0] == running.probe("/readyz")[0] == 200
    with http1.Connection(running.port()) as before:
        running.signal(signal.SIGTERM)
        until(lambda: running.probe("/readyz")[0] == 503, "not ready any more")
        assert running.probe("/livez")[0] == 200
        assert "scoregate_requests_total" in running.probe("/metrics")[1] or running.probe("/metrics")[0] == 200
        assert running.status()["draining"]
        headers = [("authorization", f"Bearer {caller_key}")]
        # Load balancers lag: old and new connections are served meanwhile, and kept.
        for connection in (before, http1.Connection(running.port())):
            for _ in range(2):
                answer = connection.request("POST", "/score", headers, b"late")
                assert (answer.status, answer.body, answer.says_close()) == (200, b"late", False)
        # A second signal does not wait for the rest of it.
        running.signal(signal.SIGTERM)
        assert running.wait() == 130


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(second, service, config, gate, caller_key):
    running = gate(config(service.url("/held")))
    with http1.Connection(running.port()) as connection:
        headers = [("authorization", f"Bearer {caller_key}")]
        connection.send(connection.head("POST", "/held", headers, 4) + b"body")
        until(lambda: service.held == 1, "a request waits at the service")
        running.signal(signal.SIGTERM)
        until(lambda: running.status()["draining"], "the gate takes leave")
        assert running.process.poll() is None, "it waits for the request"
        running.signal(second)
        assert running.wait() == 130
    assert "ending at once" in running.stderr()


def test_a_drain_does_not_wait_for_ever(service, config, gate, caller_key):
    running = gate(config(service.url("/held"), timeouts={"lame_duck": "0s", "drain": "300ms"}))
    with http1.Connection(running.port()) as connection:
        headers = [("authorization", f"Bearer {caller_key}")]
        connection.send(connection.head("POST", "/held", headers, 4) + b"body")
        until(lambda: service.held == 1, "a request waits at the service")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        assert "drain time is over" in running.stderr()


def test_the_drain_command_drains(service, config, gate):
    running = gate(config(service.url()))
    done = running.cli("drain")
    assert done.returncode == 0, done.stderr
    assert running.wait() == 0
