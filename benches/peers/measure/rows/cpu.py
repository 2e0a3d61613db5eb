"""CPU time of the proxy over requests served, everyone in turns."""

import contextlib

from ..goals import GOALS
from ..lab import Lab
from ..line import Line
from ..load import MIB, Callers
from ..proxies import COLUMNS, NULL
from ..rounds import in_turns, progress

# Long enough for the kernel's clock ticks of 10 ms to be less than a percent.
SECONDS = 2
# Connections in that time.
FRESH = 1200

TERMINATING = [name for name in COLUMNS if name != NULL]


def cpu(key, work, columns, load, upstream=None, **settings):
    """A row that measures `load(callers, seconds)`, which returns what it came to; `upstream(lab)` in place of nginx."""
    def measure(lab, options):
        with contextlib.ExitStack() as stack:
            theirs = {"upstreams": [stack.enter_context(upstream(lab)).ports[0]]} if upstream else {}
            proxies = stack.enter_context(lab.all(columns, **settings, **theirs))
            # Connections to the upstream are opened, pages are touched, branches are learned.
            for proxy in proxies.values():
                load(Callers(lab, proxy), 1)
            figures = in_turns(proxies, options.rounds, lambda _, proxy: turn(lab, proxy, load))
        progress(key, figures)
        return [Line(key, work, "CPU µs/request", figures, goal=GOALS.get(key))]
    return measure


def turn(lab, proxy, load):
    callers = Callers(lab, proxy)
    return callers.spending(lambda: load(callers, SECONDS)).microseconds()


def upload(callers, seconds):
    return callers.wrk(seconds, 16, "/upload", MIB)


def download(callers, seconds):
    return callers.wrk(seconds, 16, "/download", 0)


ROWS = {
    "h1": cpu("h1", "HTTP/1.1 plain, 190-byte POST, 64 connections", COLUMNS,
              lambda callers, seconds: callers.wrk(seconds, 64)),
    "h2-tls": cpu("h2-tls", "TLS HTTP/2, 190-byte POST, 16 connections × 10 streams", TERMINATING,
                  lambda callers, seconds: callers.h2_for(seconds, 16, 10)),
    "h1-tls": cpu("h1-tls", "TLS HTTP/1.1, 190-byte POST, 64 connections", TERMINATING,
                  lambda callers, seconds: callers.wrk(seconds, 64, tls=True)),
    "handshake": cpu("handshake", "full TLS handshake (P-256) and one request", TERMINATING,
                     lambda callers, seconds: callers.handshakes(seconds * FRESH // SECONDS)),
    "upload": cpu("upload", "1 MiB upload, 16 connections", COLUMNS, upload, upstream=Lab.reading_upstream),
    "download": cpu("download", "1 MiB download, 16 connections", COLUMNS, download),
    # Not held to anything: what nginx and HAProxy can do for those who know what their callers send.
    "upload-64k": cpu("upload-64k", "the same upload, nginx's and HAProxy's buffers raised to 64 KiB", COLUMNS, upload,
                      upstream=Lab.reading_upstream, large_buffers=True),
    "download-64k": cpu("download-64k", "the same download, nginx's and HAProxy's buffers raised to 64 KiB", COLUMNS, download,
                        large_buffers=True),
}
