"""HTTP/1.1 read with no leniency at all (RFC 9112): what passes here has one meaning to every server.

The judge reads with it whatever a gate wrote, to its upstream and to its client.
"""

import re
from dataclasses import dataclass, field

TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
TARGET = re.compile(rb"[!-~]+\Z")
VALUE = re.compile(rb"[\t -~\x80-\xff]*\Z")
STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9]) ?([\t -~\x80-\xff]*)\Z")
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[\t -~\x80-\xff]*)?)\Z")


class Broken(Exception):
    """Not HTTP/1.1 as its grammar has it."""


class Cut(Exception):
    """Sound as far as it goes, and not complete. `head` is there where the head is whole."""

    def __init__(self, head=None, body=b""):
        super().__init__("cut off")
        self.head, self.body = head, body


@dataclass
class Message:
    """A request or an answer."""

    first: tuple
    fields: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    # How the body was framed: none, length, chunked, close.
    framing: str = "none"
    raw: bytes = b""

    def all(self, name):
        """Every value of a field; `name` in lower case."""
        return [value for key, value in self.fields if key.lower() == name]

    def one(self, name):
        """The value of a field that may be there once; None where it is missing."""
        values = self.all(name)
        if len(values) > 1:
            raise Broken(f"{name.decode()} is there {len(values)} times")
        return values[0] if values else None

    # A request's first line.
    @property
    def method(self):
        return self.first[0]

    @property
    def target(self):
        return self.first[1]

    # An answer's.
    @property
    def status(self):
        return self.first[1]


def line(data, at):
    """The line that begins at `at`, and where the next one begins. Bare CR and bare LF break it."""
    end = data.find(b"\n", at)
    if end < 0:
        if b"\r" in data[at:].removesuffix(b"\r"):
            raise Broken("a bare CR")
        raise Cut
    if end == at or data[end - 1 : end] != b"\r":
        raise Broken("a bare LF")
    if b"\r" in data[at : end - 1]:
        raise Broken("a bare CR")
    return data[at : end - 1], end + 1


def fields(data, at):
    """Field lines up to the empty line, and where what follows begins."""
    found = []
    while True:
        text, at = line(data, at)
        if not text:
            return found, at
        name, colon, value = text.partition(b":")
        if not colon or not TOKEN.match(name):
            raise Broken(f"a field line {text[:60]!r}")
        if not VALUE.match(value):
            raise Broken(f"the value of {name.decode()} is {value[:60]!r}")
        found.append((name, value.strip(b" \t")))


def chunks(data, at):
    """Body, trailers, and where what follows begins."""
    body = b""
    try:
        while True:
            size_line, begin = line(data, at)
            size = CHUNK_SIZE.match(size_line)
            if not size:
                raise Broken(f"a chunk size {size_line[:60]!r}")
            length = int(size.group(1), 16)
            if length == 0:
                trailers, at = fields(data, begin)
                return body, trailers, at
            piece = data[begin : begin + length]
            body += piece
            end = data[begin + length : begin + length + 2]
            if not b"\r\n".startswith(end):
                raise Broken(f"a chunk does not end where it says: {end!r}")
            if len(end) < 2:
                raise Cut
            at = begin + length + 2
    except Cut:
        raise Cut(body=body) from None


def framed(message, data, at, bodiless, until_close):
    """Reads the body that the head announces; returns where what follows begins."""
    length, coding = message.one(b"content-length"), message.one(b"transfer-encoding")
    if length is not None and not re.fullmatch(rb"[0-9]{1,18}", length):
        raise Broken(f"content-length {length!r}")
    if coding is not None and coding.lower() != b"chunked":
        raise Broken(f"transfer-encoding {coding!r}")
    if length is not None and coding is not None:
        raise Broken("both content-length and transfer-encoding")
    if bodiless:
        return at
    try:
        if coding is not None:
            message.framing = "chunked"
            message.body, message.trailers, at = chunks(data, at)
        elif length is not None:
            message.framing = "length"
            message.body = data[at : at + int(length)]
            if len(message.body) < int(length):
                raise Cut(body=message.body)
            at += int(length)
        elif until_close:
            message.framing = "close"
            message.body = data[at:]
            raise Cut(body=message.body)
    except Cut as cut:
        raise Cut(message, cut.body) from None
    return at


def request(data, at=0):
    """One request, and where what follows begins."""
    first, begin = line(data, at)
    parts = first.split(b" ")
    if len(parts) != 3 or not TOKEN.match(parts[0]) or not TARGET.match(parts[1]) or parts[2] != b"HTTP/1.1":
        raise Broken(f"a request line {first[:80]!r}")
    if not (parts[1].startswith(b"/") or parts[1] == b"*"):
        raise Broken(f"a request target {parts[1][:80]!r}")
    message = Message(tuple(parts), [])
    message.fields, begin = fields(data, begin)
    if len(message.all(b"host")) != 1:
        raise Broken(f"{len(message.all(b'host'))} hosts")
    end = framed(message, data, begin, bodiless=False, until_close=False)
    message.raw = data[at:end]
    return message, end


def response(data, at, method):
    """One answer, informational ones included, and where what follows begins."""
    first, begin = line(data, at)
    status_line = STATUS_LINE.match(first)
    if not status_line:
        raise Broken(f"a status line {first[:80]!r}")
    status = int(status_line.group(2))
    message = Message((status_line.group(1), status, status_line.group(3)), [])
    message.fields, begin = fields(data, begin)
    bodiless = status < 200 or status in (204, 304) or method == b"HEAD"
    if bodiless and status not in (304,) and method != b"HEAD":
        if message.all(b"transfer-encoding") or (message.all(b"content-length") and status != 304):
            raise Broken(f"a {status} with framing")
    end = framed(message, data, begin, bodiless, until_close=True)
    message.raw = data[at:end]
    return message, end
