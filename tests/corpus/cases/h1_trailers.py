"""Fields behind a body (RFC 9110 section 6.5): dropped unless a route lets them pass, and never fields of the head."""

from ..core.h1 import CHUNKED, GET, POST, REFUSE_CUT, SMUGGLED, passes, post, table
from ..core.judge import Refuse

BODY = b"5\r\nhello\r\n0\r\n"
WITH = CHUNKED.replace(b"/score", b"/trailers")
TOO_LARGE = Refuse(frozenset([400, 413, 431]), cut_ok=True, closes=True)
NEEDS = {"needs": frozenset(["trailers"])}


def dropped(name, section, trailers, *lacks):
    """The request passes, and none of these becomes a field of anything."""
    return name, section, CHUNKED + BODY + trailers + b"\r\n", (passes(post(b"hello", lacks=lacks)), REFUSE_CUT)


CASES = table("h1", "trailers", [
    dropped("a trailer", "RFC 9110 6.5", b"x-sum: 1\r\n", b"x-sum"),
    dropped("a trailer that names the caller", "RFC 9110 6.5.1", b"x-auth-subject: spoofed\r\n"),
    dropped("a trailer with a credential", "RFC 9110 6.5.1", b"authorization: Bearer spoofed\r\n"),
    dropped("a trailer with a length", "RFC 9110 6.5.1", b"content-length: 100\r\n"),
    dropped("a trailer with a coding", "RFC 9110 6.5.1", b"transfer-encoding: chunked\r\n"),
    dropped("a trailer with a host", "RFC 9110 6.5.1", b"host: secret.test\r\n"),
    dropped("a trailer with an address", "RFC 9110 6.5.1", b"x-forwarded-for: 6.6.6.6\r\n"),
    ("a trailer without a colon", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum\r\n\r\n", REFUSE_CUT),
    ("a trailer folded", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum: 1\r\n 2\r\n\r\n", (REFUSE_CUT, passes(post(b"hello",
         lacks=(b"x-sum",))))),
    ("a trailer with LF", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum: 1\n\r\n", REFUSE_CUT),
    ("a trailer with a NUL", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum: \0\r\n\r\n", REFUSE_CUT),
    ("a trailer with a space before its colon", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum : 1\r\n\r\n", REFUSE_CUT),
    ("a trailer that is a request line", "RFC 9112 7.1.2", CHUNKED + BODY + SMUGGLED, REFUSE_CUT),
    ("a trailer of 64 KiB", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum: " + b"1" * 65536 + b"\r\n\r\n", TOO_LARGE),
    ("ten thousand trailers", "RFC 9112 7.1.2", CHUNKED + BODY + b"x-sum: 1\r\n" * 10000 + b"\r\n", TOO_LARGE),
    ("a trailer that a route lets pass", "RFC 9110 6.5", WITH + BODY + b"x-sum: 1\r\n\r\n",
     passes(post(b"hello", target=b"/trailers/<TOKEN>", trailers=((b"x-sum", b"1"),))), NEEDS),
    ("a trailer beside the one that a route lets pass", "RFC 9110 6.5.1", WITH + BODY + b"x-other: 2\r\nx-sum: 1\r\n\r\n",
     passes(post(b"hello", target=b"/trailers/<TOKEN>", trailers=((b"x-sum", b"1"),))), NEEDS),
    ("a trailer that names the caller, where trailers pass", "RFC 9110 6.5.1",
         WITH + BODY + b"x-sum: 1\r\nx-auth-subject: spoofed\r\n\r\n",
     passes(post(b"hello", target=b"/trailers/<TOKEN>", trailers=((b"x-sum", b"1"),))), NEEDS),
    ("Trailer announces what would be a field", "RFC 9110 6.6.2",
     POST + b"trailer: authorization, host\r\ntransfer-encoding: chunked\r\n\r\n" + BODY + b"authorization: Bearer spoofed\r\n\r\n",
     (passes(post(b"hello")), REFUSE_CUT)),
    ("a request right behind a trailer", "RFC 9112 9.3.2", CHUNKED + BODY + b"x-sum: 1\r\n\r\n" + GET + b"\r\n",
     passes(post(b"hello"), passes().requests[0]), {"methods": (b"POST", b"GET")}),
])
