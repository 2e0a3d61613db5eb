"""A scoring service of our own that demands a key, records what it sees, and lets a test hold its answers back."""

import asyncio
import threading
import time
from collections import Counter

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError

PIECE = 65536


class Upstream:
    """Speaks HTTP/1.1, or HTTP/2 with prior knowledge, whichever a connection begins with.

    `POST /score` answers with what it was sent, once the whole of it has come; `/echo` (HTTP/1.1 only) sends each piece
    back as it comes, `/events` (HTTP/1.1 only) a stream of events; `/held` answers when the test lets it.
    """

    def __init__(self, *keys, attach=lambda key: ("authorization", f"Bearer {key}")):
        self.attach = attach
        self.keys = set(keys)
        self.seen = Counter()
        self.refused = 0
        self.answered = 0
        self.connections = 0
        self.held = 0
        self.release = threading.Event()
        # `GET /events`: what is sent, how many seconds apart, and when it was.
        self.events, self.every, self.sent = [], 0, []
        self.heads = []
        self.problems = []

    # ---- its life: a loop on a thread of its own ----

    def __enter__(self):
        started = threading.Event()

        def run():
            self.loop = asyncio.new_event_loop()
            self.server = self.loop.run_until_complete(
                asyncio.start_server(self.connection, "127.0.0.1", 0, limit=PIECE, backlog=1024))
            self.port = self.server.sockets[0].getsockname()[1]
            started.set()
            self.loop.run_forever()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()

        self.thread = threading.Thread(target=run, name="upstream")
        self.thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_):
        self.release.set()
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        assert not self.problems, self.problems

    def url(self, path="/score"):
        return f"http://127.0.0.1:{self.port}{path}"

    # ---- what it demands ----

    def admits(self, headers):
        """Counts the value; exactly one credential, and one of those that are good now."""
        self.heads.append(headers)
        if len(self.heads) > 1000:
            del self.heads[:500]
        presented = [value for name, value in headers if name in ("authorization", "x-api-key", "api-key")]
        if len(presented) != 1:
            self.problems.append(f"{len(presented)} credentials in one request")
        self.seen[presented[0] if presented else None] += 1
        good = presented and any(presented[0] == self.attach(key)[1] for key in self.keys)
        if not good:
            self.refused += 1
        return good

    async def hold(self):
        self.held += 1
        while not self.release.is_set():
            await asyncio.sleep(0.01)
        self.held -= 1

    # ---- connections ----

    async def connection(self, reader, writer):
        self.connections += 1
        try:
            # No method of HTTP/1.1 that the tests use begins so.
            first = await reader.readexactly(3)
            await (self.speak_h2 if first == b"PRI" else self.speak_h1)(first, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except Exception as problem:
            self.problems.append(repr(problem))
        finally:
            writer.close()

    async def speak_h1(self, first, reader, writer):
        while True:
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, headers = self.parse(head)
            admitted = self.admits(headers)
            if path.startswith("/echo") and admitted:
                writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                async for piece in self.body(headers, reader):
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            elif path.startswith("/events") and admitted:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
                for event in self.events:
                    self.sent.append(time.monotonic())
                    writer.write(b"%x\r\n%b\r\n" % (len(event), event))
                    await writer.drain()
                    await asyncio.sleep(self.every)
                writer.write(b"0\r\n\r\n")
            else:
                body = b"".join([piece async for piece in self.body(headers, reader)])
                if path.startswith("/held"):
                    await self.hold()
                status, answer = self.answer(admitted, body)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(answer), answer))
            await writer.drain()
            first = await reader.readexactly(1)

    @staticmethod
    def parse(head):
        first, *lines = head.rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        pairs = [line.split(":", 1) for line in lines]
        return method, path, [(name.lower(), value.strip()) for name, value in pairs]

    @staticmethod
    async def body(headers, reader):
        fields = dict(headers)
        if "content-length" in fields:
            left = int(fields["content-length"])
            while left:
                piece = await reader.read(min(left, PIECE))
                if not piece:
                    raise ConnectionError
                left -= len(piece)
                yield piece
        elif "transfer-encoding" in fields:
            while size := int((await reader.readline()).split(b";")[0], 16):
                yield await reader.readexactly(size)
                await reader.readexactly(2)
            while await reader.readline() != b"\r\n":
                pass

    def answer(self, admitted, body):
        if not admitted:
            return 401, b"the service demands its key"
        self.answered += 1
        return 200, body

    async def speak_h2(self, first, reader, writer):
        http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        http.initiate_connection()
        http.increment_flow_control_window(1 << 24)
        streams, tasks = {}, set()

        async def finish(number, headers, body):
            if dict(headers)[":path"].startswith("/held"):
                await self.hold()
            status, answer = self.answer(self.admits(headers), body)
            try:
                http.send_headers(number, [(":status", str(status)), ("content-length", str(len(answer)))])
                # Small bodies only: they fit into the first window.
                http.send_data(number, answer, end_stream=True)
            except ProtocolError:
                return
            writer.write(http.data_to_send())

        data = first
        while data:
            for event in http.receive_data(data):
                match event:
                    case h2.events.RequestReceived():
                        streams[event.stream_id] = (event.headers, bytearray())
                    case h2.events.DataReceived():
                        streams[event.stream_id][1].extend(event.data)
                        if event.flow_controlled_length:
                            http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case h2.events.StreamEnded():
                        task = asyncio.ensure_future(finish(event.stream_id, *streams.pop(event.stream_id)))
                        tasks.add(task)
                        task.add_done_callback(tasks.discard)
                    case h2.events.StreamReset():
                        streams.pop(event.stream_id, None)
            writer.write(http.data_to_send())
            await writer.drain()
            data = await reader.read(PIECE)
