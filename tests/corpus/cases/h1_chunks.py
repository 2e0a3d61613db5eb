"""Chunks that two servers read differently (RFC 9112 section 7.1)."""

from ..core.h1 import CHUNKED, GET, REFUSE_CUT, SMUGGLED, passes, post, table
from ..core.judge import Refuse

END = b"0\r\n\r\n"
# A chunk that is too large to come may be refused as that.
TOO_LARGE = Refuse(frozenset([400, 413]), cut_ok=True, closes=True)
# Whoever can count that far may wait for it; then the end of the connection cuts it off.
CUT_OFF = Refuse(frozenset([400, 413]), cut_ok=True, closes=True, silent_ok=True)


def broken(*rows):
    """Bodies that break off where the gate sees it: the client's fault, and a request cut off for the upstream."""
    return [(name, section, CHUNKED + body, REFUSE_CUT) for name, section, body in rows]


SIZES = broken(
    ("a size that is no number", "RFC 9112 7.1", b"xyz\r\nhello\r\n" + END),
    ("an empty size", "RFC 9112 7.1", b"\r\nhello\r\n" + END),
    ("a negative size", "RFC 9112 7.1", b"-5\r\nhello\r\n" + END),
    ("a signed size", "RFC 9112 7.1", b"+5\r\nhello\r\n" + END),
    ("a size with 0x", "RFC 9112 7.1", b"0x5\r\nhello\r\n" + END),
    ("a size behind a space", "RFC 9112 7.1", b" 5\r\nhello\r\n" + END),
    ("a size behind a tab", "RFC 9112 7.1", b"\t5\r\nhello\r\n" + END),
    ("a size with an underscore", "RFC 9112 7.1", b"1_0\r\nhelloworldhellow\r\n" + END),
    ("a size with a point", "RFC 9112 7.1", b"5.0\r\nhello\r\n" + END),
    ("a size in quotes", "RFC 9112 7.1", b"\"5\"\r\nhello\r\n" + END),
    ("a size with a NUL behind it", "RFC 9112 7.1", b"5\0\r\nhello\r\n" + END),
    ("a size with a letter beyond F", "RFC 9112 7.1", b"5g\r\nhello\r\n" + END),
    ("a size in digits that are not ASCII", "RFC 9112 7.1", b"\xd9\xa5\r\nhello\r\n" + END),
    ("a last chunk that hides a negative zero", "RFC 9112 7.1", b"-0\r\n\r\n" + SMUGGLED),
)
HUGE = [
    ("a size that wraps 64 bits to five", "RFC 9112 7.1", CHUNKED + b"10000000000000005\r\nhello\r\n" + END + SMUGGLED,
         TOO_LARGE),
    ("a size that wraps 32 bits to five", "RFC 9112 7.1", CHUNKED + b"100000005\r\nhello\r\n" + END + SMUGGLED, CUT_OFF,
     {"fin": True}),
    ("a size of all bits", "RFC 9112 7.1", CHUNKED + b"ffffffffffffffff\r\nhello\r\n" + END, CUT_OFF, {"fin": True}),
    ("a size that is negative in 64 bits", "RFC 9112 7.1", CHUNKED + b"8000000000000000\r\nhello\r\n" + END, CUT_OFF,
         {"fin": True}),
    ("a size of a thousand zeros and a five", "RFC 9112 7.1", CHUNKED + b"0" * 1000 + b"5\r\nhello\r\n" + END,
     (REFUSE_CUT, passes(post(b"hello")))),
]
ENDS = broken(
    ("a size line that ends with LF", "RFC 9112 7.1", b"5\nhello\r\n" + END),
    ("a size line that ends with CR", "RFC 9112 7.1", b"5\rhello\r\n" + END),
    ("a size line with CR CR LF", "RFC 9112 7.1", b"5\r\r\nhello\r\n" + END),
    ("data that ends with LF", "RFC 9112 7.1", b"5\r\nhello\n" + END),
    ("data that ends with CR", "RFC 9112 7.1", b"5\r\nhello\r" + END),
    ("data that ends with nothing", "RFC 9112 7.1", b"5\r\nhello" + END),
    ("data that is longer than its size", "RFC 9112 7.1", b"5\r\nhello!\r\n" + END),
    ("data that is longer by two bytes that are no CRLF", "RFC 9112 7.1", b"5\r\nhelloXX" + END),
    ("data that is shorter than its size", "RFC 9112 7.1", b"6\r\nhello\r\n" + END),
    ("a last chunk that ends with LF", "RFC 9112 7.1", b"5\r\nhello\r\n0\n\r\n" + SMUGGLED),
    ("a body that ends with LF", "RFC 9112 7.1.2", b"5\r\nhello\r\n0\r\n\n" + SMUGGLED),
    ("a body that ends with CR and a request", "RFC 9112 7.1.2", b"0\r\n\rGET /admin HTTP/1.1\r\n\r\n"),
    ("a body with bytes before its end", "RFC 9112 7.1.2", b"0\r\nXX" + SMUGGLED),
)
EXTENSIONS = [
    ("an extension that passes no further", "RFC 9112 7.1.1", CHUNKED + b"5;a=b\r\nhello\r\n" + END, (passes(post(b"hello")),
         REFUSE_CUT)),
    ("an extension in quotes", "RFC 9112 7.1.1", CHUNKED + b"5;a=\"b;c\"\r\nhello\r\n" + END, (passes(post(b"hello")),
         REFUSE_CUT)),
    ("an extension on the last chunk", "RFC 9112 7.1.1", CHUNKED + b"5\r\nhello\r\n0;last\r\n\r\n", (passes(post(b"hello")),
         REFUSE_CUT)),
    ("a space before an extension", "RFC 9112 7.1.1", CHUNKED + b"5 ;a\r\nhello\r\n" + END, (REFUSE_CUT,
         passes(post(b"hello")))),
    ("an extension with LF that hides a chunk", "RFC 9112 7.1.1", CHUNKED + b"5;\n0\r\n\r\n" + SMUGGLED + END, REFUSE_CUT),
    ("an extension with CR that hides a chunk", "RFC 9112 7.1.1", CHUNKED + b"5;\r0\r\nhello\r\n" + END, REFUSE_CUT),
    ("an extension in quotes over two lines", "RFC 9112 7.1.1", CHUNKED + b"5;a=\"\r\n0\r\n\r\n\"\r\nhello\r\n" + END,
         REFUSE_CUT),
    ("an extension with a NUL", "RFC 9112 7.1.1", CHUNKED + b"5;a=\0\r\nhello\r\n" + END, REFUSE_CUT),
    ("an extension of 64 KiB", "RFC 9112 7.1.1", CHUNKED + b"5;" + b"a" * 65536 + b"\r\nhello\r\n" + END,
     Refuse(frozenset([400, 413, 431]), cut_ok=True, closes=True)),
    ("extensions of 20 bytes on each of 4,000 chunks of one byte", "RFC 9112 7.1.1",
     CHUNKED + (b"1;" + b"a" * 18 + b"\r\nx\r\n") * 4000 + END, Refuse(frozenset([400, 413, 431]), cut_ok=True,
         closes=True)),
]
SOUND = [
    ("sizes in upper and lower case with leading zeros", "RFC 9112 7.1",
         CHUNKED + b"00A\r\n0123456789\r\n00b\r\nhello world\r\n" + END,
     passes(post(b"0123456789hello world"))),
    ("a body of no chunk but the last", "RFC 9112 7.1", CHUNKED + END, passes(post(b""))),
    ("a last chunk of many zeros", "RFC 9112 7.1", CHUNKED + b"5\r\nhello\r\n000\r\n\r\n", passes(post(b"hello"))),
    ("chunks that come byte by byte", "RFC 9112 7.1",
     CHUNKED + b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", passes(post(b"hello!")), {"bytewise": True}),
    ("a thousand chunks of one byte", "RFC 9112 7.1", CHUNKED + b"1\r\nx\r\n" * 1000 + END, passes(post(b"x" * 1000))),
    ("data that looks like chunks", "RFC 9112 7.1", CHUNKED + b"c\r\n0\r\n\r\nGET / H\r\n" + END,
         passes(post(b"0\r\n\r\nGET / H"))),
    ("a request behind the last chunk in the same segment", "RFC 9112 9.3.2",
     CHUNKED + b"5\r\nhello\r\n" + END + GET + b"\r\n", passes(post(b"hello"), passes().requests[0]), {"methods": (b"POST",
         b"GET")}),
]
CUT = [
    ("a body that ends within a size", "RFC 9112 8", CHUNKED + b"5", Refuse(cut_ok=True, silent_ok=True, closes=True),
         {"fin": True}),
    ("a body that ends within data", "RFC 9112 8", CHUNKED + b"5\r\nhel", Refuse(cut_ok=True, silent_ok=True, closes=True),
         {"fin": True}),
    ("a body that ends before its last chunk", "RFC 9112 8", CHUNKED + b"5\r\nhello\r\n",
     Refuse(cut_ok=True, silent_ok=True, closes=True), {"fin": True}),
    ("a body that ends before its last line", "RFC 9112 8", CHUNKED + b"5\r\nhello\r\n0\r\n",
     Refuse(cut_ok=True, silent_ok=True, closes=True), {"fin": True}),
]
CASES = table("h1", "chunks", SIZES + HUGE + ENDS + EXTENSIONS + SOUND + CUT)
