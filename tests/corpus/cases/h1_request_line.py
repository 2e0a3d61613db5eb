"""Method, target and version (RFC 9112 section 3)."""

from ..core.h1 import AUTH, HOST, NO_REQUEST, REFUSE, passes, table
from ..core.judge import Refuse, Rules, Wanted

REST = b"\r\n" + HOST + AUTH + b"\r\n"
VERSION = Refuse(frozenset([400, 505]), silent_ok=True)
HTTP_09 = Refuse(frozenset([400, 505]), silent_ok=True, closes=True)


def get(target, expect, **options):
    return b"GET " + target + b" HTTP/1.1" + REST, expect, options


def line(name, section, text, expect, **options):
    return name, section, text + REST, expect, options


CASES = table("h1", "request line", [
    line("two spaces behind the method", "RFC 9112 3", b"GET  /score/<TOKEN> HTTP/1.1", (REFUSE, passes())),
    line("two spaces before the version", "RFC 9112 3", b"GET /score/<TOKEN>  HTTP/1.1", (REFUSE, passes())),
    line("a tab for a space", "RFC 9112 3", b"GET\t/score/<TOKEN>\tHTTP/1.1", (REFUSE, passes())),
    line("a vertical tab for a space", "RFC 9112 3", b"GET\x0b/score/<TOKEN> HTTP/1.1", REFUSE),
    line("a space before the method", "RFC 9112 3", b" GET /score/<TOKEN> HTTP/1.1", NO_REQUEST, methods=(b"GET",)),
    line("a space behind the version", "RFC 9112 3", b"GET /score/<TOKEN> HTTP/1.1 ", (REFUSE, passes())),
    line("a space within the target", "RFC 9112 3.2", b"GET /score/<TOKEN> x HTTP/1.1", REFUSE),
    line("two versions", "RFC 9112 3.2", b"GET /score/<TOKEN> HTTP/1.1 HTTP/1.1", REFUSE),
    line("no target", "RFC 9112 3", b"GET HTTP/1.1", REFUSE),
    line("an empty target between spaces", "RFC 9112 3.2", b"GET  HTTP/1.1", REFUSE),
    line("no method", "RFC 9112 3", b"/score/<TOKEN> HTTP/1.1", NO_REQUEST, methods=(b"GET",)),
    line("no version", "RFC 9112 2.3", b"GET /score/<TOKEN>", HTTP_09),
    ("HTTP/0.9", "RFC 9112 2.3", b"GET /score/<TOKEN>\r\n\r\n", HTTP_09),
    line("HTTP/2.0 in a line of HTTP/1", "RFC 9110 2.5", b"GET /score/<TOKEN> HTTP/2.0", VERSION),
    line("HTTP/3", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/3", VERSION),
    line("HTTP/0.9 by name", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/0.9", VERSION),
    line("HTTP/1.2 is read as HTTP/1.1 or refused", "RFC 9110 2.5", b"GET /score/<TOKEN> HTTP/1.2", (passes(), VERSION)),
    line("HTTP/1.10", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/1.10", VERSION),
    line("HTTP/01.1", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/01.1", VERSION),
    line("HTTP/1.x", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/1.x", VERSION),
    line("HTTP/1,1", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP/1,1", VERSION),
    line("http/1.1 in small letters", "RFC 9112 2.3", b"GET /score/<TOKEN> http/1.1", VERSION),
    line("another protocol", "RFC 9112 2.3", b"GET /score/<TOKEN> RTSP/1.0", VERSION),
    line("a slash more", "RFC 9112 2.3", b"GET /score/<TOKEN> HTTP//1.1", VERSION),
    line("a method that is no token", "RFC 9110 9.1", b"GE(T /score/<TOKEN> HTTP/1.1", REFUSE),
    line("a method with a colon", "RFC 9110 9.1", b"GET: /score/<TOKEN> HTTP/1.1", REFUSE),
    line("a method in quotes", "RFC 9110 9.1", b"\"GET\" /score/<TOKEN> HTTP/1.1", NO_REQUEST),
    line("a method of a thousand letters", "RFC 9110 9.1", b"A" * 1000 + b" /score/<TOKEN> HTTP/1.1",
         (passes(Wanted(b"A" * 1000)), Refuse(frozenset([400, 405, 414, 431, 501])))),
    line("a method in small letters is another method", "RFC 9110 9.1", b"get /score/<TOKEN> HTTP/1.1",
         (passes(Wanted(b"get")), Refuse(frozenset([400, 405, 501])))),
    line("a target that is a word", "RFC 9112 3.2", b"GET score/<TOKEN> HTTP/1.1", REFUSE),
    line("a target that is a query", "RFC 9112 3.2", b"GET ?<TOKEN> HTTP/1.1", REFUSE),
    line("a target with a fragment", "RFC 9112 3.2", b"GET /score/<TOKEN>#x HTTP/1.1", (REFUSE, passes())),
    line("a target with a quote", "RFC 3986 2", b"GET /score/<TOKEN>\" HTTP/1.1", (REFUSE,
        passes(Wanted(target=b"/score/<TOKEN>%22")))),
    line("a target with angle brackets", "RFC 3986 2", b"GET /score/<TOKEN>/<script> HTTP/1.1",
         (REFUSE, passes(Wanted(target=b"/score/<TOKEN>/%3Cscript%3E")))),
    line("the target *, with GET", "RFC 9112 3.2.4", b"GET * HTTP/1.1", REFUSE),
    line("the target *, with a query", "RFC 9112 3.2.4", b"OPTIONS *?<TOKEN> HTTP/1.1", REFUSE),
    line("the target *, with OPTIONS", "RFC 9112 3.2.4", b"OPTIONS * HTTP/1.1",
         (passes(Wanted(b"OPTIONS", b"*")), passes(Wanted(b"OPTIONS", b"/")), Refuse(frozenset([400, 403, 404, 405])))),
    line("absolute form", "RFC 9112 3.2.2", b"GET http://localhost/score/<TOKEN> HTTP/1.1", passes()),
    line("absolute form in capitals", "RFC 3986 3.1", b"GET HTTP://LOCALHOST/score/<TOKEN> HTTP/1.1", passes()),
    line("absolute form with nothing behind the host", "RFC 9112 3.2.1", b"GET http://localhost HTTP/1.1",
        passes(Wanted(target=b"/"))),
    line("absolute form with a query and no path", "RFC 9112 3.2.1", b"GET http://localhost?<TOKEN> HTTP/1.1",
         (passes(Wanted(target=b"/?<TOKEN>")), REFUSE)),
    line("absolute form to another host", "RFC 9112 3.2.2", b"GET http://secret.test/score/<TOKEN> HTTP/1.1", REFUSE),
    line("absolute form of another scheme", "RFC 9110 7.4", b"GET ftp://localhost/score/<TOKEN> HTTP/1.1", (REFUSE,
        passes())),
    line("absolute form of file", "RFC 9110 7.4", b"GET file:///etc/passwd HTTP/1.1", REFUSE),
    line("absolute form with user and password", "RFC 9110 4.2.4", b"GET http://user:pass@localhost/score/<TOKEN> HTTP/1.1",
        REFUSE),
    line("absolute form with an empty host", "RFC 9110 4.2.1", b"GET http:///score/<TOKEN> HTTP/1.1", REFUSE),
    line("absolute form with one slash", "RFC 9112 3.2.2", b"GET http:/localhost/score/<TOKEN> HTTP/1.1", REFUSE),
    line("absolute form with a backslash behind the host", "RFC 3986 3.2",
        b"GET http://localhost\\@secret.test/score/<TOKEN> HTTP/1.1", REFUSE),
    line("absolute form with a port out of range", "RFC 3986 3.2.3", b"GET http://localhost:99999/score/<TOKEN> HTTP/1.1",
        REFUSE),
    line("two slashes at the beginning", "RFC 9112 3.2.1", b"GET //secret.test/score/<TOKEN> HTTP/1.1",
         (passes(Wanted(target=b"/secret.test/score/<TOKEN>")), passes(Wanted(target=b"//secret.test/score/<TOKEN>")),
             REFUSE)),
    line("authority form with GET", "RFC 9112 3.2.3", b"GET localhost:80 HTTP/1.1", REFUSE),
    line("a target of 64 KiB", "RFC 9112 3", b"GET /" + b"a" * 65536 + b" HTTP/1.1", Refuse(frozenset([400, 414, 431]))),
    line("a target with a broken escape", "RFC 3986 2.1", b"GET /score/<TOKEN>%zz HTTP/1.1", (REFUSE,
        passes(Wanted(target=b"/score/<TOKEN>%zz")))),
    line("a query with every character that may be there", "RFC 3986 3.4",
         b"GET /score/<TOKEN>?a=1&b=%20:/?@!$'()*+,;=-._~ HTTP/1.1",
             passes(Wanted(target=b"/score/<TOKEN>?a=1&b=%20:/?@!$'()*+,;=-._~"))),
    line("an empty query stays", "RFC 3986 3.4", b"GET /score/<TOKEN>? HTTP/1.1", (passes(Wanted(target=b"/score/<TOKEN>?")),
        passes())),
    ("TLS to a port without it", "threat 14", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x11" * 300, NO_REQUEST,
         {"methods": (b"GET",)}),
    ("SMTP", "threat 14", b"EHLO localhost\r\nMAIL FROM:<a@b>\r\n\r\n", NO_REQUEST, {"methods": (b"GET",)}),
    ("the PROXY protocol, in text", "threat 9", b"PROXY TCP4 6.6.6.6 127.0.0.1 1 80\r\nGET /score/<TOKEN> HTTP/1.1" + REST,
         NO_REQUEST,
     {"methods": (b"GET",), "rules": Rules()}),
    ("the PROXY protocol, in binary", "threat 9",
     b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x06\x06\x06\x06\x7f\0\0\x01\0\x01\0\x50GET /score/<TOKEN> HTTP/1.1" + REST,
         NO_REQUEST, {"methods": (b"GET",)}),
])
