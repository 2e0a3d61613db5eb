"""Frames that break RFC 9113: the connection ends, or the stream does."""

from ..core import frames as f
from ..core.h2 import Answered, ConnectionError, Ignored, StreamError, codes, head, request, table
from ..core.judge import Wanted

PROTOCOL, SIZE, CLOSED = codes(f.PROTOCOL_ERROR), codes(f.FRAME_SIZE_ERROR, f.PROTOCOL_ERROR), codes(f.STREAM_CLOSED,
    f.PROTOCOL_ERROR)
END = ConnectionError(PROTOCOL)
WRONG_SIZE = ConnectionError(SIZE)
COMPRESSION = ConnectionError(codes(f.COMPRESSION_ERROR, f.PROTOCOL_ERROR))
SOUND = head(request())
POST = head(request(method=b"POST"), end=False)
OPEN = head(request(), end_headers=False)
ONE = Answered((Wanted(),))


def raw_block(block, stream=1):
    return f.headers(stream, block)


FRAMES = table("h2: frames", [
    *[(f"{f.NAMES[kind]} on the connection's stream", f"RFC 9113 {section}", [f.frame(kind, flags, 0, payload)], END)
      for kind, section, flags, payload in (
        (f.DATA, "6.1", f.END_STREAM, b"hello"), (f.HEADERS, "6.2", 5, b"\x82"), (f.PRIORITY, "6.3", 0, b"\0" * 5),
            (f.RST_STREAM, "6.4", 0, b"\0\0\0\x08"),
        (f.CONTINUATION, "6.10", 4, b"\x82"))],
    *[(f"{f.NAMES[kind]} on a stream", f"RFC 9113 {section}", [f.frame(kind, 0, 1, payload)], END) for kind, section,
      payload in (
        (f.SETTINGS, "6.5", b""), (f.PING, "6.7", b"\0" * 8), (f.GOAWAY, "6.8", b"\0" * 8))],
    *[(f"{f.NAMES[kind]} of {len(payload)} bytes", f"RFC 9113 {section}", [f.frame(kind, 0, 0, payload)], WRONG_SIZE)
      for kind, section, payload in (
        (f.SETTINGS, "6.5", b"\0" * 5), (f.PING, "6.7", b"\0" * 7), (f.PING, "6.7", b"\0" * 9), (f.GOAWAY, "6.8", b"\0" * 7),
            (f.WINDOW_UPDATE, "6.9", b"\0" * 3),
        (f.WINDOW_UPDATE, "6.9", b"\0\0\0\x01\0"))],
    ("SETTINGS that acknowledges with a payload", "RFC 9113 6.5", [f.frame(f.SETTINGS, f.ACK, 0, b"\0" * 6)], WRONG_SIZE),
    ("RST_STREAM of 3 bytes", "RFC 9113 6.4", [POST, f.frame(f.RST_STREAM, 0, 1, b"\0" * 3)], WRONG_SIZE),
    ("PRIORITY of 4 bytes", "RFC 9113 6.3", [f.frame(f.PRIORITY, 0, 1, b"\0" * 4)], (ConnectionError(SIZE),
         StreamError(codes=SIZE), Ignored())),
    ("DATA on a stream that was never opened", "RFC 9113 5.1", [f.data(1, b"hello")], ConnectionError(codes(f.PROTOCOL_ERROR,
         f.STREAM_CLOSED))),
    ("RST_STREAM on a stream that was never opened", "RFC 9113 6.4", [f.rst(1)], END),
    ("WINDOW_UPDATE on a stream that was never opened", "RFC 9113 5.1", [f.window_update(1, 1)], END),
    ("CONTINUATION with nothing before it", "RFC 9113 6.10", [f.continuation(1, b"\x82")], END),
    ("CONTINUATION behind a complete head", "RFC 9113 6.10", [SOUND, f.continuation(1, b"\x82")], ConnectionError(PROTOCOL,
         before=1)),
    ("CONTINUATION on another stream", "RFC 9113 6.10", [OPEN, f.continuation(3, b"\x82")], END),
    *[(f"{name} within a head", "RFC 9113 6.10", [OPEN, frame], END) for name, frame in (
        ("DATA", f.data(1, b"hello")), ("PING", f.ping()), ("SETTINGS", f.settings()), ("WINDOW_UPDATE", f.window_update(0,
             1)), ("RST_STREAM", f.rst(1)),
        ("PRIORITY", f.priority(1)), ("a frame that nobody knows", f.frame(0x42, 0, 1, b"x")))],
    ("HEADERS of another stream within a head", "RFC 9113 6.2", [OPEN, head(request(), 3)], END),
    ("PUSH_PROMISE of a client", "RFC 9113 8.4", [SOUND, f.frame(f.PUSH_PROMISE, 4, 1, b"\0\0\0\x02\x82")],
         ConnectionError(PROTOCOL, before=1)),
    ("HEADERS over the largest frame", "RFC 9113 4.2", [f.frame(f.HEADERS, 5, 1, b"\x82" * 16385)], WRONG_SIZE),
    ("DATA over the largest frame", "RFC 9113 4.2", [POST, f.data(1, b"x" * 16385)], (ConnectionError(SIZE),
         StreamError(codes=SIZE, cut_ok=True))),
    ("a frame that nobody knows, over the largest frame", "RFC 9113 4.2", [f.frame(0x42, 0, 0, b"x" * 16385)], WRONG_SIZE),
    ("a frame that says it has 16 MiB", "RFC 9113 4.2", [f.frame(f.DATA, 0, 1, b"x" * 100, length=(1 << 24) - 1)],
         WRONG_SIZE),
    ("padding longer than DATA", "RFC 9113 6.1", [POST, f.frame(f.DATA, f.PADDED | 1, 1, b"\x08hello")], END),
    ("padding as long as DATA", "RFC 9113 6.1", [POST, f.frame(f.DATA, f.PADDED | 1, 1, b"\x06hello")], END),
    ("padded DATA without a length", "RFC 9113 6.1", [POST, f.frame(f.DATA, f.PADDED | 1, 1, b"")], ConnectionError(SIZE)),
    ("padding longer than HEADERS", "RFC 9113 6.2", [f.frame(f.HEADERS, f.PADDED | 5, 1, b"\xff\x82")], END),
    ("HEADERS with half a priority", "RFC 9113 6.2", [f.frame(f.HEADERS, f.PRIORITY_FLAG | 5, 1, b"\0\0\0")],
         ConnectionError(SIZE)),
    ("a stream with an even number", "RFC 9113 5.1.1", [head(request(), 2)], END),
    ("a stream with a smaller number", "RFC 9113 5.1.1", [head(request(), 5), head(request(), 3)], ConnectionError(CLOSED,
         before=1)),
    ("no increment of the connection's window", "RFC 9113 6.9", [f.window_update(0, 0)], END),
    ("no increment of a stream's window", "RFC 9113 6.9", [POST, f.window_update(1, 0)], (StreamError(codes=PROTOCOL,
         cut_ok=True), END)),
    ("the connection's window over its limit", "RFC 9113 6.9.1", [f.window_update(0, (1 << 31) - 1)],
         ConnectionError(codes(f.FLOW_CONTROL_ERROR))),
    ("a stream's window over its limit", "RFC 9113 6.9.1", [POST, f.window_update(1, (1 << 31) - 1)],
         StreamError(codes=codes(f.FLOW_CONTROL_ERROR), cut_ok=True)),
    ("a stream that depends on itself", "RFC 7540 5.3.1", [POST, f.priority(1, on=1), f.data(1, b"hello")],
     (Answered((Wanted(b"POST", body=b"hello"),)), StreamError(codes=PROTOCOL, cut_ok=True), END)),
])

