"""What can be counted rather than timed, and so is the same on a busy machine: instructions and system calls."""

import contextlib
import os
import re
import shutil
import signal
import subprocess

from .. import Refused
from ..goals import GOALS
from ..line import Line
from ..load import Callers
from ..proxies import ENVOY, HAPROXY, NGINX, NULL, SCOREGATE
from ..rounds import progress
from ..server import until

# Envoy under valgrind does not get as far as serving; the null forwarder has no work to compare.
CALLGRIND = [SCOREGATE, NGINX, HAPROXY]
STRACE = [SCOREGATE, NULL, NGINX, HAPROXY, ENVOY]
# As many connections as there were when the goals were set.
CALLGRIND_CONNECTIONS = 16
STRACE_CONNECTIONS = 64
# Times as many as instructions are counted over: ten calls of an allocator or a timer more would else be 0.005 a request.
STRACE_TIMES = 5
WARM_UP = 10 * STRACE_CONNECTIONS


def per_request(count, requests):
    """`count(n)` for N and 3N requests; the difference leaves out what is done once."""
    few, many = count(requests), count(3 * requests)
    return {name: (many[name] - few.get(name, 0)) / (2 * requests) for name in many}


# ---- instructions ----


def instructions(lab, options):
    """User instructions by callgrind."""
    peers = CALLGRIND[:2] if options.quick else CALLGRIND
    figures = {}
    for name in lab.running(peers):
        counts = per_request(lambda n, name=name: {"user": callgrind(lab, name, n)}, options.requests)
        figures[name] = [counts["user"]]
    progress("instructions", figures, "{:,.0f}")
    return [Line(
        "instructions", "user instructions, the same request, 16 connections", "instructions/request", figures, goal=GOALS["instructions"],
        baseline=(NGINX, figures[NGINX]), note="callgrind; valgrind has no SHA instructions: a digest costs more there")]


def callgrind(lab, name, requests):
    """All instructions of a proxy's life in which it served so many requests."""
    out = lab.folder / "callgrind.out"
    out.unlink(missing_ok=True)
    wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    with lab.proxy(name, wrapper=wrapper) as proxy:
        Callers(lab, proxy).h1_count(requests, CALLGRIND_CONNECTIONS)
    # With several threads callgrind writes a total for each part.
    totals = re.findall(r"^(?:summary|totals): (\d+)", out.read_text(), re.M)
    if not totals:
        raise Refused(f"callgrind wrote no total for {name}: {proxy.said()}")
    if keep := os.environ.get("KEEP_CALLGRIND"):
        shutil.copy(out, f"{keep}.{name.lower()}.{requests}")
    return int(totals[-1])


# ---- system calls ----


def syscalls(lab, options):
    """System calls by strace, while callers send a counted number of requests."""
    figures, details = {}, {}
    for name in lab.running(STRACE):
        with lab.proxy(name) as proxy:
            counts = per_request(lambda n, proxy=proxy: strace(lab, proxy, n), STRACE_TIMES * options.requests)
        figures[name] = [sum(counts.values())]
        details[name] = {call: round(count, 4) for call, count in counts.items() if abs(count) >= 0.0005}
    progress("syscalls", figures, "{:,.3f}")
    return [Line("syscalls", "system calls, the same request, 64 connections", "calls/request", figures, goal=GOALS["syscalls"],
                 details=details)]


def strace(lab, proxy, requests):
    """System calls by name while so many requests are served, connections opened and closed included."""
    out = lab.folder / "strace.out"
    # As many connections to the upstream as it will have, before anything is counted.
    Callers(lab, proxy).h1_count(WARM_UP, STRACE_CONNECTIONS)
    with tracing(proxy, out):
        Callers(lab, proxy).h1_count(requests, STRACE_CONNECTIONS)
    # % time, seconds, usecs/call, calls, errors (or nothing), name
    lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", out.read_text(), re.M)
    counts = {name: int(count) for count, name in lines if name != "total"}
    if not counts:
        raise Refused(f"strace counted nothing of {proxy.name}: {out.read_text()[:500]}")
    return counts


@contextlib.contextmanager
def tracing(proxy, out):
    """strace on every thread of a proxy."""
    attach = [word for pid in proxy.processes() for word in ("-p", str(pid))]
    tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, *attach], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: proxy.is_traced(), f"strace is attached to {proxy.name}", tracer)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)


ROWS = {"instructions": instructions, "syscalls": syscalls}
