"""Frames of HTTP/2 (RFC 9113) and field blocks of HPACK (RFC 7541), sound and unsound."""

from hpack import Decoder as HpackDecoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY_FLAG = 0x4, 0x8, 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, \
    REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM, INADEQUATE_SECURITY, HTTP_1_1_REQUIRED = range(14)
NAMES = ["DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
         "CONTINUATION"]
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1,
    7)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    """A frame; `length` where it shall lie."""
    length = len(payload) if length is None else length
    return length.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def parse_header(head):
    """Kind, flags, stream and length."""
    return head[3], head[4], int.from_bytes(head[5:9], "big") & 0x7FFFFFFF, int.from_bytes(head[:3], "big")


def unpadded(kind, flags, payload):
    """A payload without padding and priority."""
    if flags & PADDED and kind in (DATA, HEADERS):
        payload = payload[1 : len(payload) - payload[0]]
    if flags & PRIORITY_FLAG and kind == HEADERS:
        payload = payload[5:]
    return payload


def integer(value, bits, first=0):
    """An integer of HPACK with a prefix of so many bits (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out = [first | most]
    value -= most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def text(value):
    """A string of HPACK, without Huffman."""
    return integer(len(value), 7) + value


def field(name, value, first=0x00):
    """A literal field with a literal name. `first`: 0x00 without indexing, 0x10 never indexed, 0x40 into the table."""
    return bytes([first]) + text(name) + text(value)


def block(fields):
    """A field block that needs no table."""
    return b"".join(field(name, value) for name, value in fields)


def headers(stream, fields, end_stream=True, end_headers=True, flags=0, prefix=b"", suffix=b""):
    """HEADERS; `fields` are pairs, or a ready block."""
    body = fields if isinstance(fields, bytes) else block(fields)
    flags |= (END_STREAM if end_stream else 0) | (END_HEADERS if end_headers else 0)
    return frame(HEADERS, flags, stream, prefix + body + suffix)


def continuation(stream, body, end_headers=True):
    return frame(CONTINUATION, END_HEADERS if end_headers else 0, stream, body)


def data(stream, body=b"", end_stream=True, flags=0):
    return frame(DATA, flags | (END_STREAM if end_stream else 0), stream, body)


def settings(*pairs):
    """SETTINGS with pairs of a number and a value."""
    return frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in pairs))


def window_update(stream, by):
    return frame(WINDOW_UPDATE, 0, stream, by.to_bytes(4, "big"))


def rst(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def goaway(last=0, code=NO_ERROR, debug=b""):
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + debug)


def ping(payload=b"\0" * 8, ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def priority(stream, on=0, weight=15, exclusive=False):
    return frame(PRIORITY, 0, stream, (on | (1 << 31 if exclusive else 0)).to_bytes(4, "big") + bytes([weight]))


def Decoder():  # noqa: N802 - it makes one of the library's
    """A decoder of field blocks that takes large ones."""
    decoder = HpackDecoder()
    decoder.max_header_list_size = 1 << 20
    decoder.max_allowed_table_size = 1 << 16
    return decoder
