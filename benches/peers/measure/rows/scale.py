"""How cost grows: with workers, caller keys and routes."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from .. import Refused
from ..goals import GOALS
from ..lab import TOKENS
from ..line import Line
from ..load import Callers
from ..proxies import SCOREGATE, Cores
from ..rounds import in_turns, progress
from . import counted

SECONDS = 2
CONNECTIONS = 64
# What scoregate says of a configuration that is too large for it, of the file and of what is in it.
TOO_LARGE = re.compile(r"larger than \d+ MiB|expected at most \d+")


@dataclass(frozen=True)
class Growth:
    """Something there can be few or many of. Another one is another entry of `GROWTHS`."""

    key: str
    what: str
    sizes: tuple
    # The setup of scoregate, and the path that is asked for, by size.
    setup: Callable
    path: Callable

    def __call__(self, lab, options):
        missing = ""
        with contextlib.ExitStack() as stack:
            proxies = {}
            for size in self.sizes:
                try:
                    proxies[size] = stack.enter_context(lab.proxy(SCOREGATE, **self.setup(size)))
                except Refused as refused:
                    if not TOO_LARGE.search(str(refused)):
                        raise
                    missing = f"{size:,} {self.what} are refused: {refused.args[0].rpartition('.yaml: ')[2].strip()}"
            for size, proxy in proxies.items():
                Callers(lab, proxy).wrk(1, CONNECTIONS, self.path(size))
            figures = in_turns(proxies, options.rounds, lambda size, proxy: turn(lab, proxy, self.path(size)))
        progress(self.key, {f"{size:,}": values for size, values in figures.items()})
        few, many = min(figures), max(figures)
        return [Line(
            self.key, f"HTTP/1.1 plain, {few:,} → {many:,} {self.what}", "CPU µs/request", {SCOREGATE: figures[many]},
            baseline=(f"with {few:,}", figures[few]), goal=GOALS.get(self.key), missing=missing,
            details={"growth": {str(size): values for size, values in figures.items()}})]


GROWTHS = [
    Growth("keys", "caller keys", (1, 100, 10_000, 100_000), lambda size: {"keys": size}, lambda size: "/score"),
    Growth("routes", "routes", (1, 100, 1_000, 10_000), lambda size: {"routes": size}, lambda size: f"/s{(size + 1) // 2}/score"),
    Growth("tokens", "endpoints with a token each that is renewed every 20 s", (1, 100, TOKENS), lambda size: {"tokens": size},
           lambda size: "/score"),
]


def turn(lab, proxy, path):
    callers = Callers(lab, proxy)
    return callers.spending(lambda: callers.wrk(SECONDS, CONNECTIONS, path)).microseconds()


def workers(lab, options):
    """CPU for a request with two workers against one, both free to run on either core."""
    setups = {"1 worker": 1, "2 workers": 2}
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(lab.proxy(SCOREGATE, workers=count, cores=Cores.BOTH)) for name, count in setups.items()}
        # As much as the cores can do: at a lower rate it is mostly waking up that is measured, and two workers wake up more often.
        figures = in_turns(proxies, options.rounds, lambda _, proxy: turn(lab, proxy, "/score"))
        calls = counted.per_request(lambda n: counted.strace(lab, proxies["2 workers"], n), options.requests)
    progress("workers", figures)
    return [
        Line("workers", "HTTP/1.1 plain, 1 → 2 workers", "CPU µs/request", {SCOREGATE: figures["2 workers"]},
             baseline=("1 worker", figures["1 worker"]), goal=GOALS["workers"]),
        Line("workers-futex", "futex calls with 2 workers", "calls/request", {SCOREGATE: [max(calls.get("futex", 0), 0)]},
             goal=GOALS["workers-futex"]),
    ]


ROWS = {"workers": workers} | {growth.key: growth for growth in GROWTHS}
