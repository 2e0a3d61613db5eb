"""Latency at a fixed rate, waiting included: at rest, beside what disturbs, and while scoregate is changed once a second."""

import contextlib
import http.client
import socket
import statistics
import threading

from .. import Refused
from ..goals import GOALS
from ..line import Line
from ..load import Callers
from ..proxies import ENVOY, HAPROXY, NGINX, SCOREGATE, SERVICE_KEY, write_secret
from ..rounds import in_turns, progress

PROXIES = [SCOREGATE, NGINX, HAPROXY, ENVOY]
PERCENTILES = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}
# p99.9 of the slowest rate here still stands on more than a dozen requests.
SECONDS = 4
# Long enough for what everyone can do to show, twice a proxy.
CAPACITY_SECONDS = 2
SLOW = 0.020
# Of 64 callers; each begins an upload of 10 MiB every second.
BULK = 6
CHANGES_SECONDS = 8
CONNECTIONS = 64


def capacity(lab, proxies):
    """Requests a second by proxy, the same callers asking as fast as they are answered; the better of two turns."""
    seen = in_turns(proxies, 2, lambda _, proxy: Callers(lab, proxy).paced(CAPACITY_SECONDS)["per_second"])
    progress("capacity", seen, "{:,.0f}/s")
    return {name: max(rounds) for name, rounds in seen.items()}


def rates(seen, share):
    """The same rate for all: a share of the smallest capacity, Envoy's aside; for Envoy a share of its own where that is less."""
    common = share * min((rate for name, rate in seen.items() if name != ENVOY), default=0)
    return {name: min(common, share * rate) if name == ENVOY else common for name, rate in seen.items()}


def at_rate(key, work, share, upstreams=None, **disturbance):
    """Three lines: p50, p99 and p99.9."""
    def measure(lab, options):
        with contextlib.ExitStack() as stack:
            settings = {"upstreams": upstreams(lab, stack)} if upstreams else {}
            proxies = stack.enter_context(lab.all(PROXIES, **settings))
            rate = rates(capacity(lab, proxies), share)
            seen = in_turns(proxies, options.rounds, lambda name, proxy: Callers(lab, proxy).paced(SECONDS, rate=rate[name], **disturbance))
        progress(key, {name: [one["p99_us"] for one in rounds] for name, rounds in seen.items()}, "p99 {:,.0f} µs")
        return lines(key, f"{work}, {rate[SCOREGATE]:,.0f} requests/s", seen, rate)
    return measure


def lines(key, work, seen, rate):
    note = f"Envoy at {rate[ENVOY]:,.0f}/s" if ENVOY in rate and rate[ENVOY] < rate[SCOREGATE] else ""
    late = [name for name, rounds in seen.items() if not all(one["rate_held"] for one in rounds)]
    if late:
        note = "; ".join(filter(None, [note, f"rate not held: {', '.join(late)}"]))
    return [Line(f"{key}-{name}", f"{name} {work}", "µs", {proxy: [one[field] for one in rounds] for proxy, rounds in seen.items()},
                 note=note if name == "p99" else "", details=seen if name == "p99" else {})
            for name, field in PERCENTILES.items()]


def one_slow_of_three(lab, stack):
    """nginx twice, and an upstream that takes 20 ms."""
    return [lab.upstream, stack.enter_context(lab.nginx_upstream()).ports[0], stack.enter_context(lab.reading_upstream(delay=SLOW)).ports[0]]


def reading(lab, stack):
    return [stack.enter_context(lab.reading_upstream()).ports[0]]


# ---- while scoregate is changed ----


class Changes:
    """Rotates the service's keys and reloads, once a second, for as long as the `with` block runs."""

    def __init__(self, proxy):
        self.proxy, self.over, self.count, self.failure = proxy, threading.Event(), 0, None
        self.config = proxy.folder / "scoregate.yaml"
        self.active = "primary"

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        if self.failure:
            raise self.failure

    def run(self):
        try:
            while not self.over.wait(1.0):
                self.change()
                self.count += 1
        except (Refused, OSError, http.client.HTTPException) as failure:
            self.failure = Refused(f"reload number {self.count + 1} failed: {failure!r}")

    def change(self):
        """A new value in the slot that is not active, which becomes active; and the path of one route with it."""
        other = "secondary" if self.active == "primary" else "primary"
        write_secret(self.proxy.folder / other, f"{SERVICE_KEY}-{self.count}")
        text = self.config.read_text().replace(f"active: {self.active}", f"active: {other}")
        beside = self.config.with_suffix(".new")
        beside.write_text(text)
        beside.rename(self.config)
        self.active = other
        status, body = post(self.proxy.folder / "admin.sock", "/reload")
        if status != 200:
            raise Refused(f"{status} {body[:300]!r}")


def post(path, target):
    """POST over a Unix socket: a process for each would be measured as well."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(30)
    connection.sock.connect(str(path))
    try:
        connection.request("POST", target, body=b"")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def changes(lab, options):
    """The same scoregate at rest and while keys rotate and it reloads once a second, in turns. An error ends the run."""
    with lab.proxy(SCOREGATE) as proxy:
        callers = Callers(lab, proxy)
        rate = 0.5 * capacity(lab, {SCOREGATE: proxy})[SCOREGATE]
        count = 0

        def turn(name, disturb):
            nonlocal count
            with Changes(proxy) if disturb else contextlib.nullcontext() as changing:
                seen = callers.paced(CHANGES_SECONDS, rate=rate)
            count += changing.count if disturb else 0
            return seen

        seen = in_turns({"at rest": False, "changing": True}, max(options.rounds, 3), turn)
    progress("changes", {name: [one["p99_us"] for one in rounds] for name, rounds in seen.items()}, "p99 {:,.0f} µs")
    if not count:
        raise Refused("nothing was changed while it was measured")
    rest = {name: statistics.median(one[field] for one in seen["at rest"]) for name, field in PERCENTILES.items()}
    return [Line(f"changes-{name}", f"{name} while keys rotate and it reloads once a second, {rate:,.0f} requests/s", "µs",
                 {SCOREGATE: [one[field] for one in seen["changing"]]}, baseline=("at rest", [one[field] for one in seen["at rest"]]),
                 goal=GOALS.get(f"changes-{name}"), note=f"at rest {rest[name]:,.0f} µs; {count} reloads, 0 errors",
                 details=seen if name == "p99" else {})
            for name, field in PERCENTILES.items()]


ROWS = {
    "latency-50": at_rate("latency-50", "at 50 % of capacity", 0.5),
    "latency-90": at_rate("latency-90", "at 90 % of capacity", 0.9),
    "latency-slow": at_rate("latency-slow", "at 50 %, one upstream of three takes 20 ms", 0.5, upstreams=one_slow_of_three),
    "latency-bulk": at_rate("latency-bulk", "at 50 %, beside 6 callers (of 64, 10 %) that each send 10 MiB every second", 0.5,
                            upstreams=reading, connections=CONNECTIONS - BULK, bulk=BULK),
    "changes": changes,
}
