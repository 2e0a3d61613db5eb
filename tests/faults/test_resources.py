"""The machine runs out of something: file descriptors, room on the disk, memory."""

import collections
import contextlib
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import hpack
import pytest
from harness import http1
from harness.azure import Azure, is_settled
from harness.gate import ask as ask_admin
from harness.until import until
from parts.cgroup import MemoryGroup
from parts.peer import Peer, Wire
from parts.settings import two_endpoints
from parts.witness import Witness, ask, code_of, is_closed, told

ROTATION = {
    "enabled": False, "min_gap": "5s", "settle": "1s",
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
        until(lambda: witness.answered > 10, "the kept connection is served")
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


def test_no_descriptor_is_left_to_reach_an_upstream_with(config, gate, caller_key, found):
    """Who came in took all of them. Some give way, with an answer that says whose fault it is, and the others are served."""
    crowd, room = 60, 30

    def slow(wire):
        while True:
            wire.request()
            time.sleep(0.3)
            wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")

    with Peer(slow) as peer, Peer() as well, ExitStack() as stack:
        running = gate(two_endpoints(config, peer.url(), well.url()))
        reachable(running)
        pid = running.process.pid
        most = len(list_descriptors(pid)) + room
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, most))
        callers = [stack.enter_context(http1.Connection(running.port())) for _ in range(crowd)]
        for caller in callers:
            with contextlib.suppress(http1.Closed):
                caller.send(caller.head("GET", "/faulty", [("authorization", f"Bearer {caller_key}")]))
        answers = collections.Counter(map(status_or_none, callers))
        assert set(answers) <= {200, 503, None} and answers[200] and answers[503], answers
        for caller in callers:
            caller.close()
        until(lambda: ask_or_none(running.port(), caller_key) == 200, "the next caller is served", 5)
        reachable(running)
    found(f"no descriptor left to reach the upstream with ({room} left, {crowd} requests at once)",
          "some give way with 503, the others are served; it heals",
          f"{answers[200]} × 200, {answers[503]} × 503, {answers[None]} refused at once")


def list_descriptors(pid):
    from pathlib import Path

    return list(Path(f"/proc/{pid}/fd").iterdir())


def ask_or_none(port, key):
    with contextlib.suppress(OSError, http1.Closed):
        return ask(port, key, "/well")[0].status


def status_or_none(connection):
    """Of the answer to a GET; None where the connection ended instead."""
    with contextlib.suppress(OSError, http1.Closed):
        return connection.response("GET").status


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


def test_a_full_disk_under_the_journal(small_disk, tmp_path, gate, caller_key, found, full):
    """Without an intent on the disk nothing is regenerated; requests go on; what was asked for is done once there is room."""
    with Azure(tmp_path / "azure", learn_lag=(0, 0, 0), operation=0.2) as azure:
        routes = [{"match": {"path_prefix": "/well"}, "rewrite": {"path_prefix": "/"}}]
        config = azure.config(tmp_path, caller_key, routes, ROTATION)
        config["routes"] = [config["routes"][0] | {"rewrite": {"path_prefix": "/"}}]
        config |= {"listeners": [{"name": "local", "address": "127.0.0.1:0"}], "state_dir": str(small_disk), "log": {"level": "debug"}}
        running = gate(config)
        until(lambda: is_settled(running), "both keys are seen accepted")
        assert '"step":"settled"' not in running.stderr()
        with Witness(running.port(), caller_key, "/well/echo") as witness, witness.unharmed():
            until(lambda: running.cli("keys", "regen", "iris", "secondary", "--dry-run").returncode == 0, "`min_gap` has passed", 20)
            filler = fill(small_disk)
            began = time.monotonic()
            asked = running.cli("keys", "regen", "iris", "secondary", "--yes")
            until(lambda: "journal cannot be written" in running.stderr(), f"it says so; the command said {asked.stdout} {asked.stderr}", 20)
            before = witness.answered
            until(lambda: witness.answered > before + 200, "requests go on")
            assert azure.regenerated() == 0, "a call was made without an intent on the disk"
            held = time.monotonic() - began
            assert "the rotation waits" in running.stderr()
            filler.unlink()
            healed = time.monotonic()
            how = f"0 calls in {told(held)} of a full disk"
            if full:
                # It waits for half a minute before it looks again.
                until(lambda: "the operation is done" in running.stderr() and is_settled(running), "it is done once there is room", 120)
                assert azure.regenerated() == 1
                how += f", 1 after; settled {told(time.monotonic() - healed)} after there was room"
            else:
                assert ask(running.port(), caller_key, "/well/echo")[0].status == 200
    found("disk full under the journal", "no call without an intent on the disk; requests go on; done once there is room",
          f"{how}; {witness.answered} requests, 0 failed")


