"""The wall clock jumps, for the gate alone: libfaketime between it and the machine's clock (the monotonic clock runs on, as it does when
somebody sets the time)."""

import contextlib
import re
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from harness import http1
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
            "LD_PRELOAD": str(found[0]), "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        }

    def set(self, offset):
        beside = self.file.with_suffix(".new")
        beside.write_text(f"{offset:+d}\n")
        beside.rename(self.file)


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def clock_of(running):
    """What the gate takes the time to be, Unix seconds, by its access log."""
    *_, last = re.finditer(r'"time_unix_ms":(\d+)', running.stdout())
    return int(last.group(1)) / 1000


@pytest.mark.parametrize("jump", [2 * HOUR, 400 * DAY, -400 * DAY], ids=lambda jump: f"{jump:+d} s")
def test_a_jump_ends_no_request_and_no_connection(config, gate, caller_key, watch, found, jump):
    """Time-outs are judged by the monotonic clock: one that is under way is neither cut short nor drawn out."""
    def slow(wire):
        path = wire.request().split()[1]
        if path == "/slow":
            time.sleep(1)
            wire.send(OK)
        wire.until_end()

    with Peer(slow) as peer, Peer() as well, ExitStack() as stack:
        running = gate(two_endpoints(config, peer.url(), well.url()), start=False)
        running.variables = watch.variables
        running.start()
        witness = stack.enter_context(Witness(running.port(), caller_key))
        with witness.unharmed():
            waits, times_out = (stack.enter_context(http1.Connection(running.port())) for _ in range(2))
            began = time.monotonic()
            for connection, path in ((waits, "/faulty/slow"), (times_out, "/faulty/never")):
                connection.send(connection.head("GET", path, [("authorization", f"Bearer {caller_key}")]))
            until(lambda: peer.requests == 2, "both are under way")
            watch.set(jump)
            assert waits.response("GET").status == 200
            answer = times_out.response("GET")
            took = time.monotonic() - began
            assert (answer.status, code_of(answer)) == (504, "upstream_timeout")
            assert 1.9 < took < 3.5
            assert abs(clock_of(running) - time.time() - jump) < 60, "the clock has not jumped"
    found(f"clock jumps by {jump // HOUR:+,} h", "no request and no connection notices; time-outs keep their length",
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
    found("clock jumps over a caller's `expires`, and back", "401 `caller_expired` within a second; 200 again when it is back",
          "401, then 200")


class Tokens(Azure):
    """The service takes tokens, which are good for 6 seconds and renewed after 2."""

    auth, behaviour = "token", {"token_lifetime": 6, "refresh_after": 2}


@pytest.mark.parametrize("jump", [5 * 60, -5 * 60], ids=lambda jump: f"{jump:+d} s")
def test_a_jump_by_minutes_harms_no_token(tmp_path, gate, caller_key, watch, found, jump):
    """What the service's own answers say of the time makes up for it."""
    with serving_tokens(tmp_path, gate, caller_key, watch) as (running, azure, witness), witness.unharmed():
        watch.set(jump)
        renewed = running.metric("scoregate_token_refresh_total")
        until(lambda: running.metric("scoregate_token_refresh_total") >= renewed + 2, "the token is renewed, twice")
    found(f"clock jumps by {jump // 60:+} min while tokens are renewed", "nobody notices: the clock of the service is made up for",
          f"{witness.answered} requests, 0 failed")


def test_a_jump_by_hours_is_said_and_heals(tmp_path, gate, caller_key, watch, found):
    """A token that is over by this clock when it comes is not attached: 503 at once, the reason in the status; and it heals."""
    with serving_tokens(tmp_path, gate, caller_key, watch) as (running, azure, _):
        watch.set(2 * HOUR)
        until(lambda: code_of(ask(running.port(), caller_key, "/well/echo")[0]) == "credential_unavailable",
              "it is not served any more", 20)
        answer, took = ask(running.port(), caller_key, "/well/echo")
        assert answer.status == 503 and took < 1
        until(lambda: "clock" in iris_of(running)["reason"], f"the status says why: {iris_of(running)}", 5)
        watch.set(0)
        began = time.monotonic()
        until(lambda: ask(running.port(), caller_key, "/well/echo")[0].status == 200, "it heals", 90)
        healed = time.monotonic() - began
    found("clock jumps by 2 h while tokens are renewed",
          "503 `credential_unavailable` once the last token is over; the status names the clock; it heals",
          f"503 within {told(took)}; served {told(healed)} after the clock was right")


@contextlib.contextmanager
def serving_tokens(tmp_path, gate, caller_key, watch):
    with Tokens(tmp_path / "azure") as azure:
        routes = [{"match": {"path_prefix": "/well"}, "rewrite": {"path_prefix": "/"}}]
        settings = azure.config(tmp_path, caller_key, routes, {"enabled": False})
        settings["routes"] = [settings["routes"][0] | {"rewrite": {"path_prefix": "/"}}]
        settings["listeners"] = [{"name": "local", "address": "127.0.0.1:0"}]
        running = gate(settings, start=False)
        running.variables = watch.variables
        running.start()
        until(lambda: iris_of(running)["ready"], "ready")
        with Witness(running.port(), caller_key, "/well/echo") as witness:
            yield running, azure, witness
