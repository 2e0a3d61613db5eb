"""A plain byte relay: what comes in goes on, both ways. It has no defence at all; the corpora must tell it from a gate."""

import asyncio
import contextlib
import ssl

from ..core.lane import Ports
from .target import Target


class Relay(Target):
    """Takes TLS off, and otherwise changes nothing."""

    name = "relay"
    version = "plain"
    attaches = False
    has = frozenset(["jwt", "h2-upstream", "path-chars", "trailers", "extra-header", "caller-headers", "prior-knowledge",
                     "websocket", "proxy-protocol"])

    def launch(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki.cert, self.pki.key)
        context.set_alpn_protocols(["h2", "http/1.1"])
        plain = [self.listen(upstream.port, None) for upstream, _ in self.upstreams]
        tls = [self.listen(upstream.port, context) for upstream, _ in self.upstreams]
        return [Ports(*both, proxy=both[0]) for both in zip(plain, tls)]

    def listen(self, to, context):
        async def start():
            server = await asyncio.start_server(lambda reader, writer: self.relay(to, reader, writer), "127.0.0.1", 0,
                ssl=context, backlog=1024)
            return server.sockets[0].getsockname()[1]

        return asyncio.run_coroutine_threadsafe(start(), self.loop.loop).result(30)

    async def relay(self, to, reader, writer):
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", to)
            await asyncio.gather(self.pipe(reader, up_writer), self.pipe(up_reader, writer))
        except OSError:
            pass
        finally:
            writer.close()

    @staticmethod
    async def pipe(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()

    def stop(self):
        """Its listeners go with the loop."""

    def pids(self):
        return []
