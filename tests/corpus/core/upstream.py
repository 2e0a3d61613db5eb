"""The recording upstream: every byte it sees, per connection, and answers as a case wants them.

One event loop on a thread of its own serves the upstreams of all lanes. It reads requests leniently, since what it is there for is
to record whatever a gate lets through; `strict` judges the record afterwards.
"""

import asyncio
import contextlib
import json
import re
import threading

from . import strict

# How long a gate may take to close an upstream connection that we have closed.
CLOSING = 3.0
# Marks of requests that the harness itself sends: they are answered whatever the case has in mind.
OWN = re.compile(rb"/(?:canary|sentinel)-")


class Record:
    """One connection, as the upstream saw it."""

    def __init__(self, number):
        self.number = number
        self.raw = bytearray()
        # Requests that it answered, as its lenient reader understood them.
        self.answered = 0
        # The gate closed its side.
        self.ended = False
        self.was_reset = False


class Seen:
    """What an upstream saw of a case: sound requests, requests cut off, and what is no sound HTTP at all."""

    def __init__(self, records, others=()):
        self.records = [record for record in records if record.raw]
        # Requests over HTTP/2.
        self.others = list(others)
        self.requests, self.cut, self.broken, self.own = [], [], [], []
        for record in self.records:
            self.read(bytes(record.raw))

    def read(self, data):
        at = 0
        while at < len(data):
            try:
                message, at = strict.request(data, at)
            except strict.Cut as cut:
                self.cut.append((cut.head, data[at:]))
                return
            except strict.Broken as why:
                self.broken.append((data[at:], str(why)))
                return
            (self.own if OWN.search(message.target) else self.requests).append(message)

    def raw(self):
        return b"\n---\n".join(bytes(record.raw) for record in self.records)


class Request:
    """A request as the lenient reader understood it."""

    def __init__(self, head, body):
        self.head, self.body = head, body
        words = head.split(None, 2)
        self.method, self.target = (words + [b"", b""])[:2]

    @property
    def is_own(self):
        return bool(OWN.search(self.target.split(b"?")[0]))


class Wire:
    """One connection, for a script to play on."""

    def __init__(self, reader, writer, record):
        self.reader, self.writer, self.record = reader, writer, record
        self.buffer = b""
        # Our FIN was sent.
        self.finished = False

    async def more(self):
        data = await self.reader.read(1 << 16)
        if not data:
            self.record.ended = True
            raise EOFError
        self.record.raw += data
        self.buffer += data

    async def take(self, count):
        while len(self.buffer) < count:
            await self.more()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    async def until(self, end):
        """Up to a match of a pattern, which is taken, too."""
        while not (found := re.search(end, self.buffer)):
            await self.more()
        return await self.take(found.end())

    async def head(self):
        """The next request's head. Those of the harness itself are answered on the way."""
        while True:
            head = await self.until(rb"\r?\n\r?\n")
            if not OWN.search(head.split(b"\r\n")[0].split(b"?")[0]):
                return head
            await self.answer(Request(head, await self.body(head)))

    async def body(self, head):
        head = head.lower()
        if re.search(rb"\ntransfer-encoding:[^\n]*chunked", head):
            body = b""
            while True:
                size = int(re.match(rb"\s*([0-9a-f]*)", await self.until(rb"\n"), re.I).group(1) or b"0", 16)
                if not size:
                    while (await self.until(rb"\n")).strip():
                        pass
                    return body
                body += await self.take(size)
                await self.until(rb"\n")
        length = re.search(rb"\ncontent-length:\s*([0-9]+)", head)
        return await self.take(min(int(length.group(1)), 1 << 24)) if length else b""

    async def request(self):
        """The next request, head and body."""
        head = await self.head()
        return Request(head, await self.body(head))

    async def send(self, data):
        if self.writer.is_closing() or self.finished:
            raise EOFError
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, request, status=b"200 OK", fields=()):
        """Says what was understood, so that a client can tell its own answer from another's."""
        self.record.answered += 1
        text = json.dumps({
            "method": request.method.decode("latin-1"),
            "target": request.target.decode("latin-1"),
            "body": request.body[:2000].decode("latin-1"),
            "length": len(request.body),
        }).encode()
        lines = [b"HTTP/1.1 " + status, b"content-type: application/json", b"x-upstream: yes", *fields,
                 b"content-length: %d" % len(text)]
        await self.send(b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if request.method == b"HEAD" else text))

    async def finish(self):
        """Our FIN; what still comes is recorded."""
        self.half_close()
        await self.drain()

    def half_close(self):
        """Our FIN."""
        if not self.finished and self.writer.can_write_eof():
            self.finished = True
            self.writer.write_eof()

    async def drain(self):
        while True:
            self.buffer = b""
            await self.more()

    def reset(self):
        """Ends the connection with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")
        self.writer.transport.abort()


async def usual(wire):
    """Answers every request."""
    while True:
        await wire.answer(await wire.request())


class Upstream:
    """One lane's upstream."""

    def __init__(self, loop):
        self.loop = loop
        self.script = usual
        self.records = []
        self.open = {}
        self.count = 0

    async def start(self):
        self.server = await asyncio.start_server(self.connection, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def connection(self, reader, writer):
        self.count += 1
        record = Record(self.count)
        self.records.append(record)
        wire = Wire(reader, writer, record)
        self.open[wire] = asyncio.current_task()
        try:
            await self.script(wire)
            await wire.finish()
        except (EOFError, asyncio.CancelledError):
            pass
        except OSError:
            record.was_reset = True
        finally:
            self.open.pop(wire, None)
            with contextlib.suppress(ConnectionError, OSError):
                writer.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def begin(self, script=None):
        """A case begins: nothing is recorded yet."""
        self.script = script or usual
        self.records = []

    def seen(self):
        """What was seen so far."""
        return Seen(self.records)

    def end(self):
        """A case is over: connections are closed in order, and whatever the gate had written before is in the record."""
        self.call(self.close_all())
        return self.seen()

    async def close_all(self):
        for wire in list(self.open):
            with contextlib.suppress(Exception):
                wire.half_close()
        deadline = asyncio.get_running_loop().time() + CLOSING
        while self.open and asyncio.get_running_loop().time() < deadline:
            await asyncio.wait(list(self.open.values()), timeout=0.05)
        for task in list(self.open.values()):
            task.cancel()


class Loop:
    """The event loop of every upstream, on a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="upstreams", daemon=True)
        self.thread.start()

    def upstream(self, kind=Upstream):
        one = kind(self.loop)
        asyncio.run_coroutine_threadsafe(one.start(), self.loop).result(30)
        return one

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
