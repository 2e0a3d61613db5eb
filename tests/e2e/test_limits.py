"""Limits by the real clock, over real sockets: what is set is what passes, whatever the number of workers, and nobody starves."""

import hashlib
import signal
import threading
import time

import pytest

from harness import http1, http2, secrets
from harness.fixtures import FULL
from harness.until import until
from harness.upstream import Upstream

WINDOW = 10.0
# Requests a second, and by default as many at once: so long may a busy machine keep a caller from asking before it is the caller who
# leaves something. Each asks for twice as many all the time.
RATES = {"twenty": 20, "hundred": 100, "five-hundred": 500}


@pytest.fixture
def service(service_key):
    with Upstream(service_key.read_text().strip()) as upstream:
        yield upstream


class Caller:
    """A caller by key that asks over connections of its own, and remembers when what passed was asked and answered."""

    def __init__(self, name):
        self.name, self.key = name, secrets.key()
        self.headers = [("authorization", f"Bearer {self.key}")]
        self.passed, self.refused, self.problems = [], [], []
        self.threads = []

    def entry(self, **limits):
        entry = {"keys": [{"sha256": hashlib.sha256(self.key.encode()).hexdigest()}]}
        return entry | ({"limits": limits} if limits else {})

    def asks(self, port, connections, every, until_when, path="/score"):
        """Asks over each connection, `every` seconds or as soon as the last answer is there."""
        for number in range(connections):
            protocol = http2 if number % 4 == 3 else http1
            # In turns, not all at once.
            wait = every * number / connections
            self.threads.append(threading.Thread(target=self.ask, args=(port, protocol, wait, every, until_when, path)))
            self.threads[-1].start()

    def ask(self, port, protocol, wait, every, until_when, path):
        time.sleep(wait)
        try:
            with protocol.Connection(port) as connection:
                while (asked := time.monotonic()) < until_when:
                    status = connection.request("POST", path, self.headers, b"{}").status
                    times = (asked, time.monotonic())
                    if status == 200:
                        self.passed.append(times)
                    elif status == 429:
                        self.refused.append(times)
                    else:
                        self.problems.append(status)
                    time.sleep(max(0, asked + every - time.monotonic()))
        except Exception as problem:
            self.problems.append(repr(problem))

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive()
        assert not self.problems, f"{self.name}: {self.problems[:5]}"

    def between(self, start, end):
        """How many passed from one answer to another question, at least, and at most: the gate decides between the two."""
        surely = sum(start[1] <= asked and answered <= end[0] for asked, answered in self.passed)
        maybe = sum(start[0] <= answered and asked <= end[1] for asked, answered in self.passed)
        return surely, maybe


@pytest.mark.parametrize("workers", [1, 2, 4] if FULL else [2])
def test_over_ten_seconds_what_passes_is_the_rate_whatever_the_number_of_workers(workers, gate, config, service, show):
    callers = [Caller(name) for name in RATES]
    settings = config(service.url())
    settings["workers"] = workers
    for caller in callers:
        settings["callers"][caller.name] = caller.entry(rate=f"{RATES[caller.name]}/s")
        settings["routes"][0]["callers"].append(caller.name)
    running = gate(settings)
    assert len(running.status()["workers"]) == workers
    until_when = time.monotonic() + WINDOW + 5
    for caller in callers:
        caller.asks(running.port(), 8, 8 / (2 * RATES[caller.name]), until_when)
    for caller in callers:
        caller.join()
    for caller in callers:
        rate, refused, told = RATES[caller.name], sorted(caller.refused), []
        # From a refusal on nothing is left of the burst: what passes is the rate.
        starts = [next(one for one in refused if one[0] >= refused[0][0] + later) for later in (0, 0.5, 1, 1.5)]
        for start in starts:
            if rate >= 100:
                end = start[0] + WINDOW
                assert end <= until_when, f"{caller.name} was not refused before {start}"
                surely, maybe = caller.between(start, (end, end))
                least, most = rate * WINDOW * 0.95, rate * WINDOW * 1.05
            else:
                # Exact: from one refusal to another, and there is less than one request left at either.
                end = next(one for one in refused if one[0] >= start[1] + WINDOW)
                surely, maybe = caller.between(start, end)
                least, most = rate * (end[0] - start[1]) - 1, rate * (end[1] - start[0]) + 1
            told.append(f"{surely}–{maybe}")
            assert surely <= most and maybe >= least, f"{caller.name}: {surely}–{maybe}, not {least:.1f}–{most:.1f}"
        show(f"{workers} workers, {rate}/s: {', '.join(told)} passed in windows of {WINDOW:.0f} s, {len(refused)} refused in all")


