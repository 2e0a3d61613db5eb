"""A client that sends bytes as they are, and reads answers strictly."""

import contextlib
import socket
import ssl
import struct
import time

from . import strict

PATIENCE = 8.0


def dial(port, patience=PATIENCE, tls=None, name="localhost"):
    """A connected socket, plain or TLS. The end of a TLS connection without its close_notify is an error, not an end."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=patience)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls:
        try:
            sock = tls.wrap_socket(sock, server_hostname=name, suppress_ragged_eofs=False)
        except (OSError, ssl.SSLError):
            sock.close()
            raise
    return sock


class Talk:
    """One connection of HTTP/1.1: what is sent, and what comes of it."""

    def __init__(self, port, tls=None, patience=PATIENCE):
        self.patience = patience
        self.sock = dial(port, patience, tls)
        self.sent = bytearray()
        self.raw = bytearray()
        self.answers, self.informational = [], []
        # Methods of the requests that are still to be answered: HEAD has answers without a body.
        self.methods = []
        self.at = 0
        # None while open; fin, reset, or broken where what came is no sound answer (`why` says what).
        self.end = None
        self.why = ""
        # What was there of an answer that broke off.
        self.partial = None
        self.write_failed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def abort(self):
        """Resets the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data, method=None):
        """Sends bytes; `method` where they begin a request whose answer is awaited."""
        if method:
            self.methods.append(method)
        self.sent += data
        try:
            self.sock.sendall(data)
        except (OSError, ssl.SSLError):
            # What had arrived before is still read.
            self.write_failed = True

    def half_close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def read_some(self, patience):
        """Reads what comes next. False where nothing came in time."""
        if self.end:
            return False
        try:
            self.sock.settimeout(max(patience, 0.001))
            data = self.sock.recv(1 << 16)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except (OSError, ssl.SSLError):
            self.end = "reset"
            data = b""
        if data:
            self.raw += data
        elif not self.end:
            self.end = "fin"
        self.parse()
        return bool(data)

    def parse(self):
        data = bytes(self.raw)
        self.partial = None
        while self.at < len(data) and self.end != "broken":
            method = self.methods[0] if self.methods else b"GET"
            try:
                answer, self.at = strict.response(data, self.at, method)
            except strict.Cut as cut:
                if self.end == "fin" and cut.head and cut.head.framing == "close":
                    answer, self.at = cut.head, len(data)
                else:
                    self.partial = cut
                    return
            except strict.Broken as why:
                self.end, self.why = "broken", str(why)
                return
            if answer.status < 200 and answer.status != 101:
                self.informational.append(answer)
            else:
                self.answers.append(answer)
                del self.methods[:1]

    def until(self, true, patience=None):
        """Reads until that is true, the connection ends, or patience does. Says whether it is true."""
        deadline = time.monotonic() + (patience or self.patience)
        while not true():
            left = deadline - time.monotonic()
            if self.end or left <= 0:
                return bool(true())
            self.read_some(left)
        return True

    def read_answers(self, count, patience=None):
        """Reads until so many final answers are there."""
        return self.until(lambda: len(self.answers) >= count, patience)

    def read_end(self, patience=None):
        """Reads until the connection ends."""
        return self.until(lambda: self.end is not None, patience)
