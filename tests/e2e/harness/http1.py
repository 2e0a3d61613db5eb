"""HTTP/1.1 over a blocking socket, byte by byte: tells a clean close from a reset, and both from an answer."""

from . import secrets
from .wire import Wire


class Closed(Exception):
    """The connection ended. `clean`: by a FIN (and, under TLS, a close_notify); else it was reset or cut."""

    def __init__(self, clean, answered=b""):
        super().__init__(f"{'closed' if clean else 'reset'} after {len(answered)} bytes of an answer")
        self.clean = clean
        self.answered = answered


class Response:
    def __init__(self, status, headers, body=b""):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        """Its only value, or None."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} is there twice"
        return values[0] if values else None

    def says_close(self):
        return (self.header("connection") or "").lower() == "close"


class Connection:
    def __init__(self, port, tls=None):
        self.port = port
        self.wire = Wire(port, tls)
        self.buffer = b""

    def close(self):
        self.wire.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- out ----

    def head(self, method, path, headers=(), length=None):
        """A request's head."""
        host = "localhost" if isinstance(self.port, str | tuple) else f"localhost:{self.port}"
        lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length is not None:
            lines.append(f"content-length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()

    def send(self, data):
        try:
            self.wire.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            raise Closed(clean=False) from None

    def request(self, method, path, headers=(), body=None):
        """One request and its answer."""
        self.send(self.head(method, path, headers, None if body is None else len(body)) + (body or b""))
        return self.response(method)

    def request_unless_closed(self, method, path, headers, body):
        """One request and its answer; None where the connection was closed, cleanly, before the first byte."""
        try:
            if not self.wire.ask(self.head(method, path, headers, len(body)) + body):
                return None
        except ConnectionResetError:
            raise Closed(clean=False) from None
        return self.response(method)

    # ---- in ----

    def more(self):
        try:
            piece = self.wire.recv()
        except ConnectionResetError:
            raise Closed(clean=False, answered=self.buffer) from None
        if not piece:
            raise Closed(clean=True, answered=self.buffer)
        self.buffer += piece

    def line_end(self, mark):
        while (at := self.buffer.find(mark)) < 0:
            self.more()
        return at

    def response_head(self):
        end = self.line_end(b"\r\n\r\n")
        head, self.buffer = self.buffer[:end].decode("latin-1"), self.buffer[end + 4 :]
        first, *lines = head.split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return Response(int(first.split()[1]), [(name.lower(), value.strip()) for name, value in pairs])

    def response(self, method="POST"):
        response = self.response_head()
        response.body = b"".join(self.body_of(response, method))
        secrets.hear(response, "an answer over HTTP/1.1")
        return response

    def body_of(self, response, method="POST"):
        """The body, in pieces as they come."""
        if method == "HEAD" or response.status in (204, 304):
            return
        if response.header("transfer-encoding"):
            while size := self.chunk_size():
                yield from self.exactly(size)
                assert b"".join(self.exactly(2)) == b"\r\n"
            while trailer := self.line():
                response.headers.append(tuple(trailer.split(": ", 1)))
        elif (length := response.header("content-length")) is not None:
            yield from self.exactly(int(length))
        else:
            while True:
                yield self.buffer
                self.buffer = b""
                try:
                    self.more()
                except Closed as end:
                    if end.clean:
                        return
                    raise

    def line(self):
        end = self.line_end(b"\r\n")
        line, self.buffer = self.buffer[:end].decode("latin-1"), self.buffer[end + 2 :]
        return line

    def chunk_size(self):
        return int(self.line().split(";")[0], 16)

    def exactly(self, count):
        while count:
            if not self.buffer:
                self.more()
            piece, self.buffer = self.buffer[:count], self.buffer[count:]
            count -= len(piece)
            yield piece

    def end(self):
        """Reads to the end, which must be clean, and closes."""
        while True:
            try:
                self.more()
            except Closed as closed:
                assert closed.clean, "reset after the last answer"
                assert not closed.answered, "more than was asked for"
                self.close()
                return
