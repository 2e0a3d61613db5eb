"""Upstreams whose answers are no sound HTTP (RFC 9112 sections 4 and 5): never passed on."""

from ..core.answers import OK, BadGateway, Delivered, replies, table
from ..core.h1 import GET

BAD = BadGateway()
REST = b"\r\ncontent-length: 5\r\n\r\nhello"
EVIL = b"content-length: 4\r\n\r\nEVIL"


def line(name, text, expect=BAD, section="RFC 9112 4"):
    return name, section, replies(text + REST, "fin"), expect


def field(name, text, expect=BAD, section="RFC 9112 5"):
    return name, section, replies(OK + text + REST, "fin"), expect


CLEANED = (BAD, Delivered())

CASES = table("answers: head", [
    line("a status of two digits", b"HTTP/1.1 20 OK"),
    line("a status of four digits", b"HTTP/1.1 2000 OK"),
    line("a status in letters", b"HTTP/1.1 abc OK"),
    line("a status below 100", b"HTTP/1.1 099 OK"),
    line("a status of zero", b"HTTP/1.1 000 OK"),
    line("a negative status", b"HTTP/1.1 -20 OK"),
    line("no status", b"HTTP/1.1"),
    line("a status that runs into its reason", b"HTTP/1.1 200OK"),
    line("two spaces before the status", b"HTTP/1.1  200 OK", CLEANED),
    line("a tab before the status", b"HTTP/1.1\t200 OK", CLEANED),
    line("another version", b"HTTP/2.0 200 OK"),
    line("HTTP/1.2", b"HTTP/1.2 200 OK", CLEANED),
    line("another protocol", b"ICY 200 OK"),
    line("small letters", b"http/1.1 200 OK"),
    line("a space before the line", b" HTTP/1.1 200 OK"),
    line("a reason with a NUL", b"HTTP/1.1 200 O\0K", CLEANED),
    line("a reason with CR", b"HTTP/1.1 200 O\rK", CLEANED),
    line("a reason that carries a field", b"HTTP/1.1 200 OK\rx-evil: EVIL", CLEANED),
    line("no reason and no space", b"HTTP/1.1 200", Delivered()),
    line("an empty reason", b"HTTP/1.1 200 ", Delivered()),
    line("a reason in UTF-8", b"HTTP/1.1 200 \xc3\x9c", Delivered()),
    ("empty lines before the answer", "RFC 9112 2.2", replies(b"\r\n\r\n" + OK + b"content-length: 5\r\n\r\nhello"),
         CLEANED),
    ("an answer that is a body alone", "RFC 9112 2.3", replies(b"hello EVIL", "fin"), BAD),
    ("an answer that is HTML alone", "RFC 9112 2.3", replies(b"<html>EVIL</html>\r\n\r\n", "fin"), BAD),
    ("an answer that is a request", "RFC 9112 4", replies(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "fin"), BAD),
    ("an answer that is TLS", "RFC 9112 4", replies(b"\x15\x03\x01\x00\x02\x02\x28", "fin"), BAD),
    ("an answer of HTTP/2", "RFC 9112 4", replies(b"\0\0\0\x04\0\0\0\0\0" * 3, "fin"), BAD),
    ("an answer of NULs", "RFC 9112 4", replies(b"\0" * 1000, "fin"), BAD),
    field("a field without a colon", b"EVIL"),
    field("a field without a name", b": EVIL"),
    field("a space before the colon", b"x-a : b", CLEANED, "RFC 9112 5.1"),
    field("a space within a name", b"x a: EVIL"),
    field("a name with a NUL", b"x\0a: EVIL"),
    field("a value with a NUL", b"x-a: b\0EVIL"),
    field("a value with CR that hides a field", b"x-a: b\rset-cookie: EVIL", section="RFC 9112 2.2"),
    field("a value with LF that hides a field", b"x-a: b\nx-evil: EVIL", CLEANED, "RFC 9112 2.2"),
    field("a value with LF LF that hides an answer", b"x-a: b\n\nHTTP/1.1 200 OK\r\n" + EVIL, section="RFC 9112 2.2"),
    field("a value with ESC", b"x-a: \x1b]0;EVIL"),
    field("a field folded", b"x-a: b\r\n c", CLEANED, "RFC 9112 5.2"),
    field("a fold that hides a field", b"x-a: b\r\n x-evil: EVIL", CLEANED, "RFC 9112 5.2"),
    field("a space before the first field", b" x-a: b", CLEANED),
    field("ten thousand fields", b"\r\n".join(b"x-%d: b" % n for n in range(10000)), section="RFC 6585 5"),
    field("a field of 1 MiB", b"x-a: " + b"b" * (1 << 20), section="RFC 9110 5.4"),
    ("a head that breaks off", "RFC 9112 8", replies(OK + b"content-length: 5\r\nx-a:", "fin"), BAD),
    ("a head that breaks off with a reset", "RFC 9112 8", replies(OK + b"content-length: 5\r\n", "reset"), BAD),
    ("no answer but an end", "RFC 9112 9.5", replies(b"", "fin"), BAD, {"request": (GET + b"\r\n").replace(b"GET", b"POST"),
         "method": b"POST"}),
    ("no answer but a reset", "RFC 9112 9.5", replies(b"", "reset"), BAD, {"request": (GET + b"\r\n").replace(b"GET",
         b"POST"), "method": b"POST"}),
    ("every line ends with LF", "RFC 9112 2.2", replies((OK + b"content-length: 5\r\n\r\nhello").replace(b"\r\n", b"\n")),
         CLEANED),
    ("CR for every line end", "RFC 9112 2.2", replies((OK + b"content-length: 4\r\n\r\nEVIL").replace(b"\r\n", b"\r"),
         "fin"), BAD),
])
