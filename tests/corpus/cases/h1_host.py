"""Which host a request is for: exactly one, valid, and the same wherever it is said (RFC 9112 section 3.2)."""

from ..core.h1 import AUTH, REFUSE, passes, table
from ..core.judge import Refuse, Wanted

LINE = b"GET /score/<TOKEN> HTTP/1.1\r\n"
# A host that is valid and not served is 421, or has no route.
NOT_SERVED = Refuse(frozenset([400, 404, 421]))


def host(name, section, value, expect):
    return name, section, LINE + b"host: " + value + b"\r\n" + AUTH + b"\r\n", expect


CASES = table("h1", "host", [
    ("no host", "RFC 9112 3.2", LINE + AUTH + b"\r\n", REFUSE),
    ("two hosts that differ", "RFC 9112 3.2", LINE + b"host: localhost\r\nhost: secret.test\r\n" + AUTH + b"\r\n", REFUSE),
    ("two hosts that are equal", "RFC 9112 3.2", LINE + b"host: localhost\r\nhost: localhost\r\n" + AUTH + b"\r\n", REFUSE),
    ("two hosts, one of them empty", "RFC 9112 3.2", LINE + b"host:\r\nhost: localhost\r\n" + AUTH + b"\r\n", REFUSE),
    ("two hosts, far from each other", "RFC 9112 3.2",
         LINE + b"host: localhost\r\n" + AUTH + b"x-a: b\r\nHOST: secret.test\r\n\r\n", REFUSE),
    ("a host with a space before its colon", "RFC 9112 5.1", LINE + b"host : localhost\r\n" + AUTH + b"\r\n", REFUSE),
    ("a host folded", "RFC 9112 5.2", LINE + b"host:\r\n localhost\r\n" + AUTH + b"\r\n", (REFUSE, passes())),
    host("an empty host", "RFC 9112 3.2", b"", REFUSE),
    host("hosts in a list", "RFC 9110 7.2", b"localhost, secret.test", REFUSE),
    host("a host with user information", "RFC 9110 7.2", b"user@localhost", REFUSE),
    host("a host with a path", "RFC 9110 7.2", b"localhost/admin", REFUSE),
    host("a host with a query", "RFC 9110 7.2", b"localhost?x", REFUSE),
    host("a host with a fragment", "RFC 9110 7.2", b"localhost#x", REFUSE),
    host("a host with a scheme", "RFC 9110 7.2", b"http://localhost", REFUSE),
    host("a host with a space inside", "RFC 9110 7.2", b"localhost secret.test", REFUSE),
    host("a host with a tab inside", "RFC 9110 7.2", b"localhost\tsecret.test", REFUSE),
    host("a host with a NUL", "RFC 9110 5.5", b"localhost\0.secret.test", REFUSE),
    host("a host with a backslash", "RFC 3986 3.2.2", b"localhost\\secret.test", REFUSE),
    host("a host with a quote", "RFC 3986 3.2.2", b"\"localhost\"", REFUSE),
    host("a host with angle brackets", "RFC 3986 3.2.2", b"<script>", REFUSE),
    host("a host with an escape", "RFC 3986 3.2.2", b"local%68ost", NOT_SERVED),
    host("a host with an escaped CR LF", "RFC 3986 3.2.2", b"localhost%0d%0ax", NOT_SERVED),
    host("a host with letters beyond ASCII", "RFC 3986 3.2.2", b"l\xc3\xb6calhost", REFUSE),
    host("a host with a port that is no number", "RFC 3986 3.2.3", b"localhost:http", REFUSE),
    host("a host with a negative port", "RFC 3986 3.2.3", b"localhost:-80", REFUSE),
    host("a host with a port out of range", "RFC 3986 3.2.3", b"localhost:65536", REFUSE),
    host("a host with two ports", "RFC 3986 3.2.3", b"localhost:80:443", REFUSE),
    host("a port without a host", "RFC 3986 3.2.2", b":80", REFUSE),
    host("an address of IPv6 that is not closed", "RFC 3986 3.2.2", b"[::1", REFUSE),
    host("an address of IPv6 without brackets", "RFC 3986 3.2.2", b"::1", REFUSE),
    host("an address of IPv6 with rubbish behind it", "RFC 3986 3.2.2", b"[::1]secret.test", REFUSE),
    host("an address of IPv6 that is none", "RFC 3986 3.2.2", b"[localhost]", REFUSE),
    host("an address of IPv6 with two ports", "RFC 3986 3.2.2", b"[::1]:80:80", REFUSE),
    host("a host of ten thousand letters", "RFC 9110 7.2", b"a" * 10000, Refuse(frozenset([400, 404, 421, 431]))),
    host("a label of two hundred letters", "RFC 1035 2.3.4", b"a" * 200 + b".test", NOT_SERVED),
    host("a host with an empty label", "RFC 1035 2.3.1", b"localhost..test", NOT_SERVED),
    host("a host that is a dot", "RFC 1035 2.3.1", b".", NOT_SERVED),
    host("a host that nobody serves", "RFC 9110 7.4", b"unknown.test", NOT_SERVED),
    host("a host in capitals", "RFC 3986 3.2.2", b"LocalHost", passes()),
    host("a host with its port", "RFC 9110 7.2", b"localhost:8080", passes()),
    host("a host with an empty port", "RFC 3986 3.2.3", b"localhost:", (passes(), REFUSE)),
    host("an address of IPv4", "RFC 3986 3.2.2", b"127.0.0.1", passes()),
    host("an address of IPv6 with a port", "RFC 3986 3.2.2", b"[::1]:8080", passes()),
    ("absolute form with no host field", "RFC 9112 3.2", b"GET http://localhost/score/<TOKEN> HTTP/1.1\r\n" + AUTH + b"\r\n",
         (REFUSE, passes())),
    ("absolute form and a host that differs", "RFC 9112 3.2.2",
     b"GET http://localhost/score/<TOKEN> HTTP/1.1\r\nhost: secret.test\r\n" + AUTH + b"\r\n", (REFUSE, passes())),
    ("absolute form and two hosts", "RFC 9112 3.2",
     b"GET http://localhost/score/<TOKEN> HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n" + AUTH + b"\r\n", REFUSE),
    ("the host is not forwarded but made anew", "RFC 9110 7.2",
         LINE + b"host: localhost:8080\r\nx-host: b\r\n" + AUTH + b"\r\n",
     passes(Wanted(has=((b"x-host", b"b"),)))),
    ("HTTP/1.0 with no host", "RFC 9112 3.2", LINE.replace(b"1.1", b"1.0") + AUTH + b"\r\n", (REFUSE, passes())),
])
