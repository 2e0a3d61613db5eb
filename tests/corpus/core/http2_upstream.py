"""The recording upstream over HTTP/2 with prior knowledge: what it was asked, and frames as a case wants them."""

import json

from . import frames as f
from .upstream import OWN, Upstream


class Asked:
    """A request that came over HTTP/2."""

    def __init__(self, fields):
        self.fields, self.body, self.ended, self.was_reset = fields, b"", False, None

    def all(self, name):
        return [value for key, value in self.fields if key == name]

    @property
    def target(self):
        return self.all(b":path")[0]

    @property
    def is_own(self):
        return bool(OWN.search(self.target))


class WireH2:
    """One connection, for a script to play on: frames in, frames out."""

    def __init__(self, wire, asked):
        self.wire, self.asked, self.streams = wire, asked, {}
        self.decoder = f.Decoder()
        self.block = b""

    async def begin(self):
        await self.wire.take(len(f.PREFACE))
        await self.wire.send(f.settings() + f.window_update(0, 1 << 24))

    async def frame(self):
        head = await self.wire.take(9)
        kind, flags, stream, length = f.parse_header(head)
        return kind, flags, stream, await self.wire.take(length)

    async def request(self):
        """The next request that is complete: its stream and what was asked."""
        while True:
            kind, flags, stream, payload = await self.frame()
            if kind == f.SETTINGS and not flags & f.ACK:
                await self.wire.send(f.frame(f.SETTINGS, f.ACK))
            elif kind == f.PING and not flags & f.ACK:
                await self.wire.send(f.frame(f.PING, f.ACK, 0, payload))
            elif kind in (f.HEADERS, f.CONTINUATION):
                payload = f.unpadded(kind, flags, payload)
                self.block += payload
                if flags & f.END_HEADERS:
                    fields = self.decoder.decode(self.block, raw=True)
                    self.block = b""
                    if stream in self.streams:
                        self.streams[stream].trailers = fields
                    else:
                        self.streams[stream] = Asked([(bytes(name), bytes(value)) for name, value in fields])
                        self.asked.append(self.streams[stream])
                if kind == f.HEADERS and flags & f.END_STREAM:
                    self.streams[stream].ended = True
            elif kind == f.DATA:
                self.streams[stream].body += f.unpadded(kind, flags, payload)
                if payload:
                    await self.wire.send(f.window_update(0, len(payload)) + f.window_update(stream, len(payload)))
                self.streams[stream].ended = bool(flags & f.END_STREAM)
            elif kind == f.RST_STREAM and stream in self.streams:
                self.streams[stream].was_reset = int.from_bytes(payload, "big")
            asked = self.streams.get(stream)
            if asked and asked.ended and kind in (f.HEADERS, f.CONTINUATION, f.DATA) and not self.block:
                return stream, asked

    async def answer(self, stream, asked, status=b"200", fields=(), trailers=None):
        text = json.dumps({"method": asked.all(b":method")[0].decode("latin-1"), "target": asked.target.decode("latin-1"),
                           "body": asked.body[:2000].decode("latin-1"), "length": len(asked.body)}).encode()
        head = f.headers(stream, [(b":status", status), (b"content-type", b"application/json"), *fields], end_stream=False)
        await self.wire.send(head + f.data(stream, text, end_stream=trailers is None))
        if trailers is not None:
            await self.wire.send(f.headers(stream, trailers, end_stream=True))

    async def send(self, data):
        await self.wire.send(data)


class UpstreamH2(Upstream):
    """An upstream that speaks HTTP/2. A script gets each request of a connection in turn."""

    def begin(self, script=None):
        super().begin(script)
        self.asked = []
        self.on_request = None
        self.script = self.play

    async def play(self, wire):
        h2 = WireH2(wire, self.asked)
        await h2.begin()
        while True:
            stream, asked = await h2.request()
            if self.on_request and not asked.is_own:
                await self.on_request(h2, stream, asked)
            else:
                await h2.answer(stream, asked)