def test_a_full_disk_at_the_start(small_disk, config, gate, caller_key, found):
    """What needs no state serves as ever."""
    with Peer() as peer, Peer() as well:
        fill(small_disk)
        running = gate(two_endpoints(config, peer.url(), well.url()) | {"state_dir": str(small_disk)})
        assert ask(running.port(), caller_key)[0].status == 200
        assert running.probe("/readyz")[0] == 200
    found("disk full at the start", "it starts and serves", "200, ready")


# ---- memory ----

@pytest.fixture
def group(root):
    """A control group with 256 MiB."""
    with MemoryGroup(MEMORY) as group:
        yield group


@pytest.mark.parametrize("limits", [{}, {"replay_total": "2GiB"}], ids=["by default", "more held than there is"])
def test_uploads_that_are_held_do_not_fill_the_memory(group, config, gate, caller_key, found, limits):
    """256 MiB, and 300 callers at once whose uploads of 1 MiB are held for another sending, until their upstream has not answered."""
    def silent(wire):
        wire.request_head()
        wire.until_end()

    with Peer(silent) as peer, Peer() as well, ExitStack() as stack:
        settings = two_endpoints(config, peer.url(), well.url(), retry_unanswered="on", concurrency=2000) | {"limits": limits}
        running = gate(settings, start=False)
        running.wrapped = group.wrap()
        running.start()
        crowd = stack.enter_context(Crowd(300, lambda stop: upload(running.port(), caller_key, 1 << 20, stop)))
        slowest, ends = 0.0, time.monotonic() + 3
        while time.monotonic() < ends:
            assert running.process.poll() is None, f"ended by {running.process.poll()}; killed by the kernel: {group.killed()}"
            slowest = max(slowest, reachable(running))
            time.sleep(0.1)
        crowd.stop()
        assert group.killed() == 0
        assert set(crowd.counts) <= {(503, "overloaded"), (504, "upstream_timeout")}, crowd.counts
        assert sum(crowd.counts.values()) >= 300
        peak = group.figure(group.peak) >> 20
        assert ask(running.port(), caller_key, "/well")[0].status == 200
    found(f"{MEMORY >> 20} MiB of memory (cgroup v{group.generation}), 300 uploads of 1 MiB held at once"
          + (", `replay_total: 2GiB`" if limits else ""), "nothing is killed; admin and health answer",
          f"{sum(crowd.counts.values())} uploads, peak {peak} MiB, 0 killed; admin and health within {told(slowest)}")


