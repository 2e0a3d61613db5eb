"""Malformed requests of HTTP/2 (RFC 9113 section 8), and what HTTP/1.1 would make of them (section 10.3)."""

from ..core import frames as f
from ..core.case import Outcome
from ..core.h1 import SMUGGLED
from ..core.h2 import Answered, ConnectionError, Ignored, StreamError, head, request, table
from ..core.judge import Rules, Wanted

MALFORMED = StreamError()
# Where it came through, two requests would be seen upstream.
CROSSED = StreamError(forwarded=Outcome.CROSSED)
CUT = StreamError(cut_ok=True)
TOO_LARGE = StreamError(statuses=frozenset([400, 413, 414, 431]))
CRLF = b"\r\nx-evil: 1\r\n\r\n" + SMUGGLED


def passes(*requests):
    return Answered(requests or (Wanted(),))


def fields(name, more, expect=MALFORMED, section="RFC 9113 8.2.1", **options):
    return name, section, [head(request(more=more))], expect, options


def pseudo(name, wanted, expect=MALFORMED, section="RFC 9113 8.3.1", key=True):
    """A request with these pseudo-headers in this order."""
    auth = [(b"authorization", b"Bearer <KEY-A>")] if key else []
    return name, section, [head(wanted + auth)], expect, {}


