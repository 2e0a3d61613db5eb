"""An upstream that does as its script says, each connection on a thread of its own."""

import contextlib
import select
import socket
import struct
import threading
import time

PIECE = 65536
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Peer:
    """`script(wire)` plays on every connection; it can be replaced at any time and holds from the next connection on."""

    def __init__(self, script=None, address="127.0.0.1", backlog=1024, made=None):
        self.script = script or usual
        self.listener = made or socket.create_server((address, 0), backlog=backlog)
        self.address, self.port = self.listener.getsockname()[:2]
        self.wires = []
        # Heads that came, and requests that came to their end.
        self.requests, self.whole = 0, 0
        self.problems = []
        self.lock = threading.Lock()

    def url(self, path="/score", scheme="http", host=None):
        return f"{scheme}://{host or self.address}:{self.port}{path}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        # Closing does not wake a thread in accept(2); shutting down does.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.drop_all()
        self.thread.join(10)
        assert not self.problems, self.problems

    def drop_all(self):
        """Ends every connection there is."""
        with self.lock:
            wires, self.wires = self.wires, []
        for wire in wires:
            wire.end()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(self, sock)
            with self.lock:
                self.wires.append(wire)
            threading.Thread(target=self.play, args=(wire,), daemon=True).start()

    def play(self, wire):
        try:
            self.script(wire)
        except (OSError, EOFError):
            pass
        except Exception as problem:
            self.problems.append(repr(problem))
        finally:
            wire.end()
            with self.lock, contextlib.suppress(ValueError):
                self.wires.remove(wire)

    def connections(self):
        with self.lock:
            return len(self.wires)


class Wire:
    """One connection of a peer."""

    def __init__(self, peer, sock):
        self.peer, self.sock = peer, sock
        self.buffer = b""
        # Of the last request.
        self.head, self.body = "", b""

    # ---- in ----

    def more(self):
        piece = self.sock.recv(PIECE)
        if not piece:
            raise EOFError
        self.buffer += piece

    def request_head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        with self.peer.lock:
            self.peer.requests += 1
        self.head, self.body = head.decode("latin-1").lower(), b""
        return self.head

    def request(self):
        """A request with its body; EOFError where it was cut off."""
        head = self.request_head()
        if "transfer-encoding: chunked" in head:
            while size := int(self.line(), 16):
                self.exactly(size)
                self.line()
            while self.line():
                pass
        elif "content-length: " in head:
            self.exactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        with self.peer.lock:
            self.peer.whole += 1
        return head

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode("latin-1")

    def exactly(self, count):
        while count:
            if not self.buffer:
                self.more()
            piece, self.buffer = self.buffer[:count], self.buffer[count:]
            self.body += piece
            count -= len(piece)

    def until_end(self):
        """Reads and forgets, until the gate lets go."""
        while True:
            self.more()
            self.buffer = b""

    def hold(self):
        """Neither reads nor writes, until the gate has let go."""
        while not self.is_left():
            time.sleep(0.02)

    def is_left(self):
        """Whether the gate has ended its side, whatever lies unread before that."""
        look = select.poll()
        try:
            look.register(self.sock, select.POLLRDHUP)
        except ValueError:
            # Closed from our side, by the end of the test.
            return True
        return bool(look.poll(0))

    # ---- out ----

    def send(self, *pieces, pause=0):
        for piece in pieces:
            self.sock.sendall(piece)
            time.sleep(pause)

    def drip(self, piece, pause):
        """The same again and again until the gate lets go."""
        while True:
            self.send(piece, pause=pause)

    def no_more(self):
        """A FIN; the other direction stays open."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """A reset in place of an end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def end(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def usual(wire):
    """Answers every request with its body."""
    while True:
        head = wire.request()
        content = b"" if head.startswith("head") else wire.body
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(wire.body) + content)


def large(wire, size=64 << 20):
    """Answers with as much as this, as fast as it is taken."""
    while True:
        wire.request()
        wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // PIECE):
            wire.send(bytes(PIECE))


def medium(wire):
    """More than what sockets and buffers hold for a caller who does not read, and little for everybody else."""
    large(wire, 4 << 20)


def says(*pieces, pause=0, then=Wire.until_end):
    """A script: reads a request, sends this, and goes on as told."""

    def script(wire):
        wire.request()
        wire.send(*pieces, pause=pause)
        then(wire)

    return script
