"""The wall clock jumps, for the gate alone: libfaketime between it and the machine's clock (the monotonic clock runs on, as it does when
somebody sets the time)."""

import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from harness import http1, secrets
from harness.azure import Azure, iris_of
from harness.until import until
from parts.peer import OK, Peer
from parts.settings import two_endpoints
from parts.witness import Witness, ask, code_of, told

HOUR = 3600
DAY = 24 * HOUR


class Watch:
    """The gate's clock: so many seconds before or behind the machine's."""

    def __init__(self, folder):
        found = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert found, "libfaketime is missing: Debian's faketime"
        self.file = folder / "faketime"
        self.set(0)
        self.variables = {
            "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset):
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{offset:+d}\n")
        beside.rename(self.file)


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def clock_of(running):
    """What the gate takes the time to be, by what it logs."""
    with http1.Connection(running.port()) as connection:
        connection.request("GET", "/nowhere")
    *_, last = (line for line in (running.stdout() + running.stderr()).splitlines() if '"timestamp":"' in line)
    return datetime.fromisoformat(last.split('"timestamp":"')[1].split('"')[0].replace("Z", "+00:00"))


@pytest.mark.parametrize("jump", [5 * 60, 2 * HOUR, 400 * DAY, -5 * 60, -2 * HOUR, -400 * DAY], ids=lambda jump: f"{jump:+d} s")
def test_a_jump_ends_no_request_and_no_connection(config, gate, caller_key, watch, found, jump):
    """Time-outs are judged by the monotonic clock: one that is under way is neither cut short nor drawn out."""
    def slow(wire):
        while True:
            wire.request()
            time.sleep(1)
            wire.send(OK)

    def silent(wire):
        wire.request()
        wire.until_end()

    with Peer(slow) as peer, Peer() as well, ExitStack() as stack:
        running = gate(two_endpoints(config, peer.url(), well.url()), start=False)
        running.variables = watch.variables
        running.start()
        witness = stack.enter_context(Witness(running.port(), caller_key))
        with witness.unharmed():
            with http1.Connection(running.port()) as connection:
                connection.send(connection.head("GET", "/faulty", [("authorization", f"Bearer {caller_key}")]))
                until(lambda: peer.requests == 1, "it is under way")
                watch.set(jump)
                assert connection.response("GET").status == 200
            until(lambda: abs((clock_of(running) - datetime.now(timezone.utc)).total_seconds() - jump) < 60, "the clock has jumped", 5)
            peer.script = silent
            answer, took = ask(running.port(), caller_key)
            assert (answer.status, code_of(answer)) in {(504, "upstream_timeout"), (502, "upstream_protocol_error"), (200, None)}
            peer.drop_all()
            answer, took = ask(running.port(), caller_key)
            assert (answer.status, code_of(answer)) == (504, "upstream_timeout")
            assert 1.9 < took < 3.5
            watch.set(0)
        assert not witness.failures
    found(f"clock jumps by {jump:+,} s", "no request and no connection notices; time-outs keep their length",
          f"{witness.answered} requests, 0 failed; a time-out of 2 s took {told(took)}")


def test_a_callers_key_expires_by_the_wall_clock(config, gate, caller_key, watch, found, tmp_path):
    expires = (datetime.now(timezone.utc) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with Peer() as peer, Peer() as well:
        settings = two_endpoints(config, peer.url(), well.url())
        settings["callers"]["team"]["keys"][0]["expires"] = expires
        running = gate(settings, start=False)
        running.variables = watch.variables
        running.start()
        got = []
        for jump, expected in ((0, None), (2 * HOUR, "caller_expired"), (0, None)):
            watch.set(jump)
            # Wall-clock time is at most a second old.
            until(lambda expected=expected: code_of(ask(running.port(), caller_key)[0]) == expected, f"{expected} at {jump} s", 3)
            got.append(ask(running.port(), caller_key)[0].status)
        assert got == [200, 401, 200]
    found("clock jumps over a caller's `expires`, and back", "401 `caller_expired` within a second; 200 again when it is back", "401, then 200")


def test_tokens_of_a_service_and_a_clock_that_jumps(tmp_path, gate, caller_key, watch, found):
    """Five minutes are made up for by what the service's own answers say of the time. Two hours are not, and it is said; it heals."""
    class Tokens(Azure):
        def __init__(self, folder):
            super().__init__(folder, learn_lag=(0, 0, 0), operation=0.2)

    with Tokens(tmp_path / "azure") as azure, ExitStack() as stack:
        settings = azure.config(tmp_path, caller_key, [{"match": {"path_prefix": "/well"}, "rewrite": {"path_prefix": "/"}}], {"enabled": False})
        settings["listeners"] = [{"name": "local", "address": "127.0.0.1:0"}]
        running = gate(settings, start=False)
        running.variables = watch.variables
        running.start()
        until(lambda: iris_of(running)["ready"], "ready")
        witness = stack.enter_context(Witness(running.port(), caller_key, "/well/echo"))
        with witness.unharmed():
            for jump in (5 * 60, 0, -5 * 60, 0, 2 * HOUR, 0, -2 * HOUR, 0):
                watch.set(jump)
                answered = witness.answered
                until(lambda answered=answered: witness.answered > answered + 30, "requests go on")
    found("clock jumps by 5 min and 2 h while a service's keys are in use", "nobody notices", f"{witness.answered} requests, 0 failed")
    secrets.assert_none_in(running.stderr(), "the log")
