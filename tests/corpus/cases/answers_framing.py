"""Upstreams that lie about the length of their answer (RFC 9112 sections 6 and 7, from the client's side)."""

from ..core.answers import OK, BadGateway, Delivered, replies, table
from ..core.h1 import GET

BAD = BadGateway()
# Two readers could differ: the connection must not serve again, whatever becomes of this answer.
FRESH = {"fresh": True}
TE = b"transfer-encoding: "
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
EVIL = OK + b"content-length: 4\r\n\r\nEVIL"


def chunks(name, body, expect=BAD, section="RFC 9112 7.1", then="fin"):
    return name, section, replies(OK + TE + b"chunked\r\n\r\n" + body, then), expect, FRESH


def length(name, lines, body=b"hello", expect=BAD, section="RFC 9112 6.3", then="keep"):
    return name, section, replies(OK + lines + b"\r\n\r\n" + body, then), expect, FRESH


CASES = table("answers: framing", [
    length("two lengths that differ", b"content-length: 5\r\ncontent-length: 6", b"hello!"),
    length("two lengths, one of them zero", b"content-length: 0\r\ncontent-length: 5", EVIL),
    length("two equal lengths", b"content-length: 5\r\ncontent-length: 5", expect=(BAD, Delivered())),
    length("lengths in a list that differ", b"content-length: 5, 6", b"hello!"),
    length("lengths in a list, equal", b"content-length: 5, 5", expect=(BAD, Delivered())),
    length("a negative length", b"content-length: -5"),
    length("a signed length", b"content-length: +5"),
    length("a hexadecimal length", b"content-length: 0x5"),
    length("a length in words", b"content-length: five"),
    length("an empty length", b"content-length:"),
    length("a length with a space inside", b"content-length: 1 0", b"helloworld"),
    length("a length that wraps 64 bits", b"content-length: 18446744073709551621"),
    length("length and chunked", b"content-length: 5\r\ntransfer-encoding: chunked", HELLO, (BAD,
        Delivered(lacks=(b"content-length",)))),
    length("length and chunked, the length ending first", b"content-length: 3\r\ntransfer-encoding: chunked", HELLO + EVIL,
           (BAD, Delivered(lacks=(b"content-length",)))),
    length("chunked twice", b"transfer-encoding: chunked, chunked", HELLO),
    length("chunked in two fields", b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", HELLO),
    length("a coding that nobody knows before chunked", b"transfer-encoding: foo, chunked", HELLO),
    length("gzip before chunked", b"transfer-encoding: gzip, chunked", HELLO),
    length("the identity coding", b"transfer-encoding: identity\r\ncontent-length: 5"),
    length("a coding with a vertical tab", b"transfer-encoding: \x0bchunked", HELLO),
    length("a coding folded", b"transfer-encoding:\r\n chunked", HELLO, (BAD, Delivered())),
    length("a coding with a space before its colon", b"transfer-encoding : chunked", HELLO, (BAD, Delivered())),
    ("chunked in HTTP/1.0", "RFC 9112 6.1", replies((OK + TE + b"chunked\r\n\r\n" + HELLO).replace(b"1.1", b"1.0"), "keep"),
     (BAD, Delivered()), FRESH),
    length("a body shorter than its length", b"content-length: 50", then="fin"),
    length("a body shorter than its length, and a reset", b"content-length: 50", then="reset"),
    length("a body longer than its length", b"content-length: 5", b"helloEVIL", Delivered()),
    length("a whole answer behind the body", b"content-length: 5", b"hello" + EVIL, Delivered()),
    length("a whole answer behind no body", b"content-length: 0", EVIL, Delivered(body=b"")),
    chunks("a size that is no number", b"xyz\r\nhello\r\n0\r\n\r\n"),
    chunks("an empty size", b"\r\nhello\r\n0\r\n\r\n"),
    chunks("a negative size", b"-5\r\nhello\r\n0\r\n\r\n"),
    chunks("a size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    chunks("a size that wraps 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    chunks("a size line that ends with LF", b"5\nhello\r\n0\r\n\r\n"),
    chunks("data that ends with nothing", b"5\r\nhello0\r\n\r\n"),
    chunks("data that is longer than its size", b"5\r\nhello!\r\n0\r\n\r\n"),
    chunks("a second chunk that is broken", b"5\r\nhello\r\nxyz\r\nEVIL\r\n0\r\n\r\n"),
    chunks("an end within a size", b"5\r\nhello\r\n5"),
    chunks("an end within data", b"5\r\nhel"),
    chunks("an end before the last chunk", b"5\r\nhello\r\n"),
    chunks("an end before the last empty line", b"5\r\nhello\r\n0\r\n"),
    chunks("a reset before the last chunk", b"5\r\nhello\r\n", then="reset"),
    ("an extension", "RFC 9112 7.1.1", OK + TE + b"chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", (Delivered(), BAD)),
    chunks("an extension without end", b"5;" + b"a" * (1 << 20) + b"\r\nhello\r\n0\r\n\r\n"),
    chunks("a whole answer behind the last chunk", HELLO + EVIL, Delivered(), then="keep"),
    ("an answer until the end of the connection", "RFC 9112 6.3", replies(OK + b"\r\nhello", "fin"), Delivered()),
    ("an answer until the end of the connection, and a reset", "RFC 9112 8", replies(OK + b"\r\nhello", "reset"), BAD),
    ("HTTP/1.0 until the end of the connection", "RFC 9112 6.3", replies((OK + b"\r\nhello").replace(b"1.1", b"1.0"), "fin"),
         Delivered()),
    ("a cut answer to a client of HTTP/1.0", "RFC 9112 8", replies(OK + TE + b"chunked\r\n\r\n5\r\nhello\r\n", "fin"), BAD,
     {"request": (GET + b"\r\n").replace(b"1.1", b"1.0")}),
    ("an answer in chunks to a client of HTTP/1.0", "RFC 9112 7.1", replies(OK + TE + b"chunked\r\n\r\n" + HELLO),
         Delivered(framing=("length", "close")),
     {"request": (GET + b"\r\n").replace(b"1.1", b"1.0"), "end": True}),
])
