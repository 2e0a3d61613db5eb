"""Requests at a rate that nothing holds back: who is asked too much must refuse, since nobody waits to be told."""

import asyncio
import statistics
import threading
import time

HEAD_END = b"\r\n\r\n"


class Service(asyncio.Protocol):
    """A service that takes its time over every request, however many there are."""

    seconds = 0.0

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while HEAD_END in self.buffer:
            _, _, self.buffer = self.buffer.partition(HEAD_END)
            asyncio.get_running_loop().call_later(self.seconds, self.answer)

    def answer(self):
        if not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")


class SlowService:
    """It on a loop and a thread of its own."""

    def __init__(self, seconds):
        self.kind = type("Timed", (Service,), {"seconds": seconds})

    def __enter__(self):
        started = threading.Event()

        def run():
            self.loop = asyncio.new_event_loop()
            self.server = self.loop.run_until_complete(self.loop.create_server(self.kind, "127.0.0.1", 0, backlog=4096))
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()
            self.loop.run_forever()

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def url(self):
        return f"http://127.0.0.1:{self.port}/score"


class Caller(asyncio.Protocol):
    """A connection: one request at a time; `free` takes it back."""

    def __init__(self, results, free):
        self.results, self.free = results, free
        self.buffer, self.due = b"", None

    def connection_made(self, transport):
        self.transport = transport
        self.free(self)

    def ask(self, request, due):
        self.due = due
        self.transport.write(request)

    def data_received(self, data):
        self.buffer += data
        head, mark, rest = self.buffer.partition(HEAD_END)
        if not mark:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        self.results.append((int(head.split()[1]), time.monotonic() - self.due, head, rest[:length]))
        self.free(self)


class Outcome:
    """What came of a run. Latencies are counted from when a request was due, not from when it was sent."""

    def __init__(self, results, seconds, unsent):
        self.all, self.seconds, self.unsent = results, seconds, unsent
        self.served = [took for status, took, _, _ in results if status == 200]
        self.refused = [one for one in results if one[0] == 503]
        self.others = {one[0] for one in results} - {200, 503}
        self.goodput = len(self.served) / seconds

    @staticmethod
    def percentile(values, share):
        return statistics.quantiles(values, n=100)[share - 1] if len(values) > 1 else 0.0


def flood(port, request, rate, seconds, connections):
    """`rate` requests a second over so many connections, whatever becomes of them."""
    return asyncio.run(pour(port, request, rate, seconds, connections))


async def pour(port, request, rate, seconds, connections):
    loop, results, ready = asyncio.get_running_loop(), [], []
    callers = [await loop.create_connection(lambda: Caller(results, ready.append), "127.0.0.1", port) for _ in range(connections)]
    began, sent, unsent = time.monotonic(), 0, 0
    while (now := time.monotonic()) - began < seconds:
        due = int((now - began) * rate)
        while sent + unsent < due:
            if ready:
                ready.pop().ask(request, now)
                sent += 1
            else:
                # Every connection waits for an answer: no caller is left who could ask.
                unsent += 1
        await asyncio.sleep(0.002)
    # Whoever asked is owed an answer.
    deadline = time.monotonic() + 10
    while len(results) < sent and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    took = time.monotonic() - began
    assert len(results) == sent, f"{sent - len(results)} of {sent} requests have no answer"
    for transport, caller in callers:
        caller.results = None
        transport.abort()
    return Outcome(results, max(seconds, took - 0.5), unsent)


def closed(port, request, callers, seconds):
    """As many as this ask, each again when it has its answer: what there is to be had."""
    return asyncio.run(ask_in_turn(port, request, callers, seconds))


async def ask_in_turn(port, request, count, seconds):
    loop, results = asyncio.get_running_loop(), []
    began = time.monotonic()

    def again(caller):
        if time.monotonic() - began < seconds:
            caller.ask(request, time.monotonic())

    callers = [await loop.create_connection(lambda: Caller(results, again), "127.0.0.1", port) for _ in range(count)]
    await asyncio.sleep(seconds)
    outcome = Outcome(list(results), seconds, 0)
    for transport, caller in callers:
        caller.results = None
        transport.abort()
    return outcome
