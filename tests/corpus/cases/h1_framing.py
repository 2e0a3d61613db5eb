"""How long a request's body is: by length, by coding, and by neither (RFC 9112 section 6)."""

from ..core.h1 import CHUNKED, GET, POST, REFUSE, REFUSE_AND_CLOSE, SMUGGLED, passes, post, sized, table
from ..core.judge import Refuse, Wanted

TE = b"transfer-encoding: "
ZERO = b"0\r\n\r\n"
# A coding that a server does not know may be answered 501. Where chunked is the last of several codings the end of the body is
# known, and the connection may go on.
UNKNOWN_LAST_CHUNKED = Refuse(frozenset([400, 501]))
# Where it is not, nobody knows where the next request begins (RFC 9112 section 6.3).
UNKNOWN = Refuse(frozenset([400, 501]), closes=True)

LENGTHS = table("h1", "framing", [
    ("two lengths that differ", "RFC 9112 6.3", POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!", REFUSE_AND_CLOSE),
    ("two lengths, the smaller first, a request between", "RFC 9112 6.3",
     POST + b"content-length: 0\r\ncontent-length: 53\r\n\r\n" + SMUGGLED, REFUSE_AND_CLOSE),
    ("two equal lengths", "RFC 9112 6.3", POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
     (REFUSE, passes(post(b"hello")))),
    ("lengths in a list that differ", "RFC 9112 6.3", POST + b"content-length: 5, 6\r\n\r\nhello!", REFUSE_AND_CLOSE),
    ("lengths in a list, equal", "RFC 9110 8.6", POST + b"content-length: 5, 5\r\n\r\nhello", (REFUSE, passes(post(b"hello")))),
    ("a negative length", "RFC 9110 8.6", POST + b"content-length: -5\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a signed length", "RFC 9110 8.6", POST + b"content-length: +5\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a hexadecimal length", "RFC 9110 8.6", POST + b"content-length: 0x5\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length with a fraction", "RFC 9110 8.6", POST + b"content-length: 5.0\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length with an exponent", "RFC 9110 8.6", POST + b"content-length: 5e0\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length with a space inside", "RFC 9110 8.6", POST + b"content-length: 1 0\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length with an underscore", "RFC 9110 8.6", POST + b"content-length: 1_0\r\n\r\nhelloworld", REFUSE_AND_CLOSE),
    ("an empty length", "RFC 9110 8.6", POST + b"content-length:\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length in words", "RFC 9110 8.6", POST + b"content-length: five\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length in quotes", "RFC 9110 8.6", POST + b"content-length: \"5\"\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length in digits that are not ASCII", "RFC 9110 8.6",
     POST + b"content-length: \xef\xbc\x95\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length that wraps 64 bits to five", "RFC 9112 6.3",
     POST + b"content-length: 18446744073709551621\r\n\r\nhello" + SMUGGLED, Refuse(frozenset([400, 413]), closes=True)),
    ("a length that wraps 32 bits to five", "RFC 9112 6.3",
     POST + b"content-length: 4294967301\r\n\r\nhello" + SMUGGLED, Refuse(frozenset([400, 413]), cut_ok=True, closes=True)),
    ("a length just below 64 bits", "RFC 9112 6.3",
     POST + b"content-length: 9223372036854775807\r\n\r\nhello", Refuse(frozenset([400, 413]), cut_ok=True, closes=True)),
    ("a length of a hundred digits", "RFC 9112 6.3", POST + b"content-length: " + b"9" * 100 + b"\r\n\r\n",
     Refuse(frozenset([400, 413]), closes=True)),
    ("a length with leading zeros", "RFC 9110 8.6", POST + b"content-length: 0005\r\n\r\nhello", (passes(post(b"hello")), REFUSE)),
    ("a length with a vertical tab", "RFC 9110 5.5", POST + b"content-length: \x0b5\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a length with a comma behind it", "RFC 9110 8.6", POST + b"content-length: 5,\r\n\r\nhello",
     (REFUSE, passes(post(b"hello")))),
])

CODINGS = table("h1", "framing", [
    ("length and chunked, the length ends first", "RFC 9112 6.3",
     POST + b"content-length: 4\r\n" + TE + b"chunked\r\n\r\n5c\r\n" + b"x" * 92 + b"\r\n0\r\n\r\n", REFUSE_AND_CLOSE),
    ("chunked and length, the chunks end first", "RFC 9112 6.3",
     POST + TE + b"chunked\r\ncontent-length: 60\r\n\r\n0\r\n\r\n" + SMUGGLED, REFUSE_AND_CLOSE),
    ("length and chunked that agree", "RFC 9112 6.3",
     POST + b"content-length: 15\r\n" + TE + b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     (REFUSE_AND_CLOSE, passes(post(b"hello", lacks=(b"content-length",)), closes=True))),
    ("chunked twice in a list", "RFC 9112 6.1", POST + TE + b"chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("chunked twice in two fields", "RFC 9112 6.1",
     POST + TE + b"chunked\r\n" + TE + b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("chunked, then identity in a second field", "RFC 9112 6.1",
     POST + TE + b"chunked\r\n" + TE + b"identity\r\n\r\n0\r\n\r\n" + SMUGGLED, UNKNOWN),
    ("identity, then chunked in a second field", "RFC 9112 6.1",
     POST + TE + b"identity\r\n" + TE + b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("gzip before chunked", "RFC 9112 6.1", POST + TE + b"gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("chunked before gzip", "RFC 9112 6.3", POST + TE + b"chunked, gzip\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN),
    ("a coding that nobody knows", "RFC 9112 6.1", POST + TE + b"x-nobody\r\n\r\nhello", UNKNOWN),
    ("the identity coding", "RFC 9112 6.1", POST + TE + b"identity\r\ncontent-length: 5\r\n\r\nhello", UNKNOWN),
    ("a coding with a suffix", "RFC 9112 6.1", POST + TE + b"chunkedx\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding with a prefix", "RFC 9112 6.1", POST + TE + b"xchunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding in quotes", "RFC 9112 6.1", POST + TE + b"\"chunked\"\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding with a parameter", "RFC 9112 6.1", POST + TE + b"chunked;q=1\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("an empty item before the coding", "RFC 9110 5.6.1", POST + TE + b",chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("an empty item behind the coding", "RFC 9110 5.6.1", POST + TE + b"chunked,\r\n\r\n5\r\nhello\r\n0\r\n\r\n", UNKNOWN_LAST_CHUNKED),
    ("an empty coding with a length", "RFC 9112 6.1", POST + TE + b"\r\ncontent-length: 5\r\n\r\nhello", UNKNOWN),
    ("a coding behind a vertical tab", "RFC 9110 5.5", POST + TE + b"\x0bchunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding behind a form feed", "RFC 9110 5.5", POST + TE + b"\x0cchunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding with a NUL behind it", "RFC 9110 5.5", POST + TE + b"chunked\0\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding with a bare CR before it", "RFC 9112 2.2", POST + TE + b"\rchunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding behind a space beyond ASCII", "RFC 9110 5.5", POST + TE + b"\xa0chunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding in letters that are not ASCII", "RFC 9112 6.1",
     POST + TE + b"chun\xe2\x84\xaaed\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding folded onto the next line", "RFC 9112 5.2",
     POST + TE + b"\r\n chunked\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a name with a space before its colon", "RFC 9112 5.1", POST + b"transfer-encoding : chunked\r\n\r\n" + ZERO, REFUSE_AND_CLOSE),
    ("a name with an underscore, and a length", "threat 1",
     POST + b"transfer_encoding: chunked\r\ncontent-length: 5\r\n\r\nhello", REFUSE),
    ("a coding hidden in the value before it", "RFC 9112 2.2",
     POST + b"x-a: b\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nhello", REFUSE_AND_CLOSE),
    ("a coding in HTTP/1.0", "RFC 9112 6.1",
     CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"5\r\nhello\r\n0\r\n\r\n", UNKNOWN),
    ("a coding and a length in HTTP/1.0", "RFC 9112 6.1",
     POST.replace(b"HTTP/1.1", b"HTTP/1.0") + TE + b"chunked\r\ncontent-length: 5\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding in HTTP/1.0 that stays open", "RFC 9112 6.1",
     POST.replace(b"HTTP/1.1", b"HTTP/1.0") + TE + b"chunked\r\nconnection: keep-alive\r\n\r\n" + ZERO + SMUGGLED, UNKNOWN),
    ("a coding in capitals", "RFC 9112 7", POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     passes(post(b"hello"))),
    ("a coding between spaces and tabs", "RFC 9110 5.5", POST + TE + b" \t chunked \t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     passes(post(b"hello"))),
])

BODIES = table("h1", "framing", [
    ("a GET with a length hides a request in its body", "RFC 9110 9.3.1", sized(GET, SMUGGLED),
     (passes(Wanted(body=SMUGGLED)), REFUSE_AND_CLOSE)),
    ("a GET with chunks", "RFC 9110 9.3.1", GET + TE + b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     (passes(Wanted(body=b"hello")), REFUSE_AND_CLOSE)),
    ("a POST with neither length nor coding", "RFC 9112 6.3", POST + b"\r\n", passes(post())),
    ("a POST with neither, and bytes behind it", "RFC 9112 6.3", POST + b"\r\n\x01\x02\x03\r\n\r\n",
     Refuse(before=(post(),), silent_ok=True, closes=True), {"answers": 2}),
    ("a HEAD with a length", "RFC 9110 9.3.2", sized(GET.replace(b"GET", b"HEAD"), b"hello"),
     (passes(Wanted(b"HEAD", body=b"hello")), REFUSE)),
    ("a DELETE with chunks", "RFC 9110 9.3.5", GET.replace(b"GET", b"DELETE") + TE + b"chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
     (passes(Wanted(b"DELETE", body=b"hello")), REFUSE)),
])

CASES = LENGTHS + CODINGS + BODIES