@pytest.mark.parametrize("protocol", ["HTTP/1.1", "HTTP/2"])
def test_uploads_that_nobody_reads_do_not_fill_the_memory(group, config, gate, caller_key, found, protocol):
    """300 connections, each with as much of an upload as is taken, at an upstream that reads nothing: there is little that is taken."""
    connections = 300
    sends = upload_of_http1(caller_key) if protocol == "HTTP/1.1" else uploads_of_http2(caller_key)
    with Peer(Wire.hold) as peer, Peer() as well, ExitStack() as stack:
        settings = two_endpoints(config, peer.url(), well.url(), concurrency=10000)
        settings["endpoints"]["faulty"]["upstream"] = {"max_connections": 10000}
        settings["timeouts"] |= {"response_head": "60s", "request": "60s", "stall": "60s"}
        running = gate(settings, start=False)
        running.wrapped = group.wrap()
        running.start()
        sent = 0
        for _ in range(connections):
            sock = stack.enter_context(contextlib.closing(socket.create_connection(("127.0.0.1", running.port()))))
            sock.settimeout(0.02)
            left = memoryview(sends)
            with contextlib.suppress(TimeoutError):
                while left:
                    left = left[sock.send(left) :]
            sent += len(sends) - len(left)
        slowest = reachable(running)
        assert running.process.poll() is None and group.killed() == 0
        peak = group.figure(group.peak) >> 20
        assert peak < 128, f"{peak} MiB for {connections} uploads that nobody reads"
        assert ask(running.port(), caller_key, "/well")[0].status == 200
    found(f"{connections} connections of {protocol} that upload to an upstream that reads nothing, {MEMORY >> 20} MiB",
          "nothing is killed; admin and health answer", f"{sent >> 20} MiB sent, peak {peak} MiB, 0 killed; admin and health in {told(slowest)}")


def upload_of_http1(key):
    head = f"POST /faulty HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-length: {64 << 20}\r\n\r\n"
    return head.encode() + bytes(4 << 20)


def uploads_of_http2(key):
    """Sixteen streams, each of which fills the window that a stream has at first (RFC 9113 section 6.9.2)."""
    def frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/faulty"), ("authorization", f"Bearer {key}")]
    streams = range(1, 33, 2)
    coder = hpack.Encoder()
    sends = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    sends += b"".join(frame(1, 4, stream, coder.encode(fields)) for stream in streams)
    return sends + b"".join(frame(0, 0, stream, bytes(size)) for stream in streams for size in (16384, 16384, 16384, 16383))


def test_memory_that_is_short_is_not_asked_for(group, config, gate, caller_key, found):
    """Something else in the control group takes what there is: from 90 % on new requests are refused, until it is given back."""
    ballast = f"import sys; held = bytearray(b'x') * ({MEMORY} * 93 // 100 - int(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with Peer() as peer, Peer() as well:
        running = gate(two_endpoints(config, peer.url(), well.url()), start=False)
        running.wrapped = group.wrap()
        running.start()
        with subprocess.Popen([*group.wrap(), sys.executable, "-c", ballast, str(group.figure(group.used) + (6 << 20))],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            try:
                assert other.stdout.readline() == b"held\n"
                until(lambda: ask(running.port(), caller_key, "/well")[0].status == 503, "it is noticed", 3)
                took = []
                for _ in range(50):
                    answer, seconds = ask(running.port(), caller_key, "/well")
                    assert (answer.status, code_of(answer)) == (503, "overloaded")
                    assert int(answer.header("retry-after")) >= 1
                    took.append(seconds)
                slowest = reachable(running)
            finally:
                other.stdin.close()
                other.wait(10)
        began = time.monotonic()
        until(lambda: ask(running.port(), caller_key, "/well")[0].status == 200, "it heals", 5)
        healed = time.monotonic() - began
        assert group.killed() == 0
    found("memory of the control group over 90 %", "503 `overloaded` with `Retry-After` at once; admin and health answer; it heals",
          f"503 within {told(max(took))}; admin and health within {told(slowest)}; served {told(healed)} after there was room")


class Crowd:
    """Many callers at once; each says what came of it, again and again."""

    def __init__(self, size, ask):
        self.counts, self.lock, self.stopping = {}, threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(ask,), daemon=True) for _ in range(size)]

    def run(self, ask):
        while not self.stopping.is_set():
            result = ask(self.stopping)
            with self.lock:
                self.counts[result] = self.counts.get(result, 0) + 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def __exit__(self, *_):
        self.stop()


def upload(port, key, size, stop):
    try:
        answer, _ = ask(port, key, body=bytes(size))
    except (OSError, http1.Closed):
        stop.wait(0.1)
        return "closed"
    if answer.status == 503:
        # As somebody does who was told when to come again.
        stop.wait(int(answer.header("retry-after")) / 2)
    return answer.status, code_of(answer)
