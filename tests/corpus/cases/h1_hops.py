"""Fields that end at this hop (RFC 9110 section 7.6), and methods with a meaning of their own."""

from ..core.h1 import AUTH, GET, HOST, POST, REFUSE, passes, post, sized, table
from ..core.judge import Refuse, Wanted

A = ((b"x-a", b"b"),)
NO_CONNECT = Refuse(frozenset([400, 403, 404, 405, 421, 501]))
NO_TRACE = Refuse(frozenset([400, 403, 405, 501]))


def gone(name, section, text, *names, has=()):
    """These fields must not go on, and the request must."""
    return name, section, GET + text + b"\r\n", (passes(Wanted(has=has, lacks=names)), REFUSE)


HOPS = table("h1", "hop by hop", [
    gone("a field that Connection names", "RFC 9110 7.6.1", b"connection: x-a\r\nx-a: b\r\n", b"x-a"),
    gone("a field that Connection names in other letters", "RFC 9110 7.6.1", b"Connection: X-A\r\nx-a: b\r\n", b"x-a"),
    gone("several fields that Connection names", "RFC 9110 7.6.1",
        b"connection: x-a, ,x-b ,\tx-c\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\n",
         b"x-a", b"x-b", b"x-c"),
    gone("a field that a second Connection names", "RFC 9110 7.6.1",
        b"connection: keep-alive\r\nx-a: b\r\nconnection: x-a\r\n", b"x-a"),
    gone("a field that Connection names, all three times", "RFC 9110 7.6.1",
        b"x-a: 1\r\nconnection: x-a\r\nx-a: 2\r\nx-a: 3\r\n", b"x-a"),
    gone("a cookie that Connection names", "RFC 9110 7.6.1", b"connection: cookie\r\ncookie: a=1\r\n", b"cookie"),
    gone("two cookies that Connection names", "RFC 9110 7.6.1", b"connection: cookie\r\ncookie: a=1\r\ncookie: b=2\r\n",
        b"cookie"),
    gone("Keep-Alive", "RFC 9112 C.2.2", b"keep-alive: timeout=600\r\n", b"keep-alive"),
    gone("Proxy-Connection", "RFC 9112 C.2.2", b"proxy-connection: keep-alive\r\n", b"proxy-connection"),
    gone("Proxy-Authorization", "RFC 9110 11.7.2", b"proxy-authorization: Basic YTpi\r\n", b"proxy-authorization"),
    gone("TE", "RFC 9110 10.1.4", b"te: gzip\r\nconnection: te\r\n", b"te"),
    gone("TE that Connection does not name", "RFC 9110 10.1.4", b"te: gzip;q=0.5\r\n", b"te"),
    gone("close with other options", "RFC 9110 7.6.1", b"connection: close, x-a\r\nx-a: b\r\n", b"x-a"),
    gone("an option that is no token", "RFC 9110 7.6.1", b"connection: \"x-a\", @\r\nx-b: c\r\n", b"connection",
        has=((b"x-b", b"c"),)),
    gone("a field that no one named stays", "RFC 9110 7.6.1", b"connection: x-b\r\nx-a: b\r\nx-b: c\r\n", b"x-b", has=A),
    ("a length that Connection names stays", "RFC 9110 7.6.1", sized(POST + b"connection: content-length\r\n", b"hello"),
     (passes(post(b"hello")), REFUSE)),
    ("a coding that Connection names", "RFC 9110 7.6.1",
     POST + b"connection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
         (passes(post(b"hello")), REFUSE)),
    ("a host that Connection names", "RFC 9110 7.6.1", GET + b"connection: host\r\n\r\n", (passes(), REFUSE)),
    ("Connection of a thousand options", "RFC 9110 7.6.1", GET + b"connection: " + b"x," * 1000 + b"x-a\r\nx-a: b\r\n\r\n",
     (passes(Wanted(lacks=(b"x-a",))), Refuse(frozenset([400, 431])))),
    ("close is kept to", "RFC 9112 9.6", GET + b"connection: close\r\n\r\n", passes(closes=True), {"end": True}),
    ("close in a list is kept to", "RFC 9112 9.6", GET + b"connection: x-a, Close\r\n\r\n", passes(closes=True),
         {"end": True}),
    ("HTTP/1.0 closes", "RFC 9112 9.3", (GET + b"\r\n").replace(b"1.1", b"1.0"), passes(closes=True), {"end": True}),
    ("HTTP/1.0 that asks to be kept", "RFC 9112 9.3", (GET + b"connection: keep-alive\r\n\r\n").replace(b"1.1", b"1.0"),
         passes()),
    ("HTTP/1.1 stays open", "RFC 9112 9.3", GET + b"\r\n", passes(closes=False)),
])