def test_a_hostile_caller_takes_nothing_of_what_another_is_sure_of(gate, config, service, show):
    hostile, good = Caller("hostile"), Caller("good")
    settings = config(service.url())
    settings["callers"] |= {"hostile": hostile.entry(), "good": good.entry()}
    settings["routes"][0] |= {"callers": ["hostile", "good"], "limits": {"rate": "200/s", "burst": 40}}
    running = gate(settings)
    until_when = time.monotonic() + (WINDOW if FULL else 4)
    hostile.asks(running.port(), 8, 0, until_when)
    # Four fifths of its share of 100.
    good.asks(running.port(), 4, 4 / 80, until_when)
    hostile.join()
    good.join()
    assert len(hostile.refused) > len(hostile.passed), "it asked for more than there is"
    assert not good.refused, f"{len(good.refused)} of {len(good.passed)} refused"
    assert len(good.passed) >= 20
    show(f"hostile: {len(hostile.passed)} passed, {len(hostile.refused)} refused; the other: {len(good.passed)} passed, 0 refused")


def test_a_hostile_caller_in_flight_leaves_room_for_others(gate, config, service):
    hostile, good = Caller("hostile"), Caller("good")
    settings = config(service.url())
    settings["endpoints"]["model"]["concurrency"] = 8
    settings["callers"] |= {"hostile": hostile.entry(concurrent=4), "good": good.entry()}
    settings["routes"][0]["callers"] = ["hostile", "good"]
    running = gate(settings)
    # Those that pass are held; the others go on asking.
    until_when = time.monotonic() + 3
    hostile.asks(running.port(), 16, 0.01, until_when, "/held")
    until(lambda: service.held == 4 and hostile.refused, "four are with the service, and others were refused")
    with http1.Connection(running.port()) as connection:
        for _ in range(100):
            assert connection.request("POST", "/score", good.headers, b"{}").status == 200
    assert service.held == 4
    service.release.set()
    hostile.join()


def test_a_days_quota_is_kept_over_restarts(gate, config, service):
    def play():
        """None where midnight came in between."""
        began = time.time() // 86400
        caller = Caller("team")
        settings = config(service.url())
        settings["callers"]["team"] = caller.entry(quota="10/d")
        running = gate(settings)
        counts = []
        for end in (signal.SIGTERM, signal.SIGKILL, None):
            with http1.Connection(running.port()) as connection:
                answers = [connection.request("POST", "/score", caller.headers, b"{}") for _ in range(4)]
            counts.append([answer.status for answer in answers].count(200))
            if end is None:
                continue
            if end == signal.SIGKILL:
                # Written every five seconds: what a crash may lose is what came since.
                until(lambda: '"count": 8' in (running.folder / "state/quotas.json").read_text(), "the quota is written")
            running.signal(end)
            running.wait()
            running.start()
        refused = answers[-1]
        if time.time() // 86400 != began:
            return None
        return counts, refused.status, refused.header("ratelimit-policy"), int(refused.header("retry-after"))

    counts, status, policy, wait = play() or play()
    assert (counts, status, policy) == ([4, 4, 2], 429, '"quota";q=10;w=86400')
    assert 1 <= wait <= 86400