M, S, A, P = (b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/score/<TOKEN>")

FIELDS = table("h2: fields", [
    fields("a name with a capital", [(b"X-a", b"b")]),
    fields("an empty name", [(b"", b"b")]),
    fields("a name with a space", [(b"x a", b"b")]),
    fields("a name with a colon inside", [(b"x:a", b"b")]),
    fields("a name with a NUL", [(b"x\0a", b"b")]),
    fields("a name with DEL", [(b"x\x7fa", b"b")]),
    fields("a name beyond ASCII", [(b"x-\xc3\xa4", b"b")]),
    fields("a name in parentheses", [(b"(x)", b"b")]),
    fields("a name with an underscore", [(b"x_a", b"b")], section="threat 9"),
    fields("a name with a dot", [(b"x.a", b"b")], section="threat 9"),
    fields("a value with a NUL", [(b"x-a", b"b\0c")]),
    fields("a value with a space before it", [(b"x-a", b" b")], (MALFORMED, passes(Wanted(has=((b"x-a", b"b"),))))),
    fields("a value with a tab behind it", [(b"x-a", b"b\t")], (MALFORMED, passes(Wanted(has=((b"x-a", b"b"),))))),
    fields("a value with DEL", [(b"x-a", b"b\x7f")], (MALFORMED, passes(Wanted(lacks=(b"x-a",))))),
    fields("a value beyond ASCII passes", [(b"x-a", b"\xc3\xa4")], (passes(Wanted(has=((b"x-a", b"\xc3\xa4"),))), MALFORMED),
        "RFC 9110 5.5"),
    *[fields(f"{name.decode()}, which HTTP/2 has not", [(name, value)], section="RFC 9113 8.2.2") for name, value in (
        (b"connection", b"close"), (b"keep-alive", b"timeout=5"), (b"proxy-connection", b"keep-alive"),
            (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c"))],
    fields("te with anything but trailers", [(b"te", b"gzip")], section="RFC 9113 8.2.2"),
    fields("te with trailers among others", [(b"te", b"trailers, gzip")], section="RFC 9113 8.2.2"),
    fields("te with trailers passes", [(b"te", b"trailers")], (passes(),), "RFC 9113 8.2.2"),
    pseudo("no method", [S, A, P]), pseudo("no scheme", [M, A, P]), pseudo("no path", [M, S, A]),
        pseudo("no pseudo-header at all", []),
    pseudo("no authority and no host", [M, S, P], section="RFC 9113 8.3.1"),
    pseudo("the method twice", [M, M, S, A, P]), pseudo("the scheme twice", [M, S, S, A, P]), pseudo("the path twice", [M, S,
        A, P, P]),
    pseudo("the authority twice", [M, S, A, A, P]), pseudo("two paths that differ", [M, S, A, P, (b":path", b"/admin")]),
    pseudo("a pseudo-header that nobody knows", [M, S, A, P, (b":x", b"y")]),
    pseudo("a pseudo-header of answers", [M, S, A, P, (b":status", b"200")]),
    pseudo("a pseudo-header in capitals", [(b":Method", b"GET"), S, A, P]),
    pseudo("a pseudo-header behind a field", [M, S, A, (b"x-a", b"b"), P]),
    pseudo("a pseudo-header without a name", [M, S, A, P, (b":", b"x")]),
    pseudo("an empty path", [M, S, A, (b":path", b"")]), pseudo("a path without a slash", [M, S, A, (b":path",
        b"score/<TOKEN>")]),
    pseudo("the path * with GET", [M, S, A, (b":path", b"*")]),
    pseudo("the path * with OPTIONS", [(b":method", b"OPTIONS"), S, A, (b":path", b"*")],
           (passes(Wanted(b"OPTIONS", b"*")), passes(Wanted(b"OPTIONS", b"/")), MALFORMED)),
    pseudo("a path in absolute form", [M, S, A, (b":path", b"https://localhost/score/<TOKEN>")]),
    pseudo("a path with a fragment", [M, S, A, (b":path", b"/score/<TOKEN>#x")], (MALFORMED, passes())),
    pseudo("a path with a space", [M, S, A, (b":path", b"/score/<TOKEN> x")], CROSSED),
    pseudo("a path with a NUL", [M, S, A, (b":path", b"/score/<TOKEN>\0")], CROSSED),
    pseudo("a path with a tab", [M, S, A, (b":path", b"/score/<TOKEN>\tx")], CROSSED),
    pseudo("a path beyond ASCII", [M, S, A, (b":path", b"/score/<TOKEN>\xc3\xa4")], (MALFORMED,
        passes(Wanted(target=b"/score/<TOKEN>%C3%A4")))),
    pseudo("an empty method", [(b":method", b""), S, A, P]), pseudo("a method that is no token", [(b":method", b"GE T"), S,
        A, P], CROSSED),
    pseudo("an empty scheme", [M, (b":scheme", b""), A, P], (MALFORMED, passes())),
    pseudo("a scheme that is none", [M, (b":scheme", b"ht tp"), A, P], (MALFORMED,)),
    pseudo("a scheme with a host", [M, (b":scheme", b"https://secret.test/x?"), A, P], (MALFORMED,)),
    pseudo("a scheme of another kind", [M, (b":scheme", b"ftp"), A, P], (MALFORMED, passes())),
    pseudo("an empty authority", [M, S, (b":authority", b""), P]),
    pseudo("an authority with user information", [M, S, (b":authority", b"user@localhost"), P]),
    pseudo("an authority with a path", [M, S, (b":authority", b"localhost/admin"), P]),
    pseudo("authorities in a list", [M, S, (b":authority", b"localhost, secret.test"), P]),
    pseudo("an authority with a space", [M, S, (b":authority", b"localhost secret.test"), P]),
    pseudo("an authority with a port out of range", [M, S, (b":authority", b"localhost:99999"), P]),
    fields("a host that differs from the authority", [(b"host", b"secret.test")], MALFORMED, "RFC 9113 8.3.1"),
    fields("a host that is empty beside the authority", [(b"host", b"")], MALFORMED, "RFC 9113 8.3.1"),
    fields("two hosts", [(b"host", b"localhost"), (b"host", b"localhost")], MALFORMED, "RFC 9110 7.2"),
    fields("a host equal to the authority", [(b"host", b"localhost")], (passes(), MALFORMED), "RFC 9113 8.3.1"),
    pseudo("a host in place of the authority", [M, S, P, (b"host", b"localhost")], (passes(), MALFORMED)),
    pseudo("two hosts in place of the authority", [M, S, P, (b"host", b"localhost"), (b"host", b"secret.test")]),
    pseudo("CONNECT with a path", [(b":method", b"CONNECT"), S, A, P], section="RFC 9113 8.5"),
    pseudo("CONNECT", [(b":method", b"CONNECT"), (b":authority", b"localhost:80")], section="RFC 9113 8.5"),
    pseudo("CONNECT elsewhere without a key", [(b":method", b"CONNECT"), (b":authority", b"example.test:443")],
        section="RFC 9113 8.5", key=False),
    pseudo("an extended CONNECT that nobody offered", [(b":method", b"CONNECT"), (b":protocol", b"websocket"), S, A, P],
        section="RFC 8441 4"),
    pseudo("a protocol with GET", [M, (b":protocol", b"websocket"), S, A, P], section="RFC 8441 4"),
    pseudo("TRACE", [(b":method", b"TRACE"), S, A, P], section="RFC 9110 9.3.8"),
    fields("a thousand fields", [(b"x-%d" % n, b"b") for n in range(150)] * 4, TOO_LARGE, "RFC 6585 5"),
    ("a field of 64 KiB over five frames", "RFC 9113 6.10", [head(request(), end_headers=False), *[f.continuation(1, part,
         last) for part, last in (
        (f.field(b"x-a", b"b" * 65536)[:16000], False), (f.field(b"x-a", b"b" * 65536)[16000:32000], False), (f.field(b"x-a",
            b"b" * 65536)[32000:48000], False),
        (f.field(b"x-a", b"b" * 65536)[48000:64000], False), (f.field(b"x-a", b"b" * 65536)[64000:], True))]], TOO_LARGE),
])

BODIES = table("h2: fields", [
    ("a length and no body", "RFC 9113 8.1.1", [head(request(method=b"POST", more=[(b"content-length", b"5")]))], MALFORMED),
    ("a body shorter than its length", "RFC 9113 8.1.1", [head(request(method=b"POST", more=[(b"content-length", b"10")]),
         end=False), f.data(1, b"hello")], CUT),
    ("a body longer than its length", "RFC 9113 8.1.1", [head(request(method=b"POST", more=[(b"content-length", b"3")]),
         end=False), f.data(1, b"hello")], CUT),
    ("a body where the length is zero", "RFC 9113 8.1.1", [head(request(method=b"POST", more=[(b"content-length", b"0")]),
         end=False), f.data(1, SMUGGLED)],
     StreamError(cut_ok=True, forwarded=Outcome.CROSSED)),
    ("two lengths", "RFC 9110 8.6", [head(request(method=b"POST", more=[(b"content-length", b"5"), (b"content-length",
         b"6")]), end=False), f.data(1, b"hello")], CUT),
    ("a length that is no number", "RFC 9110 8.6", [head(request(method=b"POST", more=[(b"content-length", b"five")]),
         end=False), f.data(1, b"hello")], CUT),
    ("a negative length", "RFC 9110 8.6", [head(request(method=b"POST", more=[(b"content-length", b"-5")]), end=False),
         f.data(1, b"hello")], CUT),
    ("a length that wraps 64 bits", "RFC 9110 8.6", [head(request(method=b"POST", more=[(b"content-length",
         b"18446744073709551621")]), end=False), f.data(1, b"hello")], CUT),
    ("trailers that do not end the stream", "RFC 9113 8.1", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False),
                                                            f.headers(1, [(b"x-sum", b"1")], end_stream=False)], (CUT,
                                                                ConnectionError())),
    ("trailers with a pseudo-header", "RFC 9113 8.1", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False),
                                                      f.headers(1, [(b":path", b"/admin")])], (CUT, ConnectionError())),
    ("trailers with a capital", "RFC 9113 8.2.1", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False), f.headers(1, [(b"X-Sum", b"1")])],
     (CUT, passes(Wanted(b"POST", body=b"hello")))),
])


