"""How cost grows: with workers, caller keys and routes."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from ..goals import GOALS
from ..line import Line
from ..load import Callers
from ..proxies import SCOREGATE, Cores
from ..rounds import in_turns, progress
from . import counted

SECONDS = 3
CONNECTIONS = 64


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
        with contextlib.ExitStack() as stack:
            proxies = {size: stack.enter_context(lab.proxy(SCOREGATE, **self.setup(size))) for size in self.sizes}

            def turn(size, proxy):
                callers = Callers(lab, proxy)
                return callers.spending(lambda: callers.wrk(SECONDS, CONNECTIONS, self.path(size))).microseconds()

            for size, proxy in proxies.items():
                Callers(lab, proxy).wrk(1, CONNECTIONS, self.path(size))
            figures = in_turns(proxies, options.rounds, turn)
        progress(self.key, {f"{size:,}": values for size, values in figures.items()})
        few, many = self.sizes[0], self.sizes[-1]
        return [Line(
            self.key, f"HTTP/1.1 plain, {few:,} → {many:,} {self.what}", "CPU µs/request", {SCOREGATE: figures[many]},
            baseline=(f"{few:,}", figures[few]), goal=GOALS[self.key], details={"growth": {str(size): values for size, values in figures.items()}})]


GROWTHS = [
    Growth("keys", "caller keys", (1, 100, 10_000, 100_000), lambda size: {"keys": size}, lambda size: "/score"),
    Growth("routes", "routes", (1, 100, 1_000, 10_000), lambda size: {"routes": size}, lambda size: f"/service-{(size + 1) // 2}/score"),
    # Endpoints with a token each that is renewed: an entry like these, once tokens are there.
]


def workers(lab, options):
    """CPU for a request with two workers against one, both free to run on either core, at the same rate."""
    setups = {"1 worker": 1, "2 workers": 2}
    with contextlib.ExitStack() as stack:
        proxies = {name: stack.enter_context(lab.proxy(SCOREGATE, workers=count, cores=Cores.BOTH)) for name, count in setups.items()}
        # Half of what one can do: how much is done in one turn of the loop must not differ because one of them is full.
        rate = 0.5 * Callers(lab, proxies["1 worker"]).paced(1)["per_second"]

        def turn(_, proxy):
            before = proxy.cpu()
            # What is thrown away to warm up was served as well.
            seen = Callers(lab, proxy).paced(SECONDS, rate=rate, warm_up=0.0)
            return (proxy.cpu() - before) / seen["requests"] * 1e6

        figures = in_turns(proxies, options.rounds, turn)
        calls = counted.per_request(lambda n: counted.strace(lab, proxies["2 workers"], n), options.requests)
    progress("workers", figures)
    return [
        Line("workers", f"HTTP/1.1 plain, 1 → 2 workers, {rate:,.0f} requests/s", "CPU µs/request", {SCOREGATE: figures["2 workers"]},
             baseline=("1 worker", figures["1 worker"]), goal=GOALS["workers"]),
        Line("workers-futex", "futex calls with 2 workers", "calls/request", {SCOREGATE: [max(calls.get("futex", 0), 0)]},
             goal=GOALS["workers-futex"]),
    ]


ROWS = {"workers": workers} | {growth.key: growth for growth in GROWTHS}
