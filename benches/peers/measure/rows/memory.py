"""Resident memory: of idle connections, of bodies and streams in flight, and over ten minutes."""

import threading
import time

from .. import Refused
from ..goals import GOALS, MIB
from ..lab import Lab
from ..line import Line
from ..load import Callers, Idle
from ..programs import say
from ..proxies import ENVOY, HAPROXY, NGINX, SCOREGATE
from ..rounds import progress

PROXIES = [SCOREGATE, NGINX, HAPROXY, ENVOY]
IDLE = 10_000
# Allocators give pages back some time after they are free, and proxies put idle connections to rest some time after the last byte.
SETTLE = 6
IN_FLIGHT = 64
# How long everything in flight stands still: long enough for whatever will be read to have been read.
PAUSE = 4
STREAM_CONNECTIONS, STREAMS = 10, 100
FLAT_CONNECTIONS = 64
MINUTE = 60


def idle(tls):
    """Bytes for each connection that has served one request and is left alone."""
    key = "idle-tls" if tls else "idle-plain"

    def measure(lab, options):
        figures = {}
        for name in lab.running(PROXIES[:1] if options.quick else PROXIES):
            with lab.proxy(name) as proxy:
                callers = Callers(lab, proxy)
                # What the first connections cost once stays out: pools, arenas, connections to the upstream.
                with Idle(callers, IN_FLIGHT, tls):
                    pass
                time.sleep(SETTLE)
                before = proxy.resident()
                with Idle(callers, IDLE, tls) as them:
                    time.sleep(SETTLE)
                    figures[name] = [(proxy.resident() - before) / IDLE]
                    them.ask_again()
        progress(key, figures)
        return [Line(key, f"idle keep-alive connection, {'TLS' if tls else 'plain'} ({IDLE:,} idle)", "resident bytes", figures,
                     goal=GOALS[key])]
    return measure


def peak(proxy, load):
    """The most that was resident while a load ran, and that beyond what was before."""
    before = proxy.resident()
    proxy.forget_peak()
    load()
    most = proxy.resident("VmHWM")
    return most, most - before


def in_flight(key, work, load, upstream=None, only=None, **settings):
    """64 bodies of 1 MiB, all begun and none moving."""
    def measure(lab, options):
        figures, grown = {}, {}
        for name in lab.running(only or PROXIES):
            with (upstream or Lab.reading_upstream)(lab) as behind:
                theirs = {"upstreams": [behind.ports[0]]} if upstream else {}
                with lab.proxy(name, **theirs, **(settings if name == SCOREGATE else {})) as proxy:
                    most, more = peak(proxy, lambda: load(Callers(lab, proxy)))
                    figures[name], grown[name] = [most], more
        progress(key, figures)
        note = ", ".join(f"{name} {more / IN_FLIGHT / 1024:,.0f}" for name, more in grown.items())
        return [Line(key, work, "resident bytes, peak", figures, goal=GOALS[key], note=f"KiB more for each: {note}", details=grown)]
    return measure


def upload(callers):
    callers.bodies(IN_FLIGHT, path="/upload", body=MIB)


def download(callers):
    callers.bodies(IN_FLIGHT, path="/download", body=0, answer=MIB, pause=PAUSE)


def stalling(lab):
    return lab.reading_upstream(stall=PAUSE, on="/upload")


def streams(lab, options):
    """HTTP/2 with 1,000 requests in flight, answered after they have all come."""
    total = STREAM_CONNECTIONS * STREAMS
    figures = {}
    with lab.reading_upstream(delay=PAUSE, on="/held") as behind:
        for name in lab.running(PROXIES):
            with lab.proxy(name, upstreams=[behind.ports[0]]) as proxy:
                load = Callers(lab, proxy)
                _, more = peak(proxy, lambda: load.h2_count(total, STREAM_CONNECTIONS, STREAMS, "/held"))
                figures[name] = [more / total]
    progress("h2-streams", figures)
    return [Line("h2-streams", f"HTTP/2 request in flight, {STREAM_CONNECTIONS} connections × {STREAMS} streams", "resident bytes, peak",
                 figures)]


def flat(lab, options):
    """Growth at full rate, from the end of the first minute."""
    with lab.proxy(SCOREGATE) as proxy:
        seen, failed = [], []
        load = threading.Thread(target=lambda: run(failed, lambda: Callers(lab, proxy).wrk(options.flat_minutes * MINUTE, FLAT_CONNECTIONS)))
        load.start()
        while load.is_alive():
            load.join(MINUTE)
            seen.append(proxy.resident())
            if load.is_alive():
                say(f"  flat: {seen[-1] / MIB:,.1f} MiB after {len(seen)} min")
    if failed:
        raise failed[0]
    if len(seen) < 2:
        raise Refused("--flat-minutes must be 2 or more")
    figures = {SCOREGATE: [max(seen[1:]) - seen[0]]}
    return [Line("flat", f"growth of resident memory, {options.flat_minutes} min at full rate", "bytes", figures, goal=GOALS["flat"],
                 note=" → ".join(f"{one / MIB:,.1f}" for one in seen) + " MiB", details={"resident": seen})]


def run(failed, load):
    """A load on a thread of its own, whose refusal is not lost."""
    try:
        load()
    except Refused as refused:
        failed.append(refused)


ROWS = {
    "idle-plain": idle(tls=False),
    "idle-tls": idle(tls=True),
    "in-flight-upload": in_flight("in-flight-upload", "64 × 1 MiB uploads that the upstream does not read, replay off", upload, stalling,
                                  replay_body="0"),
    "in-flight-download": in_flight("in-flight-download", "64 × 1 MiB downloads that callers do not read, replay off", download,
                                    replay_body="0"),
    "in-flight-replay": in_flight("in-flight-replay", "64 × 1 MiB uploads that the upstream does not read, replay on", upload, stalling,
                                  only=[SCOREGATE]),
    "h2-streams": streams,
    "flat": flat,
}