SETTINGS = table("h2: settings", [
    *[(f"{name} of {value}", "RFC 9113 6.5.2", [f.settings((key, value))], ConnectionError(wanted)) for name, key, value,
      wanted in (
        ("ENABLE_PUSH", f.ENABLE_PUSH, 2, PROTOCOL), ("INITIAL_WINDOW_SIZE", f.INITIAL_WINDOW_SIZE, 1 << 31,
             codes(f.FLOW_CONTROL_ERROR)),
        ("INITIAL_WINDOW_SIZE", f.INITIAL_WINDOW_SIZE, (1 << 32) - 1, codes(f.FLOW_CONTROL_ERROR)), ("MAX_FRAME_SIZE",
             f.MAX_FRAME_SIZE, 16383, PROTOCOL),
        ("MAX_FRAME_SIZE", f.MAX_FRAME_SIZE, 0, PROTOCOL), ("MAX_FRAME_SIZE", f.MAX_FRAME_SIZE, 1 << 24, PROTOCOL))],
    ("a setting that pushes a stream's window over its limit", "RFC 9113 6.9.2",
     [f.settings((f.INITIAL_WINDOW_SIZE, 100)), POST, f.window_update(1, (1 << 31) - 101), f.settings((f.INITIAL_WINDOW_SIZE,
         200))],
     ConnectionError(codes(f.FLOW_CONTROL_ERROR)), {"sentinel": True}),
    ("a setting that nobody knows", "RFC 9113 6.5.2", [f.settings((0x99, 12345), (0xffff, 0)), SOUND], ONE),
    ("an acknowledgement that nobody waits for", "RFC 9113 6.5.3", [f.frame(f.SETTINGS, f.ACK)], (Ignored(), END)),
    ("a setting given three times, the last one counts", "RFC 9113 6.5.3",
     [f.settings((f.INITIAL_WINDOW_SIZE, 0), (f.INITIAL_WINDOW_SIZE, 1), (f.INITIAL_WINDOW_SIZE, 65535)), SOUND], ONE),
    ("a hundred settings in one frame", "RFC 9113 6.5", [f.settings(*[(f.INITIAL_WINDOW_SIZE, 65535 + n)
         for n in range(100)]), SOUND], (ONE, ConnectionError())),
])

