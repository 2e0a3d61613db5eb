"""Keys that change while everything goes on: the headline of this program, and what is left of it when the process is killed."""

import json
import os
import signal
import socket
import time

import pytest
import websockets.sync.client

from harness import http1, secrets
from harness.azure import Azure, is_settled, rotation_of
from harness.load import Load
from harness.until import until

ROTATIONS = int(os.environ.get("SCOREGATE_ROTATIONS", 20 if os.environ.get("SCOREGATE_FULL") == "1" else 10))
# With watched files in place of signals: as many in the full run.
WATCHED = ROTATIONS if "SCOREGATE_ROTATIONS" in os.environ or os.environ.get("SCOREGATE_FULL") == "1" else 3
UPLOAD = bytes(range(256)) * (32 << 10)  # 8 MiB
# Times that a test can wait for, in the proportions of the defaults; `check` has its say about them.
QUICK = {
    "min_gap": "3s", "settle": "500ms", "read_gap": "200ms", "adopt_gap": "200ms", "resubmit_after": "5s", "drain_timeout": "30s",
    "probe": {"successes": 9, "spread": "500ms", "timeout": "30s"},
}


class Everything(Load):
    """All that a connection can be busy with, each kind counted by itself."""

    def __init__(self, key, port):
        super().__init__(key, "/iris/echo")
        self.key, self.port, self.kinds, self.lost = key, port, {}, []

    def count(self, kind):
        with self.lock:
            self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def streams(self, port, tls, name):
        """Server-sent events, one stream after the other, each whole."""
        with http1.Connection(port, tls) as connection:
            while not self.stopping.is_set():
                answer = connection.request("GET", "/iris/sse?events=8&interval=0.1", self.headers)
                if (answer.status, answer.body.count(b"data:")) != (200, 8):
                    return self.fail(f"{name}: {answer.status} {answer.body[-200:]!r}")
                self.count("event streams")
        self.ended("stopped")

    def talk(self, port, tls, name):
        """One WebSocket from the first rotation to the last."""
        headers = dict(self.headers)
        with websockets.sync.client.connect(f"ws://127.0.0.1:{port}/ws/ws", additional_headers=headers, proxy=None) as ws:
            number = 0
            while not self.stopping.is_set():
                number += 1
                ws.send(f"{name} {number}")
                if (answer := ws.recv(timeout=30)) != f"{name} {number}":
                    return self.fail(f"{name}: {answer!r}")
                self.count("WebSocket messages")
                time.sleep(0.02)
        self.ended("stopped")

    def upload(self, port, tls, name, path):
        """8 MiB up, one after the other; on the route without room to hold them a failure is counted, not forgotten."""
        while not self.stopping.is_set():
            with http1.Connection(port, tls) as connection:
                while not self.stopping.is_set():
                    try:
                        answer = connection.request("POST", f"{path}?as=json", self.headers, UPLOAD)
                    except http1.Closed as closed:
                        self.fail(f"{name}: {closed}")
                        break
                    if answer.status == 200:
                        self.count(f"uploads to {path.split('/')[1]}")
                    elif path.startswith("/held"):
                        return self.fail(f"{name}: {answer.status} {answer.body[:200]!r}")
                    else:
                        with self.lock:
                            self.lost.append((answer.status, json.loads(answer.body)["error"]["code"]))
                    if answer.says_close():
                        break
        self.ended("stopped")