METHODS = table("h1", "methods", [
    ("CONNECT to the host itself", "RFC 9110 9.3.6", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + AUTH + b"\r\n",
         NO_CONNECT),
    ("CONNECT elsewhere", "RFC 9110 9.3.6",
         b"CONNECT example.test:443 HTTP/1.1\r\nhost: example.test:443\r\n" + AUTH + b"\r\n", NO_CONNECT),
    ("CONNECT to a path", "RFC 9110 9.3.6", b"CONNECT /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", NO_CONNECT),
    ("CONNECT, and bytes for the tunnel", "RFC 9110 9.3.6",
     b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + AUTH + b"\r\nGET /admin/<TOKEN> HTTP/1.1\r\nhost: localhost\r\n\r\n",
     Refuse(frozenset([400, 403, 404, 405, 421, 501]), closes=True)),
    ("CONNECT without a key", "RFC 9110 9.3.6", b"CONNECT localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", Refuse(frozenset([400,
         401, 403, 404, 405, 421, 501]))),
    ("TRACE", "RFC 9110 9.3.8", b"TRACE /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", NO_TRACE),
    ("TRACE that asks for this hop", "RFC 9110 7.6.2",
         b"TRACE /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"max-forwards: 0\r\n\r\n", NO_TRACE),
    ("OPTIONS that asks for this hop", "RFC 9110 7.6.2",
     b"OPTIONS /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"max-forwards: 0\r\n\r\n",
     Refuse(frozenset([200, 204, 400, 405, 501]))),
    ("OPTIONS that asks for the next hop but one", "RFC 9110 7.6.2",
     b"OPTIONS /score/<TOKEN> HTTP/1.1\r\n" + HOST + AUTH + b"max-forwards: 5\r\n\r\n",
     passes(Wanted(b"OPTIONS", has=((b"max-forwards", b"4"),)))),
    ("a method that a route does not allow", "RFC 9110 15.5.6", POST.replace(b"/score",
         b"/read") + b"content-length: 0\r\n\r\n", Refuse(frozenset([405]))),
    ("a method in other letters than the route allows", "RFC 9110 9.1",
     GET.replace(b"/score", b"/read").replace(b"GET", b"Get") + b"\r\n", Refuse(frozenset([400, 405, 501]))),
    ("HEAD where the route allows it", "RFC 9110 9.3.2", GET.replace(b"/score", b"/read").replace(b"GET", b"HEAD") + b"\r\n",
     passes(Wanted(b"HEAD", b"/read/<TOKEN>"))),
    ("PRI, the preface of HTTP/2, in HTTP/1.1", "RFC 9113 3.4", b"PRI * HTTP/1.1\r\n" + HOST + AUTH + b"\r\n", REFUSE),
    ("PATCH passes", "RFC 5789 2", sized(POST.replace(b"POST", b"PATCH"), b"hello"), passes(Wanted(b"PATCH",
         body=b"hello"))),
    ("a method that nobody knows passes or is refused", "RFC 9110 9.1", GET.replace(b"GET", b"FROBNICATE") + b"\r\n",
     (passes(Wanted(b"FROBNICATE")), Refuse(frozenset([400, 405, 501])))),
])

CASES = HOPS + METHODS