BLOCKS = table("h2: fields", [
    *[(name, section, [raw_block(block)], COMPRESSION) for name, section, block in (
        ("an index of zero", "RFC 7541 6.1", b"\x80"),
        ("an index beyond the table", "RFC 7541 2.3.3", b"\xff\x80\x01"),
        ("a name's index beyond the table", "RFC 7541 2.3.3", b"\x7f\xff\x01\x01a"),
        ("an integer without an end", "RFC 7541 5.1", b"\x82\xff"),
        ("an integer over 64 bits", "RFC 7541 5.1", b"\xff" + b"\x80" * 20 + b"\x01"),
        ("a string that is cut off", "RFC 7541 5.2", b"\x00\x05abc"),
        ("a string that says it has 4 GiB", "RFC 7541 5.2", b"\x00\x7f\xff\xff\xff\xff\x0fabc"),
        ("Huffman's end of string", "RFC 7541 5.2", b"\x00\x84\xff\xff\xff\xff\x01a"),
        ("Huffman's padding of eight bits", "RFC 7541 5.2", b"\x00\x82\x1f\xff\x01a"),
        ("Huffman's padding of zeros", "RFC 7541 5.2", b"\x00\x81\x18\x01a"),
        ("a table larger than was allowed", "RFC 7541 6.3", b"\x3f\xe1\xff\x07\x82"),
        ("a table's size behind a field", "RFC 7541 4.2", b"\x82\x20"),
        ("a literal without a value", "RFC 7541 6.2", b"\x40\x01a"),
    )],
    ("a broken block over two frames", "RFC 9113 4.3", [f.headers(1, b"\x82", end_headers=False), f.continuation(1,
         b"\xff\x80\x01")], COMPRESSION),
])

PREFACES = table("h2: frames", [
    ("a preface with a letter changed", "RFC 9113 3.4", [f.PREFACE.replace(b"SM", b"SX"), f.settings()], ConnectionError(),
         {"options": {"preface": False}}),
    ("no preface at all", "RFC 9113 3.4", [f.settings(), SOUND], ConnectionError(), {"options": {"preface": False}}),
    ("HTTP/1.1 where HTTP/2 was negotiated", "RFC 9113 3.2",
     [lambda lane: lane.fill(b"GET /score/<TOKEN> HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer <KEY-A>\r\n\r\n")],
         ConnectionError(),
     {"options": {"preface": False}, "sentinel": False}),
    ("a first frame that is no SETTINGS", "RFC 9113 3.4", [f.PREFACE, f.ping(), f.settings()], ConnectionError(),
         {"options": {"preface": False}}),
    ("a request before the first SETTINGS", "RFC 9113 3.4", [f.PREFACE, SOUND], ConnectionError(),
         {"options": {"preface": False}}),
    ("a second preface", "RFC 9113 3.4", [f.PREFACE], ConnectionError()),
    ("TLS within TLS", "RFC 9113 3.4", [b"\x16\x03\x01\x02\0" + b"\x01" * 512], ConnectionError(),
         {"options": {"preface": False}}),
])
CASES = FRAMES + SETTINGS + BLOCKS + PREFACES
