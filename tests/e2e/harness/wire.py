"""A blocking connection, plain or TLS, that can send a request and know that the other side had not closed before.

A thread that looks and then sends may be put aside between the two, and the close may come just then. Here both are system
calls with nothing between them: the interpreter's lock is kept.
"""

import ctypes
import socket
import ssl

LIBC = ctypes.PyDLL(None, use_errno=True)
LIBC.recv.argtypes = LIBC.send.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
LIBC.recv.restype = LIBC.send.restype = ctypes.c_ssize_t
PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
PIECE = 65536


class Wire:
    def __init__(self, port, tls=None, patience=60):
        if isinstance(port, str):
            # A Unix socket.
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(patience)
            self.sock.connect(port)
        else:
            # A port of this machine, or an address.
            self.sock = socket.create_connection(port if isinstance(port, tuple) else ("127.0.0.1", port), timeout=patience)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = None
        self.scrap = ctypes.create_string_buffer(1)
        if tls:
            self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self.tls = tls.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
            self.turn(self.tls.do_handshake)

    def close(self):
        self.sock.close()

    def turn(self, operation, *arguments):
        """Runs a TLS operation, with as much reading and writing as it needs."""
        while True:
            try:
                result = operation(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                self.fetch()

    def flush(self):
        if sealed := self.outgoing.read():
            self.sock.sendall(sealed)

    def fetch(self):
        data = self.sock.recv(PIECE)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def sendall(self, data):
        if self.tls:
            self.tls.write(data)
            self.flush()
        else:
            self.sock.sendall(data)

    def recv(self):
        """What has come; nothing at a clean end. A TLS connection without its close_notify does not end cleanly."""
        if not self.tls:
            return self.sock.recv(PIECE)
        try:
            return self.turn(self.tls.read, PIECE)
        except ssl.SSLZeroReturnError:
            return b""
        except (ssl.SSLEOFError, ssl.SSLSyscallError):
            raise ConnectionResetError from None

    def ask(self, data):
        """Sends a request that fits into one segment, unless the other side has closed: whether it was sent."""
        if self.tls:
            self.tls.write(data)
            data = self.outgoing.read()
        number, count = self.sock.fileno(), len(data)
        while True:
            if LIBC.recv(number, self.scrap, 1, PEEK) < 0:
                sent = LIBC.send(number, data, count, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                if sent != count:
                    raise ConnectionResetError
                return True
            # Nothing was asked, so this is the end, or TLS's own business.
            if not self.tls:
                assert self.sock.recv(1) == b"", "an answer that nobody asked for"
                return False
            self.fetch()
            try:
                assert self.tls.read(1) == b"", "an answer that nobody asked for"
                return False
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                return False
            except (ssl.SSLEOFError, ssl.SSLSyscallError):
                raise ConnectionResetError from None
