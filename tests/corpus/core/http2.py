"""A client of HTTP/2 that sends frames as they are."""

import contextlib
import json
import ssl
import time

from . import frames as f
from .case import Outcome, demand
from .talk import PATIENCE, dial


class Stream:
    """What came on a stream."""

    def __init__(self):
        self.heads, self.body, self.ended, self.reset = [], b"", False, None

    @property
    def status(self):
        """Of the final answer; None while there is none."""
        finals = [head for head in self.heads if head and head[0][0] == b":status" and head[0][1][:1] != b"1"]
        return int(finals[0][0][1]) if finals else None

    @property
    def is_over(self):
        return self.ended or self.reset is not None

    def all(self, name):
        return [value for head in self.heads for key, value in head if key == name]

    def echoed(self):
        """The target that the upstream says it answered."""
        try:
            return json.loads(self.body)["target"].encode("latin-1")
        except (ValueError, KeyError, TypeError):
            return None


class Http2:
    """One connection."""

    def __init__(self, port, tls, preface=True, settings=(), patience=PATIENCE, name="localhost"):
        self.patience = patience
        self.sock = dial(port, patience, tls, name)
        if tls:
            demand(self.sock.selected_alpn_protocol() == "h2", Outcome.WRONG, "HTTP/2 was not negotiated")
        self.sent, self.raw = bytearray(), bytearray()
        self.streams, self.pongs, self.goaways, self.settings = {}, [], [], []
        # Window given beyond the initial one, by stream; the connection's is 0.
        self.given = {}
        self.acked = 0
        # Frames that came, by kind.
        self.counts = dict.fromkeys(f.NAMES, 0)
        self.decoder, self.block, self.block_of = f.Decoder(), None, None
        self.buffer = b""
        # None while open; fin, reset, or broken where what came is no HTTP/2.
        self.end, self.why = None, ""
        self.gives_window = True
        self.write_failed = False
        # When the last byte was sent that the other side took.
        if preface:
            self.send(f.PREFACE, f.settings(*settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.close()

    def send(self, *frames):
        """Sends bytes. False where the other side takes no more."""
        data = b"".join(frames)
        if len(self.sent) < 1 << 16:
            self.sent += data
        try:
            self.sock.settimeout(self.patience)
            self.sock.sendall(data)
        except (OSError, ssl.SSLError):
            self.write_failed = True
        return not self.write_failed

    def stream(self, number):
        return self.streams.setdefault(number, Stream())

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
            return False
        if not data:
            self.end = "fin"
            return False
        if len(self.raw) < 1 << 16:
            self.raw += data
        self.buffer += data
        if not self.counts["SETTINGS"] and len(self.buffer) >= 9 and (self.buffer[3] not in (f.SETTINGS, f.GOAWAY)):
            self.end, self.why = "broken", f"no HTTP/2: {self.buffer[:60]!r}"
            return False
        at = 0
        while len(self.buffer) - at >= 9 and self.end != "broken":
            kind, flags, stream, length = f.parse_header(self.buffer[at : at + 9])
            if len(self.buffer) - at < 9 + length:
                break
            self.take(kind, flags, stream, self.buffer[at + 9 : at + 9 + length])
            at += 9 + length
        self.buffer = self.buffer[at:]
        return True

    def take(self, kind, flags, stream, payload):
        if kind < len(f.NAMES):
            self.counts[f.NAMES[kind]] += 1
        if kind == f.SETTINGS and flags & f.ACK:
            self.acked += 1
        elif kind == f.SETTINGS:
            self.settings += [(int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big"))
                              for at in range(0, len(payload), 6)]
            self.send(f.frame(f.SETTINGS, f.ACK))
        elif kind == f.PING and flags & f.ACK:
            self.pongs.append(payload)
        elif kind == f.PING:
            self.send(f.ping(payload, ack=True))
        elif kind == f.GOAWAY:
            last, code = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF, int.from_bytes(payload[4:8], "big")
            self.goaways.append((last, code))
        elif kind == f.WINDOW_UPDATE:
            self.given[stream] = self.given.get(stream, 0) + int.from_bytes(payload, "big")
        elif kind == f.RST_STREAM:
            self.stream(stream).reset = int.from_bytes(payload, "big")
        elif kind in (f.HEADERS, f.CONTINUATION):
            self.block = (self.block or b"") + f.unpadded(kind, flags, payload)
            if kind == f.HEADERS:
                self.block_of = (stream, flags & f.END_STREAM)
            if flags & f.END_HEADERS:
                stream, ends = self.block_of
                try:
                    head = [(bytes(name), bytes(value)) for name, value in self.decoder.decode(self.block, raw=True)]
                except Exception as why:  # whatever the library does not like
                    self.end, self.why = "broken", f"a field block: {why}"
                    return
                self.stream(stream).heads.append(head)
                self.stream(stream).ended |= bool(ends)
                self.block = None
        elif kind == f.DATA:
            one = self.stream(stream)
            one.body += f.unpadded(kind, flags, payload)
            one.ended |= bool(flags & f.END_STREAM)
            if payload and self.gives_window:
                updates = [f.window_update(0, len(payload))]
                if not one.ended:
                    updates.append(f.window_update(stream, len(payload)))
                self.send(*updates)

    def until(self, true, patience=None):
        """Reads until that is true, the connection ends, or patience does. Says whether it is true."""
        deadline = time.monotonic() + (patience or self.patience)
        while not true():
            left = deadline - time.monotonic()
            if self.end or left <= 0:
                return bool(true())
            self.read_some(left)
        return True

    def finish(self, *numbers, patience=None):
        """Reads until these streams are over, or the connection is."""
        return self.until(lambda: all(self.stream(number).is_over for number in numbers) or self.is_told_off, patience)

    @property
    def is_told_off(self):
        """GOAWAY with an error: nothing more will come."""
        return any(code != f.NO_ERROR for _, code in self.goaways)

    def barrier(self, payload=b"barrier!", patience=None):
        """PING, and its answer: all that was sent before has been read by then. False where there is none."""
        self.send(f.ping(payload))
        return self.until(lambda: payload in self.pongs or self.is_told_off, patience) and payload in self.pongs

    def drain_close(self, patience=None):
        """Reads to the end of the connection."""
        return self.until(lambda: self.end is not None, patience)

    def state(self):
        """In words, for a report."""
        codes = [code for _, code in self.goaways]
        return f"goaway {codes}, connection {self.end or 'open'} {self.why}, streams " + str(
            {number: stream.reset if stream.reset is not None else stream.status for number, stream in self.streams.items()}
        )