def injected(name, more=(), expect=CROSSED, section="RFC 9113 10.3", body=None, rules=None, **options):
    """Something that HTTP/1.1 would read as more than it is."""
    frames = [head(request(more=more, **options), end=body is None)] + ([f.data(1, body)] if body is not None else [])
    return name, section, frames, expect, {"rules": rules or Rules()}


POST = {"method": b"POST"}
DOWNGRADE = table("h2: downgrade", [
    injected("CR LF in a value", [(b"x-a", b"b" + CRLF)]),
    injected("LF in a value", [(b"x-a", b"b\nx-evil: 1")]),
    injected("CR in a value", [(b"x-a", b"b\rx-evil: 1")]),
    injected("CR LF in a name", [(b"x-a: b\r\nx-evil", b"1")]),
    injected("a colon in a name that makes a coding", [(b"transfer-encoding: chunked\r\nx", b"1")],
        body=b"0\r\n\r\n" + SMUGGLED, **POST),
    injected("CR LF in the path", path=b"/score/<TOKEN> HTTP/1.1" + CRLF),
    injected("a whole request in the path", path=b"/score/<TOKEN> HTTP/1.1\r\nhost: localhost\r\n\r\nGET /admin"),
    injected("CR LF in the query", path=b"/score/<TOKEN>?x=\r\nx-evil: 1"),
    injected("CR LF in the method", method=b"GET /admin HTTP/1.1\r\nx-evil: 1\r\n\r\nGET"),
    injected("a request line in the method", method=b"GET /admin HTTP/1.1"),
    injected("CR LF in the authority", authority=b"localhost\r\nx-evil: 1"),
    injected("CR LF in the scheme", scheme=b"https\r\nx-evil: 1"),
    injected("a request line in the scheme", scheme=b"https://localhost/admin HTTP/1.1\r\nx: "),
    injected("CR LF in a cookie", [(b"cookie", b"a=1" + CRLF)]),
    injected("CR LF in the credential", [(b"authorization", b"Bearer <KEY-A>" + CRLF)], key=b""),
    injected("a coding beside a body", [(b"transfer-encoding", b"chunked")], body=b"0\r\n\r\n" + SMUGGLED, **POST),
    injected("a coding with a space behind its name", [(b"transfer-encoding ", b"chunked")], body=b"0\r\n\r\n" + SMUGGLED,
        **POST),
    injected("a coding with an underscore", [(b"transfer_encoding", b"chunked")], body=b"0\r\n\r\n" + SMUGGLED, **POST),
    injected("a coding with a tab before it", [(b"\ttransfer-encoding", b"chunked")], body=b"0\r\n\r\n" + SMUGGLED, **POST),
    injected("a length with a space in its name", [(b"content-length ", b"0")], body=SMUGGLED, **POST),
    injected("a body that ends chunks is a body", body=b"0\r\n\r\nGET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n",
                           expect=passes(Wanted(b"POST", body=b"0\r\n\r\nGET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n")),
                               **POST),
    injected("a GET with a body is framed", body=b"GET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n",
             expect=(passes(Wanted(body=b"GET /admin HTTP/1.1\r\nhost: localhost\r\n\r\n")), StreamError(cut_ok=True))),
    injected("an expectation becomes none", [(b"expect", b"100-continue")], body=b"hello", expect=passes(Wanted(b"POST",
        body=b"hello")), **POST),
    injected("crumbs of a cookie are joined", [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")],
        passes(Wanted(has=((b"cookie", b"a=1; b=2; c=3"),))), "RFC 9113 8.2.3"),
    injected("the identity header", [(b"x-auth-subject", b"spoofed")], passes(), "threat 9"),
    injected("the identity header with underscores", [(b"x_auth_subject", b"spoofed")], (MALFORMED, passes()), "threat 9"),
    injected("the identity header in capitals", [(b"X-Auth-Subject", b"spoofed")], (MALFORMED,), "threat 9"),
    injected("the identity header as a pseudo-header", [(b":x-auth-subject", b"spoofed")], (MALFORMED,), "threat 9"),
    injected("two credentials", [(b"authorization", b"Bearer <KEY-A>")], (MALFORMED,), "threat 7"),
    injected("two credentials that differ", [(b"authorization", b"Bearer <KEY-B>")], (MALFORMED,), "threat 7"),
    injected("a credential in another field beside", [(b"x-api-key", b"<KEY-B>")], (MALFORMED,), "threat 7"),
    injected("no credential", expect=StreamError(statuses=frozenset([401]), forwarded=Outcome.BYPASS), section="threat 7",
        key=b""),
    injected("a wrong credential", expect=StreamError(statuses=frozenset([401]), forwarded=Outcome.BYPASS),
        section="threat 7", key=b"wrong"),
    injected("a credential of another caller", expect=StreamError(statuses=frozenset([401, 403]), forwarded=Outcome.BYPASS),
        section="threat 7", key=b"<KEY-B>"),
    injected("a credential with a space before it", [(b"authorization", b" Bearer <KEY-A>")], (MALFORMED, passes()),
        "RFC 9113 8.2.1", key=b""),
    *[injected(f"the denied path as {path.decode()}", expect=StreamError(forwarded=Outcome.BYPASS), section="threat 6",
        path=path)
      for path in (b"/admin", b"/%61dmin", b"//admin", b"/score/../admin", b"/score/..%2fadmin", b"/admin;x", b"/\\admin",
          b"/admin%00")],
    injected("another caller's host", expect=StreamError(forwarded=Outcome.BYPASS), section="threat 4",
        authority=b"secret.test"),
    injected("another caller's host beside one's own", [(b"host", b"secret.test")], StreamError(forwarded=Outcome.BYPASS),
        "threat 4", authority=b"public.test"),
    injected("one's own host beside another caller's", [(b"host", b"public.test")], StreamError(forwarded=Outcome.BYPASS),
        "threat 4", authority=b"secret.test"),
    injected("claims of where the request comes from", [(b"x-forwarded-for", b"spoofed"), (b"forwarded", b"for=spoofed"),
        (b"x-real-ip", b"spoofed")], passes(), "threat 9"),
    ("trailers do not become fields", "RFC 9110 6.5.1", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False),
                                                        f.headers(1, [(b"x-auth-subject", b"spoofed"), (b"x-sum", b"1")])],
     (passes(Wanted(b"POST", body=b"hello", lacks=(b"x-sum",))), CUT)),
    ("trailers with CR LF", "RFC 9113 10.3", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False), f.headers(1, [(b"x-sum", b"1" + CRLF)])],
     (StreamError(cut_ok=True, forwarded=Outcome.CROSSED), passes(Wanted(b"POST", body=b"hello")))),
    ("a credential in trailers", "RFC 9110 6.5.1", [head(request(method=b"POST", key=b""), end=False), f.data(1, b"hello",
         end_stream=False),
                                                   head([(b"authorization", b"Bearer <KEY-A>")])],
                                                       StreamError(forwarded=Outcome.BYPASS)),
    ("a body that is reset is never complete", "RFC 9113 8.1", [head(request(method=b"POST"), end=False), f.data(1, b"hello",
         end_stream=False), f.rst(1), f.ping(b"resetted")],
     Ignored(cut_ok=True)),
])
def out_of_the_table(what, name):
    """A name that came into the table with a request which was refused, and is used in the next one (RFC 7541 section 6.2.1)."""
    def frames(lane):
        fields = f.block([(lane.fill(n), lane.fill(v)) for n, v in request()])
        first = f.headers(1, fields + f.field(name, b"b\0", 0x40))
        return first + f.headers(3, fields + f.integer(62, 6, 0x40) + f.text(b"b"))

    return f"{what}, out of the table", "RFC 9113 10.3", [frames], StreamError(stream=3, forwarded=Outcome.CROSSED), {}


TABLE = table("h2: downgrade", [
    out_of_the_table("a name with CR LF", b"x-a: b\r\nx-evil"),
    out_of_the_table("a name with a colon that makes a coding", b"transfer-encoding: chunked\r\nx"),
    out_of_the_table("the identity header in capitals", b"X-Auth-Subject"),
    out_of_the_table("an empty name", b""),
    out_of_the_table("connection", b"connection"),
])
CASES = TABLE + FIELDS + BODIES + DOWNGRADE