@pytest.mark.parametrize(("told", "rotations"), [("by signals", ROTATIONS), ("by watched files", WATCHED)])
def test_nobody_notices(told, rotations, tmp_path, pki, gate, caller_key, show):
    """Rotations, as many reloads, and a fifth as many changes by somebody else, under everything at once."""
    changes = max(1, rotations // 5)
    with Azure(tmp_path / "azure") as azure:
        routes = [
            {"match": {"path_prefix": "/iris"}},
            {"match": {"path_prefix": "/ws"}, "websocket": "on"},
            {"match": {"path_prefix": "/held"}, "replay_body": "16MiB"},
            {"match": {"path_prefix": "/streamed"}},
        ]
        config = azure.config(tmp_path, caller_key, routes, QUICK) | {
            "listeners": [
                {"name": "local", "address": "127.0.0.1:0"}, {"name": "tls", "address": "127.0.0.1:0", "tls": pki.listener_tls()},
            ],
            "workers": 2,
            "watch": "off" if told == "by signals" else "on",
            "limits": {"replay_total": "256MiB"},
            "log": {"level": "info", "access": "errors"},
        }
        running = gate(config)
        until(lambda: is_settled(running), "both keys are accepted")
        port, tls = running.port(), running.port("tls")
        rows = []
        with Everything(caller_key, port) as load:
            load.h1(port, 3)
            load.h1(tls, 1, pki.client())
            load.h2(port, 1, 4)
            load.h2(tls, 1, 4, pki.client("h2"))
            load.spawn(load.streams, port, None, "events")
            load.spawn(load.talk, port, None, "socket")
            load.spawn(load.upload, port, None, "held", "/held/echo")
            load.spawn(load.upload, port, None, "streamed", "/streamed/echo")
            connections = 10
            until(lambda: load.answered > 50 and len(load.kinds) == 4, "load of every kind runs")
            until(lambda: running.metric("scoregate_connections") == connections, "its connections are counted")

            def reload(number):
                taken = r'scoregate_config_reload_total\{result="ok"\}'
                before = running.metric(taken)
                running.config["limits"]["fields"] = 90 + number % 10
                running.write()
                if told == "by signals":
                    running.signal(signal.SIGHUP)
                until(lambda: running.metric(taken) == before + 1, "the reload is taken")

            def regenerate():
                return running.cli("keys", "regen", "iris", "--yes", "--wait").returncode == 0

            lost_before = 0
            for number in range(1, rotations + 1):
                began, before = time.monotonic(), load.answered
                until(regenerate, "`min_gap` is over", patience=120)
                reload(number)
                outside = number * changes // rotations != (number - 1) * changes // rotations
                in_rotations = len(load.lost) - lost_before
                assert in_rotations == 0, f"rotation {number}: {load.lost[lost_before:]}"
                if outside:
                    adopted = running.metric("scoregate_adoptions_total")
                    azure.outsider(["Primary", "Secondary"][number % 2])
                    until(lambda: running.metric("scoregate_adoptions_total") > adopted, "the change is adopted", patience=60)
                    until(lambda: is_settled(running), "the new key is settled", patience=60)
                lost = len(load.lost) - lost_before
                assert lost <= (1 if outside else 0), load.lost
                lost_before = len(load.lost)
                rows.append((number, load.answered - before, outside, len(load.failures), lost, time.monotonic() - began))
                assert not load.failures, load.failures[:5]
            assert running.metric("scoregate_connections") == connections, "no connection was lost, none was added"
        assert not load.failures, load.failures[:5]
        assert set(load.endings) == {"stopped"}, load.endings
        assert azure.regenerated() == rotations
        assert running.metric("scoregate_invariant_violations_total") == 0
        seen = azure.seen()["services"]["iris"]
        assert seen["outside_regenerations"] == changes
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(load.kinds.items()))
        show(f"{rotations} rotations, {rotations} reloads {told}, {changes} changes by somebody else: {load.answered} requests and {kinds} over "
             f"{connections} connections; {len(load.failures)} failed, {len(load.lost)} uploads lost that were not held; the front ends "
             f"refused {seen['refused']} times, probes included")
        show("  rotation    answered    outside change    failed    uploads lost    seconds")
        for number, answered, outside, failed, lost, took in rows:
            if number % max(1, rotations // 10) == 0:
                show(f"  {number:8}    {answered:8}    {'yes' if outside else '-':>14}    {failed:6}    {lost:12}    {took:7.1f}")


class Stubborn(Load):
    """Callers that come again when their connection is gone. What was in flight then is lost; nothing else may be."""

    def __init__(self, key, port):
        super().__init__(key, "/iris/echo")
        self.port, self.cut = port, 0

    def go(self, connections):
        for number in range(connections):
            self.spawn(self.insist, self.port, None, f"h1-{number}")

    def insist(self, port, tls, name):
        count = 0
        while not self.stopping.is_set():
            try:
                with http1.Connection(port, tls) as connection:
                    while not self.stopping.is_set():
                        count += 1
                        body = f"{name} {count}".encode()
                        answer = connection.request("POST", self.path, self.headers, body)
                        if (answer.status, answer.body) == (200, body):
                            self.ok()
                        else:
                            self.fail(f"{name}: request {count}: {answer.status} {answer.body[:200]!r}")
            except (http1.Closed, ConnectionError):
                with self.lock:
                    self.cut += 1


STEPS = ["prechecked", "drained", "intent", "submitted", "read_back", "probed", "trial", "settled"]


@pytest.mark.parametrize("step", STEPS)
def test_a_process_that_is_killed_leaves_nothing_undone(step, tmp_path, gate, caller_key, show):
    """SIGKILL when the rotation has come to this step; the listening socket is the test's, so that no caller is turned away."""
    with Azure(tmp_path / "azure") as azure, socket.create_server(("127.0.0.1", 0)) as listening:
        config = azure.config(tmp_path, caller_key, [{"match": {"path_prefix": "/iris"}}], QUICK)
        config |= {"listeners": [{"name": "local", "address": "fd:public"}], "log": {"level": "info", "access": "errors"}}
        running = gate(config, handed={"public": listening})
        until(lambda: is_settled(running), "both keys are accepted")
        before = azure.keys()
        callers, connections = Stubborn(caller_key, listening.getsockname()[1]), 3
        with callers as load:
            load.go(connections)
            until(lambda: load.answered > 20, "load runs")
            until(lambda: running.cli("keys", "regen", "iris", "secondary", "--yes").returncode == 0, "`min_gap` is over", patience=60)

            def has_come():
                rotation = rotation_of(running)
                at = STEPS.index(rotation["step"]) if rotation["step"] in STEPS else -1
                return at >= STEPS.index(step) or rotation.get("last_success_unix")

            until(has_come, f"it comes to {step}", patience=60)
            at = rotation_of(running)["step"]
            running.signal(signal.SIGKILL)
            running.wait()
            (running.folder / "admin.sock").unlink(missing_ok=True)
            running.start()
            until(lambda: running.probe("/readyz")[0] == 200, "it is ready again")
            until(lambda: is_settled(running) and rotation_of(running)["step"] == "idle", "Idle in the end", patience=90)
            went_on = load.answered
            until(lambda: load.answered > went_on + 20, "load goes on")
            assert not load.failures, load.failures[:5]
            assert load.cut <= connections, f"{load.cut} were cut off, {connections} were there"
        after, [operation, *_] = azure.keys(), rotation_of(running)["operations"] or [None]
        assert after[0] == before[0], "never the other key"
        asked = operation is not None
        assert (after[1] != before[1], azure.regenerated()) == ((True, 1) if asked else (False, 0))
        assert not asked or operation["state"] == "done", operation
        assert running.metric("scoregate_invariant_violations_total") == 0
        show(f"killed at {at}: {'brought to its end' if asked else 'as if nobody had asked'}; {load.answered} answered, {load.cut} cut "
             f"off by the kill, {len(load.failures)} failed")


def test_a_process_that_is_told_to_end_leaves_a_journal_that_the_next_one_takes_up(tmp_path, gate, caller_key):
    with Azure(tmp_path / "azure", operation=3) as azure:
        config = azure.config(tmp_path, caller_key, [{"match": {"path_prefix": "/iris"}}], QUICK)
        config |= {"listeners": [{"name": "local", "address": "127.0.0.1:0"}], "log": {"level": "info", "access": "errors"}}
        running = gate(config)
        until(lambda: is_settled(running), "both keys are accepted")
        before = azure.keys()
        until(lambda: running.cli("keys", "regen", "iris", "secondary", "--yes").returncode == 0, "`min_gap` is over", patience=60)
        until(lambda: azure.regenerated() == 1, "the call is made")
        running.signal(signal.SIGTERM)
        assert running.wait() == 0
        running.start()
        until(lambda: rotation_of(running) and rotation_of(running)["step"] == "idle" and is_settled(running), "Idle in the end", patience=60)
        [operation] = rotation_of(running)["operations"]
        assert operation["state"] == "done" and azure.regenerated() == 1
        assert azure.keys()[0] == before[0] and azure.keys()[1] != before[1]


def test_what_people_ask_is_done_or_refused_with_nothing_touched(tmp_path, gate, caller_key):
    """Every command about keys, through the admin socket: what it says, what it does, and exit code 5 for each rule against it."""
    with Azure(tmp_path / "azure", learn_lag=(0, 0, 1)) as azure:
        config = azure.config(tmp_path, caller_key, [{"match": {"path_prefix": "/iris"}}], QUICK | {"min_gap": "4s"})
        config |= {"listeners": [{"name": "local", "address": "127.0.0.1:0"}], "log": {"level": "info", "access": "errors"}}
        running = gate(config)
        until(lambda: is_settled(running), "both keys are accepted")

        def keys(*arguments):
            return running.cli("keys", *arguments)

        def refused(why, *arguments):
            before = azure.regenerated()
            done = keys(*arguments)
            assert done.returncode == 5 and "nothing was touched" in done.stderr and why in done.stderr, (arguments, done)
            assert azure.regenerated() == before, arguments

        def active():
            [slot] = [slot["slot"] for slot in rotation_of(running)["slots"] if slot["active"]]
            return slot

        # It was seen for the first time a moment ago; who knows whether somebody had changed a key just before.
        refused("`min_gap`", "regen", "iris", "secondary", "--yes")
        until(lambda: keys("regen", "iris", "--dry-run").returncode == 0, "`min_gap` is over")
        planned = keys("regen", "iris", "--dry-run")
        assert "Nothing was touched" in planned.stdout and "settled" in planned.stdout and azure.regenerated() == 0, planned
        plan = json.loads(keys("regen", "iris", "--dry-run", "--output", "json").stdout)
        assert [step["slot"] for step in plan["steps"]][0] == "secondary" and plan["at_least_seconds"] >= 0
        refused("not confirmed", "regen", "iris")
        refused("no endpoint", "regen", "rose", "--yes")

        assert keys("freeze", "iris").returncode == 0
        refused("frozen", "regen", "iris", "--yes")
        assert keys("unfreeze", "iris").returncode == 0

        first = azure.keys()
        done = keys("regen", "iris", "--yes", "--wait")
        assert done.returncode == 0 and "the secondary key was regenerated" in done.stdout, done
        assert "secondary key: probed" in done.stderr, "each step is shown where nobody watches, too"
        assert azure.keys()[0] == first[0] and azure.keys()[1] != first[1] and active() == "secondary"
        refused("`min_gap`", "regen", "iris", "--yes")

        assert keys("rollback", "iris", "--yes").returncode == 0 and active() == "primary"
        chosen = secrets.key()
        (tmp_path / "chosen").write_text(chosen + "\n")
        set_key = ["regen", "iris", "secondary", "--set-key-from", tmp_path / "chosen", "--yes", "--wait"]
        until(lambda: keys(*set_key).returncode == 0, "`min_gap` is over")
        assert azure.keys()[1] == chosen
        until(lambda: keys("regen", "iris", "--dry-run").returncode == 0, "`min_gap` is over")
        refused("present value of the secondary key", *set_key)

        # In wrong hands: both, at once one after the other, whatever `min_gap` says.
        before = azure.keys()
        done = keys("regen", "iris", "--leaked", "--yes", "--wait", "--output", "json")
        assert done.returncode == 0 and [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["done", "done"], done
        assert all(old != new for old, new in zip(before, azure.keys()))
        status = running.cli("status").stdout
        assert "SERVICE OF" in status and "idle" in status, status
        assert running.metric("scoregate_invariant_violations_total") == 0
