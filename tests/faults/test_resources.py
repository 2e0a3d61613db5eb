"""The machine runs out of something: file descriptors, room on the disk, memory."""

import contextlib
import json
import resource
import shutil
import socket
import subprocess
import threading
import time
from contextlib import ExitStack

import pytest
from harness import http1, secrets
from harness.azure import Azure, is_settled, rotation_of
from harness.gate import ask as ask_admin
from harness.until import until
from parts.cgroup import MemoryGroup
from parts.peer import Peer
from parts.settings import two_endpoints
from parts.witness import Witness, ask, code_of, is_closed, told

ROTATION = {
    "enabled": False, "min_gap": "10s", "settle": "1s",
    "probe": {"spread": "1s", "successes": 6, "fresh": "30s", "timeout": "60s"}, "read_gap": "200ms", "adopt_gap": "100ms",
}
MEMORY = 256 << 20


def reachable(running):
    """Admin and health answer, and how long the slower of them took."""
    began = time.monotonic()
    assert running.probe("/livez")[0] == 200
    assert ask_admin(str(running.folder / "admin.sock"), "/status")[0] == 200
    return time.monotonic() - began


# ---- descriptors ----

def test_more_connections_than_descriptors_from_the_start(config, gate, caller_key, found):
    """`ulimit -n 256`: a cap on connections follows from it, so that upstreams, admin and health have theirs."""
    crowd = 400
    with Peer() as peer, Peer() as well, ExitStack() as stack:
        running = gate(two_endpoints(config, peer.url(), well.url()), start=False)
        running.wrapped = ["bash", "-c", 'ulimit -n 256 && exec "$@"', "few"]
        running.config["timeouts"]["request_head"] = "10s"
        running.start()
        witness = stack.enter_context(Kept(running.port(), caller_key))
        sockets = [stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", running.port())))) for _ in range(crowd)]
        until(lambda: sum(map(is_closed, sockets)) >= crowd - 112, "who is too many is refused at once", 3)
        refused = sum(map(is_closed, sockets))
        slowest = reachable(running)
        assert refused < crowd, "nobody was let in"
        for sock in sockets:
            sock.close()
        until(lambda: ask_or_none(running.port(), caller_key) == 200, "the next caller is served", 5)
        assert not witness.failures, witness.failures[:3]
        hits = running.metric('scoregate_limit_hits_total{limit="max_connections"}') or running.metric("scoregate_limit_hits_total")
        assert hits >= refused
    found(f"`ulimit -n 256`, {crowd} connections", "too many are refused at once; kept connections, admin and health are served; it heals",
          f"{refused} refused at once, {witness.answered} answers over a kept connection, 0 failed; admin and health in {told(slowest)}")


def test_descriptors_run_out_under_way(config, gate, caller_key, found):
    """The limit comes down to what is in use and a handful: the accept loop has a spare one to refuse with."""
    with Peer() as peer, Peer() as well, ExitStack() as stack:
        running = gate(two_endpoints(config, peer.url(), well.url()))
        witness = stack.enter_context(Kept(running.port(), caller_key))
        until(lambda: witness.answered > 10, "the kept connection is served")
        pid = running.process.pid
        in_use = len(list_descriptors(pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 10, in_use + 10))
        sockets = [stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", running.port())))) for _ in range(100)]
        until(lambda: sum(map(is_closed, sockets)) >= 85, "who is too many is refused at once", 3)
        refused = sum(map(is_closed, sockets))
        before = witness.answered
        until(lambda: witness.answered > before + 10, "who was there before is served", 5)
        for sock in sockets:
            sock.close()
        until(lambda: ask_or_none(running.port(), caller_key) == 200, "the next caller is served", 5)
        assert not witness.failures, witness.failures[:3]
        assert running.process.poll() is None
        reachable(running)
    found("descriptors run out under way (10 left, 100 connections)", "refused at once; kept connections go on; it heals",
          f"{refused} refused at once, {witness.answered} answers over a kept connection, 0 failed")


def list_descriptors(pid):
    from pathlib import Path

    return list(Path(f"/proc/{pid}/fd").iterdir())


def ask_or_none(port, key):
    with contextlib.suppress(OSError, http1.Closed):
        return ask(port, key, "/well")[0].status


class Kept(Witness):
    """Only over the connection that was there before."""

    def __init__(self, port, key):
        super().__init__(port, key)
        self.threads = self.threads[:1]


# ---- the disk ----

@pytest.fixture
def small_disk(root, tmp_path):
    """A file system of 512 KiB in memory."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "scoregate-test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place):
    """Until nothing goes in any more; what frees it again."""
    lead = place / "filler"
    with open(lead, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    with pytest.raises(OSError), open(place / "probe", "wb", buffering=0) as file:
        file.write(b"x" * 8192)
    (place / "probe").unlink()
    assert shutil.disk_usage(place).free == 0
    return lead


def test_a_full_disk_under_the_journal(small_disk, tmp_path, gate, caller_key, found):
    """Without an intent on the disk nothing is regenerated; requests go on; what was asked for is done once there is room."""
    with Azure(tmp_path / "azure", learn_lag=(0, 0, 0), operation=0.2) as azure:
        routes = [{"match": {"path_prefix": "/well"}, "rewrite": {"path_prefix": "/"}}]
        config = azure.config(tmp_path, caller_key, routes, ROTATION)
        config["routes"] = [config["routes"][0] | {"rewrite": {"path_prefix": "/"}}]
        config |= {"listeners": [{"name": "local", "address": "127.0.0.1:0"}], "state_dir": str(small_disk), "log": {"level": "debug"}}
        running = gate(config)
        until(lambda: is_settled(running), "both keys are seen accepted")
        with Witness(running.port(), caller_key, "/well/echo") as witness, witness.unharmed():
            filler = fill(small_disk)
            began = time.monotonic()
            until(lambda: rotation_of(running)["slots"][0]["age_seconds"] is not None, "known")
            asked = running.cli("keys", "regen", "iris", "secondary", "--yes", "--output", "json")
            said = asked.stdout + asked.stderr
            # Long enough for a call to have been made by one that does not wait for its journal.
            until(lambda: "journal" in running.stderr() and witness.answered > 100, "it says so", 20)
            assert azure.regenerated() == 0, "a call was made without an intent on the disk"
            held = time.monotonic() - began
            state = json.loads(running.cli("status", "--output", "json").stdout)
            filler.unlink()
            healed = time.monotonic()
            if asked.returncode:
                until(lambda: running.cli("keys", "regen", "iris", "secondary", "--yes").returncode == 0, "it is taken up", 60)
            until(lambda: azure.regenerated() == 1, "it is done once there is room", 90)
            until(lambda: is_settled(running), "the new key is settled", 60)
            took = time.monotonic() - healed
        assert azure.regenerated() == 1
        del state, said
    found("disk full under the journal", "no call without an intent on the disk; requests go on; done once there is room",
          f"0 calls in {told(held)} of a full disk, 1 after; settled {told(took)} after there was room; {witness.answered} requests, 0 failed")


def test_a_full_disk_at_the_start(small_disk, config, gate, caller_key, found):
    """What needs no state serves as ever."""
    with Peer() as peer, Peer() as well:
        fill(small_disk)
        running = gate(two_endpoints(config, peer.url(), well.url()) | {"state_dir": str(small_disk)})
        assert ask(running.port(), caller_key)[0].status == 200
        assert running.probe("/readyz")[0] == 200
    found("disk full at the start", "it starts and serves", "200, ready")


# ---- memory ----

def test_a_memory_limit_kills_nobody(root, config, gate, caller_key, found):
    """256 MiB for uploads that are held and answers that nobody reads: what does not fit is refused with 503, nothing is killed."""
    held = 1 << 20

    def silent(wire):
        wire.request()
        wire.until_end()

    with MemoryGroup(MEMORY) as group, Peer(silent) as peer, Peer() as well, ExitStack() as stack:
        settings = two_endpoints(config, peer.url(), well.url(), retry_unanswered="on", concurrency=2000)
        settings["endpoints"]["faulty"]["upstream"] = {"max_connections": 2000}
        # Far more than there is, by configuration: it is the group's limit that has to hold.
        settings["limits"] = {"replay_total": "2GiB", "max_connections": 5000}
        settings["timeouts"] |= {"response_head": "8s", "request": "8s"}
        settings["workers"] = 2
        running = gate(settings, start=False)
        running.wrapped = group.wrap()
        running.start()
        results = Results()
        stop = threading.Event()
        threads = [threading.Thread(target=upload, args=(running.port(), caller_key, held, results, stop)) for _ in range(300)]
        for thread in threads:
            thread.start()
        slowest = 0.0
        until_at = time.monotonic() + 9
        full = 0
        while time.monotonic() < until_at:
            slowest = max(slowest, reachable(running))
            full += group.figure(group.used) > 0.85 * MEMORY
            time.sleep(0.1)
        stop.set()
        for thread in threads:
            thread.join(60)
        assert running.process.poll() is None and group.killed() == 0
        assert results.of(503, "overloaded"), results.counts
        assert set(results.counts) <= {(503, "overloaded"), (504, "upstream_timeout"), (408, "request_timeout"), "closed"}, results.counts
        peak = group.figure(group.peak) >> 20
        began = time.monotonic()
        until(lambda: ask(running.port(), caller_key, "/well")[0].status == 200, "it heals", 20)
        healed = time.monotonic() - began
    found(f"{MEMORY >> 20} MiB of memory (cgroup v{group.generation}), 300 uploads of 1 MiB held again and again",
          "503 `overloaded` with `Retry-After` from 90 % on; nothing is killed; admin and health answer; it heals",
          f"{results.of(503, 'overloaded')} × 503, slowest {told(results.slowest_503)}; peak {peak} MiB, 0 killed; admin and health within "
          f"{told(slowest)}; served again after {told(healed)}")


class Results:
    def __init__(self):
        self.counts, self.lock, self.slowest_503 = {}, threading.Lock(), 0.0

    def of(self, *key):
        return self.counts.get(key, 0)

    def add(self, key, took=0.0):
        with self.lock:
            self.counts[key] = self.counts.get(key, 0) + 1
            if key[0] == 503:
                self.slowest_503 = max(self.slowest_503, took)


def upload(port, key, size, results, stop):
    body = bytes(size)
    while not stop.is_set():
        try:
            answer, took = ask(port, key, body=body)
        except (OSError, http1.Closed):
            results.add("closed")
            continue
        code = code_of(answer)
        if answer.status == 503:
            assert int(answer.header("retry-after")) >= 1
            # As somebody does who was told when to come again.
            stop.wait(0.5)
        results.add((answer.status, code), took)
    secrets.assert_none_in(str(results.counts), "statuses")
