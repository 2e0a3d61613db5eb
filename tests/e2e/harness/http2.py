"""HTTP/2 over one socket: many streams at once, a clean close told from a reset."""

import select
import socket
import ssl
import time

import h2.config
import h2.connection
import h2.events
from h2.connection import ConnectionInputs, ConnectionState, H2ConnectionStateMachine
from h2.settings import SettingCodes

from . import secrets

PATIENCE = 60
AT_ONCE = 65536


class GoesOn(H2ConnectionStateMachine):
    """The library takes GOAWAY for the end of the connection; what has begun goes on (RFC 9113 section 6.8)."""

    _transitions = H2ConnectionStateMachine._transitions | {
        (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY): (None, ConnectionState.CLIENT_OPEN)
    }


class Stream:
    """A request and what has come of it."""

    def __init__(self, body, source):
        self.body = memoryview(body or b"")
        self.source = source
        self.sent = 0
        self.status = None
        self.headers = []
        self.pieces = []
        self.received = 0
        self.sink = None
        self.done = False
        self.reset = None

    def take(self, data):
        self.received += len(data)
        if self.sink:
            self.sink(data)
        else:
            self.pieces.append(data)

    @property
    def content(self):
        return b"".join(self.pieces)

    def header(self, name):
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} is there twice"
        return values[0] if values else None


class Connection:
    def __init__(self, port, tls=None, window=1 << 20):
        self.port, self.scheme = port, "https" if tls else "http"
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
            assert self.sock.selected_alpn_protocol() == "h2"
        self.sock.setblocking(False)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http.state_machine = GoesOn()
        self.http.initiate_connection()
        self.http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.ENABLE_PUSH: 0})
        self.http.increment_flow_control_window((1 << 24) - 65535)
        self.out = bytearray()
        self.streams = {}
        self.sending = {}
        self.goaway = []
        self.closed = None
        # While false, nothing is read: what the gate buffers then is what it buffers at most.
        self.reads = True

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def may_begin(self):
        return self.closed is None and not self.goaway

    def begin(self, method, path, headers=(), body=None):
        """Opens a stream; its body goes out as windows allow."""
        number = self.http.get_next_available_stream_id()
        head = [(":method", method), (":scheme", self.scheme), (":authority", f"localhost:{self.port}"), (":path", path)]
        length = [] if body is None else [("content-length", str(len(body)))]
        stream = Stream(body, number)
        self.http.send_headers(number, [*head, *headers, *length], end_stream=not body)
        self.streams[number] = stream
        if body:
            self.sending[number] = stream
        return stream

    def open(self, head):
        """Opens a stream that stays open."""
        number = self.http.get_next_available_stream_id()
        self.http.send_headers(number, head)
        self.streams[number] = stream = Stream(None, number)
        return stream

    def send(self, stream, data):
        """Sends on an open stream what fits into its window."""
        self.http.send_data(stream.source, data)

    def request(self, method, path, headers=(), body=None):
        """One request and its answer."""
        stream = self.begin(method, path, headers, body)
        self.run(lambda: stream.done)
        return stream

    def run(self, true, patience=PATIENCE):
        """Carries bytes both ways until that is true or the connection is closed."""
        deadline = time.monotonic() + patience
        while not true() and self.closed is None:
            assert time.monotonic() < deadline, f"no answer in {patience} s"
            self.pump(1)

    def pump(self, patience):
        """Carries what can be carried; returns whether there was anything."""
        self.feed()
        self.out += self.http.data_to_send()
        wants = select.select([self.sock] if self.reads else [], [self.sock] if self.out else [], [], self.pause(patience))
        if self.out and wants[1]:
            self.write()
        if self.reads:
            self.read()
        return bool(wants[0] or wants[1])

    def pause(self, patience):
        waits = isinstance(self.sock, ssl.SSLSocket) and self.reads and self.sock.pending()
        return 0 if waits else patience

    def feed(self):
        """Gives the library as much of the bodies as the windows allow, a frame of each in turn."""
        fed = True
        while fed and len(self.out) < AT_ONCE:
            fed = False
            for number, stream in list(self.sending.items()):
                # Whoever was fed goes to the end of the line.
                del self.sending[number]
                if stream.done:
                    continue
                left = len(stream.body) - stream.sent
                count = min(self.http.local_flow_control_window(number), self.http.max_outbound_frame_size, left)
                if count:
                    data = bytes(stream.body[stream.sent : stream.sent + count])
                    self.http.send_data(number, data, end_stream=count == left)
                    stream.sent += count
                    fed = True
                if count < left:
                    self.sending[number] = stream
                self.out += self.http.data_to_send()
                if len(self.out) >= AT_ONCE:
                    break

    def write(self):
        try:
            sent = self.sock.send(self.out)
            del self.out[:sent]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            # What had arrived before is still read.
            self.out.clear()
            self.sending.clear()

    def read(self):
        try:
            data = self.sock.recv(1 << 18)
        except (ssl.SSLWantReadError, BlockingIOError):
            return
        except (ConnectionResetError, ssl.SSLEOFError):
            self.closed = "reset"
            return
        if not data:
            self.closed = "clean"
            return
        for event in self.http.receive_data(data):
            self.happened(event)

    def happened(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        match event:
            case h2.events.ResponseReceived():
                stream.headers = event.headers
                stream.status = int(dict(event.headers)[":status"])
            case h2.events.DataReceived():
                if event.flow_controlled_length and not stream.done:
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                stream.take(event.data)
            case h2.events.TrailersReceived():
                stream.headers += event.headers
            case h2.events.StreamEnded():
                stream.done = True
                if dict(stream.headers).get("server") == "scoregate":
                    secrets.heard.append(("an answer over HTTP/2", repr((stream.headers, stream.content)).encode()))
            case h2.events.StreamReset():
                stream.done, stream.reset = True, event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway.append((event.last_stream_id, event.error_code))
